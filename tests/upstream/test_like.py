"""Answers whose heads are alike are read without the HTTP parser, and come to the same as with it, whatever they are."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sluicegate.core.ports import Alike
from sluicegate.wire.headers import Like, answer, pairs
from tests.upstream.rig import Answer, Rig, Wire, instance, run, spin

NAMES = (b"Content-Type", b"X-Thing", b"Content-Length", b"apim-request-id")


def message(values: tuple[bytes, ...], body: bytes, names: tuple[bytes, ...] = NAMES) -> bytes:
    lines = [name + b": " + value for name, value in zip(names, values, strict=True)]
    return b"\r\n".join([b"HTTP/1.1 200 OK", *lines, b"", b""]) + body


PLAIN = message((b"application/json", b"a", b"12", b"1-2"), b"hello, world")


async def outcome(parts: list[bytes], alike: bool, end: bool, before: int) -> tuple[Any, ...]:
    """What comes of an answer on a connection that had so many like PLAIN; `end`: the server closes after it."""
    wire = Wire()
    rig = Rig(wire.connect)
    for _ in range(before):
        first = rig.start(instance(1))
        await spin(6)
        wire.read(PLAIN)
        assert first.how == "done"
    pool = rig.client.pool(instance(1))
    assert pool.like is not None
    if not alike:
        pool.like = None
        pool.names = (b"never",)
    said: Answer = rig.start(instance(1))
    for part in parts:
        if not wire.closed:
            wire.read(part)
    if end and not wire.closed:
        wire.protocol.eof_received()
    return said.how, said.status, said.headers, said.body, said.sent, rig.counts.idle, rig.counts.busy, wire.closed


def same(parts: list[bytes], end: bool, before: int = 2) -> tuple[Any, ...]:
    """`before`: from 3 on the lines of PLAIN are known to whoever reads the like."""
    found: list[Any] = []

    async def main() -> None:
        found.append(await outcome(parts, True, end, before))
        found.append(await outcome(parts, False, end, before))

    run(main)
    assert found[0] == found[1]
    return found[0]  # type: ignore[no-any-return]


def test_an_answer_like_those_before_is_read_without_the_parser() -> None:
    async def main() -> None:
        wire = Wire()
        rig = Rig(wire.connect)
        for n in range(5):
            said = rig.start(instance(1))
            await spin(6)
            connection = said.attempt.connection
            if n >= 2:
                connection.parser = None  # it would be missed
            wire.read(PLAIN)
            assert (said.how, said.body) == ("done", b"hello, world")
            assert said.headers == [(n, v) for n, v in pairs(answer_pairs())]
        assert rig.counts.idle == 1

    run(main)


def answer_pairs() -> list[tuple[bytes, bytes]]:
    return list(zip(NAMES, (b"application/json", b"a", b"12", b"1-2"), strict=True))


@pytest.mark.parametrize("before", [2, 3])
@pytest.mark.parametrize("end", [False, True])
def test_split_at_every_byte_it_is_the_same(end: bool, before: int) -> None:
    for at in range(1, len(PLAIN)):
        assert same([PLAIN[:at], PLAIN[at:]], end, before)[:2] == ("done", 200)
        same([PLAIN[:at]], end, before)


ODD = st.sampled_from(
    [b"", b" ", b"\t", b"\r", b"\n", b"\r\n", b"\0", b"\x01", b"\x7f", b"\xff", b":", b"0", b"1", b"12", b"-", b"+1", b",",
     b"\r\n ", b"\r\n\r\n", b"HTTP/1.1 200 OK\r\n", b"Connection: close\r\n", b"Transfer-Encoding: chunked\r\n",
     b"Content-Length: 5\r\n", b"x"]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_spoilt_anywhere_it_is_what_the_parser_says(data: st.DataObject) -> None:
    whole = bytearray(PLAIN)
    for _ in range(data.draw(st.integers(1, 2))):
        at = data.draw(st.integers(0, len(whole)))
        gone = data.draw(st.integers(0, 2))
        whole[at : at + gone] = data.draw(ODD)
    cuts = sorted({data.draw(st.integers(0, len(whole))) for _ in range(data.draw(st.integers(0, 3)))})
    parts = [bytes(whole[a:b]) for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True) if b > a]
    same(parts, data.draw(st.booleans()), data.draw(st.sampled_from([2, 3, 4])))


VALUE = st.binary(max_size=12)


@settings(max_examples=300, deadline=None)
@given(VALUE, VALUE, st.integers(0, 30), st.binary(max_size=30), st.binary(max_size=3), st.booleans(),
       st.integers(2, 3))  # fmt: skip
@example(b"", b"", 0, b"", b"", False, 2)
@example(b"a", b" b ", 3, b"abc", b"\r\n", False, 2)
@example(b"a", b"b", 3, PLAIN[:30], PLAIN, False, 3)
def test_any_values_any_body(
    thing: bytes, id: bytes, length: int, body: bytes, after: bytes, end: bool, before: int
) -> None:
    same([message((b"application/json", thing, b"%d" % length, id), body + after)], end, before)


@given(st.lists(st.binary(max_size=20).filter(lambda v: not set(v) & set(b"\r\n\0")), min_size=4, max_size=4))
def test_headers_come_to_the_same_in_either_form(values: list[bytes]) -> None:
    one, other = answer(Alike(NAMES, tuple(values), Like(NAMES).shape)), answer(dict(zip(NAMES, values, strict=True)))
    assert all(getattr(one, slot) == getattr(other, slot) for slot in ("lines", "content_type", "length"))
    assert one.limits() == other.limits()


@pytest.mark.parametrize(
    "names",
    [(b"Content-Type",), (b"Content-Length", b"Connection"), (b"Content-Length", b"TRANSFER-ENCODING"),
     (b"content-length", b"Upgrade"), (b"Proxy-Connection", b"Content-Length")],
)  # fmt: skip
def test_heads_that_speak_of_the_connection_or_of_other_framing_are_the_parsers(names: tuple[bytes, ...]) -> None:
    with pytest.raises(ValueError):
        Like(names)


def test_a_server_whose_values_are_odd_is_not_tried_each_time() -> None:
    async def main() -> None:
        wire = Wire()
        rig = Rig(wire.connect)
        odd = message((b"application/json", b"\xff", b"12", b"1-2"), b"hello, world")
        tried: list[int] = []
        for n in range(100):
            said = rig.start(instance(1))
            await spin(6)
            pool = rig.client.pool(instance(1))
            if pool.like is not None and not pool.skip:
                tried.append(n)
            wire.read(odd)
            assert said.how == "done"
        assert 2 <= len(tried) <= 8

    run(main)
