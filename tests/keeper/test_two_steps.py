"""A configuration is in force on all workers or on none, whatever each of them answers, or does not."""

from __future__ import annotations

import asyncio
import os
import socket
from functools import partial
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.keeper.supervisor import HANG_S, START_S, Pack, Supervisor, add, regions
from sluicegate.link.channel import Adopt, Down, Forget, Offer, Taken
from sluicegate.link.counters import NOWHERE

_reads = msgspec.msgpack.Decoder(Down)


class Scripted:
    """A worker that answers as the test says. Until it adopts it has `old` in force."""

    def __init__(self, prepares: str, adopts: str) -> None:
        self.state = "ready"
        self.pid = 1
        self.config = "old"
        self.parcel = 1
        self.answers = [prepares, adopts]
        self.got: list[type] = []
        self.killed = False

    def expect(self, version: int) -> None:
        pass

    def send_packed(self, data: bytes) -> None:
        self.send(_reads.decode(data[4:]))

    def send(self, message: Any) -> None:
        self.got.append(type(message))
        if type(message) is Adopt and self.answers[0] == "in force":
            self.config = "new"

    async def took(self, version: int, within_s: float) -> Taken:
        await asyncio.sleep(0)
        return Taken(version, self.config, self.answers.pop(0), "cannot")

    def kill(self) -> None:
        self.killed = True


def supervised(workers: list[Scripted]) -> Supervisor:
    supervisor = Supervisor([], lambda event, **facts: None)
    supervisor.seats = [SimpleNamespace(worker=w) for w in workers]  # type: ignore[misc]
    supervisor._keep(b"old parcel", "old")
    return supervisor


answers = st.tuples(st.sampled_from(["prepared", "prepared", "refused"]), st.sampled_from(["in force", "refused"]))


@given(st.lists(answers, min_size=1, max_size=5))
def test_all_or_none(script: list[tuple[str, str]]):
    workers = [Scripted(*each) for each in script]

    async def run() -> tuple[str, str]:
        supervisor = supervised(workers)
        error = await supervisor.adopt(b"new parcel", b"change", "new")
        assert supervisor._parcel is not None
        supervisor._parcel.close()
        return error, supervisor.config

    error, config = asyncio.run(run())
    if any(prepares == "refused" for prepares, _ in script):
        assert (error, config) == ("cannot", "old")
        assert all(w.got == [Offer, Forget] and w.config == "old" and not w.killed for w in workers)
    else:
        assert (error, config) == ("", "new")
        assert all(w.got == [Offer, Adopt] for w in workers)
        # Who does not adopt what it prepared is replaced by one that starts with the new one.
        assert all(w.killed == (w.config != "new") for w in workers)


def test_a_worker_that_came_up_meanwhile_gets_what_is_in_force():
    first, late = Scripted("prepared", "in force"), Scripted("prepared", "in force")

    async def run() -> None:
        supervisor = supervised([first])
        took = first.took

        async def and_somebody_comes(version: int, within_s: float) -> Taken:
            if len(supervisor.seats) == 1:
                supervisor.seats.append(SimpleNamespace(worker=late))  # type: ignore[arg-type]
            return await took(version, within_s)

        first.took = and_somebody_comes  # type: ignore[method-assign]
        assert await supervisor.adopt(b"new parcel", b"change", "new") == ""
        assert supervisor._parcel is not None
        supervisor._parcel.close()

    asyncio.run(run())
    assert late.got == [Offer, Adopt] and not late.killed


def test_so_does_one_where_a_drain_or_a_revoked_key_left_the_hash_as_it_was():
    late = Scripted("prepared", "in force")
    late.parcel = 0

    async def run() -> None:
        supervisor = supervised([])
        late.config = supervisor.config
        await supervisor._bring_up(late)  # type: ignore[arg-type]
        await supervisor._bring_up(late)  # type: ignore[arg-type]
        assert supervisor._parcel is not None
        supervisor._parcel.close()

    asyncio.run(run())
    assert late.got == [Offer, Adopt] and not late.killed, "once, and no more"


