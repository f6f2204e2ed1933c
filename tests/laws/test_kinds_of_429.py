"""Four deployments, two of which share a quota, refuse in every kind and way: whatever the order, each refusal shuts
exactly whom it concerns, for as long as it said.

The judge knows the rulings and not the code: `rate` is of all that share the quota, `capacity` of the deployment, `size`
of requests as large as the one refused, for a minute; what is named beyond `throttle.longest` means a look every so
often, by one request. It stands at the upstream's door. Configurations take deployments and quotas out and bring them
back, clients leave, members fail.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sluicegate.core.breaker import BreakerSpec
from sluicegate.core.door import Door
from sluicegate.core.throttle import Throttle
from tests.laws.rig import JSON_HEADERS, PLAIN, SSE_HEADERS, Rig, ScriptedAttempt

LONGEST = 600.0
GROUPS = ("a", "a", "b", "")
KINDS = {
    "rate": b'{"error":{"code":"429","message":"exceeded token rate limit"}}',
    "capacity": b'{"error":{"code":"NoCapacity","message":"The system is currently experiencing high demand"}}',
    "size": b'{"error":{"code":"429","message":"Your request exceeds the maximum usage size allowed during peak load"}}',
}
WAITS = (0.05, 0.7, 3.0, 30.0, 599.0, 86_400.0)
PASSES = (0.01, 0.1, 0.5, 2.0, 20.0, 61.0, 601.0)
SIZES = (1, 100, 2000)
CONFIGURATIONS: Sequence[tuple[tuple[int, ...], Sequence[str]]] = (
    ((0, 1, 2, 3), GROUPS), ((1, 2, 3), GROUPS), ((2, 3), GROUPS), ((3,), GROUPS), ((3, 2, 1, 0), GROUPS),
    ((0, 1, 2, 3), ("", "a", "a", "b")),
)  # fmt: skip
"""Who is there, in which order, and who shares which quota."""

MOVES = st.lists(
    st.tuples(st.sampled_from(["ask"] * 6 + ["429"] * 5 + ["time"] * 5 + ["fine"] * 4 + ["event", "500", "left", "reload"]),
              st.integers(0, 11), st.integers(0, 11)),
    min_size=10, max_size=80,
)  # fmt: skip


class Judged(Rig):
    """The rig, and what was said at the upstream's door."""

    def __init__(self) -> None:
        super().__init__(4, breaker=BreakerSpec(faults=1000, share=2.0))
        self.all = self.world.snapshot
        self.groups = list(GROUPS)
        "Of each, as the last configuration had it in which it was."
        self.until: dict[object, float] = {}
        "Of deployments and quotas."
        self.exhausted: dict[object, ScriptedAttempt | None] = {}
        "Of deployments and quotas, and who looks at present."
        self.small: dict[int, tuple[int, float]] = {}
        self.start = self.upstream.start
        self.upstream.start = self.judged  # type: ignore[method-assign]
        self.configure(0)

    def configure(self, which: int) -> None:
        there, groups = CONFIGURATIONS[which % len(CONFIGURATIONS)]
        for n in there:
            self.groups[n] = groups[n]
        deployments = tuple(replace(self.all.deployments[n], quota_group=self.groups[n]) for n in sorted(there))
        models = (replace(self.all.models[0], deployments=tuple(there)),)
        self.world.adopt(replace(self.all, deployments=deployments, models=models), self.world.callers)
        self.bound.adopted()

    def size(self, attempt: ScriptedAttempt) -> int:
        return len(attempt.call.body) // 4  # type: ignore[attr-defined]

    def judged(self, call: object, sink: object) -> ScriptedAttempt:
        number = call.instance.number  # type: ignore[attr-defined]
        attempt = self.start(call, sink)
        for whose in (number, self.groups[number]):
            if whose == "":
                continue
            assert self.clock >= self.until.get(whose, 0.0) - 1e-6, f"{whose}: before its time"
            if whose in self.exhausted:
                other = self.exhausted[whose]
                assert other is None or other.over, f"{whose}: two look at a quota that is used up"
                self.exhausted[whose] = attempt
        size, until = self.small.get(number, (0, 0.0))
        assert not size or self.clock >= until or self.size(attempt) < size, "as large as the one that was too large"
        return attempt

    def refuse(self, attempt: ScriptedAttempt, kind: str, wait: float | None, event: bool) -> None:
        number = attempt.call.instance.number  # type: ignore[attr-defined]
        if kind == "size":
            size, until = self.small.get(number, (0, 0.0))
            mine = self.size(attempt)
            self.small[number] = (min(size, mine) if self.clock < until else mine, self.clock + 60.0)
        else:
            whose: object = (self.groups[number] if kind == "rate" else "") or number
            least = 1.0 if wait is None else min(wait, LONGEST)
            looked = self.exhausted.get(whose) is attempt
            self.until[whose] = max(0.0 if looked else self.until.get(whose, 0.0), self.clock + least)
            if wait is not None and wait > LONGEST:
                self.exhausted[whose] = None
            else:
                self.exhausted.pop(whose, None)
        if event:
            attempt.head(200, SSE_HEADERS)
            attempt.data(b"data: " + KINDS[kind] + b"\n\n")
            return
        said = () if wait is None else ((b"retry-after-ms", b"%d" % (wait * 1000)),)
        attempt.head(429, (*JSON_HEADERS, *said))
        attempt.data(KINDS[kind])
        attempt.end("done")

    def served(self, attempt: ScriptedAttempt) -> None:
        for whose, other in list(self.exhausted.items()):
            if other is attempt:
                del self.exhausted[whose]

    def request(self, size: int, stream: bool) -> None:
        drive = self.ask()
        client = self.clients[-1]
        if client.reading and not drive.done:
            client.reading = False
            body = {"model": "chat", "messages": [{"role": "user", "content": "x" * 4 * size}], "stream": stream}
            drive.body(json.dumps(body).encode(), self.clock)


