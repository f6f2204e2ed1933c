"""What each stage of a request costs on one route: the driver itself, between an upstream and a client that are free.

The whole is measured at its seams (what is handed to the upstream, what comes back, what the journal gets), with the
code that serves. Its parts are then called by themselves, with the same objects and arguments; what is left of the
whole is the exchange, the driver and the record. Sockets, HTTP framing and TLS are not in it: they belong to the edge
and the upstream's connections.

Time is by hand, a step for each request, so that limits see the pace that is said and not that of the measurement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from statistics import median
from typing import Any, Final

from sluicegate.apis import APIS
from sluicegate.core.caller import Shown, digest
from sluicegate.core.end_user import end_user, mark
from sluicegate.core.events import Facts, Head, Usage
from sluicegate.core.limits.base import reserve
from sluicegate.core.ports import Chunk
from sluicegate.core.snapshot import Directory, Snapshot
from sluicegate.core.state import World
from sluicegate.core.wheel import Wheel
from sluicegate.drive import Bound, Drive
from sluicegate.providers import PROVIDERS

API: Final = "chat_completions"
KEY: Final = b"the key of whoever is profiled"
LOOP: Final = 50
"""Calls of a part for one reading of the clock."""
STEPS: Final = (0.05, 1.0, 60.0, 3600.0)
"""Seconds between two requests: the first with which no limit refuses."""
WARM: Final = 200

_JSON = {b"content-type": b"application/json"}
_SSE = {b"content-type": b"text/event-stream"}


class Refused(Exception):
    """A request like this is not sent: reason, and what the client reads."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True, slots=True)
class Stage:
    """One line of the answer. `us`: of a request, the median; `off`: why it costs nothing here."""

    name: str
    us: float
    what: str
    off: str = ""


@dataclass(frozen=True, slots=True)
class Profile:
    """What was measured. `every_s`: the pace that limits saw; `clock_us`: what reading the clock costs, taken off."""

    stages: tuple[Stage, ...]
    whole_us: float
    rest_us: float
    requests: int
    every_s: float
    clock_us: float
    deployment: str
    events: int


class _Client:
    """Takes everything. A refusal is kept."""

    __slots__ = ("over", "status")

    def __init__(self) -> None:
        self.status = 0
        self.over = False

    def read(self, max_bytes: int) -> None:
        pass

    def head(self, status: int, headers: bytes, length: int | None) -> None:
        self.status = status

    def data(self, chunk: Chunk) -> bool:
        return True

    def end(self) -> None:
        self.over = True

    def reset(self) -> None:
        self.over = True


class _Attempt:
    __slots__ = ("sent",)

    def __init__(self) -> None:
        self.sent = "all"

    def pause(self) -> None:
        pass

    def resume(self) -> None:
        pass

    def cancel(self) -> None:
        pass


class _Upstream:
    """Keeps the call; the answer is given by whoever measures."""

    __slots__ = ("call", "sink")

    def __init__(self) -> None:
        self.call: Any = None
        self.sink: Any = None

    def start(self, call: Any, sink: Any) -> Any:
        self.call, self.sink = call, sink
        return _Attempt()


class _Journal:
    """Hands on, and reads the clock around it."""

    __slots__ = ("admitted", "clock", "inner", "record", "settled")

    def __init__(self, inner: Any, clock: Callable[[], int]) -> None:
        self.inner = inner
        self.clock = clock
        self.admitted = self.settled = 0
        self.record: Any = None

    def admit(self, record: Any) -> None:
        began = self.clock()
        self.inner.admit(record)
        self.admitted = self.clock() - began

    def settle(self, record: Any) -> None:
        began = self.clock()
        self.inner.settle(record)
        self.settled = self.clock() - began
        self.record = record

    def refuse(self, record: Any) -> None:
        self.record = record


