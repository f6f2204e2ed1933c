"""A gateway in virtual time: the real World, driver, rows and journal between a simulated fleet and recording clients.

In four lines:

    stage = Stage({"ptu": {...}, "std": {...}})
    client = stage.ask("hello", stream=True)
    stage.clock.run_for(5)
    assert client.status == 200
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec

from sluicegate.apis import APIS
from sluicegate.core.caller import Shown, digest
from sluicegate.core.credentials import STAND_IN
from sluicegate.core.events import Head
from sluicegate.core.ports import Chunk
from sluicegate.core.secret import Secret
from sluicegate.core.settings import Gateway
from sluicegate.core.snapshot import Auth, ConsumerEntry, Deployment, Directory, Instance, Model, Snapshot
from sluicegate.core.state import World
from sluicegate.core.wheel import TICK_S, Wheel
from sluicegate.drive import Bound, Drive
from sluicegate.providers import PROVIDERS
from sluicegate.sim.azure.facts import PROVISIONED, ptu
from sluicegate.sim.clock import VirtualClock
from sluicegate.sim.instances import Given
from sluicegate.sim.net import SimUpstream
from sluicegate.stores.memory.journal import Journal

KEY = b"a-client-key-of-the-stage"
SECRET = Secret("the installation's secret on the stage")


class Client:
    """One client's side of an exchange (core.ports.Downstream): keeps what it saw, fails on what must never happen."""

    __slots__ = (
        "asked_at", "body", "drive", "ended_at", "first_at", "headers", "length", "over", "request", "reset_at",
        "room", "stage", "status", "waiting",
    )  # fmt: skip

    def __init__(
        self, stage: Stage, request: bytes, room: int | None, over: Callable[[Client], None] | None = None
    ) -> None:
        self.stage = stage
        self.over = over
        "Told once, when the answer is complete or broken; not when the client itself left."
        self.request = request
        self.room = room
        "Bytes it takes before it is full and waits for `take`; None: any number."
        self.waiting = 0
        self.drive: Drive
        self.asked_at = stage.clock.now()
        self.first_at: float | None = None
        self.ended_at: float | None = None
        self.reset_at: float | None = None
        self.status = 0
        self.headers = b""
        self.length: int | None = None
        self.body = bytearray()

    def __repr__(self) -> str:
        return f"Client(status={self.status}, {len(self.body)} bytes, {'ended' if self.ended_at else 'open'})"

    def read(self, max_bytes: int) -> None:
        self.drive.body(self.request, self.stage.clock.now())

    def head(self, status: int, headers: bytes, length: int | None) -> None:
        assert not self.status, "two heads"
        self.status, self.headers, self.length = status, headers, length

    def data(self, chunk: Chunk) -> bool:
        assert self.status and self.ended_at is None and self.reset_at is None, "data out of turn"
        if self.first_at is None:
            self.first_at = self.stage.clock.now()
        self.body += chunk
        self.waiting += len(chunk)
        return self.room is None or self.waiting < self.room

    def end(self) -> None:
        assert self.status and self.ended_at is None and self.reset_at is None, "end out of turn"
        self.ended_at = self.stage.clock.now()
        if self.over is not None:
            self.over(self)

    def reset(self) -> None:
        assert self.ended_at is None, "reset after the end"
        self.reset_at = self.stage.clock.now()
        if self.over is not None:
            self.over(self)

    # what a client does

    def take(self) -> None:
        """Read what is waiting; the gateway may go on."""
        self.waiting = 0
        self.drive.writable(self.stage.clock.now())

    def leave(self) -> None:
        """Close the connection."""
        self.drive.left(self.stage.clock.now())

    def header(self, name: str) -> str | None:
        """First value of a response header."""
        for line in self.headers.split(b"\r\n"):
            key, _, value = line.partition(b":")
            if key.lower() == name.lower().encode():
                return value.strip().decode()
        return None


