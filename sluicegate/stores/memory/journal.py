"""The journal in memory: counts of everything, and the last records to look at.

It keeps what a process needs to say at its end that nothing was lost: every record admitted was settled or
interrupted, none twice. It survives nothing; the journal that does is a file.
"""

from __future__ import annotations

from collections import deque

from sluicegate.core.record import UsageRecord

RECENT = 1024


class Unbalanced(Exception):
    """A record was admitted twice, or settled without being open: a bug of the exchange, never of a client."""


class Journal:
    """Counts, the open records by id, and rings of the last settled and refused ones.

    `strict` raises on an unbalanced record, for tests; live it is counted in `strays`, because a record too many must
    not break an answer. admit and settle together take about 0.5 us.
    """

    __slots__ = (
        "_open", "_strict", "input_tokens", "interrupted", "output_tokens", "recent", "records", "refusals", "refused",
        "settled", "strays",
    )  # fmt: skip

    def __init__(self, recent: int = RECENT, strict: bool = False) -> None:
        self._strict = strict
        self._open: dict[str, UsageRecord] = {}
        self.recent: deque[UsageRecord] = deque(maxlen=recent)
        "The last records that were settled or interrupted, oldest first."
        self.refusals: deque[UsageRecord] = deque(maxlen=recent)
        "The last requests refused before admission, oldest first."
        self.records = 0
        "Admitted, open ones included."
        self.settled = 0
        self.interrupted = 0
        self.refused = 0
        self.input_tokens = 0
        self.output_tokens = 0
        self.strays = 0

    def admit(self, record: UsageRecord) -> None:
        """An exchange is about to send its first upstream byte."""
        if record.id in self._open:
            self._stray(record, "admitted twice")
            return
        self.records += 1
        self._open[record.id] = record

    def settle(self, record: UsageRecord) -> None:
        """It is over: its facts are final."""
        if self._open.pop(record.id, None) is not record:
            self._stray(record, "settled but not open")
            return
        if record.state == "settled":
            self.settled += 1
        else:
            self.interrupted += 1
        usage = record.usage
        if usage is not None:
            self.input_tokens += usage.input + usage.cached + usage.cache_write
            self.output_tokens += usage.output + usage.reasoning
        self.recent.append(record)

    def refuse(self, record: UsageRecord) -> None:
        """A request was refused before admission."""
        self.refused += 1
        self.refusals.append(record)

    @property
    def open(self) -> tuple[UsageRecord, ...]:
        """Admitted and not yet settled, oldest first."""
        return tuple(self._open.values())

    def totals(self) -> dict[str, int | str]:
        """One line for the log of a process that ends: records = settled + interrupted + open."""
        return {
            "event": "totals",
            "records": self.records,
            "settled": self.settled,
            "interrupted": self.interrupted,
            "refused": self.refused,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "open": len(self._open),
        }

    def _stray(self, record: UsageRecord, what: str) -> None:
        self.strays += 1
        if self._strict:
            raise Unbalanced(f"record {record.id}: {what}")
