"""G3: an upstream that hangs while connecting, before its first byte, or in the middle of a stream.

Passed when a healthy second member makes the first two invisible but for the time that was configured for them, when
a stream that stands still is ended by an error frame, and when such a member is left alone after five faults. (Streams
that stand still count, too: tests/stories/test_doors.py.)
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sluicegate.core.breaker import BreakerSpec
from sluicegate.core.settings import Timeouts
from tests.clients.lies import EVENTS_OF, PLAIN, first_words, honest
from tests.clients.members import members, over, records, run, serving, settled
from tests.clients.upstream import EVENTS, JSON, Asked, Upstream, Wire, chunk, head
from tests.gateway import GatewayThread, instance
from tests.goals.calling import Answered, Caller, ask_all, percentile, request, steadily

LIMIT_S = 0.5


async def silent(asked: Asked, wire: Wire) -> None:
    """Takes the request, says nothing."""
    await wire.lost.wait()


async def half(asked: Asked, wire: Wire) -> None:
    """A head and half an event: bytes, but nothing to commit."""
    wire.write(head(EVENTS), chunk(first_words()[:20]))
    await wire.lost.wait()


async def stuck(asked: Asked, wire: Wire) -> None:
    """Begins a stream and stands still."""
    wire.write(head(EVENTS), chunk(first_words()))
    await wire.lost.wait()


@contextmanager
def full_backlog() -> Iterator[int]:
    """A port on which connecting hangs: it listens, its queue is full, nobody accepts."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        waiting = []
        try:
            for _ in range(3):
                s = socket.socket()
                s.setblocking(False)
                s.connect_ex(listening.getsockname())
                waiting.append(s)
            yield listening.getsockname()[1]
        finally:
            for s in waiting:
                s.close()


async def half_plain(asked: Asked, wire: Wire) -> None:
    """A head and half a body."""
    wire.write(head(JSON, length=len(PLAIN)), PLAIN[:50])
    await wire.lost.wait()


PLACES = {
    "while connecting": (None, (False, True), "connect.timeout", Timeouts(connect=LIMIT_S, first_byte=5.0)),
    "before the first byte": (silent, (False, True), "timeout.first_byte", Timeouts(first_byte=LIMIT_S)),
    "inside the first event": (half, (True,), "timeout.first_byte", Timeouts(first_byte=LIMIT_S)),
    "inside a plain body": (half_plain, (False,), "timeout.idle", Timeouts(idle=LIMIT_S)),
}


def took(gateway: GatewayThread, count: int, streams: tuple[bool, ...], at_once: int = 20) -> tuple[int, list[float]]:
    """How many failed, and how long each took."""
    messages = [request("lie: hang", stream=streams[n % len(streams)]) for n in range(count)]
    answers = run(ask_all(gateway.port, messages, at_once))
    settled(gateway, count)
    failed = [a for a in answers if a.status != 200 or not a.whole or a.framed_error]
    return len(failed), [a.took for a in answers]


@pytest.mark.timeout(120)
def test_goal_G3_a_hanging_member_costs_its_timeout_and_nothing_else(short: bool):
    count = 100 if short else 1000
    with members(honest) as (gateway, _):
        alone = percentile(took(gateway, 200, (False, True))[1], 0.5)
    figures = {}
    for place, (script, streams, cause, times) in PLACES.items():
        with full_backlog() as hanging, Upstream(script or honest) as hung, Upstream(honest) as healthy:
            instances = [instance(1, hung.port if script else hanging), instance(2, healthy.port)]
            with serving(over(instances, {"chat": [1, 2]}, in_order=True, timeouts=times)) as gateway:
                failed, times_taken = took(gateway, count, streams)
                seen = records(gateway).values()
        assert {r.attempts[0].cause for r in seen} == {cause}
        assert all(r.state == "settled" and len(r.attempts) == 2 for r in seen)
        assert len([a for a in hung.asked if a.closed_at]) == (count if script else 0)  # given up, not kept
        figures[place] = (failed, percentile(times_taken, 0.99) - alone - LIMIT_S)
    said = ", ".join(f"{place} {f} failed, p99 {p * 1000:+.0f} ms" for place, (f, p) in figures.items())
    print(
        f"\nG3 hanging member: {len(figures)} x {count} runs, beyond a timeout of {LIMIT_S} s and an answer's time: {said}"
    )
    assert all(failed == 0 for failed, _ in figures.values())
    assert all(beyond < 0.5 for _, beyond in figures.values())


