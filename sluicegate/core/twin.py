"""A copy of an object whose class is slotted, for a run that must change nothing (core/fork.py).

`copy.copy` knows nothing of the attributes of compiled classes; this works for both.
"""

from __future__ import annotations

from typing import Any, TypeVar

T = TypeVar("T")


def twin(thing: T) -> T:
    """Another one with the same attributes. Containers among them are copied; what they hold is shared."""
    kind: Any = type(thing)
    new: T = kind.__new__(kind)
    for name in _names(kind):
        try:
            value: Any = getattr(thing, name)
        except AttributeError:
            continue  # never set
        if isinstance(value, (list, dict, set, bytearray)):
            value = value.copy()
        setattr(new, name, value)
    return new


def _names(kind: Any) -> Any:
    """Of all attributes, those of its bases among them."""
    compiled = getattr(kind, "__mypyc_attrs__", None)
    if compiled is not None:
        return compiled
    return [name for part in kind.__mro__ for name in getattr(part, "__slots__", ())]
