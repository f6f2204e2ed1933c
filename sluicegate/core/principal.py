"""What a token or a client certificate says of its bearer, once it was found to be genuine.

`identity/` makes it, and nobody else: whoever holds one may rely on every claim in it. Which consumer that is, the
table in core/caller.py says.
"""

from __future__ import annotations

from collections.abc import Mapping


class Principal:
    """Somebody who proved who they are by other means than a key of ours."""

    __slots__ = ("certificate", "claims", "expires", "issuer", "mark")

    def __init__(
        self, issuer: str, claims: Mapping[str, object], mark: bytes, expires: float,
        certificate: Mapping[str, object] | None = None,
    ) -> None:  # fmt: skip
        self.issuer = issuer
        "Name of the issuer in the configuration; empty: a certificate alone."
        self.claims = claims
        "Of the token, as JSON has them: text, numbers, booleans, lists, maps."
        self.mark = mark
        "Digest of all of the credential, 16 bytes: what tells it from any other."
        self.expires = expires
        "Wall time, seconds: from then on it proves nothing."
        self.certificate = certificate
        """Of the client's certificate: `thumbprint` (SHA-256, hexadecimal, lower case), `subject`, `issuer`, `serial`,
        `dns`, `uri` and `email` (lists); None: there is none."""

    def words(self) -> str:
        """How its bearer was recognised, for a record's trail."""
        return f"credential: token of {self.issuer}" if self.issuer else "credential: certificate"

    def __repr__(self) -> str:
        return f"Principal({self.issuer or 'certificate'})"
