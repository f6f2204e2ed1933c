"""Whatever the order of events: nobody is asked before the time it named, and one request at a time looks again.

Four clients at once, who may leave; members that answer, refuse in every form, fail and are silent; configurations that
follow each other. Judged at the upstream's own door, by what was said to whom and when.
"""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Sequence
from email.utils import formatdate
from math import ceil

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sluicegate.core import breaker as breaker_module
from sluicegate.core import throttle as throttle_module
from sluicegate.core.breaker import SILENCE_S, BreakerSpec
from sluicegate.core.door import Door
from tests.laws.rig import JSON_HEADERS, PLAIN, Rig, ScriptedAttempt

# What a 429 says, and for how long that shuts: form, seconds.
SAYS: Sequence[tuple[str, float]] = (
    ("retry-after: 2", 2.0), ("retry-after-ms: 700", 0.7), ("x-ms-retry-after-ms: 1300", 1.3), ("date", 3.0),
    ("x-ratelimit-reset-tokens: 6m0s", 360.0), ("x-ratelimit-reset-requests: 120ms", 0.12), ("retry-after: soon", 1.0),
    ("retry-after: -5", 1.0), ("retry-after-ms: nan", 1.0), ("", 1.0),
)  # fmt: skip
PASSES = (0.02, 0.1, 0.3, 0.7, 1.0, 2.0, 3.1, 9.0)
MOVES = st.lists(
    st.tuples(st.sampled_from(["ask"] * 5 + ["time"] * 4 + ["fine"] * 3 + ["429"] * 3 + ["500"] * 4
                              + ["reset", "401", "reload", "left"]), st.integers(0, 9)),
    min_size=10, max_size=120,
)  # fmt: skip

# Two orders that chance rarely finds. A request from before the breaker opened ends while another one looks:
LATE_LEAVER = [("ask", 0)] * 4 + [
    ("500", 0),
    ("500", 0),
    ("500", 1),
    ("fine", 0),
    ("time", 6),
    ("ask", 0),
    ("fine", 0),
    ("ask", 0),
]
# and a short time is named after a long one:
SHORT_AFTER_LONG = [("ask", 0)] * 3 + [("429", 0), ("429", 7), ("time", 4), ("ask", 0)]


class Watched(Rig):
    """The rig, with somebody at the upstream's door who knows what was said there."""

    def __init__(self) -> None:
        super().__init__(2, breaker=BreakerSpec(faults=2, share=2.0, open=3.0))
        self.until = [0.0, 0.0]
        self.looking: list[list[tuple[float, ScriptedAttempt]]] = [[], []]
        self.start = self.upstream.start
        self.upstream.start = self.watched  # type: ignore[method-assign]

    def watched(self, call: object, sink: object) -> ScriptedAttempt:
        number = call.instance.number  # type: ignore[attr-defined]
        assert self.clock >= self.until[number] - 1e-6, "before its time"
        attempt = self.start(call, sink)
        breaker = self.world.doors[number].breaker
        if not breaker.closed:
            assert self.clock >= breaker.until, "while it is open"
            for since, other in self.looking[number]:
                assert other.over or self.clock - since >= SILENCE_S, "two look at once"
            self.looking[number].append((self.clock, attempt))
        return attempt

    def refuse(self, attempt: ScriptedAttempt, what: int) -> None:
        """A 429 in one of its forms. What a door hears it believes, also when others heard of it first."""
        form, seconds = SAYS[what]
        number = attempt.call.instance.number  # type: ignore[attr-defined]
        name, _, value = form.partition(": ")
        if form == "date":
            wall = 1.7e9 + self.clock
            name, value = "retry-after", formatdate(ceil(wall + seconds), usegmt=True)
        headers = (*JSON_HEADERS, (name.encode(), value.encode())) if form else JSON_HEADERS
        attempt.head(429, headers)
        self.until[number] = max(self.until[number], self.clock + seconds)
        attempt.data(b'{"error":{"code":"429"}}')
        attempt.end("done")

    def answer(self, attempt: ScriptedAttempt, status: int) -> None:
        attempt.head(status, JSON_HEADERS)
        attempt.data(PLAIN if status == 200 else b"{}")
        attempt.end("done")


