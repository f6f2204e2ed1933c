"""Tokens as Entra ID makes them for applications, and the keys that they are checked with: for one run.

A hundred callers, 1.3 KB each, signed by RS256; every one good for the next day.
"""

from __future__ import annotations

import json
import time
import uuid
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

CALLERS = 100
ISSUER = "https://login.bench.example/11110000-0000-4000-8000-000000000003/v2.0"
AUDIENCE = "22220000-0000-4000-8000-000000000009"


@dataclass(frozen=True)
class Tokens:
    """Two files."""

    keys: Path
    "The public key, as its issuer would publish it."
    shown: Path
    "A token a line."
    url: str = ""
    "Where the key is published; empty: it is read from the file."


def make(folder: Path) -> Tokens:
    """Both, new."""
    key = rsa.generate_private_key(65537, 2048)
    numbers = key.public_key().public_numbers()
    n, e = (_base64(x.to_bytes((x.bit_length() + 7) // 8)) for x in (numbers.n, numbers.e))
    made = Tokens(folder / "issuer-keys.json", folder / "tokens")
    made.keys.write_text(json.dumps({"keys": [{"kty": "RSA", "use": "sig", "kid": "bench", "n": n, "e": e}]}))
    header = _base64(json.dumps({"typ": "JWT", "alg": "RS256", "kid": "bench"}).encode())
    lines = []
    for _ in range(CALLERS):
        signed = f"{header}.{_base64(json.dumps(_claims()).encode())}".encode()
        signature = key.sign(signed, padding.PKCS1v15(), SHA256())
        lines.append(f"{signed.decode()}.{_base64(signature)}\n")
    made.shown.write_text("".join(lines))
    return made


def unknown() -> str:
    """A token of a key that nobody knows."""
    header = _base64(json.dumps({"typ": "JWT", "alg": "RS256", "kid": str(uuid.uuid4())}).encode())
    return f"{header}.{_base64(json.dumps(_claims()).encode())}.{_base64(bytes(256))}"


def _claims() -> dict[str, object]:
    now = int(time.time())
    app, caller = str(uuid.uuid4()), str(uuid.uuid4())
    return {
        "aud": AUDIENCE, "iss": ISSUER, "iat": now - 60, "nbf": now - 60, "exp": now + 86_400,
        "aio": "k2RgYJh4Zdu0s8u2rQcAAA==", "azp": app, "azpacr": "1", "idtyp": "app",
        "oid": caller, "rh": "1.AXQAAAAAAAAAAAAAAAAAAAAAAABkZXZlbG9wZXI.",
        "roles": ["llm.use", "llm.batch"], "sub": caller, "tid": "11110000-0000-4000-8000-000000000003",
        "uti": "8Zt0u3NHnEuZrO3bTfUBAA", "ver": "2.0", "xms_idrel": "7 12",
        "groups": [str(uuid.uuid4()) for _ in range(6)],
    }  # fmt: skip


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")
