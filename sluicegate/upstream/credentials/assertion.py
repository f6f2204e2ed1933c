"""What an application signs with its certificate to prove that it is itself: a token of a few minutes, for one end
point. Loaded only where a certificate is configured."""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64encode
from secrets import token_hex

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from sluicegate.core.settings import Identity
from sluicegate.upstream.credentials.token import LATER_S, Failed

LIFE_S = 300
EARLIER_S = 30
"""Clocks differ."""


def sign(identity: Identity, audience: str) -> str:
    """PS256, with the certificate's SHA-256 thumbprint. The file is read each time: it is rotated. Raises Failed."""
    try:
        with open(identity.certificate, "rb") as f:
            pem = f.read()
        certificate = x509.load_pem_x509_certificate(pem)
        key = load_pem_private_key(pem, None)
    except (OSError, ValueError, TypeError):
        raise Failed("client_certificate cannot be read: a PEM file with certificate and key, unencrypted") from None
    if not isinstance(key, rsa.RSAPrivateKey) or key.public_key() != certificate.public_key():
        raise Failed("client_certificate: key and certificate do not belong together, or are not RSA", LATER_S)
    now = int(time.time())
    head = {"alg": "PS256", "typ": "JWT", "x5t#S256": _base64(certificate.fingerprint(hashes.SHA256()))}
    claims = {
        "aud": audience, "iss": identity.client_id, "sub": identity.client_id, "jti": token_hex(16),
        "nbf": now - EARLIER_S, "iat": now, "exp": now + LIFE_S,
    }  # fmt: skip
    signed = f"{_base64(json.dumps(head).encode())}.{_base64(json.dumps(claims).encode())}"
    digest = hashes.SHA256()
    signature = key.sign(signed.encode(), padding.PSS(padding.MGF1(digest), padding.PSS.DIGEST_LENGTH), digest)
    return f"{signed}.{_base64(signature)}"


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")