def play(moves: Sequence[tuple[str, int]]) -> Watched:
    rig = Watched()
    for move, what in moves:
        open_ = rig.upstream.open()
        attempt = open_[what % len(open_)] if open_ else None
        if move == "ask" and len(open_) < 4:
            rig.plain()
        elif move == "time":
            rig.pass_time(PASSES[what % len(PASSES)])
        elif move == "reload":
            rig.world.adopt(rig.world.snapshot, rig.world.callers)
            rig.bound.adopted()
        elif move == "left" and rig.drives:
            rig.drives[-1 - what % min(4, len(rig.drives))].left(rig.clock)
        elif attempt is not None:
            if move == "429":
                rig.refuse(attempt, what)
            elif move == "reset":
                attempt.end("reset")
            elif move in ("fine", "500", "401"):
                rig.answer(attempt, {"fine": 200, "500": 500, "401": 401}[move])
    for _ in range(12):
        rig.pass_time(11.0)
    rig.pass_time(120.0)
    assert not rig.upstream.open()
    rig.settled()
    return rig


@given(MOVES)
@example(LATE_LEAVER)
@example(SHORT_AFTER_LONG)
def test_nobody_is_asked_before_its_time_and_one_looks_at_a_time(moves: list[tuple[str, int]]) -> None:
    play(moves)


@given(MOVES)
def test_a_door_is_clear_exactly_when_nothing_is_the_matter(moves: list[tuple[str, int]]) -> None:
    rig = play(moves)
    for door in rig.world.doors.values():
        assert door.clear == (door.breaker.closed and door.throttle.calm and not door.size)


def test_after_everything_heals_everybody_is_asked_again() -> None:
    rig = Watched()
    for what in range(3):
        for _ in range(2):
            rig.plain()
        while rig.upstream.open():
            attempt = rig.upstream.open()[0]
            if what:
                rig.answer(attempt, 500)
            else:
                rig.refuse(attempt, 0)
        rig.pass_time(2.0)
    rig.pass_time(40.0)
    for _ in range(40):
        rig.plain()
        for attempt in rig.upstream.open():
            rig.answer(attempt, 200)
        rig.pass_time(0.2)
    last = [a.call.instance.number for a in rig.upstream.attempts[-20:]]  # type: ignore[attr-defined]
    assert set(last) == {0, 1} and all(d.clear for d in rig.world.doors.values())
    rig.settled()


MUTANTS = {
    "whoever leaves ends the looking": (
        breaker_module, "if self.half_open and ticket == self.ticket and", "if self.half_open and"),
    "whoever asks may look": (breaker_module, "            return self.looked_at + SILENCE_S\n", "            return now\n"),
    "open is not open": (breaker_module, "            return max(now, self.until)", "            return now"),
    "shut for the latest time instead of the longest": (
        throttle_module, "self.shut_until = max(self.shut_until, now + wait)", "self.shut_until = now + wait"),
    "shut for half the time": (throttle_module, "now + wait)", "now + wait / 2)"),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, old, new = MUTANTS[name]
    source = inspect.getsource(module)
    assert source.count(old) == 1, old
    mutant = types.ModuleType("mutant_of_doors")
    monkeypatch.setitem(sys.modules, "mutant_of_doors", mutant)
    exec(compile(source.replace(old, new), "mutant", "exec"), mutant.__dict__)
    scope = Door.__init__.__globals__
    kind = "Breaker" if module is breaker_module else "Throttle"
    monkeypatch.setitem(scope, kind, getattr(mutant, kind))

    @settings(database=None, max_examples=100, derandomize=True)
    @given(MOVES)
    @example(LATE_LEAVER)
    @example(SHORT_AFTER_LONG)
    def law(moves: list[tuple[str, int]]) -> None:
        play(moves)

    with pytest.raises(BaseException):  # noqa: B017 - which assertion notices first is hypothesis' choice
        law()
