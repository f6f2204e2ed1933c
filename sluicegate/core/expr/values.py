"""What values do to each other, as CEL has it: numbers compare with numbers, nothing else with another kind.

An error is a value here (ERROR), not an exception: `&&` and `||` take it in where the other side decides, and half of
all rules meet a claim that a token lacks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

DEEPEST: Final = 32
"""Levels of lists and maps that are compared."""

LONGEST: Final = 65_536
"""Of a text or list that is put together."""

_LEAST: Final = -(1 << 63)
_MOST: Final = (1 << 63) - 1


class Error:
    """What has no value."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "ERROR"


ERROR: Final = Error()


def number(value: object) -> bool:
    """Whether it counts. A truth value does not, whatever Python thinks."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def equal(a: object, b: object, depth: int = DEEPEST) -> object:
    """True, False, or ERROR for what is nested too deep to say."""
    if isinstance(a, bool) or isinstance(b, bool):
        return isinstance(a, bool) and isinstance(b, bool) and a == b
    if isinstance(a, str):
        return isinstance(b, str) and a == b
    if number(a):
        return number(b) and a == b
    if a is None:
        return b is None
    if isinstance(a, (list, tuple)):
        if not isinstance(b, (list, tuple)) or len(a) != len(b):
            return False
        return _pairs(a, b, depth)
    if isinstance(a, Mapping):
        if not isinstance(b, Mapping) or len(a) != len(b):
            return False
        for key in a:
            if key not in b:
                return False
        keys = list(a)
        return _pairs([a[key] for key in keys], [b[key] for key in keys], depth)
    return False


def _pairs(a: Sequence[object], b: Sequence[object], depth: int) -> object:
    if depth == 0:
        return ERROR
    said: object = True
    for one, other in zip(a, b):  # noqa: B905 - of one length
        same = equal(one, other, depth - 1)
        if same is False:
            return False
        if same is ERROR:
            said = ERROR
    return said


def before(a: object, b: object) -> int | None:
    """-1, 0 or 1; None where there is no order."""
    if isinstance(a, bool) or isinstance(b, bool):
        if not (isinstance(a, bool) and isinstance(b, bool)):
            return None
        return int(a) - int(b)
    if isinstance(a, str) and isinstance(b, str):
        return -1 if a < b else int(a > b)
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        if a != a or b != b:
            return None
        return -1 if a < b else int(a > b)
    return None


def among(item: object, held: object) -> object:
    """`item in held`."""
    if isinstance(held, Mapping):
        return item in held if isinstance(item, str) else ERROR
    if not isinstance(held, (list, tuple)):
        return ERROR
    said: object = False
    for other in held:
        same = equal(item, other)
        if same is True:
            return True
        if same is ERROR:
            said = ERROR
    return said


def added(a: object, b: object) -> object:
    """`a + b`."""
    if isinstance(a, bool) or isinstance(b, bool):
        return ERROR
    if isinstance(a, int) and isinstance(b, int):
        return whole(a + b)
    if isinstance(a, float) and isinstance(b, float):
        return a + b
    if isinstance(a, str) and isinstance(b, str):
        return a + b if len(a) + len(b) <= LONGEST else ERROR
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return [*a, *b] if len(a) + len(b) <= LONGEST else ERROR
    return ERROR


def taken(a: object, b: object) -> object:
    """`a - b`."""
    if isinstance(a, bool) or isinstance(b, bool):
        return ERROR
    if isinstance(a, int) and isinstance(b, int):
        return whole(a - b)
    if isinstance(a, float) and isinstance(b, float):
        return a - b
    return ERROR


def negative(a: object) -> object:
    """`-a`."""
    if isinstance(a, bool):
        return ERROR
    if isinstance(a, int):
        return whole(-a)
    return -a if isinstance(a, float) else ERROR


def whole(value: int) -> object:
    """64 bits, or an overflow."""
    return value if _LEAST <= value <= _MOST else ERROR


def at(held: object, place: object) -> object:
    """`held[place]`."""
    if isinstance(held, Mapping):
        return held[place] if isinstance(place, str) and place in held else ERROR
    if isinstance(held, (list, tuple)) and isinstance(place, int) and not isinstance(place, bool):
        return held[place] if 0 <= place < len(held) else ERROR
    return ERROR


def size(value: object) -> object:
    """Characters of a text, items of a list or map."""
    return len(value) if isinstance(value, (str, list, tuple, Mapping)) else ERROR
