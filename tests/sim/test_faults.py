"""Every kind of fault really produces its bytes, where and as often as it was asked to."""

import asyncio
import gzip
import json
import re
import socket
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvloop
import yaml

from sluicegate.sim.faults import KINDS, fault
from sluicegate.sim.faults.base import Fault
from sluicegate.sim.fleet import Fleet, FleetThread
from sluicegate.sim.spec import CapacitySpec, DeploymentSpec, FleetSpec, InstanceSpec, LatencySpec, fleet_spec
from tests.sim.raw import (
    LIMIT_S,
    ask,
    body_of,
    connect,
    ended,
    events,
    newest,
    plain,
    request,
    rest,
    split,
    streamed,
    unchunk,
)

STREAM = body_of("[sim:tokens=12]", stream=True, stream_options={"include_usage": True})
PLAIN = body_of("[sim:tokens=12]")
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "simulator.md"


@pytest.fixture(scope="module")
def shared() -> Iterator[FleetThread]:
    with FleetThread({"weu": {"deployments": {"gpt-4o": {}, "other": {}}}, "sdc": {}}, seed=3) as fleet:
        yield fleet


@pytest.fixture
def fleet(shared: FleetThread) -> Iterator[FleetThread]:
    yield shared
    shared.reset()


def content(answer: bytes) -> bytes:
    """Body content of a complete answer."""
    _, headers, raw = split(answer)
    return unchunk(raw) if headers.get("transfer-encoding") == "chunked" else raw


# ---------------------------------------------------------------- where and how often


def test_a_fault_strikes_only_where_it_was_told(fleet):
    fleet.fault("status", instance="weu", deployment="gpt-4o", status=500)
    assert plain(fleet["weu"])[0] == 500
    assert b" 200 " in ask(fleet["weu"], PLAIN, deployment="other")[0][:20]
    assert plain(fleet["sdc"])[0] == 200


def test_a_marker_in_header_or_body_chooses_the_request(fleet):
    fleet.fault("status", marker="strike-me", status=503)
    assert plain(fleet["weu"])[0] == 200
    assert plain(fleet["weu"], "strike-me")[0] == 503
    assert b" 503 " in ask(fleet["weu"], PLAIN, "x-test: strike-me")[0][:20]


def test_times_skip_and_share(fleet):
    struck = fleet.fault("status", times=2, skip=1, status=500)
    assert [plain(fleet["weu"])[0] for _ in range(5)] == [200, 500, 500, 200, 200]
    assert struck.hits == 2
    fleet.lift()
    fleet.fault("status", share=0.3, status=500)
    codes = [plain(fleet["weu"])[0] for _ in range(200)]
    assert 30 < codes.count(500) < 90


def test_a_fault_may_end_by_itself(fleet):
    active = fleet.fault("throttle", for_s=100)
    _, _, headers = plain(fleet["weu"])
    assert 99_000 < int(headers["retry-after-ms"]) <= 100_000
    active.since -= 101
    assert plain(fleet["weu"])[0] == 200


def test_faults_are_lifted_one_by_one_or_all_at_once(fleet):
    first = fleet.fault("status", status=500)
    fleet.fault("status", status=503)
    assert plain(fleet["weu"])[0] == 503  # the later one stands in for the earlier
    fleet.lift(first)
    assert len(fleet.faults.active) == 1
    fleet.lift()
    assert plain(fleet["weu"])[0] == 200


def test_wrong_faults_are_refused_with_what_is_wrong(fleet):
    for wrong, word in [
        ({"kind": "nonsense"}, "none of status"),
        ({"kind": "status", "statuss": 500}, "statuss"),
        ({"kind": "cut", "at": "nowhere"}, "nowhere"),
        ({"kind": "status", "shape": "odd"}, "odd"),
    ]:
        with pytest.raises(ValueError, match=word):
            fault(wrong)
    with pytest.raises(ValueError, match="no 'mars'"):
        fleet.fault("status", instance="mars")


# ---------------------------------------------------------------- instead of an answer


def test_any_status_with_any_headers_and_body(fleet):
    fleet.fault("status", times=1, status=418, headers={"x-tea": "yes", "retry-after": "7"}, text="I'm a teapot")
    line, headers, raw = split(ask(fleet["weu"])[0])
    assert line == b"HTTP/1.1 418 I'm a Teapot" and raw == b"I'm a teapot"
    assert headers["x-tea"] == "yes" and headers["retry-after"] == "7" and headers["x-ms-region"]
    fleet.fault("status", times=1, status=200, json={"not": "an answer"})
    assert plain(fleet["weu"])[1] == {"not": "an answer"}


