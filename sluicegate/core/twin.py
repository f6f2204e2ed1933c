"""A copy of an object whose class is slotted, for a run that must change nothing (core/fork.py).

`copy.copy` knows nothing of the attributes of compiled classes, and these cannot be made without their constructor: so
whoever wants a copy makes a new one, and here it becomes what the other one is.
"""

from __future__ import annotations

from typing import Any, TypeVar

T = TypeVar("T")


def twin(thing: T, new: T) -> T:
    """`new` with the attributes of `thing`. Containers among them are copied; what they hold is shared."""
    for name in _names(type(thing)):
        if not hasattr(thing, name):
            continue  # declared, never set
        value: Any = getattr(thing, name)
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
