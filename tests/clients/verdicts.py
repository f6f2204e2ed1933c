"""What became of each job: counted by what the client saw and what was booked, with every contradiction named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from sluicegate.core.record import UsageRecord
from tests.clients.lies import AFTER, BEFORE, SAYS, WHOLE, Truth


def outcome(said: dict[str, Any], truth: Truth) -> str:
    """BEFORE, AFTER, WHOLE, or `silent`: the SDK returned, raised nothing, and it was not the truth."""
    if said["ok"]:
        return WHOLE if said["said"] == truth else "silent"
    return BEFORE if said["status"] is not None else AFTER


class Tally:
    """Outcomes and contradictions of a run."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, ...]] = Counter()
        self.wrong: list[str] = []

    def add(self, group: tuple[str, ...], name: str, said: dict[str, Any], record: UsageRecord | None,
            truth: Truth = SAYS, expected: Iterable[str] = (), framed: bool = False) -> None:  # fmt: skip
        """One answer. `framed`: where it broke off, the client must have been told by an error event of ours."""
        saw = outcome(said, truth)
        self.counts[*group, saw] += 1
        problems = []
        if saw == "silent":
            problems.append("returned without exception what is not the truth")
        if expected and saw not in expected:
            problems.append(f"expected {' or '.join(expected)}")
        if saw == BEFORE and said["status"] != 503:
            problems.append(f"status {said['status']} instead of 503")
        if saw == AFTER and framed and said.get("code") != "upstream_interrupted":
            problems.append("no error frame")
        problems += booked_wrong(saw, record) if record is not None else _unnamed(saw)
        if problems:
            short = {**said, "said": str(said["said"])[:80]}
            self.wrong.append(f"{'/'.join(group)} {name}: {saw}: {'; '.join(problems)}: {short}, {shown(record)}")

    @property
    def runs(self) -> int:
        return self.counts.total()

    def of(self, saw: str) -> int:
        return sum(count for key, count in self.counts.items() if key[-1] == saw)

    def table(self) -> str:
        """A row for each group, a column for each outcome."""
        columns = (WHOLE, BEFORE, AFTER, "silent")
        groups: Sequence[tuple[str, ...]] = sorted({key[:-1] for key in self.counts})
        lines = [f"{'':<44}" + "".join(f"{c:>10}" for c in columns)]
        lines += [
            f"{' / '.join(g):<44}" + "".join(f"{self.counts[*g, c]:>10}" for c in columns) for g in groups
        ]  # fmt: skip
        return "\n".join(lines)


def booked_wrong(saw: str, record: UsageRecord) -> list[str]:
    """Where the record does not say what happened."""
    problems = []
    causes = [a.cause for a in record.attempts]
    if saw == WHOLE:
        if record.state != "settled" or record.how != "done":
            problems.append("a whole answer is not booked as settled")
        if causes[-1] or any(not cause for cause in causes[:-1]):
            problems.append("the attempts do not say who served")
        if record.usage is None:
            problems.append("no usage")
    elif saw == AFTER:
        if record.state != "interrupted" or record.how not in ("cut", "idle"):
            problems.append("a broken answer is not booked as interrupted")
        if record.usage is None:
            problems.append("no usage of the part delivered")
    elif saw == BEFORE:
        if record.reason != "pool.failed" or record.state != "settled" or not all(causes):
            problems.append("a refusal is not booked as such, with causes")
    return problems


def _unnamed(saw: str) -> list[str]:
    return [] if saw == AFTER else ["no record"]  # a reset answer that was not streamed: the SDK shows no headers


def shown(record: UsageRecord | None) -> str:
    """A record in short."""
    if record is None:
        return "no record"
    causes = ", ".join(a.cause or "served" for a in record.attempts)
    return f"booked {record.state} {record.how or record.reason} ({causes}) {record.usage}"
