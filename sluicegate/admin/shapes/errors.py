"""What every refusal says."""

from __future__ import annotations

import msgspec


class Wrong(msgspec.Struct):
    """A part of what was sent, and what is wrong with it. `pointer`: JSON pointer into the body."""

    pointer: str
    what: str
    hint: str


class Trouble(msgspec.Struct, omit_defaults=True):
    """What is wrong, and what to do about it; of a body that does not fit, everything that is wrong with it."""

    message: str
    problems: list[Wrong] = []


class Failure(msgspec.Struct):
    """Every answer that is none."""

    error: Trouble
