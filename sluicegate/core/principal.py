"""What a token or a client certificate says of its bearer, once it was found to be genuine.

`identity/` makes it, and nobody else: whoever holds one may rely on every claim in it. Which consumer that is, the
table in core/caller.py says.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Mapping
from hmac import compare_digest
from typing import Final, NamedTuple

UNBOUND: Final = "credential.token.binding"
"""Of a token that is bound to something which its bearer did not show."""

ELSEWHERE: Final = "credential.groups_unavailable"
"""Of a genuine token whose bearer's groups are in the directory only, and not known here (yet)."""

BINDING: Final = "x5t#S256"
"""In `cnf`: the SHA-256 of the certificate that a token is bound to (RFC 8705)."""


NONE: Final[Mapping[str, str]] = {}


class Whose(NamedTuple):
    """Whose groups a token leaves to the directory."""

    issuer: str
    "Name of it in the configuration."
    tenant: str
    kind: str
    "users or servicePrincipals: as Microsoft Graph calls them."
    oid: str


class Principal:
    """Somebody who proved who they are by other means than a key of ours."""

    __slots__ = ("certificate", "claims", "expires", "headers", "issuer", "mark", "signed", "withdrawn")

    def __init__(
        self, issuer: str, claims: Mapping[str, object], mark: bytes, expires: float,
        certificate: Mapping[str, object] | None = None, headers: Mapping[str, str] = NONE,
        signed: tuple[bytes, int] | None = None,
    ) -> None:  # fmt: skip
        self.signed = signed
        "Of a certificate alone: its issuer's name (DER) and its number there, as lists of revoked ones have them."
        self.withdrawn = False
        "It was revoked since it was shown."
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
        self.headers = headers
        "Of the request, those that some rule reads, where a trusted proxy wrote them; names in lower case."

    def words(self) -> str:
        """How its bearer was recognised, for a record's trail."""
        if self.bare:
            return "credential: header of a trusted proxy"
        return f"credential: token of {self.issuer}" if self.issuer else "credential: certificate"

    @property
    def bare(self) -> bool:
        """Nothing was proved: there is what a trusted proxy wrote into headers, and nothing else."""
        return not self.issuer and self.certificate is None

    def __repr__(self) -> str:
        return f"Principal({self.issuer or 'certificate'})"


class Presented:
    """A client certificate as somebody showed it: whose it is, or why it proves nothing."""

    __slots__ = ("principal", "refused")

    def __init__(self, principal: Principal | None, refused: str = "") -> None:
        self.principal = principal
        self.refused = refused
        "A reason; empty: it is good until `principal.expires`."


def joined(
    token: Principal, certificate: Principal | None, headers: Mapping[str, str] = NONE
) -> Principal | str:  # fmt: skip
    """A token, the certificate and headers that it came with, as one; or the reason why they do not belong together.

    What is bound to something else than a certificate (`cnf` with a key) is refused: whoever showed it cannot prove
    here that they hold that.
    """
    bound = token.claims.get("cnf")
    if bound is not None:
        if certificate is None or certificate.certificate is None or not isinstance(bound, Mapping):
            return UNBOUND
        said = bound.get(BINDING)
        digest = bytes.fromhex(str(certificate.certificate["thumbprint"]))
        own = b2a_base64(digest, newline=False).decode().rstrip("=").replace("+", "-").replace("/", "_")
        if not isinstance(said, str) or not compare_digest(said.encode(), own.encode()):
            return UNBOUND
    if certificate is None:
        return beside(token, headers)
    expires = min(token.expires, certificate.expires)
    return Principal(token.issuer, token.claims, token.mark, expires, certificate.certificate, headers)


def beside(principal: Principal, headers: Mapping[str, str]) -> Principal:
    """The same, in a request with these headers."""
    if not headers:
        return principal
    return Principal(
        principal.issuer, principal.claims, principal.mark, principal.expires, principal.certificate, headers
    )  # fmt: skip
