"""Who asks, and what a log-in in a browser exchanges."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec


class Whoami(msgspec.Struct):
    """Whoever asks. `kind`: key, login, token or uid; `may`: what paths can need."""

    name: str
    role: str
    tenant: str
    kind: str
    may: list[str]
    csrf: str


class Callback(msgspec.Struct, forbid_unknown_fields=True):
    """What an issuer sends along; there may be more."""

    loose: ClassVar[bool] = True

    state: str = ""
    code: str = ""
    error: str = ""


class Leave:
    """The form of our own page."""

    raw: ClassVar[bool] = True

    @staticmethod
    def schema() -> dict[str, Any]:
        """JSON schema."""
        return {"type": "object", "properties": {"csrf": {"type": "string"}}}
