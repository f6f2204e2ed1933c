"""How deep in JSON one is, after bytes that come in any pieces: whether an answer too large to hold came to its end.

Nothing is decoded. A mebibyte of base64 costs 2 ms, one of short strings 70 ms, on a busy machine.
"""

from __future__ import annotations

import re
from typing import Final

_TEXT: Final = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
"""Of a string, all up to its end, or to a backslash with nothing behind it."""

_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_WHOLE: Final = re.compile(rb'[^"]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"]*+)*+', re.DOTALL)
"""Whole strings and what stands between them."""


class Nesting:
    """Feed it the text from its beginning; at the end of a whole one, `whole` is true."""

    __slots__ = ("_begun", "_escaped", "_inside", "depth")

    def __init__(self) -> None:
        self.depth = 0
        self._inside = False
        "A string."
        self._escaped = False
        "Its next character is not what it looks like."
        self._begun = False

    @property
    def whole(self) -> bool:
        """What was begun was ended."""
        return self._begun and not self._inside and self.depth == 0

    def feed(self, data: bytes) -> None:
        """The next bytes. Strings are taken out and brackets counted, both without a step of ours for each."""
        size = len(data)
        if not size:
            return
        at = 0
        if self._escaped:
            self._escaped = False
            at = 1
        if self._inside:
            at = self._string(data, at)
            if at < 0:
                return
        found = _WHOLE.match(data, at)
        assert found is not None
        end = found.end()
        if end > at:
            text = _STRING.sub(b"", data[at:end])
            opened = text.count(b"{") + text.count(b"[")
            self._begun = self._begun or opened > 0
            self.depth += opened - text.count(b"}") - text.count(b"]")
        if end < size:
            self._inside = True
            self._string(data, end + 1)

    def _string(self, data: bytes, at: int) -> int:
        """Inside one: where it ends; -1 if it does not here."""
        found = _TEXT.match(data, at)
        assert found is not None
        end = found.end()
        if end < len(data) and data[end : end + 1] == b'"':
            self._inside = False
            return end + 1
        self._escaped = end < len(data)
        return -1
