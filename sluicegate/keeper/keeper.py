"""The keeper's life: start the workers, take new configurations, replace workers, leave.

SIGTERM and SIGINT drain and end; SIGHUP loads the configuration again, as does a change of its files; SIGUSR2 replaces
the workers one at a time. If the keeper is killed, workers go on with what they have until somebody sends them SIGTERM
or the next keeper of the same `gateway.data` takes over (orphans.py).
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from sluicegate.core.settings import Gateway
from sluicegate.core.snapshot import Directory, Snapshot
from sluicegate.keeper.supervisor import CannotStart, Supervisor
from sluicegate.keeper.watch import Watched
from sluicegate.link.parcel import pack
from sluicegate.spec.fingerprint import fingerprint
from sluicegate.spec.load import Loaded
from sluicegate.spec.problems import render

LOOK_S = 1.0
"""How often files are looked at."""

RESTART: dict[str, Callable[[Gateway], object]] = {
    "gateway.listen": lambda g: g.listen,
    "gateway.admin": lambda g: g.admin,
    "gateway.workers": lambda g: g.workers,
    "gateway.data": lambda g: g.data,
}
"""What takes effect at the next start only."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a reload came to. `state`: adopted, unchanged or refused; `waiting`: changes that need a restart."""

    state: str
    config: str
    "Hash of what is in force now."
    report: str = ""
    "What is wrong, or worth knowing, for people."
    waiting: tuple[str, ...] = ()


class Beside(Protocol):
    """Something that lives in the keeper beside the workers: admin, access log, journal mover."""

    async def start(self, keeper: Keeper) -> None: ...
    async def stop(self) -> None: ...


class Keeper:
    """One gateway. `compile_` loads the configuration again; `files` are looked at for changes."""

    def __init__(
        self,
        loaded: Loaded,
        sockets: Sequence[socket.socket],
        compile_: Callable[[], Loaded],
        files: Sequence[str] = (),
        beside: Sequence[Beside] = (),
        counters_fd: int = -1,
    ) -> None:
        assert loaded.snapshot is not None and loaded.directory is not None
        self.snapshot: Snapshot = loaded.snapshot
        self.directory: Directory = loaded.directory
        self.compile = compile_
        self.watched = Watched(files)
        self.beside = beside
        self.sockets = sockets
        self.supervisor = Supervisor(sockets, say, counters_fd)
        self.on_hangup: list[Callable[[], None]] = []
        "Called on SIGHUP before the configuration is loaded again: log files are opened anew."
        self._told = asyncio.Event()
        self._loading = asyncio.Lock()
        self._background: set[asyncio.Task[Any]] = set()

    async def run(self) -> int:
        """Until told to leave. The exit status."""
        loop = asyncio.get_running_loop()
        port = self.sockets[0].getsockname()[1]
        loop.add_signal_handler(signal.SIGCHLD, self.supervisor.reap)
        for sig in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(sig, self._told.set)
        for sig in (signal.SIGHUP, signal.SIGUSR2):  # not yet, but no reason to die
            loop.add_signal_handler(sig, lambda: None)
        try:
            await self.supervisor.start(pack(self.snapshot, self.directory), self.snapshot.hash)
        except CannotStart as e:
            print(f"sluicegate: a worker could not start: {e}", file=sys.stderr, flush=True)
            return 1
        started: list[Beside] = []
        try:
            for thing in self.beside:
                await thing.start(self)
                started.append(thing)
            loop.add_signal_handler(signal.SIGHUP, self._hang_up)
            loop.add_signal_handler(signal.SIGUSR2, lambda: self._go(self.restart()))
            workers = [w.pid for w in self.supervisor.workers]
            host = self.snapshot.gateway.listen.host
            say("ready", config=self.snapshot.hash, host=host, port=port, workers=workers)
            self._go(self._look())
            await self._told.wait()
        finally:
            for sig in (signal.SIGTERM, signal.SIGINT):  # a second signal does not wait
                loop.add_signal_handler(sig, self._hurry)
            for task in self._background:
                task.cancel()
            await self.supervisor.stop(self.snapshot.gateway.drain_s)
            for thing in reversed(started):
                await thing.stop()
        totals = {name: value for name, value in self.supervisor.totals.items() if name != "event"}
        say("totals", **totals)
        return 0

    # ------------------------------------------------------------------ configuration

    async def reload(self, only_if_new: bool = False) -> Outcome:
        """Load the configuration again; put it in force on all workers, or on none. Says so on stderr too."""
        async with self._loading:
            loaded = await asyncio.to_thread(self.compile)
            outcome = await self._take(loaded, only_if_new)
        if outcome.report:
            print(outcome.report, file=sys.stderr)
        say(
            f"config.{outcome.state}",
            config=outcome.config,
            **({"restart": outcome.waiting} if outcome.waiting else {}),
        )
        return outcome

    async def _take(self, loaded: Loaded, only_if_new: bool) -> Outcome:
        if loaded.problems.fatal or loaded.snapshot is None or loaded.directory is None:
            end = f"the running configuration ({self.snapshot.hash}) stays in force"
            return Outcome("refused", self.snapshot.hash, render(loaded.problems, end))
        snapshot, waiting = self._live(loaded.snapshot, loaded.directory)
        report = render(loaded.problems)
        for name in waiting:
            report += f"\n{name} changed: it takes effect at the next start; the rest does now"
        if only_if_new and snapshot.hash == self.snapshot.hash:
            return Outcome("unchanged", snapshot.hash, report.strip(), waiting)
        whole = pack(snapshot, loaded.directory)
        same = loaded.directory == self.directory
        error = await self.supervisor.adopt(whole, pack(snapshot, None) if same else whole, snapshot.hash)
        if error:
            end = f"{error}\nthe running configuration ({self.snapshot.hash}) stays in force"
            return Outcome("refused", self.snapshot.hash, end)
        self.snapshot = snapshot
        if not same:
            self.directory = loaded.directory
        return Outcome("adopted", snapshot.hash, report.strip(), waiting)

    def _live(self, new: Snapshot, directory: Directory) -> tuple[Snapshot, tuple[str, ...]]:
        """The new configuration with what needs a restart left as it is, and the names of that."""
        running = self.snapshot.gateway
        waiting = tuple(name for name, part in RESTART.items() if part(new.gateway) != part(running))
        if not waiting:
            return new, ()
        gateway = replace(
            new.gateway, listen=running.listen, admin=running.admin, workers=running.workers, data=running.data
        )
        effective = replace(new, gateway=gateway)
        return replace(effective, hash=fingerprint(effective, directory)), waiting

    # ------------------------------------------------------------------ told from outside

    async def restart(self) -> str:
        """Replace all workers, one at a time. Empty, or what was in the way."""
        error = await self.supervisor.roll(self.snapshot.gateway.drain_s)
        say("restart.refused" if error else "restarted", **({"error": error} if error else {}))
        return error

    def _hang_up(self) -> None:
        for call in self.on_hangup:
            call()
        self._go(self.reload())

    def _hurry(self) -> None:
        for worker in self.supervisor.workers:
            worker.kill()

    async def _look(self) -> None:
        """Once a second: files that changed, children that ended unseen."""
        while True:
            await asyncio.sleep(LOOK_S)
            self.supervisor.reap()
            if self.watched.changed():
                await self.reload(only_if_new=True)

    def _go(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def say(event: str, **facts: Any) -> None:
    """One line of JSON on stderr."""
    try:
        print(json.dumps({"event": event, **facts}), file=sys.stderr, flush=True)
    except OSError:  # nobody reads it any more: no reason to stop
        pass