@pytest.mark.timeout(60)
def test_goal_G3_a_stream_that_stands_still_ends_with_a_frame(short: bool):
    count = 100 if short else 500
    with members(stuck, honest, in_order=True, timeouts=Timeouts(idle=LIMIT_S)) as (gateway, (upstream, _)):
        answers = run(ask_all(gateway.port, [request("lie: hang", stream=True)] * count, at_once=50))
        settled(gateway, count)
        framed = sum(a.whole and a.framed_error == "upstream_interrupted" for a in answers)
        booked = [(r.state, r.how, r.usage is not None) for r in records(gateway).values()]
        closed = sum(a.closed_at is not None for a in upstream.asked)
    late = percentile([a.took - LIMIT_S for a in answers], 0.99)
    print(
        f"\nG3 stream that stands still: {count} runs, {framed} ended by a frame, p99 {late:+.3f} s after the idle limit"
    )
    assert framed == closed == count
    assert booked == [("interrupted", "idle", True)] * count
    assert all(EVENTS_OF[0] in a.body for a in answers)  # what was received stays
    assert late < 0.5


@pytest.mark.timeout(120)
@pytest.mark.parametrize("place", ["while connecting", "before the first byte"])
def test_goal_G3_a_hanging_member_is_left_alone_after_five_and_looked_at_once_in_a_while(place: str, short: bool):
    """With the breaker as it comes. What is on its way when the fifth fault is known is no sixth: counted is what begins
    after it."""
    rate, seconds = (40, 8) if short else (40, 30)
    with full_backlog() as hanging, Upstream(silent) as hung, Upstream(honest) as healthy:
        instances = [instance(1, hung.port if place != "while connecting" else hanging), instance(2, healthy.port)]
        times = Timeouts(connect=LIMIT_S, first_byte=LIMIT_S if place != "while connecting" else 5.0)
        with serving(
            over(instances, {"chat": [1, 2]}, in_order=True, timeouts=times, breaker=BreakerSpec())
        ) as gateway:

            async def load() -> list[Answered]:
                free: list[Caller] = []

                async def one(number: int) -> Answered:
                    caller = free.pop() if free else Caller(gateway.port)
                    answered = await caller.ask(request("lie: hang", stream=bool(number % 2)))
                    free.append(caller)
                    return answered

                found = await steadily(rate, seconds, one)
                for caller in free:
                    await caller.close()
                return found

            answers = run(load())
            settled(gateway, len(answers))
            tries = sorted(
                (a.at, a.ended_at) for r in records(gateway).values() for a in r.attempts if a.deployment == 1
            )
    failed = [a for a in answers if a.status != 200 or not a.whole or a.framed_error]
    fifth = sorted(end for _, end in tries)[4]
    looks = [at for at, _ in tries if at > fifth]
    p99 = percentile([a.took for a in answers], 0.99)
    print(
        f"\nG3 ejection, {place}: {len(answers)} requests, {len(failed)} failed, {len(tries)} met it: {len(tries) - len(looks)} "
        f"before the fifth fault was known, {len(looks)} in {seconds} s after; p99 {p99:.3f} s"
    )
    assert not failed
    assert 1 <= len(looks) <= seconds, "at most one a second"
    assert all(later - earlier >= 1.0 for earlier, later in zip(looks, looks[1:], strict=False))
    assert len(tries) - len(looks) <= 5 + rate * LIMIT_S * 1.5, "what came within one time-out"
