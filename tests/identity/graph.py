"""A directory of our own: Entra's token end point and Microsoft Graph on loopback, which misbehaves on request."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Graph:
    """`with Graph() as graph`: at `graph.url`, until the block ends. `groups`: by the id of a person or application."""

    def __init__(self) -> None:
        self.groups: dict[str, list[str]] = {}
        self.asked: list[str] = []
        "Paths of questions about groups."
        self.shown: list[str] = []
        "Credentials that came with them."
        self.sent: list[Any] = []
        self.tokens = 0
        self.mode = "well"
        "well, hang, forbidden, garbage, huge, throttled, down, unauthorised, more"
        self._let_go = threading.Event()
        graph = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                graph._answer(self, body)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> Graph:
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

    def _answer(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        path = handler.path
        status, said = 200, b""
        headers: dict[str, str] = {}
        if path.endswith("/oauth2/v2.0/token"):
            self.tokens += 1
            said = json.dumps(
                {"token_type": "Bearer", "expires_in": 86_000, "access_token": "of-the-directory"}
            ).encode()
        else:
            self.asked.append(path)
            self.shown.append(handler.headers.get("authorization") or "")
            self.sent.append(json.loads(body))
            groups = self.groups.get(path.split("/")[3].lower())
            if self.mode == "hang":
                self._let_go.wait(60)
            if self.mode == "down":
                handler.close_connection = True
                return
            status, code = {"forbidden": (403, "Authorization_RequestDenied"), "throttled": (429, "TooManyRequests"),
                            "unauthorised": (401, "InvalidAuthenticationToken"),
                            "more": (400, "Directory_ResultSizeLimitExceeded")}.get(self.mode, (200, ""))  # fmt: skip
            if groups is None and status == 200:
                status, code = 404, "Request_ResourceNotFound"
            if status == 200:
                said = json.dumps({"@odata.context": "...", "value": groups}).encode()
            else:
                said = json.dumps({"error": {"code": code, "message": "of groups nobody may know"}}).encode()
            if self.mode == "garbage":
                said = b'{"value": ["not an id"]}'
            elif self.mode == "huge":
                said = json.dumps({"value": ["x" * 1_100_000]}).encode()
            elif self.mode == "throttled":
                headers["Retry-After"] = "30"
        try:
            handler.send_response(status)
            for name, value in headers.items():
                handler.send_header(name, value)
            handler.send_header("Content-Type", "application/json")
            handler.send_header("Content-Length", str(len(said)))
            handler.end_headers()
            handler.wfile.write(said)
        except OSError:
            pass
