"""A fleet of simulated instances on real sockets: in the caller's loop (`Fleet`), or in a thread (`FleetThread`).

In three lines:

    with FleetThread({"weu": {"deployments": {"gpt-4o": {}}}}) as fleet:
        fleet.fault("throttle", instance="weu", wait_s=2, times=1)
        ... fleet["weu"].endpoint, fleet["weu"].key, fleet.ledger ...
"""

from __future__ import annotations

import asyncio
import errno
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import uvloop

from sluicegate.sim.answer import Answer
from sluicegate.sim.azure.instance import Instance
from sluicegate.sim.azure.request import Request
from sluicegate.sim.control import Control
from sluicegate.sim.door import Door
from sluicegate.sim.instances import Given, Instances
from sluicegate.sim.ledger import Entry, Ledger
from sluicegate.sim.spec import InstanceSpec
from sluicegate.sim.tls import Certificates

T = TypeVar("T")


class PortTaken(Exception):
    """An address cannot be listened on; the text says which and why."""


class Served:
    """One instance of a fleet, with its door. As a desk (sim/server.py) it hands requests to the instance."""

    door: Door

    def __init__(self, instance: Instance, tls: Certificates | None) -> None:
        self.instance = instance
        self.name = instance.name
        self.tls = tls

    @property
    def port(self) -> int:
        return self.door.port

    @property
    def key(self) -> str:
        return self.instance.key

    @property
    def origin(self) -> str:
        """scheme://host:port"""
        host = f"[{self.door.host}]" if ":" in self.door.host else self.door.host
        if self.tls is not None and host == "127.0.0.1":
            host = "localhost"
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"

    @property
    def endpoint(self) -> str:
        """As it is written into a gateway's configuration, or an SDK's `azure_endpoint`."""
        return self.origin + ("/v1" if self.instance.spec.kind == "openai_compatible" else "")

    def accepting(self, now: float) -> str:
        return self.instance.faults.accepting(self.name, now)

    def arrived(self, entry: Entry) -> None:
        self.instance.ledger.add(entry)

    def early(self, request: Request, entry: Entry, now: float, wall: float) -> Answer | None:
        answer = self.instance.early(request, entry, now, wall)
        self.instance.ledger.changed()
        return answer

    def answer(self, request: Request, entry: Entry, now: float, wall: float) -> Answer:
        answer = self.instance.answer(request, entry, now, wall)
        self.instance.ledger.changed()
        return answer

    def hung(self, entry: Entry) -> None:
        self.instance.ledger.changed()

    def ended(self, entry: Entry, how: str, now: float) -> None:
        self.instance.ledger.end(entry, how, now)


class Fleet(Instances):
    """`async with Fleet(...) as fleet`: serving in the running loop until the block ends."""

    def __init__(
        self,
        given: Given = 1,
        *,
        seed: int | None = None,
        tls: Certificates | None = None,
        keep_bodies: bool = True,
        wall: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(given, seed, keep_bodies)
        self.tls = tls
        self._wall = wall
        self._loop: asyncio.AbstractEventLoop | None = None
        self.served: dict[str, Served] = {}
        for name, instance in self.behind.items():
            if instance.spec.tls and tls is None:
                raise ValueError(f"instances.{name}.tls: no certificates were given")
            self.served[name] = Served(instance, tls if instance.spec.tls else None)
        self._control = Control(self)
        self.control_door: Door | None = None

    def __getitem__(self, name: str) -> Served:
        return self.served[name]

    def __iter__(self) -> Iterator[Served]:
        return iter(self.served.values())

    def now(self) -> float:
        return time.monotonic()

    # ------------------------------------------------------------------ life

    async def __aenter__(self) -> Fleet:
        loop = self._loop = asyncio.get_running_loop()
        try:
            for served in self.served.values():
                spec = served.instance.spec
                context = served.tls.context() if served.tls else None
                served.door = Door(served, loop, spec.host, spec.port, context, self._wall)
                self._open(served.door, "up" if spec.mode == "down" else spec.mode, f"instance {served.name}")
                if spec.mode == "down":  # its port is known and free
                    served.door.set_mode("down")
            if self.spec.control is not None:
                self.control_door = Door(self._control, loop, "127.0.0.1", self.spec.control, None)
                self._open(self.control_door, "up", "the control API")
        except BaseException:
            await self.__aexit__()
            raise
        return self

    def _open(self, door: Door, mode: str, what: str) -> None:
        try:
            door.set_mode(mode)
        except OSError as e:
            why = "is taken" if e.errno == errno.EADDRINUSE else (e.strerror or "cannot be had").lower()
            raise PortTaken(f"{what}: {door.host}:{door.port} {why}") from None

    async def __aexit__(self, *exc: object) -> None:
        for served in self.served.values():
            if hasattr(served, "door"):
                await served.door.stop()
        if self.control_door is not None:
            await self.control_door.stop()

    # ------------------------------------------------------------------ while it runs

    @property
    def control(self) -> str:
        """Address of the control API. Only where a control port was given (0: any)."""
        assert self.control_door is not None, "this fleet has no control port: give control: 0"
        return f"http://127.0.0.1:{self.control_door.port}"

    def applied(self, name: str, spec: InstanceSpec) -> None:
        served = self.served[name]
        if hasattr(served, "door"):
            served.door.set_mode(spec.mode)

    def export(self) -> dict[str, Any]:
        """With the ports and endpoints that came of it."""
        out = super().export()
        for served in self:
            out["instances"][served.name].update(port=served.port, endpoint=served.endpoint)
        return out

    async def until(self, holds: Callable[[Ledger], Any], timeout_s: float = 10.0) -> None:
        """Wait, without polling, until the ledger satisfies `holds`. Raises TimeoutError."""
        changed = asyncio.Event()
        self.ledger.on_change.append(changed.set)
        try:
            async with asyncio.timeout(timeout_s):
                while not holds(self.ledger):
                    changed.clear()
                    await changed.wait()
        finally:
            self.ledger.on_change.remove(changed.set)


class FleetThread(Fleet):
    """`with FleetThread(...) as fleet`: the same in a thread with a loop of its own. Faults, modes and the ledger may
    be used from outside; `fleet.ledger.wait(...)` waits for something to have happened."""

    def __init__(self, given: Given = 1, **more: Any) -> None:
        super().__init__(given, **more)
        self._up = threading.Event()
        self._stop: asyncio.Event | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="simulated fleet", daemon=True)

    def __enter__(self) -> FleetThread:
        self._thread.start()
        self._up.wait()
        if self._error is not None:
            self._thread.join()
            raise self._error
        return self

    def __exit__(self, *exc: object) -> None:
        if self._stop is not None and self._loop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def call(self, function: Callable[[], T]) -> T:
        """Run something in the fleet's loop and wait for its value."""

        async def run() -> T:
            return function()

        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(20)

    def patch(self, instances: Mapping[str, Any]) -> None:
        if threading.current_thread() is self._thread or not self._thread.is_alive():
            super().patch(instances)
        else:
            self.call(lambda: super(FleetThread, self).patch(instances))

    def reset(self) -> None:
        if threading.current_thread() is self._thread or not self._thread.is_alive():
            super().reset()
        else:
            self.call(super().reset)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._main())
        except BaseException as e:  # shown by __enter__
            self._error = e
        finally:
            self._up.set()

    async def _main(self) -> None:
        self._stop = asyncio.Event()
        async with self:
            self._up.set()
            await self._stop.wait()
