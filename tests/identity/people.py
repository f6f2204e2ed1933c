"""A provider at which people log in: Provider, and the two addresses of the code flow. What comes back is what `person`
says; `lie` changes one thing about it."""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.identity.provider import Provider, b64

CLIENT_ID = "sluicegate-admin"


class People(Provider):
    """`person`: claims of whoever logs in next."""

    def __init__(self, secret: str = "") -> None:
        super().__init__()
        self.secret = secret
        self.person: dict[str, Any] = {"sub": "ann", "groups": ["owners"]}
        self.lie = ""
        self.codes: dict[str, dict[str, str]] = {}
        self.asked_for: list[dict[str, str]] = []
        self.redeemed = 0
        self._lock = threading.Lock()

    def get(self, handler: BaseHTTPRequestHandler) -> None:
        if not handler.path.endswith("/openid-configuration") or self.mode != "well":
            super().get(handler)
            return
        found = {
            "issuer": self.url, "jwks_uri": f"{self.url}/keys", "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
        }  # fmt: skip
        if self.lie == "elsewhere":
            found["token_endpoint"] = "http://evil.example/token"
        self._send(handler, 200, found)

    def log_in(self, address: str) -> str:
        """What a browser does there: the query with which it comes back."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        assert asked["response_type"] == "code" and asked["code_challenge_method"] == "S256"
        assert len(asked["code_challenge"]) == 43 and asked["client_id"] == CLIENT_ID
        self.asked_for.append(asked)
        code = secrets.token_hex(8)
        self.codes[code] = asked
        return f"code={code}&state={asked['state']}&session_state=x"

    def post(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        form = {n: v[0] for n, v in parse_qs(body.decode()).items()}
        with self._lock:
            asked = self.codes.pop(form.get("code", ""), None)
        verifier = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if (
            asked is None or form["grant_type"] != "authorization_code" or b64(verifier) != asked["code_challenge"]
            or form["redirect_uri"] != asked["redirect_uri"] or form["client_id"] != CLIENT_ID
            or form.get("client_secret", "") != self.secret
        ):  # fmt: skip
            self._send(handler, 400, {"error": "invalid_grant"})
            return
        self.redeemed += 1
        claims: dict[str, Any] = {"aud": CLIENT_ID, "nonce": asked["nonce"], **self.person}
        claims |= {
            "nonce": {"nonce": "another"}, "no_nonce": {"nonce": None}, "audience": {"aud": "somebody-else"},
            "expired": {"exp": 1_000_000_000}, "issuer": {"iss": "https://evil.example"},
            "both": {"aud": [CLIENT_ID, "other"], "azp": "other"},
        }.get(self.lie, {})  # fmt: skip
        token = self.signer.token(**claims)
        if self.lie == "signature":
            token = token[:-4] + ("AAAA" if token[-4:] != "AAAA" else "BBBB")
        if self.lie == "none":
            self._send(handler, 200, {"access_token": "x"})
            return
        self._send(handler, 200, {"id_token": token, "access_token": "opaque", "token_type": "Bearer"})

    def _send(self, handler: BaseHTTPRequestHandler, status: int, value: Any) -> None:
        self.answer(handler, status, json.dumps(value).encode())
