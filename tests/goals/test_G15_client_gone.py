"""G15: the client goes away: while sending, while waiting, before the first token, in the middle, at the last token.

Passed when the simulator's ledger sees a stream cancelled within a second, a plain call finished and booked, when the
usage of what was delivered is recorded, and when after ten thousand of them everything is back where it was.
"""

import asyncio
import gc
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from sluicegate.core.secret import Secret
from sluicegate.core.settings import OnDisconnect
from sluicegate.core.snapshot import Auth
from sluicegate.sim.fleet import FleetThread
from sluicegate.sim.ledger import Entry
from tests.clients.members import over, records, run, serving, settled, until
from tests.gateway import GatewayThread, instance
from tests.goals.calling import percentile, request

WORD, ROLE = b'"delta":{"content":"', b'"delta":{"content":"",'
CHUNK = b"data: "
TOKENS = 40
TOKEN_S = 0.01
FIRST_S = 0.05


@contextmanager
def two(on_disconnect: OnDisconnect | None = None, **latency: float) -> Iterator[tuple[GatewayThread, FleetThread]]:
    """A gateway over two simulated instances whose answers take a while."""
    spec = {"latency": {"first_token_s": FIRST_S, "per_token_s": TOKEN_S, "head_s": 0.01, **latency}}
    given = {f"i{n}": {"deployments": {f"gpt-4o-{n}": {**spec, "tokens": [TOKENS, TOKENS]}}} for n in (1, 2)}
    with FleetThread(given, keep_bodies=False) as fleet:
        instances = [
            instance(n, served.port, auth=Auth("key", Secret(served.key))) for n, served in enumerate(fleet, 1)
        ]
        more = {"on_disconnect": on_disconnect} if on_disconnect else {}
        with serving(over(instances, {"chat": [1, 2]}, in_order=True, **more)) as gateway:
            yield gateway, fleet


