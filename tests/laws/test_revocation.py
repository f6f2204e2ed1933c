"""A credential is revoked while its requests are at every possible point: streams end with an error event, what does
not stream is answered, nobody else notices, and each is settled once."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluicegate import drive as drive_module
from sluicegate.core import exchange as exchange_module
from sluicegate.core.caller import Callers, digest
from sluicegate.core.limits.base import LimitSpec
from sluicegate.core.snapshot import Change, ConsumerEntry, Directory
from sluicegate.drive import Drive
from tests.laws.mutants import mutant
from tests.laws.rig import EVENTS, KEY, SECRET, SSE_HEADERS, Rig
from tests.laws.test_exchange import KINDS, advance, finish

LEAKED = b"the-key-that-leaked"
KEYS = (KEY, LEAKED, LEAKED, KEY)
STREAMS = (True, True, False, False)
MOVES = st.lists(st.tuples(KINDS, st.integers(0, 3), st.integers(0, 7)), min_size=4, max_size=60)


def people(*keys: bytes) -> Directory:
    """One consumer with these keys."""
    limits = (LimitSpec("concurrency", 100), LimitSpec("token_rate", 10**9, window=1e6))
    entry = ConsumerEntry(1, "app", "default", ("chat",), tuple(digest(k, SECRET) for k in keys), limits)
    return Directory((SECRET,), (entry,))


def rig() -> Rig:
    made = Rig()
    made.world.adopt(made.world.snapshot, Callers(people(KEY, LEAKED)))
    return made


def revoke(rig: Rig) -> None:
    """As a worker does it."""
    callers = rig.world.callers.altered(Change((digest(LEAKED, SECRET),), ()))
    rig.world.adopt(rig.world.snapshot, callers)
    rig.bound.adopted()
    for drive in list(rig.bound.live):
        drive.turn(rig.clock)


def relaying(drive: Drive) -> bool:
    return drive.relaying and not drive.done


def judge(rig: Rig) -> None:
    """What must hold when all is over."""
    rig.settled()
    by_id = {r.id: r for r in rig.journal.recent}
    for number, (drive, client) in enumerate(zip(rig.drives, rig.clients, strict=True)):
        record = by_id.get(drive.head.id)
        revoked = record is not None and record.how == "revoked"
        framed = b'"reason":"credential.revoked"' in client.body
        assert not framed or revoked
        if revoked:
            assert KEYS[number % 4] == LEAKED and record is not None and record.state == "interrupted"
            assert framed or client.was_reset or drive.gone, "the client is told"
            assert b"[DONE]" not in client.body and record.usage is not None


DEPTHS = st.tuples(*[st.integers(0, 4)] * 4)
"""How far each is when the moves begin."""


@given(DEPTHS, MOVES, st.integers(0, 20))
def test_a_key_is_revoked_at_any_moment_of_four_exchanges(
    depths: tuple[int, ...], moves: list[tuple[int, int, int]], at: int
) -> None:
    world = rig()
    wrong: list[int] = []
    for number, stream in enumerate(STREAMS):
        drive = world.ask(stream, full=number == 1, key=KEYS[number])
        if depths[number]:
            world.send_body(drive, stream)
            for _ in range(depths[number] - 1):
                if not world.upstream.attempts[-1].over:
                    advance(world.upstream.attempts[-1], 9, 6)
    for step, (move, who, what) in enumerate(moves):
        if step == at:
            running = [relaying(d) for d in world.drives]
            revoke(world)
            for number, was in enumerate(running):
                if was and STREAMS[number] and relaying(world.drives[number]) != (KEYS[number] == KEY):
                    wrong.append(number)
        drive = world.drives[who]
        attempts = world.upstream.open()
        if move == 0:
            if world.clients[who].reading:
                world.send_body(drive, STREAMS[who])
        elif move == 1:
            drive.left(world.clock, "gone")
        elif move == 3:
            drive.writable(world.clock)
        elif move == 2:
            world.pass_time([0.1, 1.0, 5.0, 11.0, 31.0, 101.0, 0.05, 2.0][what])
        elif move not in (4, 5) and attempts:
            advance(attempts[what % len(attempts)], move, what)
    finish(world)
    judge(world)
    assert not wrong, "only those of the key end, and at once"


def undisturbed() -> list[bytes]:
    """The events that a client sees."""
    world = rig()
    _, client = world.plain(stream=True)
    world.upstream.attempts[-1].head(200, SSE_HEADERS)
    for event in EVENTS:
        world.upstream.attempts[-1].data(event)
    finish(world)
    return [event + b"\n\n" for event in client.body.split(b"\n\n")[:-1]]


@pytest.mark.parametrize("step", range(7))
@pytest.mark.parametrize("key", [KEY, LEAKED])
def test_at_each_step_of_a_stream(step: int, key: bytes) -> None:
    """Before the body it is refused; from then on the stream is ended, as soon as it is one."""
    world = rig()
    drive = world.ask(True, key=key)
    client = world.clients[0]
    for now in range(7):
        if now == step:
            revoke(world)
        if drive.done:
            continue
        if now == 0:
            world.send_body(drive, True)
        elif now == 1:
            world.upstream.attempts[-1].head(200, SSE_HEADERS)
        else:
            world.upstream.attempts[-1].data(EVENTS[now - 2])
    finish(world)
    world.settled()
    if key == LEAKED and step == 0:
        assert client.status == 401 and not world.upstream.attempts
        return
    [record] = world.journal.recent
    if key == KEY:
        assert client.body == b"".join(undisturbed()) and record.how == "done"
        return
    passed = b"".join(undisturbed()[: (1, 1, 1, 1, 2, 3, 3)[step]])  # the fourth event, usage, was not asked for
    assert client.body.startswith(passed)
    [frame] = client.body[len(passed) :].split(b"\n\n")[:-1]
    assert b'"reason":"credential.revoked"' in frame and client.ended and not client.was_reset
    assert record.how == "revoked" and record.state == "interrupted" and "credential.revoked" in record.trail
    assert record.usage is not None and record.usage.input
    assert record.estimated == (step < 6), "the upstream's own count where it had come"
    assert world.upstream.attempts[-1].over, "the upstream is told to stop"


def test_what_does_not_stream_is_answered() -> None:
    world = rig()
    drive = world.ask(False, key=LEAKED)
    world.send_body(drive, False)
    revoke(world)
    for what in (0, 0):
        advance(world.upstream.attempts[-1], 9, what)
    assert world.clients[0].status == 200 and world.clients[0].ended
    world.settled()


MUTANTS = {
    "goes on with a stream of nobody": ("if head.credentials.still(world.callers, consumer):", "if True:"),
    "ends the streams of everybody": ("if head.credentials.still(world.callers, consumer):", "if False:"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drive_module, "exchange", mutant(exchange_module, *MUTANTS[name]).exchange)

    @settings(database=None, max_examples=150, derandomize=True)
    @given(DEPTHS, MOVES, st.integers(0, 20))
    def law(depths: tuple[int, ...], moves: list[tuple[int, int, int]], at: int) -> None:
        test_a_key_is_revoked_at_any_moment_of_four_exchanges.hypothesis.inner_test(depths, moves, at)

    with pytest.raises(BaseException):  # noqa: B017 - which assertion notices first is hypothesis' choice
        law()
