"""The attributes of an object whose class is slotted, be it Python or compiled (compiled classes have no __slots__)."""

from __future__ import annotations

from typing import Any


def attributes(of: Any) -> tuple[str, ...]:
    """Their names, sorted. `of`: an object or its class."""
    compiled = getattr(of, "__mypyc_attrs__", None)
    return tuple(sorted(of.__slots__ if compiled is None else compiled))
