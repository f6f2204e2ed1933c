"""A type for the keys of a dictionary that makes msgspec show every key to its hook, repeated ones too.

It stands apart because a metaclass is nothing that can be compiled (docs/decisions/0012).
"""

from __future__ import annotations


class _Any(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return True


class AnyKey(metaclass=_Any):
    """Stands for `str` where every key must be seen: msgspec asks its hook for types it does not know."""