class Stage:
    """Everything of a gateway but its sockets.

    Without `snapshot`: one model, `chat`, over all deployments of the fleet, in their order, for one consumer, `app`;
    `model`: more fields of core.snapshot.Model, such as timeouts. With it: that configuration, and where no fleet is
    given, one that is as the configuration says; consumers show keys of the stage's own making.
    """

    def __init__(
        self, given: Given | None = None, *, seed: int = 0, keep_bodies: bool = False, snapshot: Snapshot | None = None,
        directory: Directory | None = None, journal: Journal | None = None, **model: Any,
    ) -> None:  # fmt: skip
        self.clock = VirtualClock()
        if given is None:
            given = 1 if snapshot is None else fleet_of(snapshot)
        self.upstream = SimUpstream(self.clock, given, seed=seed, keep_bodies=keep_bodies)
        self.ledger = self.upstream.ledger
        if snapshot is None:
            snapshot = snapshot_of(self.upstream, **model)
        else:
            self.upstream.take_keys(_keys(snapshot))
        if directory is None:
            granted = tuple(m.name for m in snapshot.models)
            directory = Directory((SECRET,), (ConsumerEntry(1, "app", "default", granted, ()),))
        self.snapshot = snapshot
        self.directory, self._shown = _keyed(directory)
        self.journal = Journal(strict=True) if journal is None else journal
        self.wheel = Wheel()
        self.world = World(self.snapshot, self.directory, self.journal).assume()
        self.bugs: list[BaseException] = []
        self.bound = Bound(
            self.world, self.upstream, PROVIDERS, self.wheel, self.clock.now, self.clock.wall, self.bugs.append
        )
        self.asked = 0
        self._turning = self.clock.every(TICK_S, self._turn)

    def _turn(self) -> None:
        self.wheel.turn(self.clock.now())

    def adopt(self, snapshot: Snapshot, directory: Directory | None = None) -> None:
        """Put another configuration in force, between two things that happen. No directory: the same consumers."""
        self.upstream.take_keys(_keys(snapshot))
        self.snapshot = snapshot
        if directory is not None:
            self.directory, self._shown = _keyed(directory)
        self.world.adopt(snapshot, self.directory)
        self.world.assume()
        self.bound.adopted()

    def ask(
        self, content: str | bytes = "hello", *, stream: bool = False, room: int | None = None,
        key: bytes | None = None, consumer: str = "", model: str = "", api_version: str | None = "2024-10-21",
        headers: Sequence[tuple[bytes, bytes]] = (), retry: int = 0,
        over: Callable[[Client], None] | None = None, api: str = "chat_completions", **fields: Any,
    ) -> Client:  # fmt: skip
        """A request, now. `content`: the user's message, or a whole body as bytes; `api_version` None: undated;
        `consumer`, `model`: by name, the first if not given; `key`: another than the consumer's own; `headers`: those
        that go up; `retry`: how often an SDK asked the same before; `api`: the operation."""
        model = model or self.snapshot.models[0].name
        if isinstance(content, str):
            document = {"model": model, "messages": [{"role": "user", "content": content}], **fields}
            if stream:
                document["stream"] = True
            content = msgspec.json.encode(document)
        self.asked += 1
        shown = Shown([key]) if key is not None else self._shown[consumer or self.directory.consumers[0].name]
        client = Client(self, content, room, over)
        client.drive = Drive(self.bound, APIS[api], client)
        chance = (self.asked * 0.6180339887) % 1.0
        path_model = model if api_version else None
        client.drive.start(
            Head(
                self.clock.now(), f"{self.asked:032x}", api, path_model, api_version, shown, headers,
                "", chance, retries=retry,
            )
        )  # fmt: skip
        return client

    def play(self, times: Iterable[float], ask: Callable[[int], Any]) -> None:
        """Call `ask(n)` at each of these times (seconds from now, ascending), without filing them all ahead."""
        start = self.clock.now()
        coming = enumerate(times)

        def next_one() -> None:
            found = next(coming, None)
            if found is not None:
                number, when = found

                def now() -> None:
                    next_one()
                    ask(number)

                self.clock.at(start + when, now)

        next_one()

    def settle(self, limit_s: float = 3600.0) -> None:
        """Let time pass until every exchange is over. Raises TimeoutError."""
        deadline = self.clock.now() + limit_s
        while self.bound.live:
            if self.clock.now() >= deadline:
                raise TimeoutError(f"{len(self.bound.live)} exchanges still open after {limit_s} s")
            self.clock.run_for(1.0)


