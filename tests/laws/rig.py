"""Four exchanges at once without sockets: a scripted upstream and recording clients around the real driver.

Every step is one thing the world may do next (a body arrives, an answer's piece, a failure, a client leaves, time
passes, the gateway drains); hypothesis chooses the order. The rig fails at once when a rule of a port is broken: a
callback after `cancel`, a write after `end`, two ends.
"""

from __future__ import annotations

from collections.abc import Callable

from sluicegate.apis import APIS
from sluicegate.core.caller import Shown, digest
from sluicegate.core.events import Head
from sluicegate.core.limits.base import LimitSpec
from sluicegate.core.secret import Secret
from sluicegate.core.settings import Gateway, OnDisconnect, Timeouts
from sluicegate.core.snapshot import Auth, ConsumerEntry, Deployment, Directory, Instance, Model, Snapshot
from sluicegate.core.state import World
from sluicegate.core.wheel import Wheel
from sluicegate.drive import Bound, Drive
from sluicegate.providers import PROVIDERS
from sluicegate.stores.memory.journal import Journal

KEY = b"a-client-key"
SECRET = Secret("installation-secret")

USAGE = b'"usage":{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18}'
PLAIN = (
    b'{"id":"c","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],'
    + USAGE
    + b"}"
)
EVENTS = (
    b'data: {"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[]}\n\n',
    b'data: {"choices":[{"delta":{"content":"hi"},"finish_reason":null,"index":0}],"id":"c","usage":null}\n\n',
    b'data: {"choices":[{"delta":{},"finish_reason":"stop","index":0}],"id":"c","usage":null}\n\n',
    b'data: {"choices":[],"id":"c",' + USAGE + b"}\n\n",
    b"data: [DONE]\n\n",
)
JSON_HEADERS = ((b"content-type", b"application/json"),)
SSE_HEADERS = ((b"content-type", b"text/event-stream"),)


def snapshot(members: int = 3, **model: object) -> Snapshot:
    """One model with that many deployments, each in an instance of its own."""
    instances = tuple(
        Instance(i, f"i{i}", "azure_openai", "http", "127.0.0.1", 80, "", Auth("key", Secret(f"up{i}")))
        for i in range(members)
    )
    deployments = tuple(Deployment(i, f"d{i}", i, "gpt-4o", "2024-11-20", "Standard", 1) for i in range(members))
    settings = {"timeouts": Timeouts(2.0, 10.0, 10.0, 100.0), "on_disconnect": OnDisconnect(0.0, 30.0), **model}
    models = (Model(1, "chat", tuple(range(members)), ("chat_completions",), **settings),)  # type: ignore[arg-type]
    return Snapshot("0" * 12, Gateway(), instances, deployments, models)


def directory() -> Directory:
    """One consumer that may use `chat`, with limits that it never reaches and that forget nothing."""
    limits = (LimitSpec("concurrency", 100), LimitSpec("token_rate", 10**9, window=1e6))
    return Directory((SECRET,), (ConsumerEntry(1, "app", "default", ("chat",), (digest(KEY, SECRET),), limits),))


class ScriptedAttempt:
    """An attempt whose answer the test writes."""

    def __init__(self, upstream: ScriptedUpstream, call: object, sink: object) -> None:
        self.upstream = upstream
        self.call = call
        self.sink = sink
        self.sent = "all"
        self.over = False
        self.paused = False
        self.headed = False
        self.events = 0

    def pause(self) -> None:
        assert not self.over
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def cancel(self) -> None:
        assert not self.over, "cancelled after it was over"
        self.over = True

    def head(self, status: int, headers: object) -> None:
        assert not self.over and not self.headed
        self.headed = True
        self.sink.head(status, headers, self.upstream.now())  # type: ignore[attr-defined]

    def data(self, chunk: bytes) -> None:
        assert not self.over
        self.sink.data(chunk, self.upstream.now())  # type: ignore[attr-defined]

    def end(self, how: str) -> None:
        assert not self.over
        self.over = True
        self.sink.end(how, self.upstream.now())  # type: ignore[attr-defined]


