"""Older versions of the language, rewritten into this one, comments kept. Version 1 is the first, so there is none."""

from __future__ import annotations

from collections.abc import Callable

NEWEST = "1"

UPGRADES: dict[str, tuple[str, Callable[[str], str]]] = {}
"""From a version: the next one, and what makes a file's text one of it."""


def upgrade(text: str, version: str) -> str | None:
    """The text in the newest version; None if it is. Raises KeyError for a version that was never one."""
    if version == NEWEST:
        return None
    while version != NEWEST:
        version, step = UPGRADES[version]
        text = step(text)
    return text