def _keys(snapshot: Snapshot) -> dict[str, str]:
    """What the gateway shows its instances, by their names."""
    keys = {i.name: STAND_IN for i in snapshot.instances if i.auth.identity}
    return keys | {i.name: i.auth.secret.reveal() for i in snapshot.instances if i.auth.secret is not None}


def _shows(instance: Instance) -> bool:
    """A key or a token of ours."""
    return instance.auth.secret is not None or instance.auth.identity > 0


def _keyed(directory: Directory) -> tuple[Directory, dict[str, Shown]]:
    """The same consumers with keys that the stage knows, and these keys by name: a directory holds digests only."""
    keys = {entry.name: b"%b of %b" % (KEY, entry.name.encode()) for entry in directory.consumers}
    consumers = tuple(replace(entry, digests=(digest(keys[entry.name], SECRET),)) for entry in directory.consumers)
    shown = {name: Shown([key]) for name, key in keys.items()}
    return replace(directory, secrets=(SECRET,), consumers=consumers), shown


def snapshot_of(upstream: SimUpstream, **model: Any) -> Snapshot:
    """A configuration that fits the fleet: provisioned deployments in tier 0, the others in tier 1."""
    instances: list[Instance] = []
    deployments: list[Deployment] = []
    for number, (name, behind) in enumerate(upstream.behind.items()):
        auth = Auth("key", Secret(behind.key))
        base = "/v1" if behind.spec.kind == "openai_compatible" else ""
        instances.append(Instance(number, name, behind.spec.kind, "http", "127.0.0.1", 80, base, auth))
        for label, spec in behind.spec.deployments.items():
            tier = 0 if spec.sku.endswith(PROVISIONED) else 1
            deployments.append(Deployment(len(deployments), label, number, spec.model, spec.version, spec.sku, tier))
    order = tuple(d.number for d in sorted(deployments, key=lambda d: d.tier))
    operations = model.pop("operations", ("chat_completions",))
    models = (Model(1, "chat", order, operations, **model),)
    return Snapshot("0" * 12, Gateway(), tuple(instances), tuple(deployments), models)


AS_USUAL: Final[Mapping[str, Any]] = {
    "latency": {"first_token_s": 0.4, "per_token_s": 0.02, "jitter": 0.25}, "burst": 16,
}  # fmt: skip
"""How a deployment answers of which only the configuration is known."""


def fleet_of(snapshot: Snapshot) -> dict[str, Any]:
    """A fleet that fits the configuration, as plain data: its instances, deployments and their declared capacity."""
    instances: dict[str, Any] = {}
    for instance in snapshot.instances:
        deployments: dict[str, Any] = {}
        for d in snapshot.deployments:
            if d.instance == instance.number:
                made: dict[str, Any] = {"model": d.model, "version": d.version, "sku": d.sku, **AS_USUAL}
                deployments[d.name] = made
                if d.ptu and ptu(d.model, d.sku) is not None:
                    made["capacity"] = {"ptu": d.ptu}
                elif d.capacity and not d.sku.endswith(PROVISIONED):
                    made["capacity"] = {"tokens_per_minute": d.capacity}
                longest = d.max_input or d.window
                if longest:
                    made["max_input"] = longest
        found = {"kind": instance.provider, "region": instance.region or "westeurope", "deployments": deployments}
        instances[instance.name] = found if _shows(instance) else {**found, "keyless": True}
    return {"instances": instances}