def test_a_worker_that_has_no_word_is_replaced_and_one_that_has_is_not():
    alive, stuck, leaving = (Scripted("", "") for _ in range(3))

    async def run() -> None:
        async def ask(worker: Scripted, what: str, within_s: float) -> Any:
            assert what == "alive" and within_s == HANG_S
            if worker is leaving:  # it was told to leave while it was asked
                worker.state = "leaving"
            return True if worker is alive else None

        for worker in (alive, stuck, leaving):
            worker.ask = partial(ask, worker)  # type: ignore[attr-defined]
        supervisor = supervised([alive, stuck, leaving])
        await supervisor.look_alive()
        assert supervisor._parcel is not None
        supervisor._parcel.close()

    asyncio.run(run())
    assert [w.killed for w in (alive, stuck, leaving)] == [False, True, False]


def test_totals_of_workers_add_up():
    sums: dict[str, Any] = {}
    add(sums, {"event": "totals", "records": 2, "refused_early": {"a": 1}})
    add(sums, {"records": 3, "refused_early": {"a": 1, "b": 4}})
    assert sums == {"records": 5, "refused_early": {"a": 2, "b": 4}}


def test_nothing_of_a_supervisor_is_left_when_no_worker_can_be_started(monkeypatch: Any):
    ours, theirs = socket.socketpair()

    async def run() -> None:
        supervisor = Supervisor([ours], lambda event, **facts: None)
        await supervisor.stop(0.0)
        assert ours.fileno() == -1
        assert not supervisor.workers

    asyncio.run(run())
    theirs.close()


def test_a_worker_has_time_for_what_it_reads():
    """A million consumers are 36 MB: on a busy machine that is more than half a minute."""
    supervisor = Supervisor([], lambda *_, **__: None)
    supervisor._keep(b"x" * 1000, "small")
    assert START_S <= supervisor._patience(START_S) < START_S + 1
    supervisor._keep(bytes(36 * 1024 * 1024), "large")
    assert supervisor._patience(START_S) > START_S + 100
    supervisor._keep(b"", "small again")
    assert supervisor._patience(START_S) == START_S
    assert supervisor._parcel is not None
    supervisor._parcel.close()


class Started(Scripted):
    """A worker of this region."""

    def __init__(self, seat: Any, region: int) -> None:
        super().__init__("in force", "in force")
        self.seat, self.region, self.totals, self.began = seat, region, {"event": "totals"}, 0.0
        self.popen = SimpleNamespace(returncode=0)
        self.over = False

    def reaped(self) -> bool:
        return self.over

    def leave(self, *args: Any, **more: Any) -> None:
        self.state = "leaving"


def test_as_many_workers_as_there_are_may_drain_and_the_next_one_has_a_seat(monkeypatch: pytest.MonkeyPatch):
    """The third that was told to leave beside long answers found no room in the shared counters: nobody followed it."""

    async def spawn(seat: Any, parcel_fd: int, counters_fd: int, region: int) -> Any:
        return Started(seat, region)

    async def run() -> None:
        monkeypatch.setattr("sluicegate.keeper.supervisor.spawn", spawn)
        monkeypatch.setattr("sluicegate.keeper.supervisor.SAME_SIGNAL_S", 0.0)
        supervisor = supervised([])
        supervisor.seats = [seat] = [SimpleNamespace(worker=None, restarts=0, failures=0)]  # type: ignore[list-item]
        supervisor._free = list(range(regions(1)))
        every = [await supervisor._seat(seat)]  # type: ignore[arg-type]
        for _ in range(6):
            supervisor.leaving(every[-1])
            await asyncio.gather(*supervisor._tasks)
            assert seat.worker is not None and seat.worker.state == "ready"
            every.append(seat.worker)
        assert [w.region for w in every] == [0, 1, 2, NOWHERE, NOWHERE, NOWHERE, NOWHERE]
        assert supervisor.live_regions() == {0, 1, 2}
        for worker in every[:-1]:
            worker.over = True  # type: ignore[attr-defined]
        supervisor.reap()
        assert sorted(supervisor._free) == [0, 1, 2] and seat.worker is every[-1]
        assert supervisor._parcel is not None
        supervisor._parcel.close()

    asyncio.run(run())


