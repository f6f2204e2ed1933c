"""A small HTTP server on loopback, in threads of its own, that can be made to hang and let go again."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class Loopback:
    """`with Loopback() as it`: at `it.url`, until the block ends. What it says is for whoever derives from it."""

    def __init__(self) -> None:
        self.mode = "well"
        self._let_go = threading.Event()
        it = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                it.get(self)

            def do_POST(self) -> None:
                it.post(self, self.rfile.read(int(self.headers.get("content-length") or 0)))

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._let_go.set()
        self.server.shutdown()
        self.server.server_close()

    def recover(self) -> None:
        """Whoever hangs is let go, and all is well again."""
        self.mode = "well"
        self._let_go.set()

    def hang(self) -> None:
        """Until `recover`, or the end."""
        self._let_go.wait(60)

    def get(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer a GET."""
        raise NotImplementedError

    def post(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        """Answer a POST."""
        raise NotImplementedError

    def answer(
        self, handler: BaseHTTPRequestHandler, status: int, body: bytes, headers: Mapping[str, str] | None = None,
        drip: bool = False,
    ) -> None:  # fmt: skip
        """JSON, to whoever still listens; `drip`: five bytes a second."""
        try:
            handler.send_response(status)
            for name, value in (headers or {}).items():
                handler.send_header(name, value)
            handler.send_header("Content-Type", "application/json")
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            if not drip:
                handler.wfile.write(body)
                return
            for n in range(len(body)):
                handler.wfile.write(body[n : n + 1])
                if self._let_go.wait(0.2):
                    return
        except OSError:
            pass