class _Route:
    """One consumer, one model, one body, over and over."""

    def __init__(
        self, snapshot: Snapshot, directory: Directory, journal: Any, consumer: str, model: str, body: bytes,
        clock: Callable[[], int], step: float,
    ) -> None:  # fmt: skip
        own = digest(KEY, directory.secrets[0])
        consumers = tuple(
            replace(c, digests=(own, *c.digests)) if c.name == consumer else c for c in directory.consumers
        )
        self.clock = clock
        self.step = step
        self.now = 1000.0
        self.journal = _Journal(journal, clock)
        self.world = World(snapshot, replace(directory, consumers=consumers), self.journal).assume()
        self.upstream = _Upstream()
        self.bugs: list[BaseException] = []
        self.bound = Bound(
            self.world, self.upstream, PROVIDERS, Wheel(), lambda: self.now, lambda: 1.7e9 + self.now, self.bugs.append
        )
        self.model = model
        self.body = body
        self.api = APIS[API]
        self.asked = 0

    def once(self, answer: Sequence[bytes], headers: Mapping[bytes, bytes]) -> tuple[int, int, int, int, int]:
        """Nanoseconds: before the body, until it is sent, the answer, and of these admit and settle. Raises Refused."""
        self.asked += 1
        self.now += self.step
        client = _Client()
        drive = Drive(self.bound, self.api, client)
        chance = (self.asked * 0.6180339887) % 1.0
        journal, clock = self.journal, self.clock
        journal.admitted = journal.settled = 0
        self.upstream.sink = None
        head = Head(self.now, f"{self.asked:032x}", API, self.model, "2024-10-21", Shown([KEY]), [], "", chance)
        t0 = clock()
        drive.start(head)
        t1 = clock()
        if not client.over:
            drive.body(self.body, self.now)
        t2 = clock()
        sink = self.upstream.sink
        if sink is None:
            if self.bugs:
                raise self.bugs[0]
            record = journal.record
            raise Refused(record.reason if record else "", f"status {client.status}")
        admitted = journal.admitted
        t3 = clock()
        sink.head(200, headers, self.now)
        for piece in answer:
            sink.data(piece, self.now)
        sink.end("done", self.now)
        t4 = clock()
        if self.bugs:
            raise self.bugs[0]
        return t1 - t0, t2 - t1, t4 - t3, admitted, journal.settled


def profile(
    snapshot: Snapshot, directory: Directory, journal: Any, consumer: str, model: str, body: bytes, tokens: int,
    clock: Callable[[], int], requests: int, progress: Callable[[int], None] = lambda done: None,
) -> Profile:  # fmt: skip
    """Measure. `clock` reads nanoseconds; `tokens`: of the answer. Raises Refused, or what the API row raises."""
    stream = APIS[API].facts(APIS[API].fields(body), body).stream
    answer = _events(tokens) if stream else [_whole(tokens)]
    headers = _SSE if stream else _JSON
    cost = _of_clock(clock)
    seen: list[tuple[int, ...]] = []
    for step in STEPS:
        route = _Route(snapshot, directory, journal, consumer, model, body, clock, step)
        seen.clear()
        try:
            for _ in range(WARM):
                route.once(answer, headers)
            for n in range(requests):
                seen.append(route.once(answer, headers))
                if n % 1000 == 999:
                    progress(n + 1)
        except Refused as e:
            if not e.reason.startswith("limit.") or e.reason.endswith("too_large") or step == STEPS[-1]:
                raise
        else:
            break
    head, up, down, admit, settle = (max(0.0, (median(column) - cost) / 1000) for column in zip(*seen, strict=True))
    # The clock was read twice more inside `up` and `down`, around the journal.
    up, down = max(0.0, up - 2 * cost / 1000), max(0.0, down - 2 * cost / 1000)
    parts = _parts(route, answer, stream)
    stages = _stages(parts, admit, settle)
    whole = head + up + down
    rest = max(0.0, whole - sum(stage.us for stage in stages))
    first = route.journal.record.attempts[0].deployment
    label = next(m.label for m in route.world.members.values() if m.deployment.number == first)
    return Profile(stages, whole, rest, requests, route.step, cost / 1000, label, len(answer))


def _stages(parts: Mapping[str, float | None], admit: float, settle: float) -> tuple[Stage, ...]:
    rows = (
        ("identity", "whose key this is"),
        ("grants", "whether it may use the model, and which pool serves it"),
        ("parse", "the body's top-level fields, and what decides of them"),
        ("end user", "who uses the application"),
        ("rules", "what rules put into the request"),
        ("limits", "what it wants, reserved and settled"),
        ("pick", "which deployment is asked first"),
        ("body", "what goes up"),
        ("answer", "what comes back: checked, metered"),
    )
    off = {
        "end user": "no end_user is declared for this consumer",
        "rules": "no params apply",
        "limits": "no limits apply",
    }
    made = [
        Stage(name, parts[name] or 0.0, what, off.get(name, "") if parts[name] is None else "") for name, what in rows
    ]
    admitted = Stage("admit", admit, "written to the journal before anything is sent")
    settled = Stage("settle", settle, "written to the journal with what was used, and counted")
    return (*made[:7], admitted, *made[7:], settled)


