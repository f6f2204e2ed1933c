"""Cut at every byte offset, in every way, and the ledger knows to the byte what was sent."""

from collections.abc import Iterator

import pytest

from sluicegate.sim.fleet import FleetThread
from tests.sim.raw import ask, body_of, connect, ended, newest, request, rest, split, unchunk

WALL = 1_767_225_600.0
BODIES = {
    "stream": body_of("[sim:tokens=2]", stream=True, stream_options={"include_usage": True}),
    "plain": body_of("[sim:tokens=2]"),
}


@pytest.fixture(scope="module")
def fleet() -> Iterator[FleetThread]:
    with FleetThread({"weu": {}}, seed=11, wall=lambda: WALL) as fleet:
        yield fleet


def whole(fleet: FleetThread, body: bytes) -> bytes:
    """The answer as it would be as the next one: ids depend on the number of the answer, their lengths do not."""
    fleet["weu"].instance.served = 0
    answer, how = ask(fleet["weu"], body)
    assert how == "fin"
    return answer


@pytest.mark.parametrize("kind", ["cut", "reset"])
@pytest.mark.parametrize("form", BODIES)
def test_every_raw_offset(fleet, form, kind):
    body = BODIES[form]
    fleet.lift()
    answer = whole(fleet, body)
    how = {"cut": "fin", "reset": "rst"}[kind]
    for at in range(len(answer)):
        fault = fleet.fault(kind, at=at, of="raw")
        fleet["weu"].instance.served = 0
        got, end = ask(fleet["weu"], body)
        fleet.lift(fault)
        assert (got, end) == (answer[:at], how), at
        entry = ended(fleet)
        assert entry.sent == at and not entry.whole, at
        assert entry.ended == ("cut" if kind == "cut" else "reset")
        head = answer.index(b"\r\n\r\n") + 4
        assert entry.sent_body == len(content_of(answer[head:at], form)), at
        assert entry.usage_sent == said_usage(answer[head:at], form, len(answer) - head), at


def content_of(raw: bytes, form: str) -> bytes:
    """Body content among these raw bytes after a head, whatever is left of it."""
    if form == "plain":
        return raw
    content = b""
    while raw:
        size, mark, raw = raw.partition(b"\r\n")
        if not mark:
            break
        length = int(size, 16)
        content += raw[:length]
        raw = raw[length + 2 :]
    return content


def said_usage(raw: bytes, form: str, size: int) -> bool:
    """A plain answer says its usage with its last byte; a stream with the end of the event before `[DONE]`."""
    if form == "plain":
        return len(raw) == size
    content = content_of(raw, form)
    at = content.find(b'"usage":{')
    return at >= 0 and content.find(b"\n\n", at) >= 0


@pytest.mark.parametrize("form", BODIES)
def test_every_body_offset_in_every_way(fleet, form):
    body = BODIES[form]
    fleet.lift()
    answer = whole(fleet, body)
    _, headers, raw = split(answer)
    content = unchunk(raw) if form == "stream" else raw
    for at in range(len(content)):
        for how in ("fin", "clean"):
            fault = fleet.fault("cut", at=at, how=how)
            fleet["weu"].instance.served = 0
            got, end = ask(fleet["weu"], body)
            fleet.lift(fault)
            assert end == "fin"
            _, told, left = split(got)
            entry = ended(fleet)
            assert entry.sent == len(got) and entry.sent_body == at
            if how == "clean":
                assert entry.whole
                assert (unchunk(left) if form == "stream" else left) == content[:at]
                if form == "plain":
                    assert int(told["content-length"]) == at
            else:
                assert not entry.whole
                assert content_of(left, form) == content[:at]
                assert told.get("content-length") == headers.get("content-length")


def test_negative_offsets_count_from_the_end(fleet):
    fleet.lift()
    fleet.fault("cut", at=-14, times=1)  # data: [DONE] and its blank line are 14 bytes
    _, _, raw = split(ask(fleet["weu"], BODIES["stream"])[0])
    assert content_of(raw, "stream").endswith(b"}}\n\n")


@pytest.mark.parametrize("form", BODIES)
def test_a_split_at_every_offset_is_the_same_answer(fleet, form):
    body = BODIES[form]
    fleet.lift()
    answer = whole(fleet, body)
    for at in range(1, len(answer), 7):
        fault = fleet.fault("split", at=[at])
        fleet["weu"].instance.served = 0
        assert ask(fleet["weu"], body) == (answer, "fin"), at
        fleet.lift(fault)
        assert ended(fleet).whole and ended(fleet).sent == len(answer)


def test_a_client_that_leaves_is_seen_with_the_time(fleet):
    """At the head, at the first token, in the middle."""
    fleet.lift()
    for at in (0, 400, 3000):
        fleet.fault("hang", at=at, of="raw", times=1)
        before = len(fleet.ledger)
        with connect(fleet["weu"]) as s:
            s.sendall(request(fleet["weu"], body_of("[sim:tokens=40]", stream=True)))
            got = 0
            while got < at:
                got += len(s.recv(65536))
            assert not newest(fleet, before, lambda e, at=at: e.sent == at and e.faults).ended
        entry = ended(fleet)
        assert entry.left_at is not None and entry.left_at >= entry.body_at and entry.ended == "hang"
    fleet["weu"].instance.patch({"deployments": {"gpt-4o": {"latency": {"first_token_s": 30}}}})
    before = len(fleet.ledger)
    with connect(fleet["weu"]) as s:
        s.sendall(request(fleet["weu"]))
        newest(fleet, before, lambda e: e.complete)
    assert ended(fleet).ended == "client" and ended(fleet).sent == 0 and ended(fleet).status == 0


def test_half_a_request_is_an_entry_of_its_own(fleet):
    for part in (0.2, 0.9):
        data = request(fleet["weu"])
        head = data.index(b"\r\n\r\n") + 4
        sent = int(len(data) * part)
        before = len(fleet.ledger)
        with connect(fleet["weu"]) as s:
            s.sendall(data[:sent])
        assert fleet.ledger.wait(lambda ledger, n=before: len(ledger) > n and ledger[-1].ended)
        entry = fleet.ledger[-1]
        assert not entry.complete and entry.ended == "client" and entry.status == 0
        assert entry.head_bytes == min(sent, head) and entry.body_bytes == max(0, sent - head)


def test_nothing_is_left_when_the_fleet_ends():
    with FleetThread(2) as fleet:
        fleet.fault("hang")
        with connect(fleet["i1"]) as s, connect(fleet["i2"]) as t:
            s.sendall(request(fleet["i1"]))
            t.sendall(request(fleet["i2"]))
            assert fleet.ledger.wait(lambda ledger: len([e for e in ledger if e.faults]) == 2)
            fleet.__exit__()
            assert rest(s)[0] == rest(t)[0] == b""
    assert {e.ended for e in fleet.ledger} == {"stopped"}
