"""Tokens that we show upstream: what the keeper fetched, as long as it lasts.

By the number of the identity that they belong to (core/settings.py Identity), so that two identities never share one,
however alike they are. Who is held here may be shown: what ended is not held.
"""

from __future__ import annotations

from math import inf
from typing import Final

from sluicegate.core.secret import Secret

STAND_IN: Final = "stands-in-for-a-token"
"""What is shown where nobody fetches tokens: in simulations and dry runs."""


class Token:
    """One token, and until when it may be shown."""

    __slots__ = ("ends", "secret", "since", "version")

    def __init__(self, secret: Secret, version: int, ends: float, since: float = 0.0) -> None:
        self.secret = secret
        self.since = since
        "When it was first shown, monotonic: what was sent before showed another one."
        self.version = version
        "Counts the tokens of its identity: a refusal of an older one is no news."
        self.ends = ends
        "Monotonic, of this machine."

    def __repr__(self) -> str:
        return f"Token(version={self.version})"


class Tokens:
    """All that this worker has."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: dict[int, Token] = {}

    def get(self, number: int) -> Token | None:
        """Of an identity; None: nothing can be shown."""
        return self._held.get(number)

    def take(self, number: int, token: Token) -> bool:
        """It came. Whether it is another one than before."""
        before = self._held.get(number)
        self._held[number] = token
        if before is not None and before.secret == token.secret:
            token.since = before.since
            return False
        return True

    def drop(self, number: int) -> bool:
        """It is not to be shown any more. Whether there was one."""
        return self._held.pop(number, None) is not None

    def ended(self, now: float) -> list[int]:
        """Whose is over."""
        return [number for number, token in self._held.items() if now >= token.ends]


def stand_in() -> Token:
    """For an identity, where there is no keeper."""
    return Token(Secret(STAND_IN), 1, inf)
