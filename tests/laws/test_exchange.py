"""Whatever the order of events: everything taken is given back once, one record per request, no answer half told."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluicegate import drive as drive_module
from sluicegate.core import exchange as exchange_module
from tests.laws.mutants import mutant
from tests.laws.rig import EVENTS, JSON_HEADERS, PLAIN, SSE_HEADERS, Rig, directory

# Mostly bodies and good pieces of answers, so that much gets far; now and then whatever else can happen.
KINDS = st.sampled_from([0] * 6 + [9] * 16 + [8] * 3 + [1, 2, 3, 4, 5, 6, 7])
MOVES = st.lists(st.tuples(KINDS, st.integers(0, 3), st.integers(0, 7)), min_size=12, max_size=80)


def play(moves: list[tuple[int, int, int]]) -> Rig:
    """Four exchanges, the moves in their order, then every loose end is brought to its end."""
    rig = Rig()
    streams = [False, True, True, False]
    for i, stream in enumerate(streams):
        rig.ask(stream, full=i == 2)
    for move, who, what in moves:
        drive = rig.drives[who]
        attempts = rig.upstream.open()
        attempt = attempts[what % len(attempts)] if attempts else None
        if move == 0:
            rig.send_body(drive, streams[who])
        elif move == 1:
            drive.left(rig.clock, "gone" if what % 2 else "slow_reader")
        elif move == 2:
            rig.pass_time([0.1, 1.0, 5.0, 11.0, 31.0, 101.0, 0.05, 2.0][what])
        elif move == 3:
            drive.writable(rig.clock)
        elif move == 4:
            rig.upstream.fail_at_once = what % 3
        elif move == 5 and what == 0:
            drive.cut(rig.clock)
        elif move == 5 and what < 3:
            rig.world.adopt(rig.world.snapshot, directory())
            rig.bound.adopted()
        elif attempt is not None:
            advance(attempt, move, what)
    finish(rig)
    return rig


def advance(attempt: object, move: int, what: int) -> None:
    """One more piece of an upstream's answer, right or wrong."""
    if move == 6:
        attempt.end(["cut", "reset", "malformed", "connect.timeout"][what % 4])
    elif not attempt.headed:
        stream = attempt.call.body[-15:] == b'"stream":true}' or b'"stream":true' in attempt.call.body
        if move == 7:
            attempt.head([429, 500, 401, 404, 400, 503, 302, 408][what], JSON_HEADERS)
        elif what == 7:
            attempt.head(200, ((b"content-type", b"text/html"),))
        else:
            attempt.head(200, SSE_HEADERS if stream else JSON_HEADERS)
        if attempt.over:
            return
        attempt.kind = "stream" if stream else "plain"
    elif move == 8:
        attempt.end("done" if what else "eof")
    elif attempt.kind == "plain":
        attempt.data(PLAIN if what < 7 else PLAIN[:20])
        if what < 5:
            attempt.end("done")
    else:
        attempt.data(EVENTS[attempt.events % 5] if what else b": still here\n\n")
        attempt.events += 1


def finish(rig: Rig) -> None:
    """Bodies arrive, clients read, upstreams hang: time alone must end everything that is left."""
    for _ in range(8):
        for drive in rig.drives:
            rig.send_body(drive, False)
            drive.writable(rig.clock)
        rig.pass_time(11.0)
    rig.pass_time(120.0)
    for attempt in rig.upstream.open():
        pytest.fail(f"an attempt was left open: {attempt.call.instance.name}")
    rig.settled()


@given(MOVES)
def test_whatever_the_order_everything_is_settled_once(moves: list[tuple[int, int, int]]) -> None:
    play(moves)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=6), st.sampled_from(["gone", "failed"]))
def test_gone_and_failed_at_every_yield(steps: list[int], what: str) -> None:
    """The client leaves, or the upstream fails, after each possible number of steps of each of four exchanges."""
    rig = Rig()
    for i, stop in enumerate((steps * 4)[:4]):
        stream = bool(i % 2)
        drive = rig.ask(stream)
        if stop >= 1:
            rig.send_body(drive, stream)
        attempt = rig.upstream.attempts[-1] if stop >= 1 else None
        if attempt is not None and stop >= 2:
            attempt.head(200, SSE_HEADERS if stream else JSON_HEADERS)
        if attempt is not None and stop >= 3:
            attempt.data(EVENTS[0] if stream else PLAIN[:10])
        if attempt is not None and stop >= 4:
            attempt.data(EVENTS[1] if stream else PLAIN[10:])
        if what == "gone":
            drive.left(rig.clock)
        elif attempt is not None and not attempt.over:
            attempt.end("reset")
    finish(rig)


MUTANTS = {
    "forgets to leave a door when the attempt failed": (
        "                door.leave(ticket, sent_at, tokens, now)\n                door = None",
        "                door = None",
    ),
    "leaves a door twice when the attempt failed": (
        "                door.leave(ticket, sent_at, tokens, now)\n                door = None",
        "                door.leave(ticket, sent_at, tokens, now)",
    ),
    "forgets to leave a door at the end": (
        "        if door is not None:\n            door.leave(",
        "        if False:\n            door.leave(",
    ),
    "forgets the exchange's own slot": ("        world.in_flight -= 1\n", ""),
    "forgets to settle its limits": (
        "        if claim is not None:\n            _settle(",
        "        if False:\n            _settle(",
    ),
    "settles twice": (
        "        world.journal.settle(record)",
        "        world.journal.settle(record); world.journal.settle(record)",
    ),
    "never settles": ("        world.journal.settle(record)", "        pass"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_that_forgets_one_release_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drive_module, "exchange", mutant(exchange_module, *MUTANTS[name]).exchange)

    @settings(database=None, max_examples=60, derandomize=True)
    @given(MOVES)
    def law(moves: list[tuple[int, int, int]]) -> None:
        play(moves)

    with pytest.raises(BaseException):  # noqa: B017 - which assertion notices first is hypothesis' choice
        law()
