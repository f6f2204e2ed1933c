"""The arithmetic: samples of rounds become medians, ranges and comparisons."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.rows import Bound, Line

GATEWAY = "gateway"
PLAIN = "plain"
"""The gateway again, as plain Python from the checkout, where `gateway` is the compiled wheel."""

OURS = (GATEWAY, PLAIN)
BUSY = 0.95  # below it a saturated row says more about pauses than about work
ALIEN = 0.25  # above it a paced row says more about what others did: who waits for the core finds work in batches


@dataclass(frozen=True)
class Sample:
    """One round of one row with one program."""

    row: str
    program: str
    round: int
    metrics: dict[str, float]
    core_busy: float  # of the program's core
    share: float  # of that core that the program used
    own_busy: float  # of the core of load and mock
    spoilt: str = ""  # why it does not count


@dataclass(frozen=True)
class Figure:
    """The median of the rounds, and their range."""

    median: float
    low: float
    high: float


def figure(values: Iterable[float]) -> Figure | None:
    """None of nothing."""
    found = sorted(values)
    return Figure(statistics.median(found), found[0], found[-1]) if found else None


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that so great a share of all is not above; 0.0 of nothing."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]


@dataclass(frozen=True)
class Judged:
    """One line of the table, computed."""

    line: Line
    by_program: dict[str, Figure]
    ratios: dict[str, float]  # the gateway's median over that of a reference
    compared: float | None  # what the bound is about
    kept: str  # "aim", "must", "missed"; "" where there is nothing to judge


def judge(line: Line, samples: Iterable[Sample]) -> Judged:
    """Medians by program and the gateway's beside the bound. Spoilt samples stand in only where there are no others."""
    values: dict[str, list[Sample]] = {}
    for sample in samples:
        if line.metric in sample.metrics:
            values.setdefault(sample.program, []).append(sample)
    by_program = {}
    for program, found in values.items():
        good = [s for s in found if not s.spoilt] or found
        if made := figure(s.metrics[line.metric] for s in good):
            by_program[program] = made
    ours = by_program.get(GATEWAY)
    ratios = {
        program: ours.median / other.median
        for program, other in by_program.items()
        if ours and program != GATEWAY and other.median
    }
    compared, kept = None, ""
    if ours and line.bound:
        compared, kept = against(line.bound, ours, by_program)
    return Judged(line, by_program, ratios, compared, kept)


def against(bound: Bound, ours: Figure, by_program: dict[str, Figure]) -> tuple[float | None, str]:
    """What the bound is about, and how far it is kept."""
    reference = by_program.get(bound.against) if bound.against else None
    compared = bound.of(ours.median, reference.median if reference else None)
    if compared is None:
        return None, ""
    return compared, "aim" if compared <= bound.aim else "must" if compared <= bound.must else "missed"
