"""The channel: messages arrive whole and in order however the bytes are cut, and what is no message closes it."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.link.channel import (
    LARGEST,
    Adopt,
    Answer,
    Channel,
    Down,
    Drain,
    Forget,
    Leaving,
    Left,
    News,
    Offer,
    Query,
    Taken,
    Up,
    open_channel,
    packed,
)

DOWN = [Offer(1, b"x" * 3000), Adopt(1), Forget(2), Drain(1.5, 2.0, True), Query(7, "pools"), News("door", {"a": [1]})]
UP = [Taken(0, "abc", "in force"), Answer(7, {"a": None}), Leaving(), Left({"records": 3}), News("x", None)]


class Wire:
    """A transport that only knows whether it was cut."""

    def __init__(self) -> None:
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True


def reader(reads: Any) -> tuple[Channel, list[Any], list[str], Wire]:
    taken: list[Any] = []
    lost: list[str] = []
    channel = Channel(reads, taken.append, lambda: lost.append("lost"))
    wire = Wire()
    channel.connection_made(wire)  # type: ignore[arg-type]
    return channel, taken, lost, wire


@given(st.lists(st.integers(0, 4000), max_size=20))
def test_messages_arrive_whole_and_in_order_wherever_the_bytes_are_cut(cuts: list[int]):
    for reads, messages in ((Down, DOWN), (Up, UP)):
        channel, taken, lost, _ = reader(reads)
        data = b"".join(packed(m) for m in messages)
        places = sorted({0, len(data), *(c for c in cuts if c < len(data))})
        for start, end in zip(places, places[1:], strict=False):
            channel.data_received(data[start:end])
        assert taken == messages
        assert not lost


@given(st.sampled_from(UP), st.binary(min_size=1, max_size=40))
def test_what_is_no_message_closes_the_channel_and_is_told_once(before: Any, noise: bytes):
    channel, taken, lost, wire = reader(Up)
    bad = b"\xc1" + noise  # no msgpack begins so
    channel.data_received(packed(before) + len(bad).to_bytes(4, "big") + bad + packed(before))
    assert (taken, lost, wire.aborted) == ([before], ["lost"], True)
    channel.connection_lost(None)
    assert lost == ["lost"]


def test_a_message_of_the_other_direction_or_beyond_all_bounds_is_none():
    for data in (packed(Adopt(1)), (LARGEST + 1).to_bytes(4, "big"), packed(msgspec.Raw(b"\x90"))):
        channel, taken, lost, wire = reader(Up)
        channel.data_received(data)
        assert (taken, lost, wire.aborted) == ([], ["lost"], True)


def test_two_ends_speak_and_closing_one_loses_the_other():
    async def run() -> None:
        ours, theirs = socket.socketpair()
        heard: list[Any] = []
        lost = asyncio.Event()
        done = asyncio.Event()
        keeper = await open_channel(ours, Up, heard.append, lost.set)
        both = asyncio.Event()
        worker = await open_channel(theirs, Down, lambda m: (heard.append(m), len(heard) == 2 and both.set()), done.set)
        keeper.send(DOWN[0])
        keeper.send(DOWN[1])
        await both.wait()
        worker.send(UP[0])
        worker.close()
        await lost.wait()
        assert not done.is_set(), "who closes is not told"
        assert heard == [DOWN[0], DOWN[1], UP[0]]
        keeper.send(DOWN[0])  # nobody is there: dropped, not an error

    asyncio.run(run())
