"""An identity provider of our own: signs tokens, publishes its keys over HTTP on loopback, and misbehaves on request.

`Signer` makes tokens without any server. `Provider` publishes the keys of one: at Entra's paths and at those of any
provider of OpenID Connect. What it does wrong is `mode`; who asked what stands in `asked`.
"""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64encode
from functools import cache
from http.server import BaseHTTPRequestHandler
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512

from tests.identity.loopback import Loopback

TENANT = "11110000-0000-4000-8000-000000000003"
CLIENT = "22220000-0000-4000-8000-000000000009"
URI = "api://sluicegate"
APP = "0a1b0000-0000-4000-8000-000000000004"
HASHES = {"256": SHA256(), "384": SHA384(), "512": SHA512()}
CURVES = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}


def b64(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def whole(number: int, size: int = 0) -> str:
    return b64(number.to_bytes(size or (number.bit_length() + 7) // 8))


@cache
def private(algorithm: str, number: int = 0) -> Any:
    """A key for it; the same one for the same number, as making one takes a while."""
    if algorithm in CURVES:
        return ec.generate_private_key(CURVES[algorithm])
    return rsa.generate_private_key(65537, 1024 if algorithm == "short" else 2048)


def jwk(key: Any, **more: Any) -> dict[str, Any]:
    """The public half, as providers publish it."""
    numbers = key.public_key().public_numbers()
    if isinstance(key, rsa.RSAPrivateKey):
        found = {"kty": "RSA", "n": whole(numbers.n), "e": whole(numbers.e)}
    else:
        size = (key.curve.key_size + 7) // 8
        names = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
        found = {"kty": "EC", "crv": names[key.curve.name], "x": whole(numbers.x, size), "y": whole(numbers.y, size)}
    return {**found, "use": "sig", **more}


def signature(key: Any, algorithm: str, signed: bytes) -> bytes:
    hash_ = HASHES[algorithm[2:]]
    if algorithm.startswith("RS"):
        return bytes(key.sign(signed, padding.PKCS1v15(), hash_))
    if algorithm.startswith("PS"):
        return bytes(key.sign(signed, padding.PSS(padding.MGF1(hash_), hash_.digest_size), hash_))
    r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(hash_)))
    size = (key.curve.key_size + 7) // 8
    return r.to_bytes(size) + s.to_bytes(size)


def joined(header: Any, claims: Any, sign: Any) -> str:
    """A token of these; both may be bytes, which then stand there as they are. `sign`: bytes to bytes."""
    parts = [
        b64(p if isinstance(p, bytes) else json.dumps(p, separators=(",", ":")).encode()) for p in (header, claims)
    ]
    signed = ".".join(parts)
    return f"{signed}.{b64(sign(signed.encode()))}"


class Signer:
    """Keys by id, in order of their making; the last one signs."""

    def __init__(self, iss: str = "https://id.example") -> None:
        self.iss = iss
        self.keys: dict[str, tuple[str, Any]] = {}
        self.add("key-1")

    def add(self, kid: str, algorithm: str = "RS256") -> None:
        """Another key."""
        self.keys[kid] = (algorithm, private(algorithm if algorithm in CURVES else "RS256", len(self.keys)))

    def set(self) -> dict[str, Any]:
        return {"keys": [jwk(key, kid=kid) for kid, (_, key) in self.keys.items()]}

    def token(self, kid: str = "", algorithm: str = "", header: dict[str, Any] | None = None, **claims: Any) -> str:
        """For the next hour, unless it says otherwise. A claim that is None is left out."""
        kid = kid or list(self.keys)[-1]
        usual, key = self.keys[kid]
        algorithm = algorithm or usual
        now = int(time.time())
        all_ = {"iss": self.iss, "aud": URI, "sub": "somebody", "iat": now, "nbf": now, "exp": now + 3600, **claims}
        said = {name: value for name, value in all_.items() if value is not None}
        top = {"typ": "JWT", "alg": algorithm, "kid": kid, **(header or {})}
        return joined(
            {n: v for n, v in top.items() if v is not None}, said, lambda signed: signature(key, algorithm, signed)
        )

    def entra(self, authority: str, version: int = 2, **claims: Any) -> str:
        """As Entra ID makes them, for an application that calls another one."""
        now = int(time.time())
        common = {
            "tid": TENANT, "oid": "33330000-0000-4000-8000-000000000001", "sub": "33330000-0000-4000-8000-000000000001",
            "iat": now, "nbf": now, "exp": now + 3900, "roles": ["llm.batch"], "uti": "8Zt0u3NHnEuZrO3bTfUBAA",
            "rh": "1.AXQAAAAAAAAAAAAAAAAAAAAAAA.", "aio": "k2RgYJh4Zdu0s8u2rQcAAA==",
        }  # fmt: skip
        if version == 2:
            own = {"ver": "2.0", "iss": f"{authority}/{TENANT}/v2.0", "aud": CLIENT, "azp": APP, "azpacr": "1"}
        else:
            own = {"ver": "1.0", "iss": f"{authority}/{TENANT}/", "aud": URI, "appid": APP, "appidacr": "1"}
        return self.token(**{**common, **own, **claims})


class Provider(Loopback):
    """`with Provider() as provider`: at `provider.url`, until the block ends."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.mode = "well"
        "well, down, hang, drip, garbage, huge, elsewhere, round, moved, failing, empty, other_issuer, metadata"
        self.signer = Signer(self.url)

    def fetches(self) -> int:
        """Of key sets."""
        return sum(path.endswith("/keys") for path in self.asked)

    def get(self, handler: BaseHTTPRequestHandler) -> None:
        path = handler.path
        self.asked.append(path)
        mode, status, headers = self.mode, 200, {}
        body = b""
        if path.endswith("/.well-known/openid-configuration"):
            base = path.removesuffix("/.well-known/openid-configuration")
            iss = self.url + base
            body = json.dumps({"issuer": iss, "jwks_uri": f"{self.url}{base}/keys"}).encode()
            if mode == "other_issuer":
                body = json.dumps({"issuer": "https://evil.example", "jwks_uri": f"{self.url}/keys"}).encode()
            elif mode == "metadata":
                body = json.dumps({"issuer": iss, "jwks_uri": "http://169.254.169.254/keys"}).encode()
        elif path.endswith("/keys") or path == "/moved":
            body = json.dumps(self.signer.set()).encode()
            if mode == "moved" and path != "/moved":
                status, headers = 302, {"Location": "/moved"}
        else:
            status = 404
        if mode == "hang":
            self.hang()
            return
        if mode == "down":
            handler.close_connection = True
            return
        if mode == "garbage":
            body = b"<html>\x00 sign in"
        elif mode == "huge":
            body = json.dumps({"keys": [], "padding": "x" * 1_000_000}).encode()
        elif mode == "empty":
            body = b'{"keys": []}'
        elif mode == "failing":
            status = 503
        elif mode == "elsewhere":
            status, headers = 302, {"Location": "http://localhost:1/keys"}
        elif mode == "round":
            status, headers = 302, {"Location": path}
        self.answer(handler, status, body, headers, drip=mode == "drip")