class ScriptedUpstream:
    """The upstream port, by hand."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.attempts: list[ScriptedAttempt] = []
        self.fail_at_once = 0
        "So many next starts fail before `start` returns."

    def start(self, call: object, sink: object) -> ScriptedAttempt:
        attempt = ScriptedAttempt(self, call, sink)
        self.attempts.append(attempt)
        if self.fail_at_once:
            self.fail_at_once -= 1
            attempt.sent = "nothing"
            attempt.end("connect.refused")
        return attempt

    def open(self) -> list[ScriptedAttempt]:
        return [a for a in self.attempts if not a.over]


class RecordingClient:
    """The downstream port: keeps what the client saw and fails on what must never happen."""

    def __init__(self, full: bool = False) -> None:
        self.status = 0
        self.headers = b""
        self.length: int | None = None
        self.body = b""
        self.ended = False
        self.was_reset = False
        self.reading = False
        self.full = full

    def read(self, max_bytes: int) -> None:
        self.reading = True

    def head(self, status: int, headers: bytes, length: int | None) -> None:
        assert not self.status, "two heads"
        assert not self.ended
        self.status, self.headers, self.length = status, headers, length

    def data(self, chunk: bytes) -> bool:
        assert self.status and not self.ended and not self.was_reset
        self.body += bytes(chunk)
        return not self.full

    def end(self) -> None:
        assert self.status and not self.ended and not self.was_reset
        self.ended = True

    def reset(self) -> None:
        assert not self.ended
        self.was_reset = True


class Rig:
    """A gateway of pure parts: the real World, driver, rows and journal; scripted shores; time by hand."""

    def __init__(self, members: int = 3, **model: object) -> None:
        self.clock = 1000.0
        self.journal = Journal(strict=True)
        self.wheel = Wheel()
        self.world = World(snapshot(members, **model), directory(), self.journal)
        self.upstream = ScriptedUpstream(self.now)
        self.bugs: list[BaseException] = []
        self.bound = Bound(
            self.world, self.upstream, PROVIDERS, self.wheel, self.now, lambda: 1.7e9 + self.clock, self.bugs.append
        )
        self.clients: list[RecordingClient] = []
        self.drives: list[Drive] = []

    def now(self) -> float:
        return self.clock

    def pass_time(self, seconds: float) -> None:
        self.clock += seconds
        self.wheel.turn(self.clock)

    def ask(self, stream: bool = False, *, full: bool = False, dated: bool = True, key: bytes = KEY) -> Drive:
        """A client's head arrives."""
        client = RecordingClient(full)
        drive = Drive(self.bound, APIS["chat_completions"], client)
        self.clients.append(client)
        self.drives.append(drive)
        drive.start(
            Head(self.clock, f"{len(self.drives):032x}", "chat_completions", "chat" if dated else None,
                 "2024-10-21" if dated else None, Shown([key]), [], "127.0.0.1", 0.5)
        )  # fmt: skip
        return drive

    def send_body(self, drive: Drive, stream: bool) -> None:
        """Its body arrives."""
        client = self.clients[self.drives.index(drive)]
        if client.reading and not drive.done:
            client.reading = False
            body = b'{"model":"chat","messages":[{"role":"user","content":"hello"}]' + (
                b',"stream":true}' if stream else b"}"
            )
            drive.body(body, self.clock)

    def plain(self, stream: bool = False) -> tuple[Drive, RecordingClient]:
        """Head and body at once."""
        drive = self.ask()
        self.send_body(drive, stream)
        return drive, self.clients[-1]

    def settled(self) -> None:
        """What must hold when every exchange is over."""
        assert not self.bugs, self.bugs
        assert all(d.done for d in self.drives)
        assert not self.bound.live
        assert self.world.in_flight == 0
        assert [(d.in_flight, d.tokens) for d in self.world.doors.values()] == [(0, 0)] * len(self.world.doors)
        booked = sum(r.usage.total_input + r.usage.total_output for r in self.journal.recent if r.usage)
        lost = sum(
            r.estimate
            for r in self.journal.recent
            if r.usage is None and any(not a.status and a.sent != "nothing" for a in r.attempts)
        )
        counted = {limit.kind: limit.used(self.clock) for limit in self.world.policies.limits()}
        assert counted in ({}, {"concurrency": 0, "token_rate": booked + lost}), "what limits hold is what was booked"
        totals = self.journal.totals()
        assert totals["open"] == 0
        assert totals["settled"] + totals["interrupted"] + totals["refused"] == len(self.drives)  # type: ignore[operator]
        for drive, client in zip(self.drives, self.clients, strict=True):
            assert client.ended != (drive.gone or client.was_reset), "a client got an answer's end, or a reset, or left"