@pytest.mark.parametrize(
    ("shape", "status", "code"),
    [
        ("wrong_key", 401, "401"), ("no_permission", 401, "PermissionDenied"), ("network", 403, "AccessDenied"),
        ("no_deployment", 404, "DeploymentNotFound"), ("no_resource", 404, "404"), ("filtered", 400, "content_filter"),
        ("filtered_new", 400, "content_filter"), ("too_long", 400, "context_length_exceeded"),
    ],
)  # fmt: skip
def test_shapes_of_refusals(fleet, shape, status, code):
    fleet.fault("status", times=1, shape=shape)
    found, document, _ = plain(fleet["weu"])
    assert (found, document["error"]["code"]) == (status, code)


def test_throttling_in_every_form(fleet):
    told = {}
    for form in ("both", "s", "ms", "date", "none"):
        fleet.fault("throttle", times=1, wait_s=2.5, form=form)
        code, document, headers = plain(fleet["weu"])
        assert code == 429 and document["error"]["code"] == "429"
        told[form] = {k: v for k, v in headers.items() if k.startswith("retry-after")}
        assert ended(fleet).retry_s == {"s": 3.0, "none": None}.get(form, 2.5)
    assert told["both"] == {"retry-after": "3", "retry-after-ms": "2500"}
    assert told["s"] == {"retry-after": "3"} and told["ms"] == {"retry-after-ms": "2500"} and told["none"] == {}
    assert told["date"]["retry-after"].endswith("GMT")
    fleet.fault("throttle", times=1, reason="capacity")
    assert plain(fleet["weu"])[1]["error"]["code"] == "NoCapacity"
    fleet.fault("throttle", times=1, reason="size")
    assert "maximum usage size" in plain(fleet["weu"])[1]["error"]["message"]


def test_html_with_200_and_a_redirect(fleet):
    fleet.fault("html", times=1)
    line, headers, raw = split(ask(fleet["weu"])[0])
    assert line.endswith(b"200 OK") and headers["content-type"] == "text/html" and raw.startswith(b"<!DOCTYPE html>")
    fleet.fault("redirect", times=1, location="http://elsewhere.example/")
    line, headers, raw = split(ask(fleet["weu"])[0])
    assert b" 302 " in line and headers["location"] == "http://elsewhere.example/" and raw == b""


def test_a_gzip_bomb_is_small_on_the_wire(fleet):
    fleet.fault("gzip_bomb", times=1, mb=20)
    _, headers, raw = split(ask(fleet["weu"])[0])
    assert headers["content-encoding"] == "gzip" and len(raw) < 100_000
    assert len(gzip.decompress(raw)) == 20 * 1024 * 1024
    assert len(zlib.decompressobj(31).decompress(raw, 1000)) == 1000


@pytest.mark.parametrize("body", [STREAM, PLAIN], ids=["stream", "plain"])
def test_a_line_without_end(fleet, body):
    fleet.fault("long_line", times=1, mb=2)
    raw = content(ask(fleet["weu"], body)[0])
    assert len(raw) > 2 * 1024 * 1024 and b"\n" not in raw


def test_comments_counted_and_without_end(fleet):
    fleet.fault("comments", times=1, count=2500)
    assert content(ask(fleet["weu"], STREAM)[0]) == b": keep-alive\n\n" * 2500
    for kind in ("comments", "endless"):
        fleet.fault(kind, times=1)
        with connect(fleet["weu"]) as s:
            s.sendall(request(fleet["weu"], STREAM))
            got = 0
            while got < 3_000_000:
                got += len(s.recv(65536))
        entry = ended(fleet)
        assert entry.ended == "client" and entry.left_at is not None and entry.sent_body > 1_000_000


# ---------------------------------------------------------------- lies


def test_a_wrong_content_type_and_more_headers(fleet):
    fleet.fault("content_type", times=1, value="application/octet-stream")
    fleet.fault("headers", times=1, headers={"set-cookie": "a=b", "Retry-After": "5"})
    _, headers, raw = split(ask(fleet["weu"])[0])
    assert headers["content-type"] == "application/octet-stream" and json.loads(raw)["usage"]
    assert headers["set-cookie"] == "a=b" and headers["retry-after"] == "5"