def play(moves: Sequence[tuple[str, int, int]]) -> Judged:
    rig = Judged()
    streams = {}
    for move, what, how in moves:
        open_ = rig.upstream.open()
        attempt = open_[what % len(open_)] if open_ else None
        if move == "ask":
            if len(open_) < 4:
                rig.request(SIZES[what % 3], bool(how % 2))
        elif move == "time":
            rig.pass_time(PASSES[what % len(PASSES)])
        elif move == "reload":
            rig.configure(what)
        elif move == "left":
            if rig.drives:
                rig.drives[-1 - what % min(4, len(rig.drives))].left(rig.clock)
        elif attempt is not None and not attempt.headed:
            stream = json.loads(attempt.call.body)["stream"]  # type: ignore[attr-defined]
            streams[attempt] = stream
            if move == "429":
                rig.refuse(attempt, ("rate", "capacity", "size")[how % 3], WAITS[what // 2], False)
            elif move == "event" and stream:
                rig.refuse(attempt, ("rate", "capacity")[how % 2], None, True)
            elif move == "500":
                attempt.head(500, JSON_HEADERS)
                attempt.data(b"{}")
                attempt.end("done")
            elif move == "fine" and not stream:
                attempt.head(200, JSON_HEADERS)
                rig.served(attempt)
                attempt.data(PLAIN)
                attempt.end("done")
    for _ in range(12):
        rig.pass_time(11.0)
    rig.pass_time(120.0)
    assert not rig.bugs, rig.bugs
    assert not rig.upstream.open()
    rig.settled()
    return rig


@given(MOVES)
@example([("ask", 0, 0), ("429", 0, 0), ("reload", 3, 0), ("time", 0, 0), ("reload", 0, 0), ("ask", 0, 0)])
@example([("ask", 0, 0), ("reload", 2, 0), ("429", 6, 0), ("reload", 0, 0), ("ask", 0, 0)])  # refused while it was away
def test_each_refusal_shuts_whom_it_concerns_for_as_long_as_it_said(moves: list[tuple[str, int, int]]) -> None:
    play(moves)


@given(MOVES)
def test_and_nobody_else_and_no_longer(moves: list[tuple[str, int, int]]) -> None:
    """When all that was said is over, every member of the last configuration takes requests of any size again."""
    rig = play(moves)
    rig.configure(0)
    rig.pass_time(LONGEST + 61.0)
    now = rig.clock
    for number, door in rig.world.doors.items():
        at, why = door.ready(now, 10**6)
        assert at == now, (number, why)
    assert all(t.ready(now) == now for t in (d.throttle for d in rig.world.doors.values()))


MUTANTS = {
    "a rate shuts the deployment alone": (
        Door,
        "throttled",
        lambda right: lambda self, *a: _without_quota(self, right, a),
    ),
    "what is used up is looked at by everybody": (Throttle, "enter", lambda right: lambda self, now: None),
}


def _without_quota(door: Door, right: object, args: tuple[object, ...]) -> object:
    quota, door.quota = door.quota, None
    try:
        return right(door, *args)  # type: ignore[operator]
    finally:
        door.quota = quota


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, method, wrong = MUTANTS[name]
    monkeypatch.setattr(kind, method, wrong(getattr(kind, method)))
    pair = [("ask", 0, 0), ("429", 0, 0), ("time", 0, 0), ("ask", 0, 0)]  # two of one quota
    alone = [("reload", 3, 0), ("ask", 0, 0), ("429", 10, 1), ("time", 6, 0), ("ask", 0, 0), ("ask", 0, 0)]
    for moves in (pair, alone):
        try:
            play(moves)
        except AssertionError:
            return
    raise AssertionError("not noticed")
