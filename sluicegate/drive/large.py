"""A JSON body too large to be copied: what goes up is pieces of it, where they lie, with what changes between them.

Such a body is a view of a file (edge/body.py). A row rebuilds bodies by copying them, so it is given one in which every
large value has a word in its place, and what it makes of that is cut apart there again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sluicegate.apis.base import Api
from sluicegate.core.events import Facts
from sluicegate.core.ports import Chunk, Taker
from sluicegate.wire.fields import spans, top_level

LARGE: Final = 64 * 1024
"""A value beyond this is not copied."""

_INSTEAD: Final = b'"\\u0000 a large value"'
_Put = dict[str, bytes] | None


def pieces(
    api: Api, raw: memoryview, fields: Mapping[str, Any], facts: Facts, model: str | None, usage: bool, put: _Put
) -> list[Chunk]:
    """The body that the row makes of this one."""
    found: dict[str, tuple[int, int]] = {}
    parts: list[Chunk] = []
    kept = 0
    for key, _, start, end in spans(raw, fields):
        if end - start > LARGE:
            found[key] = (start, end)
            parts += (raw[kept:start], _INSTEAD)
            kept = end
    parts.append(raw[kept:])
    small = b"".join(parts)
    made = api.body(small, top_level(small), facts, model, usage, put)
    if made is small:
        return [raw]
    out: list[Chunk] = []
    kept = 0
    view = memoryview(made)
    for key, _, start, end in spans(made, top_level(made)):
        if key in found and bytes(view[start : min(end, start + LARGE)]) == _INSTEAD:
            begin, stop = found[key]
            out += (view[kept:start], raw[begin:stop])
            kept = end
    out.append(view[kept:])
    return out


class PiecesSource:
    """Gives them one after the other (core/ports.py Source)."""

    __slots__ = ("_at", "_pieces", "_which", "size", "taker")

    def __init__(self, of: list[Chunk]) -> None:
        self.taker: Taker | None = None
        self.size = sum([len(piece) for piece in of])
        self._pieces = [memoryview(piece) for piece in of]
        self._which = 0
        self._at = 0

    def take(self, most: int) -> Chunk | None:
        """The next piece, where it lies."""
        while self._which < len(self._pieces):
            piece = self._pieces[self._which]
            at = self._at
            if at < len(piece):
                self._at = at + most
                return piece[at : at + most]
            self._which += 1
            self._at = 0
        return None

    def rewind(self) -> bool:
        """Begin anew."""
        self._which = self._at = 0
        return True
