"""A secret is a type that cannot be printed.

Keys and tokens travel through the house as `Secret`; only `reveal()` gives the text, and it is called where a
request head is built or a digest is taken. Every other way of turning it into text says `***`.
"""

from __future__ import annotations


class Secret:
    """Text that must not appear in logs, errors, diffs, reprs or pickles."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself. Callers must not store or format it anywhere but on the wire."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"

    def __str__(self) -> str:
        return "Secret(***)"

    def __format__(self, spec: str) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a Secret is not pickled: it travels by msgpack between keeper and worker only")
