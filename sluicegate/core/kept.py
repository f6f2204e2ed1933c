"""Consumers that were made while the gateway ran: what the directory store keeps of them.

They have the fields and rules of consumers in the configuration, and their keys have more to say, since nobody edits a
file for them: who made them and when, until when they hold, whether they rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MOST_KEYS: Final = 2
"""Live keys of one consumer: the one in use, and the one that takes over. Files may have more."""


@dataclass(frozen=True)
class KeptKey:
    """A key: what it is called and its digest, never what it is."""

    id: str
    digest: bytes
    made: str
    by: str
    expires: float = 0.0
    "Wall time from which on nobody gets in with it; 0: never."
    disabled: bool = False


@dataclass(frozen=True)
class Kept:
    """A consumer. It is replaced as a whole, and `version` tells one state of it from the next."""

    name: str
    tenant: str
    fields: str
    "As in the configuration, JSON, without keys; the same text for the same fields."
    keys: tuple[KeptKey, ...] = ()
    disabled: bool = False
    version: int = 1
    made: str = ""
    made_by: str = ""
    changed: str = ""
    changed_by: str = ""


class Stale(Exception):
    """Somebody else was faster: the object is not in the version that was expected, or there already, or gone."""


class Refused(Exception):
    """A change that is not made. `why`: invalid, exists, missing, stale, file, full, keys, last or
    failed."""

    def __init__(self, why: str, message: str, problems: tuple[tuple[str, str, str], ...] = ()) -> None:
        super().__init__(message)
        self.why = why
        self.message = message
        self.problems = problems
        "What is wrong with what was sent: JSON pointer, what, what to write instead."
