"""Worlds of every kind with a past, for laws about what an exchange decides: models with tiers, regions, boundaries,
quotas, rollouts, fallbacks, rules and limits; doors as whatever happened left them; requests under way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st

from sluicegate.apis import APIS
from sluicegate.core.breaker import BreakerSpec
from sluicegate.core.caller import Shown, digest
from sluicegate.core.events import Head
from sluicegate.core.limits.base import LimitSpec
from sluicegate.core.limits.lender import Lend, Lender, Want
from sluicegate.core.policy import Policies
from sluicegate.core.settings import Gateway, OnDisconnect, ParamSpec, Rollout, Spill, Timeouts
from sluicegate.core.snapshot import (
    Auth,
    ConsumerEntry,
    Deployment,
    Directory,
    Instance,
    Model,
    Snapshot,
    TenantEntry,
)
from sluicegate.drive import Drive
from tests.attributes import attributes
from tests.laws.rig import JSON_HEADERS, PLAIN, SECRET, RecordingClient, Rig, ScriptedAttempt

CHAT = "chat_completions"
NAMES = ("one", "two", "three")
CONSUMERS = ("free", "held", "inside", "elsewhere")
REGIONS = ("westeurope", "swedencentral", "")


@dataclass(frozen=True)
class Answer:
    """What an upstream does with one attempt, and after how many seconds."""

    status: int
    retry_after: float | None
    code: str
    after: float

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        if self.retry_after is None:
            return JSON_HEADERS
        return (*JSON_HEADERS, (b"retry-after-ms", b"%d" % round(self.retry_after * 1000)))

    @property
    def body(self) -> bytes:
        return PLAIN if self.status == 200 else b'{"error":{"code":"%b","message":"no"}}' % self.code.encode()

    def give(self, attempt: ScriptedAttempt) -> None:
        """Status 0: the connection is reset."""
        if not self.status:
            attempt.end("reset")
            return
        attempt.head(self.status, self.headers)
        attempt.data(self.body)
        attempt.end("done")


AFTER = st.sampled_from((0.0, 0.0, 0.05, 0.3))
SERVES = st.builds(Answer, st.just(200), st.none(), st.just(""), AFTER)
WAITS = st.sampled_from((None, 0.05, 2.0, 30.0, 900.0))
THROTTLES = st.builds(Answer, st.just(429), WAITS, st.sampled_from(("429", "NoCapacity")), AFTER)
FAILS = st.builds(Answer, st.sampled_from((500, 0, 401, 404)), st.none(), st.just("x"), AFTER)
TOO_LONG = st.builds(Answer, st.just(400), st.none(), st.just("context_length_exceeded"), AFTER)
ANSWERS = st.one_of(SERVES, THROTTLES, FAILS, TOO_LONG)
SCRIPTS = st.lists(ANSWERS, min_size=1, max_size=6)


@dataclass(frozen=True)
class Request:
    """Who asks what; `script`: what the attempts come to, the last of it again and again."""

    consumer: str
    model: str
    size: int
    most: int | None
    n: int
    user: str
    in_path: bool
    chance: float
    script: tuple[Answer, ...]

    @property
    def body(self) -> bytes:
        more = b"" if self.most is None else b',"max_tokens":%d' % self.most
        more += b',"user":"%b"' % self.user.encode() if self.user else b""
        head = b'{"model":"%b","n":%d%b' % (self.model.encode(), self.n, more)
        return head + b',"messages":[{"role":"user","content":"%b"}]}' % (b"x" * self.size)

    def head(self, now: float, id: str, credentials: Shown) -> Head:
        version = "2024-10-21" if self.in_path else None
        path = self.model if self.in_path else None
        return Head(now, id, CHAT, path, version, credentials, (), "127.0.0.1", self.chance)

    def answer(self, attempt: int) -> Answer:
        return self.script[min(attempt, len(self.script) - 1)]


REQUESTS = st.builds(
    Request,
    st.sampled_from((*CONSUMERS, "free", "inside", *["held"] * 5)),
    st.sampled_from((*["one"] * 8, *["two"] * 4, "three", "none")),
    st.sampled_from((10, 10, 200, 3000)),
    st.sampled_from((None, 5, 5000)),
    st.sampled_from((*[1] * 6, 2)),
    st.sampled_from(("", "ann", "bob")),
    st.booleans(),
    st.floats(0.0, 0.99),
    SCRIPTS.map(tuple),
)

members = st.lists(
    st.builds(
        Deployment, number=st.just(0), name=st.just("d"), instance=st.just(0), model=st.just("gpt-4o"),
        version=st.just("1"), sku=st.just("Standard"), tier=st.sampled_from((0, 1)), weight=st.integers(1, 3),
        capacity=st.sampled_from((None, 1_000, 100_000)), quota_group=st.sampled_from(("", "", "q", "r")),
        max_input=st.sampled_from((None, None, 100)),
    ),
    min_size=1, max_size=6,
)  # fmt: skip
numbers = st.lists(st.integers(0, 5), max_size=5, unique=True)
balances = st.sampled_from(("least_tokens", "weighted", "round_robin", "least_busy", "latency"))
models = st.tuples(
    numbers, numbers, balances, st.sampled_from((None, 0.3, 1.0)), st.sampled_from((None, 0.5)), st.integers(1, 3),
    st.booleans(), st.permutations(NAMES), st.sampled_from(((), (ParamSpec("max_tokens", max=500.0),))),
    st.sampled_from(((), (ParamSpec("n", allow=("1",)),))), st.sampled_from((*[1 << 20] * 5, 400)),
)  # fmt: skip


def _limit(kinds: tuple[str, ...], amounts: tuple[int, ...]) -> st.SearchStrategy[LimitSpec]:
    return st.builds(
        LimitSpec, st.sampled_from(kinds), st.sampled_from(amounts), window=st.sampled_from((1.0, 60.0)),
        each=st.sampled_from(("", "key", "model", "consumer", "end_user")), reserve=st.sampled_from(("learned", "learned", "max")),
        mode=st.sampled_from(("enforce", "enforce", "shadow")),
    )  # fmt: skip


limits = st.lists(
    st.one_of(
        _limit(("token_rate",), (2_000, 9_000, 100_000)), _limit(("request_rate", "concurrency"), (1, 3, 20)),
    ),
    max_size=3,
)  # fmt: skip


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    """Three models over up to six deployments; the boundary `here` is served, with some of them inside."""
    declared = draw(members)
    instances = tuple(
        Instance(i, f"i{i}", "azure_openai", "http", "127.0.0.1", 80, "", Auth(), region=draw(st.sampled_from(REGIONS)))
        for i in range(len(declared))
    )
    deployments = tuple(replace(d, number=i, instance=i) for i, d in enumerate(declared))
    there = range(len(declared))
    inside = draw(st.sets(st.sampled_from(list(there))))
    made = []
    for place, name in enumerate(NAMES):
        own, arm, balance, share, ceiling, attempts, long, onward, limited, allowed, body = draw(models)
        own = tuple(n for n in own or there if n in there)
        arm = tuple(n for n in arm if n in there)
        rollout = None
        if share is not None and arm:
            stick = draw(st.sampled_from(("consumer", "end_user")))
            rollout = Rollout(arm, share, stick, cuts=(("here", tuple(n for n in arm if n in inside)),))
        made.append(
            Model(
                place, name, own, (CHAT,) if place < 2 else (CHAT, "embeddings"), Timeouts(2.0, 10.0, 10.0, 100.0),
                attempts, OnDisconnect(), body, balance, BreakerSpec(faults=2), spill=Spill(long, ceiling),
                rollout=rollout, fallback=tuple(n for n in onward[:2] if n != name), params=(*limited, *allowed),
                cuts=(("here", tuple(n for n in own if n in inside)),),
            )
        )  # fmt: skip
    gateway = Gateway(region=draw(st.sampled_from(("", "westeurope"))), boundaries=("here",), retry_budget=0.1)
    return Snapshot("0" * 12, gateway, instances, deployments, tuple(made))


@st.composite
def directories(draw: st.DrawFn) -> Directory:
    """One consumer without limits, one with, one inside the served boundary, one of a boundary that is not."""
    tenants = (
        TenantEntry(1, "t", tuple(draw(limits))),
        TenantEntry(2, "near", boundary="here"),
        TenantEntry(3, "far", boundary="there"),
    )
    own = {"held": tuple(draw(limits))}
    params = {"held": (ParamSpec("max_tokens", default="50"),)}
    grants = {"held": ("one", "two")}  # not three: no fallback to it
    entries = tuple(
        ConsumerEntry(
            number, name, tenant, grants.get(name, ("*",)), (digest(name.encode(), SECRET),), own.get(name, ()),
            params.get(name, ()), end_user="user",
        )
        for number, (name, tenant) in enumerate(zip(CONSUMERS, ("", "t", "near", "far"), strict=True), 1)
    )  # fmt: skip
    return Directory((SECRET,), entries, tenants)


class Caller(RecordingClient):
    """A client behind an edge that reads no more of a body than it may."""

    most = 0

    def read(self, max_bytes: int) -> None:
        super().read(max_bytes)
        self.most = max_bytes


class Keeper:
    """Lends the limits of a town, at once: the real book, with one worker in it."""

    def __init__(self, policies: Policies, now: Callable[[], float]) -> None:
        self.policies = policies
        self.now = now
        self.book = Lender()
        self.book.joined(1)
        self.asked = 0

    def ask(self, wants: Sequence[Want], done: Callable[[], None]) -> bool:
        self.asked += 1
        for want in wants:
            for _, message in self.book.want(1, want, self.now()):
                assert isinstance(message, Lend), "nobody else could give anything back"
                self.policies.got(message, self.now())
        done()
        return True


class Town(Rig):
    """A gateway that something happened to. `lent`: a keeper lends it its limits."""

    def __init__(self, snapshot: Snapshot, directory: Directory, lent: bool = False) -> None:
        super().__init__()
        self.keeper = Keeper(self.world.policies, self.now)
        if lent:
            self.world.policies.lent = True
            self.bound.lender = self.keeper
        self.world.doors.clear()
        self.world.members.clear()
        self.world.adopt(snapshot, directory)

    def live(self, request: Request, answered: int = 100) -> tuple[Drive, RecordingClient, list[ScriptedAttempt]]:
        """The request, until it is over or so many of its attempts were answered."""
        client = Caller()
        drive = Drive(self.bound, APIS[CHAT], client)
        self.clients.append(client)
        self.drives.append(drive)
        before = len(self.upstream.attempts)
        drive.start(request.head(self.clock, f"{len(self.drives):032x}", Shown([request.consumer.encode()])))
        if client.reading and not drive.done:
            client.reading = False
            if len(request.body) > client.most:
                drive.refuse_body("request.body_too_large", "too large", self.clock)
            else:
                drive.body(request.body, self.clock)
        for n in range(answered):
            mine = self.upstream.attempts[before:]
            if drive.done or len(mine) <= n:
                break
            answer = request.answer(n)
            self.clock += answer.after  # nothing else happens meanwhile: no dry run can know what will
            answer.give(mine[n])
        return drive, client, self.upstream.attempts[before:]

    def live_through(self, past: Sequence[tuple[Request, int, float]]) -> None:
        """Requests, some of them left under way, with time between them."""
        for request, answered, wait in past:
            self.live(request, answered)
            self.pass_time(wait)

    def end(self) -> None:
        """Nobody waits any longer."""
        for drive in self.drives:
            drive.left(self.clock)
        self.pass_time(200.0)
        assert not self.bugs, self.bugs


PASTS = st.lists(
    st.tuples(REQUESTS, st.sampled_from((100, 100, 100, 0, 1)), st.sampled_from((0.0, 0.1, 1.0, 3.5))), max_size=12
)


MEMOS = {"_bound"}
"""What says nothing of its own: consumers as they were made of the key table when they asked of late."""


def pictured(thing: Any) -> Any:
    """All that can be reached from it, as plain data that can be compared; but for memos."""
    places: dict[int, int] = {}
    held: list[Any] = []

    def look(of: Any) -> Any:
        if of is None or isinstance(of, (bool, int, float, str, bytes, type)):
            return of
        if isinstance(of, Callable) and not hasattr(of, "__slots__"):
            return getattr(of, "__name__", repr(type(of)))
        if id(of) in places:
            return ("seen", places[id(of)])
        places[id(of)] = len(places)
        held.append(of)
        if isinstance(of, dict):
            return [(look(k), look(v)) for k, v in of.items()]
        if isinstance(of, (list, tuple, deque)):
            return [look(v) for v in of]
        if isinstance(of, (set, frozenset)):
            return sorted(map(repr, of))
        if isinstance(of, (bytearray, memoryview)):
            return bytes(of)
        names = {n for part in type(of).__mro__ for n in getattr(part, "__slots__", ())} | set(
            vars(of) if hasattr(of, "__dict__") else ()
        )
        if hasattr(of, "__mypyc_attrs__"):
            names = set(attributes(of))
        names -= MEMOS
        return (
            type(of).__name__,
            [(n, look(getattr(of, n))) for n in sorted(names) if n != "__weakref__" and hasattr(of, n)],
        )

    return look(thing)
