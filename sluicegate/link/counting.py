"""A journal that counts what passes through it: the one place where metrics of requests are made."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from typing import Final

from sluicegate.core.families import (
    ADDED,
    ATTEMPTS,
    CONSUMER_REQUESTS,
    CONSUMER_TOKENS,
    ESTIMATED,
    FIRST,
    FIRST_TOKEN,
    OTHER,
    OURS,
    REQUESTS,
    SECONDS,
    TOKENS,
    WHOLE,
)
from sluicegate.core.ports import Journal
from sluicegate.core.record import UsageRecord
from sluicegate.link.counters import Counters

CLASSES: Final = ("input", "output", "cached", "cache_write", "reasoning")

Key = tuple[str, bool, int, str]
"""Model, streamed, status, reason."""

_WHOLE_SUM: Final = len(WHOLE) + 1
_FIRST_SUM: Final = len(FIRST) + 1
_OURS_SUM: Final = len(OURS) + 1


class Counting:
    """Hands every record on to `journal` and adds it to the counters."""

    __slots__ = (
        "_cells", "_consumer", "_consumers", "_counters", "_deployment", "_failed", "_ours", "_places", "_served",
        "journal", "refused",
    )  # fmt: skip

    def __init__(
        self,
        journal: Journal,
        counters: Counters,
        deployment: Callable[[int], str],
        consumer: Callable[[int], str],
    ) -> None:
        self.journal = journal
        self._counters = counters
        self._cells = counters.cells
        self._ours = counters.row(ADDED)
        self._deployment = deployment
        "The name of a deployment, by its number."
        self._consumer = consumer
        self._places: dict[Key, tuple[int, ...]] = {}
        self._served: dict[int, int] = {}
        self._failed: dict[tuple[int, str], int] = {}
        self._consumers: dict[int, tuple[int, int]] = {}
        self.refused: list[UsageRecord] | None = None
        "Records that were refused, for whoever empties this list; None when nobody does."

    def adopted(self) -> None:
        """Another configuration is in force: numbers may have other names. Counters go by name, so they go on."""
        self._served.clear()
        self._failed.clear()
        self._consumers.clear()

    def admit(self, record: UsageRecord) -> None:
        """An exchange is about to send its first upstream byte."""
        self.journal.admit(record)

    def settle(self, record: UsageRecord) -> None:
        """It is over."""
        self.journal.settle(record)
        cells = self._cells
        key = (record.model, record.stream, record.status, record.reason)
        place = self._places.get(key) or self._place(key)
        cells[place[0]] += 1
        at = record.at
        took = record.ended_at - at
        seconds = place[1]
        cells[seconds + bisect_left(WHOLE, took)] += 1
        cells[seconds + _WHOLE_SUM] += int(took * 1e6)
        if record.first_token_at is not None:
            took = record.first_token_at - at
            first_token = place[2]
            cells[first_token + bisect_left(FIRST, took)] += 1
            cells[first_token + _FIRST_SUM] += int(took * 1e6)
        for attempt in record.attempts:
            if attempt.cause:
                cells[self._attempt(attempt.deployment, attempt.cause)] += 1
            else:
                cells[self._served.get(attempt.deployment) or self._attempt(attempt.deployment, "")] += 1
        asked, used = self._consumers.get(record.consumer) or self._whose(record)
        cells[asked] += 1
        usage = record.usage
        if usage is not None:
            total = usage.input + usage.output
            cells[place[3]] += usage.input
            cells[place[4]] += usage.output
            if usage.cached or usage.reasoning or usage.cache_write:
                cells[place[5]] += usage.cached
                cells[place[6]] += usage.cache_write
                cells[place[7]] += usage.reasoning
                total += usage.cached + usage.cache_write + usage.reasoning
            cells[used] += total
            if record.estimated:
                cells[place[8]] += 1

    def added(self, took: float) -> None:
        """So many seconds of an answer were the gateway's own."""
        cells, ours = self._cells, self._ours
        cells[ours + bisect_left(OURS, took)] += 1
        cells[ours + _OURS_SUM] += int(took * 1e6)

    def refuse(self, record: UsageRecord) -> None:
        """A request was refused before admission."""
        self.journal.refuse(record)
        # Its model is one of ours, or empty: what a client wrote is no label.
        key = (record.model, False, record.status, record.reason)
        self._cells[(self._places.get(key) or self._place(key))[0]] += 1
        if record.consumer:
            self._cells[(self._consumers.get(record.consumer) or self._whose(record))[0]] += 1
        if self.refused is not None:
            self.refused.append(record)

    # ------------------------------------------------------------------ places, found once

    def _place(self, key: Key) -> tuple[int, ...]:
        model, stream, status, reason = key
        row = self._counters.row
        places = [row(REQUESTS, model, str(status), reason)]
        if model:
            places += [row(SECONDS, model, "true" if stream else "false"), row(FIRST_TOKEN, model)]
            places += [row(TOKENS, model, class_) for class_ in CLASSES]
            places += [row(ESTIMATED, model)]
        self._places[key] = found = tuple(places)
        return found

    def _attempt(self, deployment: int, cause: str) -> int:
        place = self._failed.get((deployment, cause))
        if place is None:
            place = self._counters.row(ATTEMPTS, self._deployment(deployment), cause or "none")
            if cause:
                self._failed[deployment, cause] = place
            else:
                self._served[deployment] = place
        return place

    def _whose(self, record: UsageRecord) -> tuple[int, int]:
        counters = self._counters
        if counters.full(CONSUMER_REQUESTS):
            places = counters.row(CONSUMER_REQUESTS, OTHER, OTHER), counters.row(CONSUMER_TOKENS, OTHER, OTHER)
        else:
            who = (record.tenant, self._consumer(record.consumer))
            places = counters.row(CONSUMER_REQUESTS, *who), counters.row(CONSUMER_TOKENS, *who)
        self._consumers[record.consumer] = places
        return places
