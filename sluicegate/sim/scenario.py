"""A scenario: a fleet, traffic for it, what goes wrong and when, and what must come of it. Declared as plain data.

It runs in virtual time through the real driver (sim/stage.py); what came of it is a Summary (sim/summary.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from random import Random
from typing import Any, Final

import msgspec

from sluicegate.core.record import UsageRecord
from sluicegate.core.snapshot import Directory, Snapshot
from sluicegate.sim import traces
from sluicegate.sim.callers import Asking
from sluicegate.sim.spec import merged
from sluicegate.sim.stage import Stage, fleet_of
from sluicegate.sim.summary import Summary
from sluicegate.sim.traffic import arrivals, bursts, ramp, spike, steady
from sluicegate.stores.memory.journal import Journal

SETTLE_S: Final = 3600.0
"""After the traffic: how long the last answers may take."""
_FILLER: Final = b"the water rises behind the gate and waits; " * 1600
_AROUND: Final = 7
"""Tokens that the simulator counts for a message and a prompt, besides the text."""


class SpikeSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A rate, and once, at `at_s` for `for_s`, another. Requests a second."""

    base: float
    peak: float
    at_s: float
    for_s: float


class BurstsSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A rate, and in the last `for_s` of every `every_s` another. Requests a second."""

    base: float
    peak: float
    every_s: float
    for_s: float


class LoadSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One source of traffic. Exactly one of steady, ramp, spike, bursts, users and trace says when requests come."""

    consumer: str = ""
    "By name; default: the first of the configuration."
    model: str = ""
    "Public name; default: the first of the configuration."
    steady: float | None = None
    "Requests a second."
    ramp: tuple[float, float] | None = None
    "From so many requests a second to so many, over the whole time."
    spike: SpikeSpec | None = None
    bursts: BurstsSpec | None = None
    users: int | None = None
    "A closed loop: so many, each of whom asks again `think_s` after its answer."
    think_s: float = 0.0
    trace: str | None = None
    "File of a recorded workload; relative to the scenario's file."
    from_s: float = 0.0
    for_s: float | None = None
    "Default: to the end of the scenario."
    even: bool = False
    "Evenly spaced; default: at random around the rate (Poisson), by the seed."
    prompt_tokens: tuple[int, int] = (200, 800)
    "From and to, drawn for each request; not for a trace, which says."
    output_tokens: tuple[int, int] = (50, 200)
    max_tokens: int | None = None
    stream: float = 0.0
    "Share of requests that stream."
    retries: int = 0
    "How often the client tries again, as the OpenAI SDKs do (their default is 2)."
    patience_s: float = 0.0
    "After so long the client closes its connection; 0: never."
    fields: dict[str, Any] = {}
    "More fields of the request's body."


class EventSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something that happens to the fleet at a time."""

    at_s: float
    fault: dict[str, Any] | None = None
    "As the control API takes it."
    lift: bool = False
    "All faults."
    patch: dict[str, Any] | None = None
    "Changes of instances by name: {weu: {mode: down}}."
    gateway: Any = None
    "Another configuration takes force, as under `gateway` of the scenario. The fleet stays."


class BoundSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a figure must be."""

    least: float | None = None
    most: float | None = None


class ScenarioSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One document."""

    for_s: float
    "So long requests come; then what is under way ends."
    traffic: list[LoadSpec]
    title: str = ""
    seed: int = 0
    gateway: Any = None
    "A configuration: a file's name, or the document itself; default: one model over the whole fleet, by tier."
    fleet: dict[str, Any] | None = None
    "As for `sluicegate simulate --instances`; default, and what it leaves out: as the configuration says."
    events: list[EventSpec] = []
    expect: dict[str, BoundSpec] = {}
    "Figures of the summary by path, `by_deployment/weu/gpt-4o/served`, and their bounds."


def scenario_spec(given: Any) -> ScenarioSpec:
    """From plain data. Raises ValueError naming the place."""
    try:
        spec = msgspec.convert(given, ScenarioSpec, strict=False)
    except msgspec.ValidationError as e:
        raise ValueError(str(e)) from None
    if not 0 < spec.for_s < float("inf"):
        raise ValueError("for_s: write seconds above 0")
    for n, load in enumerate(spec.traffic):
        shapes = (load.steady, load.ramp, load.spike, load.bursts, load.users, load.trace)
        if sum(shape is not None for shape in shapes) != 1:
            raise ValueError(f"traffic[{n}]: write exactly one of steady, ramp, spike, bursts, users, trace")
        for name, (low, high) in (("prompt_tokens", load.prompt_tokens), ("output_tokens", load.output_tokens)):
            if not 1 <= low <= high:
                raise ValueError(f"traffic[{n}].{name}: write [from, to], at least 1")
        if not 0.0 <= load.stream <= 1.0:
            raise ValueError(f"traffic[{n}].stream: write a share between 0 and 1")
    return spec


Configuration = tuple[Snapshot, Directory]


class _Told(Journal):
    """The journal in memory, and somebody who wants to see each record once it is settled."""

    __slots__ = ("told",)

    def __init__(self, told: Callable[[UsageRecord], None]) -> None:
        super().__init__(strict=True)
        self.told = told

    def settle(self, record: UsageRecord) -> None:
        super().settle(record)
        self.told(record)


class Scenario:
    """One run. `base`: the folder that traces are looked for in; `compiled` makes a configuration of what stands under
    `gateway`. Raises ValueError for what cannot be run."""

    def __init__(
        self, spec: ScenarioSpec, *, base: str = "", seed: int | None = None,
        compiled: Callable[[Any], Configuration] | None = None,
    ) -> None:  # fmt: skip
        self.spec = spec
        self.seed = spec.seed if seed is None else seed
        self._base = base
        self.summary = Summary(spec.title)
        fleet = spec.fleet
        snapshot = directory = None
        self._later: dict[int, Configuration] = {}
        documents = [spec.gateway, *(event.gateway for event in spec.events)]
        if any(document is not None for document in documents):
            if compiled is None or spec.gateway is None:
                raise ValueError("gateway: a configuration that changes must be there from the start")
            snapshot, directory = compiled(spec.gateway)
            self._later = {
                n: compiled(event.gateway) for n, event in enumerate(spec.events) if event.gateway is not None
            }
            fleet = {}
            for configured in (snapshot, *(later for later, _ in self._later.values())):
                fleet = merged(fleet_of(configured), fleet)
            given = spec.fleet or {}
            fleet = merged(fleet, given if "instances" in given or not given else {"instances": given})
        self.stage = Stage(
            fleet, seed=self.seed, snapshot=snapshot, directory=directory, journal=_Told(self.summary.settled)
        )
        stage = self.stage
        self.started_at = stage.clock.now()
        stage.ledger.keep_digests = False
        self.summary.begin(stage.snapshot, stage.directory)
        for n, load in enumerate(spec.traffic):
            for what, name, known in (
                ("consumer", load.consumer, [c.name for c in stage.directory.consumers]),
                ("model", load.model, [m.name for m in stage.snapshot.models]),
            ):
                if name and name not in known:
                    raise ValueError(f"traffic[{n}].{what}: there is no {name!r}, only {', '.join(known)}")
        self._sources = [_Source(self, load, n) for n, load in enumerate(spec.traffic)]

    def run(self) -> Summary:
        """All of it, to the end of the last answer. Raises ValueError for an event that cannot happen; RuntimeError
        for a bug of the gateway, which is its cause."""
        stage, spec = self.stage, self.spec
        for n, event in enumerate(spec.events):
            stage.clock.after(event.at_s, lambda n=n, event=event: self._happen(n, event))  # type: ignore[misc]
        for source in self._sources:
            source.start()
        stage.clock.run_for(spec.for_s)
        for source in self._sources:
            source.over = True
        deadline = stage.clock.now() + SETTLE_S
        while self.summary.open and stage.clock.now() < deadline:
            stage.clock.run_for(1.0)
        stage.settle()
        if stage.bugs:
            raise RuntimeError(f"{len(stage.bugs)} bugs of the gateway, the first: {stage.bugs[0]!r}") from stage.bugs[
                0
            ]
        self.summary.end(stage.ledger, stage.journal, stage.clock.now())
        return self.summary

    def path(self, name: str) -> str:
        return os.path.join(self._base, name)

    def _happen(self, n: int, event: EventSpec) -> None:
        upstream = self.stage.upstream
        if event.lift:
            upstream.lift()
        if event.patch is not None:
            upstream.patch(event.patch)
        if event.fault is not None:
            upstream.fault(**event.fault)
        if n in self._later:
            snapshot, directory = self._later[n]
            self.stage.adopt(snapshot, directory)
            self.summary.begin(snapshot, directory)


class _Source:
    """One source of traffic, at work."""

    def __init__(self, scenario: Scenario, load: LoadSpec, number: int) -> None:
        self.scenario = scenario
        self.stage = scenario.stage
        self.load = load
        self.chance = Random(f"{scenario.seed} {number}")
        self.consumer = load.consumer or self.stage.directory.consumers[0].name
        self.model = load.model or self.stage.snapshot.models[0].name
        self.for_s = scenario.spec.for_s - load.from_s if load.for_s is None else load.for_s
        self.over = False
        fields = {"model": self.model, **load.fields}
        if load.max_tokens is not None:
            fields["max_tokens"] = load.max_tokens
        self._start = msgspec.json.encode(fields)[:-1] + b',"messages":[{"role":"user","content":"'
        self._recorded: list[traces.Arrival] = []
        if load.trace is not None:
            try:
                self._recorded = traces.read(scenario.path(load.trace))
            except OSError as e:
                raise ValueError(f"traffic[{number}].trace: {load.trace}: {e.strerror}") from None

    def start(self) -> None:
        self.stage.clock.after(self.load.from_s, self._begin)

    def _begin(self) -> None:
        load = self.load
        if load.users is not None:
            self.stage.clock.after(self.for_s, self._stop)
            for _ in range(load.users):  # not all at once: nobody arrives so
                self.stage.clock.after(self.chance.random() * max(1.0, load.think_s), self._ask_drawn)
        elif load.trace is not None:
            times = (a.at_s for a in self._recorded if a.at_s < self.for_s)
            self.stage.play(times, lambda n: self._ask(*self._recorded[n][1:]))
        else:
            self.stage.play(self._times(), lambda n: self._ask_drawn())

    def _stop(self) -> None:
        self.over = True

    def _times(self) -> Iterable[float]:
        load = self.load
        if load.steady is not None:
            rate = steady(load.steady)
        elif load.ramp is not None:
            rate = ramp(*load.ramp, self.for_s)
        elif load.spike is not None:
            rate = spike(load.spike.base, load.spike.peak, load.spike.at_s, load.spike.for_s)
        else:
            assert load.bursts is not None
            rate = bursts(load.bursts.base, load.bursts.peak, load.bursts.every_s, load.bursts.for_s)
        return arrivals(rate, self.for_s, None if load.even else self.chance.getrandbits(32))

    def _ask_drawn(self) -> None:
        load, chance = self.load, self.chance
        if not self.over:
            self._ask(chance.randint(*load.prompt_tokens), chance.randint(*load.output_tokens))

    def _ask(self, prompt: int, output: int, prefix: tuple[int, ...] = ()) -> None:
        load = self.load
        stream = load.stream == 1.0 or (load.stream > 0 and self.chance.random() < load.stream)
        mark = b"[sim:tokens=%d]" % max(1, output)
        text = _text(prompt - _AROUND, prefix, len(mark))
        body = b"".join((self._start, text, mark, b'"}]', b',"stream":true}' if stream else b"}"))
        self.scenario.summary.asked()
        Asking(self.stage, body, self.consumer, self.model, (), load.retries, load.patience_s, self.chance, self._done)

    def _done(self, asking: Asking) -> None:
        self.scenario.summary.answered(asking)
        if self.load.users is not None and not self.over:
            self.stage.clock.after(self.load.think_s, self._ask_drawn)


def _text(tokens: int, prefix: tuple[int, ...], less: int) -> bytes:
    """A prompt of so many tokens, four bytes each, that begins with the text its prefix ids stand for."""
    size = max(0, 4 * tokens - less)
    whole = 4 * traces.BLOCK_TOKENS
    text = b"".join([(b"%d " % block + _FILLER)[:whole] for block in prefix])[:size]
    while len(text) < size:
        text += _FILLER[: size - len(text)]
    return text


def judged(summary: Mapping[str, Any], expect: Mapping[str, BoundSpec]) -> list[str]:
    """What is not as expected, in words. Raises ValueError for a figure that does not exist."""
    wrong = []
    for path, bound in expect.items():
        value = _figure(summary, path)
        if bound.least is not None and value < bound.least:
            wrong.append(f"{path} is {value:g}, expected at least {bound.least:g}")
        if bound.most is not None and value > bound.most:
            wrong.append(f"{path} is {value:g}, expected at most {bound.most:g}")
    return wrong


def _figure(summary: Mapping[str, Any], path: str) -> float:
    """Names may hold a `/` themselves. What was never counted is 0, where something of its kind could have been."""
    at: Any = summary
    rest = path.split("/")
    while rest:
        if not isinstance(at, Mapping):
            raise ValueError(f"expect: there is no figure {path!r}")
        for size in range(len(rest), 0, -1):
            name = "/".join(rest[:size])
            if name in at:
                at, rest = at[name], rest[size:]
                break
        else:
            if at is summary or (at and any(isinstance(value, Mapping) for value in at.values())):
                raise ValueError(f"expect: there is no figure {path!r}: {'/'.join(rest)} is none of {', '.join(at)}")
            return 0.0
    if at is None:
        return 0.0
    if not isinstance(at, int | float):
        raise ValueError(f"expect: {path!r} is no figure")
    return float(at)
