"""Whatever way the bytes are cut, the same events come out; whatever is sent, what is held is bounded."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sluicegate.wire.sse import HELD_MOST, IDLE_EVENTS, PASSED_MOST, Assembler, Endless, data_of

LINES = st.sampled_from([
    "data: {}", "data:", "data: ", "data", "data: [DONE]", 'data: {"a":1}', "data:x", ": ping", ":", "retry: 10", "id: 7",
    "event: message", "", "", "", " data: x", "datax: 1", "data: é", "data: \\n", "{",
])  # fmt: skip
STREAMS = st.lists(st.tuples(LINES, st.sampled_from(["\n", "\n", "\r\n", "\r\n", "\r"])), max_size=25).map(
    lambda lines: "".join(line + end for line, end in lines).encode()
)


def all_of(pieces: list[bytes]) -> tuple[list[tuple[bytes, bytes | None]], bytes]:
    sse = Assembler()
    out = [event for piece in pieces for event in sse.feed(piece)]
    return out, sse.rest()


def cut(stream: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted(i % (len(stream) + 1) for i in at), len(stream)]
    return [stream[a:b] for a, b in zip(edges, edges[1:], strict=False)]


@given(STREAMS, st.lists(st.integers(0, 10_000), max_size=6))
@example(b"data: a\r\n\r\ndata: b\r\n\r\n", [11])
@example(b"data: a\r\rdata: b\r\r\n\ndata: c\n\r\n", [9, 18, 19])
@example(b"data: a\n\n\n\ndata: b\n\n", [9, 10])
@example(b"data: a\n\rdata: b\n\n", [9])
def test_the_same_events_however_the_bytes_are_cut(stream: bytes, at: list[int]) -> None:
    assert all_of(cut(stream, at)) == all_of([stream])


@given(STREAMS)
def test_the_same_events_byte_by_byte(stream: bytes) -> None:
    assert all_of([stream[i : i + 1] for i in range(len(stream))]) == all_of([stream])


def the_specification(stream: str) -> list[str]:
    """How the standard dispatches events, a line at a time, over the whole text."""
    out: list[str] = []
    data: list[str] = []
    lines = stream.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for line in lines[:-1]:
        if not line:
            if "\n".join(data).strip():
                out.append("\n".join(data).strip())
            data = []
            continue
        name, _, value = line.partition(":")
        if name == "data":
            data.append(value.removeprefix(" "))
    return out


@given(STREAMS, st.booleans())
@example(b"data: a\n\n", True)
@example(b"data: a\r\n\r\n", True)
def test_the_data_is_what_the_standard_says(stream: bytes, bom: bool) -> None:
    stream = b"\xef\xbb\xbf" * bom + stream
    expected = the_specification(stream.decode())
    got = [data.decode() for _, data in all_of([stream])[0] if data is not None]
    # after LF CR the next byte decides, CRLF or not: one event may still wait for it
    assert got == expected or (stream.endswith(b"\n\r") and got == expected[:-1])


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
def test_an_event_is_out_as_soon_as_its_last_byte_is_in(end: bytes) -> None:
    sse = Assembler()
    for _ in range(3):
        event = b"data: {}" + end
        assert sse.feed(event[:-1]) == []
        assert sse.feed(event[-1:]) == [(event, b"{}")]


def test_events_without_data_are_dropped_and_comments_wait_for_the_first_event() -> None:
    sse = Assembler()
    assert sse.feed(b": hello\n\nretry: 100\n\nid: 3\n\ndata:\n\n\n\n") == []
    assert sse.feed(b"data: x\n\n: ping\n\nid: 4\n\n:\n: two\n\n") == [
        (b"data: x\n\n", b"x"), (b": ping\n\n", None), (b":\n: two\n\n", None)
    ]  # fmt: skip


def test_data_on_several_lines_is_joined() -> None:
    assert data_of(b'event: x\ndata: {"a":\nid: 1\ndata:1}\n\n') == b'{"a":\n1}'
    assert data_of(b'data: {"a":\r\ndata: 1}\r\n\r\n') == b'{"a":\n1}'


def test_an_event_too_large_to_hold_passes_unread_and_the_next_one_is_read_again() -> None:
    for step in (65_536, 100_003, 3 * HELD_MOST):
        sse = Assembler()
        first, large, last = b"data: a\n\n", b"data: " + b"x" * (2 * HELD_MOST) + b"\n\n", b"data: b\n\n"
        stream = first + large + last
        out = []
        passed = False
        for i in range(0, len(stream), step):
            out += sse.feed(stream[i : i + step])
            passed |= sse.passing > 0
        assert b"".join(event for event, _ in out) == stream
        assert [data for event, data in out if len(event) < 20 and data] == [b"a", b"b"]
        assert passed or step > HELD_MOST
        assert not sse.passing
        assert len(sse.held) <= HELD_MOST


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
@pytest.mark.parametrize("split", range(5))
def test_the_end_of_a_passed_event_is_found_across_chunks(end: bytes, split: int) -> None:
    sse = Assembler()
    sse.feed(b"data: a" + end)
    large = b"data: " + b"x" * HELD_MOST + b"!"
    out = sse.feed(large)
    assert sse.passing and b"".join(e for e, _ in out) == large
    rest = b"yz" + end + b"data: b" + end
    out = sse.feed(rest[:split]) + sse.feed(rest[split:])
    assert b"".join(e for e, _ in out) == rest
    assert out[-1] == (b"data: b" + end, b"b") and not sse.passing


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
@pytest.mark.parametrize("begun", range(4))
def test_the_end_of_a_passed_event_is_found_byte_by_byte(end: bytes, begun: int) -> None:
    sse = Assembler()
    sse.feed(b"data: a" + end)
    sse.feed(b"data: " + b"x" * HELD_MOST + end[: min(begun, len(end) - 1)])
    out = []
    for byte in end[min(begun, len(end) - 1) :] + b"data: b" + end:
        assert not sse.plain or not sse.passing
        out += sse.feed(bytes([byte]))
    assert out[-1] == (b"data: b" + end, b"b")


def test_a_first_event_too_large_to_hold_is_endless() -> None:
    sse = Assembler()
    with pytest.raises(Endless):
        sse.feed(b"data: " + b"x" * HELD_MOST)


def test_a_line_without_end_is_cut() -> None:
    sse = Assembler()
    sse.feed(b"data: a\n\n")
    with pytest.raises(Endless):
        for _ in range(64):
            sse.feed(b"x" * 1024 * 1024)
    assert sse.passing <= PASSED_MOST + 1024 * 1024
    assert len(sse.held) <= HELD_MOST


@pytest.mark.parametrize("noise", [b":\n\n", b"\n\n", b"id: 1\n\n", b"data:\n\n"])
@pytest.mark.parametrize("before", [b"", b"data: a\n\n"])
def test_comments_without_end_are_cut(noise: bytes, before: bytes) -> None:
    sse = Assembler()
    sse.feed(before)
    with pytest.raises(Endless):
        for _ in range(1000):
            sse.feed(noise * 1000)


def test_the_number_of_empty_events_is_bounded_whatever_their_size() -> None:
    sse = Assembler()
    sse.feed(b"data: a\n\n" + b"\n\n" * IDLE_EVENTS)
    with pytest.raises(Endless):
        sse.feed(b"\n\n")


def test_large_comments_are_cut_by_their_bytes() -> None:
    sse = Assembler()
    sse.feed(b"data: a\n\n")
    with pytest.raises(Endless):
        for _ in range(100):
            sse.feed(b":" + b"x" * 20_000 + b"\n\n")


def test_patient_comments_between_events_go_on_for_ever() -> None:
    sse = Assembler()
    for _ in range(30):
        sse.feed(b":\n\n" * (IDLE_EVENTS // 10) + b"data: a\n\n")


@pytest.mark.timeout(20)
def test_bytes_that_come_one_by_one_cost_no_more_than_in_all() -> None:
    # 0.3 s; an assembler that searches or copies what it holds at every byte needs minutes
    sse, piece = Assembler(), b"x"
    sse.feed(b"data: ")
    for _ in range(HELD_MOST - 10):
        sse.feed(piece)
    assert sse.feed(b"\n\n")[0][1] == b"x" * (HELD_MOST - 10)