class Leaver:
    """A client that leaves when it has seen enough. `words`: how many content events; `rudely`: with a reset;
    `arrived`: where it waits for nothing else, whether its request is upstream."""

    def __init__(
        self, port: int, message: bytes, words: int | None, rudely: bool, arrived: Callable[[], Any] | None = None
    ) -> None:
        self.port = port
        self.arrived = arrived
        self.message = message
        self.words = words
        self.rudely = rudely
        self.seen = b""
        self.left_at = 0.0

    async def go(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(self.message)
        if self.words is not None:
            await self.read(reader)
        while self.arrived is not None and not self.arrived():  # noqa: ASYNC110 - it is another thread that knows
            await asyncio.sleep(0.001)
        self.left_at = time.monotonic()
        if self.rudely:
            writer.transport.abort()
        writer.close()
        try:
            await writer.wait_closed()
        except OSError:
            pass

    async def read(self, reader: asyncio.StreamReader) -> None:
        """As many words, or (0) the head and the first event, which has no choices."""
        assert self.words is not None
        while self.seen.count(WORD) - self.seen.count(ROLE) < self.words or CHUNK not in self.seen:
            more = await reader.read(65536)
            if not more:
                return
            self.seen += more


HALF_HEAD, HEAD, WAITING = "half a head", "a head, no body", "a request, no answer yet"
PLACES: dict[str, int | None] = {
    HALF_HEAD: None, HEAD: None, WAITING: None, "before the first token": 0, "at the first token": 1,
    "in the middle": TOKENS // 2, "at the last token": TOKENS,
}  # fmt: skip


def leaver(port: int, place: str, rudely: bool, name: str = "", fleet: FleetThread | None = None) -> Leaver:
    """A client that leaves at this place; with a fleet, not before its request is there."""
    message = request("hello", stream=True, name=name)
    if place == HALF_HEAD:
        message = message[:40]
    elif place == HEAD:
        message = message[: message.index(b"\r\n\r\n") + 4]
    waits = fleet is not None and place == WAITING
    return Leaver(port, message, PLACES[place], rudely, (lambda: name in by_name(fleet)) if waits else None)


def by_name(fleet: FleetThread | None) -> dict[str | None, Entry]:
    """What the simulator saw, by the names that clients gave their requests."""
    return {e.header("x-ms-client-request-id"): e for e in fleet.ledger} if fleet else {}


async def leave(leavers: list[Leaver], at_once: int) -> None:
    """All of them, some at once."""
    left = iter(leavers)

    async def one_after_another() -> None:
        for one in left:
            await one.go()

    await asyncio.gather(*(one_after_another() for _ in range(at_once)))


def test_goal_G15_streams_are_cancelled_and_booked(short: bool):
    late, figures = [], Counter[str]()
    for place in PLACES:
        with two() as (gateway, fleet):
            count = 20 if short else 100
            leavers = [leaver(gateway.port, place, bool(n % 2), f"{n}", fleet) for n in range(count)]
            run(leave(leavers, 20))
            asked_nothing = place in (HALF_HEAD, HEAD)
            settled(gateway, 0 if asked_nothing else count)
            assert fleet.ledger.wait(lambda ledger: not ledger.open(), 5)
            entries = by_name(fleet)
            if asked_nothing:
                assert not entries and not records(gateway)
                continue
            assert len(entries) == count
            for number, one in enumerate(leavers):
                entry = entries[f"{number}"]
                if entry.ended == "client":
                    assert entry.left_at is not None
                    late.append(entry.left_at - one.left_at)
            figures["cancelled"] += sum(e.ended == "client" for e in entries.values())
            figures["done"] += sum(e.ended == "done" for e in entries.values())
            for record in records(gateway).values():
                figures[f"{record.state} {record.how}"] += 1
                assert record.state == "settled" and record.how in ("gone", "done")
                assert record.usage is not None and record.usage.input > 0
                if PLACES[place] is not None:
                    assert record.usage.total_output >= (PLACES[place] or 0), "what was delivered is booked"
            # who leaves at the last token may find that everything was said
            assert place == "at the last token" or all(e.ended == "client" for e in entries.values())
    print(
        f"\nG15 client gone: streams left at {len(PLACES)} places, {len(late)} of them cancelled upstream: after "
        f"{percentile(late, 0.5) * 1000:.1f} ms (median), {max(late) * 1000:.1f} ms (worst); {dict(figures)}"
    )
    assert max(late) <= 1.0


def plain_leavers(gateway: GatewayThread, fleet: FleetThread, count: int) -> list[Leaver]:
    """They leave while the answer to a plain call is being made."""

    def one(name: str) -> Leaver:
        return Leaver(gateway.port, request("hello", name=name), None, True, lambda: name in by_name(fleet))

    return [one(f"{n}") for n in range(count)]


def test_goal_G15_a_plain_call_is_finished_and_booked():
    with two(first_token_s=0.3) as (gateway, fleet):
        run(leave(plain_leavers(gateway, fleet, 20), 20))
        settled(gateway, 20)
        assert fleet.ledger.wait(lambda ledger: not ledger.open(), 5)
        assert [e.ended for e in fleet.ledger] == ["done"] * 20
        claimed = sum(e.claim.prompt for e in fleet.ledger), sum(e.claim.completion for e in fleet.ledger)
        booked = list(records(gateway).values())
    assert {(r.state, r.how, r.estimated) for r in booked} == {("settled", "gone", False)}
    assert (sum(r.usage.total_input for r in booked), sum(r.usage.total_output for r in booked)) == claimed  # type: ignore[union-attr]
    print(
        f"\nG15 plain calls whose client left: 20 of 20 finished, {sum(claimed)} tokens booked, {sum(claimed)} computed"
    )


def test_goal_G15_a_plain_call_is_not_finished_for_ever():
    with two(OnDisconnect(other=0.3), first_token_s=5.0) as (gateway, fleet):
        leavers = plain_leavers(gateway, fleet, 5)
        run(leave(leavers, 5))
        settled(gateway, 5)
        assert fleet.ledger.wait(lambda ledger: not ledger.open(), 5)
        assert [e.ended for e in fleet.ledger] == ["client"] * 5
        seen = by_name(fleet)
        after = max(seen[f"{n}"].left_at - one.left_at for n, one in enumerate(leavers))
        assert all(r.estimated and r.how == "gone" and r.usage.input > 0 for r in records(gateway).values())  # type: ignore[union-attr]
    assert 0.25 < after < 1.5


def test_goal_G15_nobody_fails_over_for_a_client_who_left():
    with two(first_token_s=0.3) as (gateway, fleet):
        fleet.fault("status", status=500, instance="i1")
        fleet.fault("slow", first_s=0.3, instance="i1")  # time to leave before it fails
        run(leave(plain_leavers(gateway, fleet, 5), 5))
        settled(gateway, 5)
        assert {e.instance for e in fleet.ledger} == {"i1"} and len(fleet.ledger) == 5


def standing(gateway: GatewayThread) -> dict[str, Any]:
    """What may not grow. Idle upstream connections are in the wheel by right: it says how many are not of them."""

    def count() -> dict[str, Any]:
        worker = gateway.worker
        return {
            "tasks": len(asyncio.all_tasks()),
            "live drives": len(worker.bound.live),
            "in flight": worker.world.in_flight,
            "members in flight": sum(m.in_flight for m in worker.world.members.values()),
            "client connections": len(worker.server.connections),
            "busy upstream": worker.upstream.counts().busy,
            "in the wheel": len(worker.wheel) - worker.upstream.counts().idle,
            "open records": len(worker.journal.open),
        }

    return gateway.call(count)


@pytest.mark.timeout(300)
def test_goal_G15_ten_thousand_aborts_leave_nothing_behind(short: bool):
    count = 1000 if short else 10_000
    chance = random.Random(15)
    # no gaps between tokens: what is tested is the ends, and there are many
    with two(first_token_s=0.004, per_token_s=0.0005, head_s=0.002) as (gateway, fleet):
        run(leave([leaver(gateway.port, "at the last token", False)] * 2, 1))
        until(lambda: not standing(gateway)["live drives"])
        gc.collect()
        before, fds = standing(gateway), len(os.listdir("/proc/self/fd"))
        leavers = [leaver(gateway.port, chance.choice(list(PLACES)), chance.random() < 0.5) for _ in range(count)]
        began = time.monotonic()
        run(leave(leavers, 64))
        took = time.monotonic() - began
        until(lambda: standing(gateway) == before, 10)
        gateway.call(lambda: [pool.close() for pool in gateway.worker.upstream._pools.values()])
        assert fleet.ledger.wait(lambda ledger: not ledger.open(), 5)
        gc.collect()
        until(lambda: len(os.listdir("/proc/self/fd")) <= fds, 5)
        after, fds_after = standing(gateway), len(os.listdir("/proc/self/fd"))
        journal = gateway.call(lambda: gateway.journal.totals())
        strays = gateway.journal.strays
        asked = len(fleet.ledger)
    print(
        f"\nG15 {count} aborts in {took:.0f} s: file descriptors {fds} -> {fds_after}, {before} -> "
        f"{'the same' if after == before else after}; records {journal['records']}, upstream saw {asked}"
    )
    assert after == before
    assert journal["records"] == journal["settled"] >= asked and strays == 0