def test_two_documents(fleet):
    fleet.fault("two_documents", times=1)
    raw = content(ask(fleet["weu"], PLAIN)[0])
    assert raw[: len(raw) // 2] == raw[len(raw) // 2 :]


@pytest.mark.parametrize("after", [0, 1, 5])
@pytest.mark.parametrize("done", [False, True])
def test_an_error_event_first_and_in_the_middle(fleet, after, done):
    fleet.fault("error_event", times=1, after=after, done=done, code="boom")
    said = streamed(fleet["weu"])
    assert len(said) == after + 1 + done
    assert said[after]["error"]["code"] == "boom" and (said[-1] == "[DONE]") == done


def test_an_error_inside_a_plain_200(fleet):
    fleet.fault("error_event", times=1)
    code, document, _ = plain(fleet["weu"])
    assert code == 200 and "error" in document


@pytest.mark.parametrize("what", [("done",), ("finish", "done"), ("finish", "usage", "done"), ("usage",)])
def test_events_can_be_missing(fleet, what):
    fleet.fault("drop", times=1, events=list(what))
    said = events(content(ask(fleet["weu"], STREAM)[0]))
    assert ("[DONE]" in said) == ("done" not in what)
    assert any(e != "[DONE]" and e.get("usage") for e in said) == ("usage" not in what)
    assert any(e != "[DONE]" and e["choices"] and e["choices"][0]["finish_reason"] for e in said) == (
        "finish" not in what
    )
    assert ended(fleet).usage_sent == ("usage" not in what)


def test_model_drift_and_forged_usage(fleet):
    fleet.fault("drift", times=2, model="gpt-4o-mini")
    assert plain(fleet["weu"])[1]["model"] == "gpt-4o-mini"
    assert {e["model"] for e in streamed(fleet["weu"])[1:-1]} == {"gpt-4o-mini"}
    fleet.fault("usage", times=2, prompt=-5, completion=7)
    forged = plain(fleet["weu"])[1]["usage"]
    assert (forged["prompt_tokens"], forged["completion_tokens"], forged["total_tokens"]) == (-5, 7, 2)
    assert streamed(fleet["weu"], stream_options={"include_usage": True})[-2]["usage"]["total_tokens"] == 2
    fleet.fault("usage", times=2, missing=True)
    assert "usage" not in plain(fleet["weu"])[1]
    assert streamed(fleet["weu"], stream_options={"include_usage": True})[-2]["usage"] is None
    assert ended(fleet).claim.completion > 0 and not ended(fleet).usage_sent


# ---------------------------------------------------------------- bytes


def test_reset_and_hang_before_the_first_byte(fleet):
    fleet.fault("reset", times=1)
    assert ask(fleet["weu"]) == (b"", "rst")
    assert ended(fleet).ended == "reset" and ended(fleet).status == 0
    fleet.fault("hang", times=1)
    before = len(fleet.ledger)
    with connect(fleet["weu"]) as s:
        s.sendall(request(fleet["weu"]))
        newest(fleet, before, lambda e: e.faults)
        s.settimeout(0)
        with pytest.raises(BlockingIOError):
            s.recv(1)
    entry = ended(fleet)
    assert entry.ended == "hang" and entry.sent == 0 and entry.left_at is not None


def test_a_hang_in_the_middle_says_exactly_so_much(fleet):
    fleet.fault("hang", times=1, at="first_event")
    before = len(fleet.ledger)
    with connect(fleet["weu"]) as s:
        s.sendall(request(fleet["weu"], STREAM))
        got = b""
        while b'"prompt_filter_results"' not in got or not got.endswith(b"\n\n"):
            got += s.recv(65536)
    entry = newest(fleet, before, lambda e: e.ended)
    assert entry.sent == len(got) and entry.ended == "hang" and not entry.whole and not entry.usage_sent


def test_connections_that_are_accepted_and_reset_or_left_alone(fleet):
    fleet.fault("accept", times=1, how="reset")
    try:  # the reset may come before connect() has returned
        with connect(fleet["weu"]) as s:
            s.sendall(request(fleet["weu"]))
            assert rest(s) == (b"", "rst")
    except (ConnectionResetError, BrokenPipeError):
        pass
    before = len(fleet.ledger)
    fleet.fault("accept", times=1, how="hang")
    with connect(fleet["weu"]) as s:
        s.sendall(request(fleet["weu"]))
        assert plain(fleet["weu"])[0] == 200  # another connection is served
        s.settimeout(0)
        with pytest.raises(BlockingIOError):
            s.recv(1)
    assert len(fleet.ledger) == before + 1


def test_an_instance_that_is_down_refuses_and_comes_back_at_its_port(fleet):
    port = fleet["weu"].port
    with connect(fleet["weu"]) as idle:
        before = len(fleet.ledger)
        idle.sendall(request(fleet["weu"], PLAIN, close=False))
        newest(fleet, before, lambda e: e.ended)
        fleet.mode("weu", "down")
        answer, how = rest(idle)
    assert json.loads(content(answer)) and how == "rst"
    with pytest.raises(ConnectionRefusedError):
        connect(fleet["weu"])
    assert plain(fleet["sdc"])[0] == 200
    fleet.heal()
    assert fleet["weu"].port == port and plain(fleet["weu"])[0] == 200


def test_an_instance_that_stalls_lets_nobody_connect(fleet):
    fleet.mode("weu", "stall")
    with pytest.raises(TimeoutError):
        socket.create_connection(("127.0.0.1", fleet["weu"].port), 0.2)
    fleet.mode("weu", "up")
    assert plain(fleet["weu"])[0] == 200


@pytest.mark.parametrize("body", [STREAM, PLAIN], ids=["stream", "plain"])
def test_a_clean_cut_is_good_http_with_content_missing(fleet, body):
    whole = content(ask(fleet["weu"], body)[0])
    fleet.fault("cut", how="clean", times=1, at=len(whole) // 2)
    answer, how = ask(fleet["weu"], body)
    assert how == "fin"
    got = content(answer)
    assert len(got) == len(whole) // 2
    assert re.sub(rb"chatcmpl-\w+", b"", whole[:300]) == re.sub(rb"chatcmpl-\w+", b"", got[:300])


def test_named_places(fleet):
    def cut(at: str, body: bytes = STREAM) -> bytes:
        fleet.fault("cut", times=1, at=at, how="clean")
        return content(ask(fleet["weu"], body)[0])

    assert len(events(cut("first_event"))) == 1
    with pytest.raises(UnicodeDecodeError, match="unexpected end of data"):
        cut("inside_utf8").decode()
    with pytest.raises(json.JSONDecodeError):
        json.loads(cut("inside_json", PLAIN))
    assert not cut("inside_json").endswith(b"\n\n") and b'"content":' in cut("inside_json")
    assert not any(e["choices"] and e["choices"][0]["finish_reason"] for e in events(cut("before_finish")))
    finished = events(cut("after_finish"))
    assert finished[-1]["choices"][0]["finish_reason"] == "stop"
    assert events(cut("before_done"))[-1]["usage"]
    tools: list[Any] = [
        {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    ]
    started = events(cut("after_tool_start", body_of("[sim:tool]", stream=True, tools=tools)))
    assert started[-1]["choices"][0]["delta"]["tool_calls"][0]["function"] == {"arguments": "", "name": "f"}


def test_wrong_lengths(fleet):
    whole = content(ask(fleet["weu"], PLAIN)[0])
    for by in (10, -10):
        fleet.fault("length", times=1, by=by)
        answer, how = ask(fleet["weu"], PLAIN)
        _, headers, raw = split(answer)
        assert how == "fin" and len(raw) == len(whole) and int(headers["content-length"]) == len(whole) + by


def test_both_framings_and_none(fleet):
    fleet.fault("both_framings", times=1)
    _, headers, raw = split(ask(fleet["weu"], PLAIN)[0])
    assert int(headers["content-length"]) == len(unchunk(raw)) and headers["transfer-encoding"] == "chunked"
    fleet.fault("unframed", times=1)
    _, headers, raw = split(ask(fleet["weu"], PLAIN)[0])
    assert not {"content-length", "transfer-encoding"} & set(headers) and json.loads(raw)["usage"]


def test_an_announced_close(fleet):
    fleet.fault("close", times=1)
    answer, how = ask(fleet["weu"], PLAIN, close=False)
    assert how == "fin" and split(answer)[1]["connection"] == "close" and ended(fleet).ended == "done"


def test_interim_answers_and_surplus(fleet):
    fleet.fault("interim", times=1, count=50)
    answer = ask(fleet["weu"], PLAIN)[0]
    assert answer.count(b"HTTP/1.1 103 Early Hints\r\n") == 50 and answer.count(b"HTTP/1.1 200 OK\r\n") == 1
    fleet.fault("surplus", times=1)
    assert ask(fleet["weu"], PLAIN)[0].endswith(b"for another customer")


def test_an_early_answer_comes_before_the_body(fleet):
    fleet.fault("throttle", times=1, early=True, wait_s=1)
    whole = request(fleet["weu"], PLAIN)
    with connect(fleet["weu"]) as s:
        s.sendall(whole[: -len(PLAIN)])
        got, how = rest(s)
    assert got.startswith(b"HTTP/1.1 429 ") and how == "fin"
    entry = ended(fleet)
    assert not entry.complete and entry.body_bytes == 0 and entry.status == 429


def test_one_byte_at_a_time_is_the_same_answer():
    class Counting(asyncio.Protocol):
        def __init__(self) -> None:
            self.reads: list[bytes] = []
            self.lost = asyncio.Event()

        def data_received(self, data: bytes) -> None:
            self.reads.append(data)

        def connection_lost(self, exc: Exception | None) -> None:
            self.lost.set()

    async def main() -> list[list[bytes]]:
        out = []
        async with Fleet({"weu": {}}, wall=lambda: 0.0) as fleet:
            for size in (0, 1):
                fleet["weu"].instance.served = 0
                fleet.fault("split", times=1, size=size)
                address = ("127.0.0.1", fleet["weu"].port)
                transport, protocol = await asyncio.get_running_loop().create_connection(Counting, *address)
                transport.write(request(fleet["weu"], PLAIN))
                await protocol.lost.wait()
                out.append(protocol.reads)
        return out

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # both ends in one loop: writes stay apart
        once, bytewise = runner.run(main())
    assert b"".join(once) == b"".join(bytewise)
    assert len(once) == 1 and len(bytewise) == len(once[0])


def test_writes_end_at_chosen_offsets(fleet):
    fleet.fault("split", times=1, at=[5, 100, 400], gap_s=0.1)
    with connect(fleet["weu"]) as s:
        s.sendall(request(fleet["weu"], PLAIN))
        reads = []
        while piece := s.recv(65536):
            reads.append(len(piece))
    assert reads[:3] == [5, 95, 300]


def test_slow_answers_take_their_time(fleet):
    fleet.fault("slow", times=1, first_s=0.05, piece_s=0.005)
    began = time.monotonic()
    said = streamed(fleet["weu"], "[sim:tokens=5]")
    assert time.monotonic() - began >= 0.048 + 0.005 * (len(said) - 1)


def test_latency_is_what_was_declared():
    slow = {"first_token_s": 0.05, "per_token_s": 0.002}
    with FleetThread({"weu": {"deployments": {"gpt-4o": {"latency": slow}}}}) as fleet:
        for body in (body_of("[sim:tokens=20]"), body_of("[sim:tokens=20]", stream=True)):
            began = time.monotonic()
            ask(fleet["weu"], body)
            assert 0.088 <= time.monotonic() - began < LIMIT_S  # a timer may be a millisecond early


# ---------------------------------------------------------------- the table


def test_every_kind_is_tested_here_and_described_on_the_page():
    source, page = Path(__file__).read_text(), PAGE.read_text()
    common = {f.name for f in msgspec.structs.fields(Fault)}
    for word, kind in KINDS.items():
        assert f'"{word}"' in source, f"{word} is not tested"
        fields = ", ".join(f"`{f.name}`" for f in msgspec.structs.fields(kind) if f.name not in common)
        row = f"| `{word}` | {fields} | {' '.join((kind.__doc__ or '').split())} |"
        assert row in page, f"write into {PAGE.name}: {row}"
    for name in common:
        assert f"`{name}`" in page


def test_the_page_names_every_field_of_a_fleet():
    page = PAGE.read_text()
    for shape in (FleetSpec, InstanceSpec, DeploymentSpec, LatencySpec, CapacitySpec):
        for field in msgspec.structs.fields(shape):
            assert f"`{field.name}`" in page or f"{field.name}:" in page, f"{shape.__name__}.{field.name}"


def test_the_example_on_the_page_loads():
    text = PAGE.read_text().split("```yaml\n")[1].split("```")[0]
    spec = fleet_spec(yaml.load(text, Loader=yaml.BaseLoader))
    assert spec.instances["local"].deployments["mistral-small"].version == "3.2"
