"""The audit log: its entries, and whether it is whole."""

from __future__ import annotations

from typing import Any

import msgspec


class AuditAsked(msgspec.Struct, forbid_unknown_fields=True):
    """Which part of the log: entries after this number."""

    after: int = 0
    most: int = 100


class AuditEntries(msgspec.Struct):
    """Entries as they were written; with `more` the next page is `?after=` the `seq` of the last of these."""

    entries: list[dict[str, Any]]
    more: bool


class AuditFlaw(msgspec.Struct):
    """Something that is wrong with the log."""

    line: int
    what: str


class AuditState(msgspec.Struct):
    """Whether the log is whole: `flaws` says what is wrong, and `line` from which line on. `seq` and `hash`: its last
    entry that hangs together with all before it."""

    whole: bool
    seq: int
    hash: str
    flaws: list[AuditFlaw]
