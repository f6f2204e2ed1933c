"""Cases 78, 86 and 90: what is sent twice, what an image weighs, and what an upstream says about time.

78 and 90 at the real edge and driver, with an upstream that the test answers; 78 once more on real sockets.
"""

from __future__ import annotations

import base64
import json
import socket
import threading
from typing import Any, ClassVar

import pytest

from sluicegate import apis
from sluicegate.apis import APIS, Paths
from sluicegate.apis.chat_completions import ChatCompletions
from sluicegate.core.limits.base import LimitSpec
from sluicegate.sim.stage import Stage
from tests.abuse.outside import Seen, Upstream, answer, ask, request
from tests.abuse.test_limits import staged, used
from tests.edge.line import House
from tests.gateway import GatewayThread, instance, snapshot

# ---------------------------------------------------------------------- 78: sent twice


class Creating:
    """A row like those of files, batches and runs: each call leaves something behind. (Not a subclass: from a compiled
    one nothing may inherit.)"""

    def __init__(self) -> None:
        self.row = ChatCompletions()

    repeatable: ClassVar[bool] = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.row, name)


def house(row: Any) -> House:
    """Two members, in their order, faults open nothing."""
    made = House(snap=snapshot([instance(1, 80), instance(2, 81)]))
    made.server.paths = Paths([row])
    made.upstream.at_once = None
    return made


FAULTS = ["reset", "eof", "cut", "malformed"]


@pytest.mark.parametrize("how", FAULTS)
@pytest.mark.parametrize(
    ("row", "sent", "calls"),
    [
        (Creating(), "nothing", 2), (Creating(), "some", 1), (Creating(), "all", 1),
        (ChatCompletions(), "some", 2), (ChatCompletions(), "all", 2),
    ],
    ids=lambda v: v if isinstance(v, str) else type(v).__name__ if isinstance(v, ChatCompletions | Creating) else str(v),
)  # fmt: skip
def test_abuse_78_what_leaves_something_behind_is_sent_again_only_if_nothing_was_sent(
    row: Any, sent: str, calls: int, how: str
):
    """The upstream may have done it already: a second one would be a second file, batch or run, paid for by somebody."""
    made = house(row)
    line = made.line().send(request())
    first = made.upstream.calls[0]
    first.sent = sent
    first.end(how)
    assert len(made.upstream.calls) == calls
    for attempt in made.upstream.calls[1:]:
        attempt.answer()
    got = line.answers()[0]
    assert got.status == (200 if calls == 2 else 503)
    if calls == 1:
        assert got.header("x-should-retry") == b"false", "nor by the SDK"


@pytest.mark.parametrize("status", [500, 502, 503])
def test_abuse_78_a_server_error_may_have_done_it(status: int):
    made = house(Creating())
    line = made.line().send(request())
    made.upstream.calls[0].answer(b'{"error":{"message":"oops"}}', status)
    assert len(made.upstream.calls) == 1 and line.answers()[0].status == 503


def test_abuse_78_a_refusal_for_want_of_capacity_has_not():
    made = house(Creating())
    line = made.line().send(request())
    made.upstream.calls[0].answer(b'{"error":{"code":"429"}}', 429)
    assert len(made.upstream.calls) == 2
    made.upstream.calls[1].answer()
    assert line.answers()[0].status == 200


def test_abuse_78_half_a_plain_answer_is_not_asked_for_again():
    made = house(Creating())
    line = made.line().send(request())
    attempt = made.upstream.calls[0]
    attempt.begin()
    attempt.piece(b'{"id":"file-1",')
    attempt.end("eof")
    assert len(made.upstream.calls) == 1 and line.answers()[0].status == 503


@pytest.mark.parametrize("row", [Creating(), ChatCompletions()], ids=["creating", "chat"])
def test_abuse_78_a_kept_connection_that_dies_under_a_request(row: Any, monkeypatch: pytest.MonkeyPatch):
    """On real sockets: the second request on a connection is read whole, then the connection is reset."""
    monkeypatch.setitem(APIS, "chat_completions", row)
    monkeypatch.setattr("sluicegate.worker.APIS", APIS, raising=False)
    assert apis.APIS["chat_completions"] is row
    reset = threading.Event()

    def script(seen: Seen, s: socket.socket) -> bool:
        if seen.connection == 1 and len(upstream.requests) == 2 and not reset.is_set():
            reset.set()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            return False
        s.sendall(answer())
        return True

    with Upstream() as upstream:
        upstream.answer = script
        with GatewayThread(snapshot([instance(1, upstream.port)])) as gateway:
            assert ask(gateway.port, request()).status == 200
            second = ask(gateway.port, request())
            assert reset.is_set()
            times = len(upstream.requests) - 1
    assert (second.status, times) == ((200, 2) if row.repeatable else (503, 1))


# ---------------------------------------------------------------------- 86: images


