"""A gateway of the test's own: the real worker on a real port, in a thread with its own loop.

The journal is at hand (`gateway.journal.recent`), so a test can say what the client saw and what was booked.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import uvloop

from sluicegate.core.breaker import BreakerSpec
from sluicegate.core.caller import digest
from sluicegate.core.secret import Secret
from sluicegate.core.settings import Gateway, Listen
from sluicegate.core.snapshot import Auth, ConsumerEntry, Deployment, Directory, Instance, Model, Snapshot
from sluicegate.worker import Worker

UNMOVED = BreakerSpec(faults=1_000_000, share=2.0)
"""For a gateway whose deployments misbehave again and again, and must be asked every time."""

LIVE: set[GatewayThread] = set()
"""Those that are up."""

T = TypeVar("T")
KEY = "client-key-0123456789"
UPSTREAM_KEY = "upstream-key-0123456789"
SECRET = Secret("the installation's secret of these tests")


def instance(number: int, port: int, **more: Any) -> Instance:
    """An Azure OpenAI instance on loopback."""
    values: dict[str, Any] = {
        "provider": "azure_openai", "scheme": "http", "host": "127.0.0.1", "base_path": "",
        "auth": Auth("key", Secret(UPSTREAM_KEY)), **more,
    }  # fmt: skip
    return Instance(number=number, name=values.pop("name", f"i{number}"), port=port, **values)


def snapshot(instances: list[Instance], listen: Listen | None = None, drain_s: float = 5.0, **model: Any) -> Snapshot:
    """Model `chat` over one deployment `gpt-4o-<n>` in each instance, in their order; faults open no breaker
    and use up no budget."""
    model = {"breaker": UNMOVED, **model}
    deployments = tuple(
        Deployment(i.number, f"gpt-4o-{i.number}", i.number, "gpt-4o", "2024-11-20", "Standard", 1) for i in instances
    )
    models = (Model(1, "chat", tuple(i.number for i in instances), ("chat_completions",), **model),)
    return Snapshot(
        "0123456789ab", Gateway(listen=listen or Listen(port=0), drain_s=drain_s, retry_budget=100.0),
        tuple(instances), deployments, models,
    )  # fmt: skip


def directory(models: tuple[str, ...] = ("chat",)) -> Directory:
    """One consumer, `app`, with KEY."""
    return Directory((SECRET,), (ConsumerEntry(1, "app", "default", models, (digest(KEY.encode(), SECRET),)),))


class GatewayThread:
    """`with GatewayThread(snapshot) as gateway`: serving on `gateway.port` until the block ends, then drained."""

    def __init__(self, snapshot: Snapshot, directory_: Directory | None = None) -> None:
        self.snapshot = snapshot
        self.directory = directory_ or directory()
        self.worker: Worker
        self.port = 0
        self.totals: dict[str, Any] = {}
        self._up = threading.Event()
        self._stop: asyncio.Event
        self._loop: asyncio.AbstractEventLoop
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="gateway", daemon=True)
        self.still_listen_s = 0.0
        self.bugs: list[BaseException] = []

    def __enter__(self) -> GatewayThread:
        self._thread.start()
        self._up.wait(20)
        if self._error is not None:
            raise self._error
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()
        assert not self.bugs, self.bugs

    def stop(self) -> None:
        """Drain and end."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(30)
            assert not self._thread.is_alive(), "the gateway did not stop"

    @property
    def url(self) -> str:
        scheme = "https" if self.snapshot.gateway.listen.tls else "http"
        return f"{scheme}://localhost:{self.port}" if scheme == "https" else f"http://127.0.0.1:{self.port}"

    @property
    def journal(self) -> Any:
        return self.worker.journal

    def forget(self) -> None:
        """As if nothing had happened yet: every door open, nobody carrying anything."""

        def forget() -> None:
            world = self.worker.world
            world.doors.clear()
            world.members.clear()
            world.adopt(world.snapshot, world.callers)

        self.call(forget)

    def call(self, function: Callable[[], T]) -> T:
        """Run something in the gateway's loop and wait for its value."""

        async def run() -> T:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(20)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._main())
        except BaseException as e:
            self._error = e
            self._up.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = listening.getsockname()[1]
        self.worker = Worker(self.snapshot, self.directory)
        self.worker.bound.report = self.bugs.append
        self.worker.start([listening])
        self._up.set()
        LIVE.add(self)
        await self._stop.wait()
        LIVE.discard(self)
        await self.worker.stop(self.snapshot.gateway.drain_s, self.still_listen_s)
        self.totals = self.worker.totals()
