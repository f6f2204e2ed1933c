"""What the claims of a token are called and hold: the one reading of them, for maps and expressions alike.

Entra's two token versions call the same things by two names, scopes are one text with spaces in it, and what is a list
with one provider is a text with another: here they become one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

SAME: Final = {"appid": "azp", "appidacr": "azpacr"}
"""Claims of tokens of version 1, by what version 2 calls them."""

EARLIER: Final = {"azp": "appid", "azpacr": "appidacr"}

LISTS: Final = frozenset(("scp", "roles", "groups", "wids", "amr"))
"""Claims of which a token may have several values."""

TEXTS: Final = frozenset((
    "acct", "appid", "appidacr", "azp", "azpacr", "client_id", "email", "family_name", "given_name", "idp", "idtyp",
    "iss", "jti", "name", "nonce", "oid", "preferred_username", "sid", "sub", "tid", "unique_name", "upn", "uti", "ver",
    "xms_mirid",
))  # fmt: skip
"""Claims that are one text."""

NUMBERS: Final = frozenset(("auth_time", "exp", "iat", "nbf"))
"""Claims that are one whole number."""

CHANGING: Final = {
    "preferred_username": "it changes when somebody is renamed",
    "upn": "it changes when somebody is renamed, and is given to another afterwards",
    "unique_name": "it changes when somebody is renamed",
    "name": "it is a display name: people may have the same, and change it",
    "given_name": "it is a display name: people may have the same, and change it",
    "family_name": "it is a display name: people may have the same, and change it",
    "email": "nobody may have checked it, and it is given to another when somebody leaves",
    "nickname": "people choose it themselves",
}
"""Claims that are no ground to let anybody in, and why."""

CERTIFICATE: Final = ("thumbprint", "subject", "issuer", "serial", "dns", "uri", "email")
"""What is known of a certificate; the last three are lists."""

LARGEST: Final = 1 << 63
"""Whole numbers are of 64 bits; a longer one is no value of anything."""

_NONE: Final[tuple[str, ...]] = ()


def claim(claims: Mapping[str, object], name: str) -> object:
    """The value of a claim under either of its names; None where there is none (and where it is null)."""
    value = claims.get(name)
    if value is None:
        other = EARLIER.get(name)
        if other is not None:
            value = claims.get(other)
    return value


def texts(claims: Mapping[str, object], name: str) -> Sequence[str]:
    """All values of a claim, as a configuration writes them; none for what is no text, number or truth value."""
    value = claim(claims, name)
    if isinstance(value, str):
        return scopes(value) if name == "scp" else (value,)
    if isinstance(value, list):
        if name in TEXTS:  # a list is nobody's name
            return _NONE
        found = []
        for item in value:
            text = plain(item)
            if text is not None:
                found.append(text)
        return found
    text = plain(value)
    return _NONE if text is None else (text,)


def certificate_texts(certificate: Mapping[str, object], name: str) -> Sequence[str]:
    """All values of a field."""
    value = certificate.get(name)
    if isinstance(value, str):
        return (value,)
    if isinstance(value, (list, tuple)):
        return [item for item in value if isinstance(item, str)]
    return _NONE


def scopes(text: str) -> list[str]:
    """The words of a `scp` claim."""
    return [word for word in text.split(" ") if word]


def plain(value: object) -> str | None:
    """A value as it would be written; None for what has no one spelling."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and -LARGEST <= value < LARGEST:
        return str(value)
    return None
