"""Health on the data listener: is the process alive, and should it get new work? Neither looks at deployments.

A readiness that looked at them would remove every replica at once when one model is throttled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sluicegate.edge.listener import Server
    from sluicegate.edge.request import Request

_HEADERS = b"content-type: application/json\r\ncache-control: no-store\r\n"


class Health:
    """Answers `/health/live` and `/health/ready`; needs no credential and says states only."""

    __slots__ = ("server",)

    def __init__(self, server: Server) -> None:
        self.server = server

    def answer(self, request: Request, path: bytes) -> bool:
        """True when the path was ours and is answered."""
        if request.method not in ("GET", "HEAD"):
            return False
        if path == b"/health/live":
            status, body = 200, b'{"status":"live"}'
        elif path == b"/health/ready":
            if self.server.draining and not self.server.replaced:
                status, body = 503, b'{"status":"draining"}'
            else:
                status, body = 200, b'{"status":"ready","config":"%b"}' % self.server.config_hash.encode()
        else:
            return False
        request.head(status, _HEADERS, len(body))
        request.data(b"" if request.method == "HEAD" else body)
        request.end()
        return True