@pytest.mark.parametrize("detail", ["low", "high", "auto", None])
def test_abuse_86_a_picture_of_twenty_megabytes_is_some_hundred_tokens(detail: str | None):
    """By its bytes it would be five million: over every limit, and past every deployment's context."""
    url = "data:image/png;base64," + base64.b64encode(b"\x89PNG" + b"\0" * 15_000_000).decode()
    assert len(url) > 20_000_000
    image: dict[str, Any] = {"url": url, **({"detail": detail} if detail else {})}
    content = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": image}]
    body = json.dumps({"model": "chat", "max_tokens": 100, "messages": [{"role": "user", "content": content}]}).encode()
    stage = staged(LimitSpec("token_rate", 2000))
    client = stage.ask(body, consumer="bad")
    reserved = used(stage)[0]
    assert (85 if detail == "low" else 765) + 100 <= reserved <= (85 if detail == "low" else 765) + 100 + 60
    stage.settle()
    assert client.status == 200 and len(stage.ledger) == 1


def test_abuse_86_nor_does_it_pass_over_a_deployment_for_being_too_long():
    stage = Stage({"a": {"deployments": {"d": {"max_input": 8000}}}})
    url = "data:image/png;base64," + "A" * 5_000_000
    content = [{"type": "image_url", "image_url": {"url": url}}]
    client = stage.ask(json.dumps({"model": "chat", "messages": [{"role": "user", "content": content}]}).encode())
    stage.settle()
    assert client.status == 200


def test_abuse_86_what_only_looks_like_an_image_is_text():
    stage = staged(LimitSpec("token_rate", 2000))
    text = '{"type":"image_url","image_url":{"url":"data:image/png;base64,' + "A" * 1_000_000 + '"}}'
    client = stage.ask(text, max_tokens=1, consumer="bad")
    stage.settle()
    assert client.status == 429 and not len(stage.ledger)


# ---------------------------------------------------------------------- 90: times in other words

JSON = (b"Content-Type", b"application/json")
UNNAMED_S = 1.0
"""What a 429 without a time is taken to mean, the first time (core/breaker.ThrottleSpec)."""


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"x-ratelimit-reset-tokens": "6m0s"}, 360.0), ({"x-ratelimit-reset-tokens": "120ms"}, 0.12),
        ({"x-ratelimit-reset-requests": "22"}, 22.0), ({"x-ratelimit-reset-tokens": "1m2.5s", "x-ratelimit-reset-requests": "1s",
          "x-ratelimit-remaining-tokens": "0", "x-ratelimit-remaining-requests": "10"}, 62.5),
        ({"x-ratelimit-reset-tokens": "garbage"}, None), ({"x-ratelimit-reset-tokens": "6m0s1m"}, 420.0),
        ({"x-ratelimit-reset-tokens": "-6m0s"}, None), ({"x-ratelimit-reset-tokens": "9" * 300 + "h"}, None),
        ({"x-ratelimit-reset-tokens": "1e999"}, None), ({"x-ratelimit-reset-tokens": "nan"}, None),
        ({"x-ratelimit-reset-tokens": "\xb2\xb3s"}, None), ({"x-ratelimit-reset-tokens": ""}, None),
        ({"x-ratelimit-reset-tokens": "6m0s", "retry-after": "3"}, 3.0), ({"retry-after": "soon", "x-ratelimit-reset-tokens": "4s"}, 4.0),
        ({"retry-after-ms": "NaN", "retry-after": "\x00", "x-ratelimit-reset-requests": "0s", "x-ratelimit-reset-tokens": "s"}, None),
    ],
    ids=str,
)  # fmt: skip
def test_abuse_90_reset_times_are_read_in_every_form_and_garbage_is_not(headers: dict[str, str], wait_s: float | None):
    made = House(snap=snapshot([instance(1, 80)]))
    made.upstream.at_once = None
    line = made.line().send(request())
    said = (JSON, *((n.encode(), v.encode("latin-1")) for n, v in headers.items()))
    made.upstream.calls[0].answer(b'{"error":{"code":"429","message":"slow"}}', 429, said)
    got = line.answers()[0]
    assert got.status == 429 and got.reason == "pool.throttled"
    wait = UNNAMED_S if wait_s is None else wait_s
    assert int(got.header("retry-after-ms") or 0) == pytest.approx(wait * 1000, abs=1.01)
    line = made.line().send(request())
    assert line.answers()[0].status == 429 and len(made.upstream.calls) == 1, "nobody is asked before"
    made.time += wait + 0.001
    made.line().send(request())
    assert len(made.upstream.calls) == 2, "and somebody is, after"
    made.upstream.calls[1].answer()


@pytest.mark.parametrize("value", ["6m0s", "garbage", "-1", "", "9" * 5000, "\xff\xfe"], ids=lambda v: v[:8])
def test_abuse_90_on_an_answer_that_is_fine_they_shut_nothing_and_break_nothing(value: str):
    made = House(snap=snapshot([instance(1, 80)]))
    made.upstream.at_once = None
    for _ in range(3):
        line = made.line().send(request())
        names = (
            "x-ratelimit-reset-tokens",
            "x-ratelimit-reset-requests",
            "x-ratelimit-remaining-tokens",
            "retry-after-ms",
        )
        made.upstream.calls[-1].answer(headers=(JSON, *((n.encode(), value.encode("latin-1")) for n in names)))
        assert line.answers()[0].status == 200
    assert len(made.upstream.calls) == 3
