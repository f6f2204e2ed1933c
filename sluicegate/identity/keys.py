"""Public keys, ready to check signatures with.

By `cryptography` itself: joserfc checks an RS256 in 101 us where this takes 34, and takes 20 MB of memory where this
takes 10 (docs/decisions/0030). Loaded only in a worker whose configuration declares an issuer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm

from sluicegate.identity.jose import decoded

_HASHES: Final[Mapping[str, HashAlgorithm]] = {"256": SHA256(), "384": SHA384(), "512": SHA512()}
_PSS: Final = {bits: padding.PSS(padding.MGF1(hash_), hash_.digest_size) for bits, hash_ in _HASHES.items()}
_PKCS1: Final = padding.PKCS1v15()
_ECDSA: Final = {bits: ec.ECDSA(hash_) for bits, hash_ in _HASHES.items()}
_CURVES: Final[Mapping[str, tuple[ec.EllipticCurve, str]]] = {
    "P-256": (ec.SECP256R1(), "ES256"), "P-384": (ec.SECP384R1(), "ES384"), "P-521": (ec.SECP521R1(), "ES512"),
}  # fmt: skip


class Key:
    """One key of an issuer. `live`: the issuer still publishes it."""

    __slots__ = ("algorithms", "jwk", "kid", "live")

    def __init__(self, jwk: Mapping[str, str], algorithms: tuple[str, ...]) -> None:
        self.jwk = jwk
        self.kid = jwk.get("kid")
        said = jwk.get("alg")
        self.algorithms = tuple(name for name in algorithms if said is None or name == said)
        "What may be signed with it: what its kind allows, and of that what it says of itself."
        self.live = True

    def checks(self, algorithm: str, signature: bytes, signed: bytes) -> bool:
        """Whether that is the signature of it."""
        raise NotImplementedError


class RsaKey(Key):
    """RS256 to RS512, PS256 to PS512."""

    __slots__ = ("_key", "_size")

    def __init__(self, jwk: Mapping[str, str]) -> None:
        super().__init__(jwk, ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"))
        n, e = (int.from_bytes(decoded(jwk[name].encode())) for name in ("n", "e"))
        self._key = rsa.RSAPublicNumbers(e, n).public_key()
        self._size = (n.bit_length() + 7) // 8

    def checks(self, algorithm: str, signature: bytes, signed: bytes) -> bool:
        if len(signature) != self._size:
            return False
        bits = algorithm[2:]
        padded = _PKCS1 if algorithm[0] == "R" else _PSS[bits]
        try:
            self._key.verify(signature, signed, padded, _HASHES[bits])
        except InvalidSignature:
            return False
        return True


class EcKey(Key):
    """ES256, ES384, ES512: each with its curve."""

    __slots__ = ("_key", "_size")

    def __init__(self, jwk: Mapping[str, str]) -> None:
        curve, algorithm = _CURVES[jwk["crv"]]
        super().__init__(jwk, (algorithm,))
        x, y = (int.from_bytes(decoded(jwk[name].encode())) for name in ("x", "y"))
        self._key = ec.EllipticCurvePublicNumbers(x, y, curve).public_key()
        self._size = (curve.key_size + 7) // 8

    def checks(self, algorithm: str, signature: bytes, signed: bytes) -> bool:
        size = self._size
        if len(signature) != 2 * size:
            return False
        r, s = int.from_bytes(signature[:size]), int.from_bytes(signature[size:])
        try:
            self._key.verify(encode_dss_signature(r, s), signed, _ECDSA[algorithm[2:]])
        except InvalidSignature:
            return False
        return True


def key_of(jwk: Mapping[str, str]) -> Key | None:
    """A key that signatures can be checked with; None: these numbers are no key."""
    try:
        return RsaKey(jwk) if jwk["kty"] == "RSA" else EcKey(jwk)
    except (ValueError, KeyError, UnsupportedAlgorithm):  # not a point of its curve, for instance
        return None
