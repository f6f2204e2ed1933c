"""What came of a run: who was served, by what, how late, and what was refused and why; as data and as a table.

Counted from three sides that know nothing of each other: the callers, the gateway's records, the simulator's ledger.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from sluicegate.core.record import UsageRecord
from sluicegate.core.snapshot import Directory, Snapshot
from sluicegate.sim.ledger import Ledger
from sluicegate.stores.memory.journal import Journal

if TYPE_CHECKING:
    from sluicegate.sim.callers import Asking

TIERS: Final = ("provisioned", "standard")
START: Final = ("requests", "served", "refused", "cut", "left", "retried")
BOOKED: Final = ("booked_input", "booked_output")


class Summary:
    """Counts of one run, and when it is over `data`: plain figures, the same for the same seed."""

    def __init__(self, title: str = "") -> None:
        self.title = title
        self.data: dict[str, Any] = {}
        self.open = 0
        "Asked and not yet answered."
        self._requests = 0
        self._refused: Counter[str] = Counter()
        self._by_consumer: dict[str, Counter[str]] = {}
        self._first: list[float] = []
        self._whole: list[float] = []
        self._added: list[float] = []
        self._consumers: dict[int, str] = {}
        self._by_tier: Counter[int] = Counter()
        self._by_deployment: dict[int, Counter[str]] = {}
        self._tiers: dict[int, int] = {}
        self._labels: dict[int, str] = {}
        self._start = 0.0

    def begin(self, snapshot: Snapshot, directory: Directory) -> None:
        """What there is, or is now, so that what is never used is shown as 0."""
        instances = {i.number: i.name for i in snapshot.instances}
        for d in snapshot.deployments:
            self._tiers[d.number] = d.tier
            self._labels[d.number] = f"{instances[d.instance]}/{d.name}"
            self._by_deployment.setdefault(d.number, Counter())
        for consumer in directory.consumers:
            self._by_consumer.setdefault(consumer.name, Counter())
            self._consumers[consumer.number] = consumer.name

    def asked(self) -> None:
        """Somebody asks."""
        self._requests += 1
        self.open += 1

    def answered(self, asking: Asking) -> None:
        """Somebody has an answer, or knows that there will be none."""
        self.open -= 1
        counts = self._by_consumer[asking.consumer]
        counts["requests"] += 1
        counts["retried"] += asking.tries - 1
        if asking.left:
            counts["left"] += 1
        elif not asking.reason:
            counts["served"] += 1
            if asking.first_at is not None and asking.ended_at is not None:
                self._whole.append(asking.ended_at - asking.asked_at)
                if asking.streamed:
                    self._first.append(asking.first_at - asking.asked_at)
        elif asking.reason == "cut":
            counts["cut"] += 1
        else:
            counts["refused"] += 1
            self._refused[asking.reason] += 1

    def settled(self, record: UsageRecord) -> None:
        """The gateway booked an exchange."""
        if record.usage is not None:
            booked = self._by_consumer[self._consumers[record.consumer]]
            booked["booked_input"] += record.usage.total_input
            booked["booked_output"] += record.usage.total_output
        for attempt in record.attempts:
            counts = self._by_deployment[attempt.deployment]
            counts["asked"] += 1
            if not attempt.cause:
                counts["served"] += 1
                self._by_tier[self._tiers[attempt.deployment]] += 1
                self._added.append(attempt.at - record.at)
            elif attempt.cause.startswith("upstream.throttled"):
                counts["throttled"] += 1
            elif attempt.cause != "gone":
                counts["faults"] += 1

    def end(self, ledger: Ledger, journal: Journal, now: float) -> None:
        """The run is over: work out `data`."""
        by_consumer = {
            name: {
                **{what: counts[what] for what in (*START, *BOOKED)},
                "served_share": _share(counts["served"], counts["requests"]),
            }
            for name, counts in self._by_consumer.items()
        }
        whole: Counter[str] = Counter()
        for counts in self._by_consumer.values():
            whole.update(counts)
        tokens: dict[str, list[int]] = {}
        for e in ledger.entries:
            if e.claim is not None:
                sums = tokens.setdefault(f"{e.instance}/{e.spilled_to or e.deployment}", [0, 0])
                sums[0] += e.claim.prompt
                sums[1] += e.claim.completion
        by_deployment = {}
        for number, counts in self._by_deployment.items():
            prompt, completion = tokens.get(self._labels[number], (0, 0))
            figures = {what: counts[what] for what in ("asked", "served", "throttled", "faults")}
            by_deployment[self._labels[number]] = {**figures, "prompt_tokens": prompt, "output_tokens": completion}
        by_tier = {name: self._by_tier[tier] for tier, name in enumerate(TIERS)}
        served = sum(self._by_tier.values())
        self.data = {
            "title": self.title,
            "requests": self._requests,
            **{what: whole[what] for what in START[1:]},
            "open": self.open,
            "served_share": _share(whole["served"], self._requests),
            "refused_by": dict(sorted(self._refused.items())),
            "by_tier": by_tier,
            "spilled_share": _share(served - by_tier[TIERS[0]], served) if 0 in self._tiers.values() else 0.0,
            "platform_spilled": sum(bool(e.spilled_to) for e in ledger.entries),
            "by_deployment": by_deployment,
            "by_consumer": by_consumer,
            "added_wait_s": _spread(self._added),
            "first_token_s": _spread(self._first),
            "whole_s": _spread(self._whole),
            "upstream_calls": len(ledger),
            "upstream_429s": sum(e.status == 429 for e in ledger.entries),
            "early": len(ledger.early()),
            "tokens": {
                "prompt": sum(prompt for prompt, _ in tokens.values()),
                "output": sum(output for _, output in tokens.values()),
                "booked_input": journal.input_tokens,
                "booked_output": journal.output_tokens,
            },
        }

    def table(self) -> str:
        """The same for people."""
        d = self.data
        lines = [d["title"]] if d["title"] else []
        lines += [
            f"requests    {d['requests']:,}: {d['served']:,} served ({d['served_share']:.2%}), "
            f"{d['refused']:,} refused, {d['cut']:,} cut, {d['left']:,} left by their client; "
            f"{d['retried']:,} tries again",
            *(f"              {count:,} refused for {reason}" for reason, count in d["refused_by"].items()),
            f"served by   {d['by_tier']['provisioned']:,} provisioned, {d['by_tier']['standard']:,} standard: "
            f"{d['spilled_share']:.2%} spilled"
            + (f"; {d['platform_spilled']:,} by the platform itself" if d["platform_spilled"] else ""),
            f"upstream    {d['upstream_calls']:,} calls, {d['upstream_429s']:,} answered 429, {d['early']:,} too early",
            f"tokens      {d['tokens']['prompt']:,} in, {d['tokens']['output']:,} out; booked "
            f"{d['tokens']['booked_input']:,} and {d['tokens']['booked_output']:,}",
            "",
            _row(("seconds", "p50", "p99", "most")),
            *(
                _row((label, *(f"{d[name][what]:.3f}" for what in ("p50", "p99", "most"))))
                for label, name in (
                    ("wait that the gateway added", "added_wait_s"),
                    ("first token of streams", "first_token_s"),
                    ("whole answer", "whole_s"),
                )
            ),
            "",
            _row(("deployment", "asked", "served", "429", "faults", "tokens in", "out")),
            *(
                _row((name, *(f"{value:,}" for value in counts.values())))
                for name, counts in d["by_deployment"].items()
            ),
        ]
        if len(d["by_consumer"]) > 1:
            lines += ["", _row(("consumer", *START[:5], "booked in", "out"))]
            for name, counts in d["by_consumer"].items():
                lines.append(_row((name, *(f"{counts[what]:,}" for what in (*START[:5], *BOOKED)))))
        return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"{cells[0]:<32}" + "".join(f"{cell:>12}" for cell in cells[1:])


def _share(part: int, whole: int) -> float:
    return round(part / whole, 6) if whole else 0.0


def _spread(values: list[float]) -> dict[str, float]:
    """Seconds to the microsecond."""
    values.sort()
    if not values:
        return {"p50": 0.0, "p99": 0.0, "most": 0.0}
    at = (values[len(values) // 2], values[min(len(values) - 1, len(values) * 99 // 100)], values[-1])
    return dict(zip(("p50", "p99", "most"), (round(value, 6) for value in at), strict=True))