def _parts(route: _Route, answer: Sequence[bytes], stream: bool) -> dict[str, float | None]:
    """Microseconds of each part by itself; None: there is no such part here."""
    world, api, raw, now = route.world, route.api, route.body, route.now
    consumer = Shown([KEY]).who(world.callers)
    assert not isinstance(consumer, str)
    found = world.routes.find(consumer, API, route.model)
    assert not isinstance(found, str)
    fields = api.fields(raw)
    facts = api.facts(fields, raw)
    key = world.callers.mark(KEY) if consumer.by_key else b""
    named = end_user(fields.get(consumer.end_user)) if consumer.end_user else ""
    user = mark(named) if consumer.by_user else ""
    policy = world.policies.find(consumer, found, API, key, now, user)
    timed: dict[str, float | None] = {
        "identity": _timed(route, lambda: Shown([KEY]).who(world.callers)),
        "grants": _timed(route, lambda: world.routes.find(consumer, API, route.model)),
        "parse": _timed(route, lambda: api.facts(api.fields(raw), raw)),
        "end user": _timed(route, lambda: end_user(fields.get(consumer.end_user))) if consumer.end_user else None,
        "rules": None,
        "limits": None,
        "pick": _timed(route, lambda: found.pool.pick([], route.now, 0.5, facts.estimate, [], None)),
    }
    changes: dict[str, bytes] | None = None
    if policy is not None and policy.rules is not None:
        rules = policy.rules
        changes = rules.apply(fields, _same(facts))
        timed["rules"] = _timed(route, lambda: rules.apply(fields, _same(facts)))
    if policy is not None and policy.limits:
        used = Usage(facts.estimate, 10)

        def limits() -> None:
            route.now += route.step
            at = world.policies.clock(route.now)
            applies = world.policies.find(consumer, found, API, key, at, user)
            assert applies is not None
            claim = applies.claim(facts)
            if reserve(applies.limits, claim, at) is None:
                claim.settle(used, False, at)

        timed["limits"] = _timed(route, limits)
    member = found.pool.pick([], route.now, 0.5, facts.estimate, [], None)
    assert member is not None
    plan = route.bound.plan(member, api, "2024-10-21")
    timed["body"] = _timed(route, lambda: api.body(raw, fields, facts, plan.model, plan.usage, changes))
    if stream:

        def metered() -> None:
            meter = api.meter(facts, plan.usage and not facts.asked_usage)
            for piece in answer:
                meter.feed(piece, now)
            meter.end()

        timed["answer"] = _timed(route, metered, 5)
    else:
        timed["answer"] = _timed(route, lambda: api.answer(answer[0]))
    return timed


def _same(f: Facts) -> Facts:
    """Rules change what facts say."""
    return Facts(f.model, f.stream, f.max_output, f.n, f.estimate, media=f.media)


def _timed(route: _Route, call: Callable[[], Any], loop: int = LOOP) -> float:
    """Microseconds of a call: the median of what many in a row take each, less what calling nothing takes."""
    return max(0.0, _looped(route.clock, call, loop) - _looped(route.clock, _nothing, loop))


def _looped(clock: Callable[[], int], call: Callable[[], Any], loop: int) -> float:
    taken = []
    for _ in range(41):
        began = clock()
        for _ in range(loop):
            call()
        taken.append(clock() - began)
    return median(taken) / loop / 1000


def _nothing() -> None:
    pass


def _of_clock(clock: Callable[[], int]) -> float:
    """Nanoseconds that reading it twice seems to take."""
    least = inf
    for _ in range(1000):
        began = clock()
        least = min(least, clock() - began)
    return least


def _usage(tokens: int) -> bytes:
    return b'"usage":{"prompt_tokens":100,"completion_tokens":%d,"total_tokens":%d}' % (tokens, 100 + tokens)


def _whole(tokens: int) -> bytes:
    """An answer as Azure gives it."""
    return (
        b'{"id":"chatcmpl-profile","object":"chat.completion","created":1700000000,"model":"gpt-4o-2024-11-20",'
        b'"choices":[{"index":0,"message":{"role":"assistant","content":"' + b"word " * tokens + b'"},'
        b'"finish_reason":"stop"}],' + _usage(tokens) + b"}"
    )


def _events(tokens: int) -> list[bytes]:
    """The same, streamed: an event a token."""
    one = (
        b'data: {"id":"chatcmpl-profile","object":"chat.completion.chunk","created":1700000000,'
        b'"model":"gpt-4o-2024-11-20","choices":[{"index":0,"delta":{"content":"word "},"finish_reason":null}]}\n\n'
    )
    last = (
        b'data: {"id":"chatcmpl-profile","object":"chat.completion.chunk","created":1700000000,'
        b'"model":"gpt-4o-2024-11-20","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    )
    said = b'data: {"id":"chatcmpl-profile","object":"chat.completion.chunk","choices":[],' + _usage(tokens) + b"}\n\n"
    return [*[one] * tokens, last, said, b"data: [DONE]\n\n"]
