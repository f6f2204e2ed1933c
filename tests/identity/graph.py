"""A directory of our own: Entra's token end point and Microsoft Graph on loopback, which misbehaves on request."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.identity.loopback import Loopback


class Graph(Loopback):
    """`with Graph() as graph`: at `graph.url`, until the block ends. `groups`: by the id of a person or application."""

    def __init__(self) -> None:
        super().__init__()
        self.groups: dict[str, list[str]] = {}
        self.asked: list[str] = []
        "Paths of questions about groups."
        self.shown: list[str] = []
        "Credentials that came with them."
        self.sent: list[Any] = []
        self.tokens = 0
        self.mode = "well"
        "well, hang, forbidden, garbage, huge, throttled, down, unauthorised, more"

    def post(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
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
                self.hang()
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
        self.answer(handler, status, said, headers)