def test_a_seat_is_tried_again_whatever_was_in_the_way(monkeypatch: pytest.MonkeyPatch):
    wrong: list[Exception] = [OSError(12, "Cannot allocate memory"), IndexError("a bug")]

    async def spawn(seat: Any, parcel_fd: int, counters_fd: int, region: int) -> Any:
        if wrong:
            raise wrong.pop(0)
        return Started(seat, region)

    async def run() -> None:
        monkeypatch.setattr("sluicegate.keeper.supervisor.spawn", spawn)
        monkeypatch.setattr("sluicegate.keeper.supervisor.BACKOFF_S", (0.0,))
        said: list[str] = []
        supervisor = supervised([])
        supervisor.say = lambda event, **facts: said.append(facts.get("error", event))
        supervisor.seats = [seat] = [SimpleNamespace(worker=None, restarts=0, failures=0)]  # type: ignore[list-item]
        supervisor._free = list(range(regions(1)))
        supervisor._go(supervisor._revive(seat, 0.0))  # type: ignore[arg-type]
        while supervisor._tasks:
            await asyncio.gather(*supervisor._tasks)
        assert said == ["cannot allocate memory", "IndexError", "worker.ready"]
        assert seat.worker is not None and len(supervisor._free) == 2
        assert supervisor._parcel is not None
        supervisor._parcel.close()


def test_what_workers_start_with_is_made_once_when_one_needs_it_and_is_that_of_the_last_change():
    made: list[str] = []

    def pack(name: str) -> Pack:
        async def packed() -> bytes:
            made.append(name)
            await asyncio.sleep(0)
            return name.encode()

        return packed

    async def run() -> None:
        supervisor = supervised([])
        for name in ("one", "two", "three"):
            assert await supervisor.adopt(pack(name), b"change", name) == ""
        assert made == [] and supervisor.config == "three"
        first = asyncio.ensure_future(supervisor._fresh())
        await asyncio.sleep(0)
        assert await supervisor.adopt(pack("four"), b"change", "four") == ""  # while the third is being made
        await first
        assert made == ["three", "four"]
        assert supervisor._parcel is not None
        assert os.pread(supervisor._parcel.fileno(), 100, 0) == b"four"
        await supervisor._fresh()
        assert made == ["three", "four"], "nothing is made twice"
        assert await supervisor.adopt(b"whole", b"change", "five") == ""
        await supervisor._fresh()
        assert os.pread(supervisor._parcel.fileno(), 100, 0) == b"whole"
        supervisor._parcel.close()
        for task in supervisor._tasks:
            task.cancel()

    asyncio.run(run())


def test_a_rolling_restart_for_which_there_is_no_memory_leaves_all_as_it_is(monkeypatch: pytest.MonkeyPatch):
    async def spawn(seat: Any, parcel_fd: int, counters_fd: int, region: int) -> Any:
        raise OSError(12, "Cannot allocate memory")

    async def run() -> None:
        monkeypatch.setattr("sluicegate.keeper.supervisor.spawn", spawn)
        workers = [Scripted("prepared", "in force")]
        supervisor = supervised(workers)
        supervisor._free = [1]
        assert await supervisor.roll(1.0) == "no worker could be started: cannot allocate memory"
        assert workers[0].state == "ready" and supervisor._free == [1] and not supervisor.changing.locked()
        assert supervisor._parcel is not None
        supervisor._parcel.close()

    asyncio.run(run())
