"""The front over real sockets: where a request came in, for whom, at which path, from which page, how often in vain."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from sluicegate.core.caller import digest
from sluicegate.core.settings import Cors, Front
from sluicegate.core.snapshot import ConsumerEntry, Directory
from sluicegate.edge.front import guessed
from tests.abuse.outside import CHAT, PATH, Broken, Client, Upstream, ask, is_refusal, request
from tests.gateway import KEY, SECRET, GatewayThread, instance, snapshot

DOOR = "9a3f2c1e-0000-4000-8000-5b1d7e000001"
OTHER_DOOR = "9a3f2c1e-0000-4000-8000-5b1d7e000002"
OTHER = "other-client-key-9876543210"
HEALTH = (b"/health/live", b"/health/ready", b"/health/region", b"/status-0123456789abcdef")
PROXY = "127.0.0.2"


class From(Client):
    """A client at another address of this machine."""

    def __init__(self, port: int, address: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 10.0, (address, 0))
        self.buffer = b""
        self.was_reset = False


@contextmanager
def fronted(**front: Any) -> Iterator[tuple[GatewayThread, Upstream]]:
    """A gateway with this front, and two consumers."""
    with Upstream() as upstream:
        plain = snapshot([instance(1, upstream.port)])
        entries = (
            ConsumerEntry(1, "app", "default", ("chat",), (digest(KEY.encode(), SECRET),)),
            ConsumerEntry(2, "other", "default", ("chat",), (digest(OTHER.encode(), SECRET),)),
        )
        spec = replace(plain, gateway=replace(plain.gateway, front=Front(**front)))
        with GatewayThread(spec, Directory((SECRET,), entries)) as gateway:
            yield gateway, upstream


def said(gateway: GatewayThread, address: str, *messages: bytes) -> list[Any]:
    """The answers to these, one after the other on one connection from there."""
    with From(gateway.port, address) as client:
        got = []
        for message in messages:
            client.send(message)
            got.append(client.answer())
        return got


def get(path: bytes, *headers: bytes, key: str | None = None) -> bytes:
    return request(*headers, path=path, method=b"GET", key=key, body=b"", length=False)


# ---------------------------------------------------------------- F2: the front door


@pytest.mark.parametrize(
    "shown",
    [
        [], [b"X-Azure-FDID: "], [b"X-Azure-FDID: " + DOOR[:-1].encode()], [b"X-Azure-FDID: " + DOOR.encode() + b"0"],
        [b"X-Azure-FDID: " + OTHER_DOOR[:-1].encode() + b"3"], [b"X-Azure-FDID: " + DOOR.encode()] * 2,
        [b"X-Azure-FDID: " + DOOR.encode(), b"x-azure-fdid: " + OTHER_DOOR.encode()],
        [b"X-Azure-FDID: x, " + DOOR.encode()], [b"X_Azure_FDID: " + DOOR.encode()], [b"X-Azure-FDID2: " + DOOR.encode()],
        [b"X-Forwarded-X-Azure-FDID: " + DOOR.encode()], [b"X-Azure-FDID: \"" + DOOR.encode() + b"\""],
    ],
)  # fmt: skip
def test_row_F2_what_came_by_no_door_is_refused_before_its_credential_and_body(shown: list[bytes]):
    with fronted(doors=(DOOR, OTHER_DOOR)) as (gateway, upstream):
        answers = [ask(gateway.port, request(*shown, key=key)) for key in (KEY, None, "nobody")]
        for got in answers:
            is_refusal(got, "front.door")
            assert got.status == 403
        assert len({a.body for a in answers}) == 1, "whose credential it is makes no difference"
        waiting = request(*shown, b"Expect: 100-continue", b"Content-Length: 5000000", body=b"", length=False)
        assert ask(gateway.port, waiting).status == 403, "no 100 comes first"
        assert ask(gateway.port, request(*shown, path=b"/nothing")).status == 403, "paths cannot be probed"
        assert upstream.requests == [] and gateway.journal.totals().get("refused", 0) == 0


def test_row_F2_through_a_door_all_is_as_ever_and_the_header_goes_no_further():
    with fronted(doors=(DOOR, OTHER_DOOR)) as (gateway, upstream):
        for shown in (b"X-Azure-FDID: " + DOOR.encode(), b"x-azure-fdid:" + OTHER_DOOR.upper().encode() + b" "):
            assert ask(gateway.port, request(shown)).status == 200
            is_refusal(ask(gateway.port, request(shown, key="nobody")), "credential.unknown")
        for seen in upstream.requests:
            assert b"fdid" not in seen.raw.lower() and DOOR.encode() not in seen.raw.lower()


def test_row_F2_on_one_connection_each_request_shows_the_door():
    through = request(b"X-Azure-FDID: " + DOOR.encode())
    with fronted(doors=(DOOR,)) as (gateway, upstream):
        got = said(gateway, "127.0.0.1", through, through, request(), through, request(), request())
        assert [a.status for a in got] == [200, 200, 403, 200, 403, 403]
        assert len(upstream.requests) == 3


@pytest.mark.parametrize("path", HEALTH)
def test_row_F2_health_that_needs_no_credential_needs_no_door(path: bytes):
    with fronted(doors=(DOOR,), allow=("192.0.2.0/24",), proxies=("127.0.0.0/8",), failures=1) as (gateway, _):
        assert ask(gateway.port, get(path)).status == 200
        assert ask(gateway.port, get(path + b"?x=1", b"X-Forwarded-For: 203.0.113.1")).status == 200
        is_refusal(ask(gateway.port, get(b"/health/models/chat", key=KEY)), "front.address")
        is_refusal(ask(gateway.port, request(path=path)), "front.address")
        is_refusal(ask(gateway.port, get(path + b"/x")), "front.address")


def test_a_front_that_changes_holds_for_connections_that_are_open():
    with fronted() as (gateway, upstream), From(gateway.port, "127.0.0.1") as client:

        def answers() -> int:
            client.send(request())
            return int(client.answer().status)

        assert [answers(), answers()] == [200, 200], "the second head is not parsed again"
        before = gateway.snapshot
        worker = gateway.worker
        closed = replace(before, gateway=replace(before.gateway, front=Front(doors=(DOOR,))))
        gateway.call(lambda: worker.adopt(closed, worker.world.callers, None))
        assert [answers(), answers()] == [403, 403]
        gateway.call(lambda: worker.adopt(before, worker.world.callers, None))
        assert [answers(), answers()] == [200, 200]
        assert worker.server.front is None
        assert len(upstream.requests) == 4


# ---------------------------------------------------------------- F3: who asks


def who(front: dict[str, Any], address: str, *headers: bytes) -> str:
    """Whom the gateway takes it for that a connection from `address` asks, saying this."""
    with fronted(**front) as (gateway, _), From(gateway.port, address) as client:
        client.send(request(*headers))
        assert client.answer().status == 200
        (peer,) = gateway.call(lambda: [c.peer for c in gateway.worker.server.connections])
        return str(peer)


TRUST: dict[str, Any] = {"proxies": ("127.0.0.2/32", "10.0.0.0/8")}


@pytest.mark.parametrize(
    ("header", "shown", "client"),
    [
        ("x-forwarded-for", [], PROXY),
        ("x-forwarded-for", [b"X-Forwarded-For: 203.0.113.7"], "203.0.113.7"),
        ("x-forwarded-for", [b"X-Forwarded-For: 6.6.6.6, 203.0.113.7, 10.1.2.3"], "203.0.113.7"),
        ("x-forwarded-for", [b"X-Forwarded-For: 6.6.6.6", b"x-forwarded-for: 203.0.113.7:4711"], "203.0.113.7"),
        ("x-forwarded-for", [b"X-Forwarded-For: 10.0.0.1, 10.0.0.2"], "10.0.0.1"),
        ("x-forwarded-for", [b"X-Forwarded-For: 6.6.6.6, junk"], PROXY),
        ("x-forwarded-for", [b"X-Forwarded-For: 6.6.6.6, junk, 10.0.0.2"], "10.0.0.2"),
        ("x-forwarded-for", [b"X-Forwarded-For: "], PROXY),
        ("x-forwarded-for", [b"X-Forwarded-For: 6.6.6.6,"], PROXY),
        ("x-forwarded-for", [b"X-Forwarded-For: [2001:db8::7]:1234"], "2001:db8::7"),
        ("x-forwarded-for", [b"X-Forwarded-For: ::ffff:203.0.113.7"], "203.0.113.7"),
        ("x-forwarded-for", [b"X-Forwarded-For: 203.0.113.007"], PROXY),
        ("x-forwarded-for", [b"X-Forwarded-For: " + b"10.0.0.1," * 100 + b"10.0.0.1"], "10.0.0.1"),
        ("x-forwarded-for", [b"Forwarded: for=6.6.6.6", b"X-Real-IP: 6.6.6.6", b"X-Azure-ClientIP: 6.6.6.6"], PROXY),
        ("forwarded", [b'Forwarded: for=6.6.6.6, For="203.0.113.7:80";proto=https;by=x'], "203.0.113.7"),
        ("forwarded", [b'Forwarded: for="[2001:db8::7]:80"', b"Forwarded: for=10.0.0.9"], "2001:db8::7"),
        ("forwarded", [b'Forwarded: for="6.6.6.6, for=203.0.113.7'], "203.0.113.7"),
        ("forwarded", [b"Forwarded: for=6.6.6.6, for=unknown"], PROXY),
        ("forwarded", [b"Forwarded: for=6.6.6.6;for=203.0.113.7"], PROXY),
        ("forwarded", [b"X-Forwarded-For: 6.6.6.6"], PROXY),
        ("x-azure-clientip", [b"X-Azure-ClientIP: 203.0.113.7", b"X-Forwarded-For: 6.6.6.6"], "203.0.113.7"),
        ("x-azure-clientip", [b"X-Azure-ClientIP: 203.0.113.7, 6.6.6.6"], PROXY),
        ("x-azure-clientip", [b"X-Azure-ClientIP: 203.0.113.7", b"X-Azure-ClientIP: 6.6.6.6"], PROXY),
        ("x-real-ip", [b"X-Real-IP: 203.0.113.7"], "203.0.113.7"),
    ],
)  # fmt: skip
def test_row_F3_the_client_is_the_nearest_hop_that_is_not_trusted(header: str, shown: list[bytes], client: str):
    assert who({**TRUST, "client_address": header}, PROXY, *shown) == client


def test_row_F3_abuse_21_of_anybody_else_no_word_of_it_is_read():
    for header in ("x-forwarded-for", "forwarded", "x-azure-clientip"):
        shown = [b"X-Forwarded-For: 6.6.6.6", b"Forwarded: for=6.6.6.6", b"X-Azure-ClientIP: 6.6.6.6"]
        assert who({**TRUST, "client_address": header}, "127.0.0.1", *shown) == "127.0.0.1"


def test_row_F3_records_say_the_address_where_they_are_to_and_else_nothing():
    def told(gateway: GatewayThread) -> list[str]:
        journal = gateway.journal
        return [r.context.client for r in (*journal.recent, *journal.refusals)]

    messages = [request(b"X-Forwarded-For: 203.0.113.7"), request(b"X-Forwarded-For: 203.0.113.7"), request(),
                request(b"X-Forwarded-For: 203.0.113.8", key="nobody")]  # fmt: skip
    for front, expected in ((TRUST, ["203.0.113.7", "203.0.113.7", PROXY, "203.0.113.8"]), ({}, [PROXY] * 4)):
        with fronted(**front) as (gateway, _):
            said(gateway, PROXY, *messages)
            assert told(gateway) == [""] * 4
            before = gateway.snapshot
            telling = replace(before.gateway.telemetry, client_address=True)
            now = replace(before, gateway=replace(before.gateway, telemetry=telling))
            with From(gateway.port, PROXY) as kept:
                kept.send(messages[0])
                assert kept.answer().status == 200
                gateway.call(lambda now=now: gateway.worker.adopt(now, gateway.worker.world.callers, None))
                kept.send(messages[0])
                assert kept.answer().status == 200
            said(gateway, PROXY, *messages)
            assert sorted(told(gateway)) == sorted([""] * 5 + expected[:1] + expected)


def test_row_F3_what_one_request_of_a_proxy_says_is_not_taken_for_the_next():
    with fronted(**TRUST, allow=("203.0.113.0/24",)) as (gateway, upstream):
        good, bad = (request(b"X-Forwarded-For: " + a) for a in (b"203.0.113.7", b"198.51.100.1"))
        got = said(gateway, PROXY, good, good, bad, good, request(), good)
        assert [a.status for a in got] == [200, 200, 403, 200, 403, 200]
        assert len(upstream.requests) == 4


def test_row_F3_who_is_not_allowed_is_not_even_greeted():
    with fronted(allow=("127.0.0.3", "192.0.2.0/24"), proxies=("127.0.0.2",)) as (gateway, upstream):
        assert said(gateway, "127.0.0.3", request())[0].status == 200
        with pytest.raises((Broken, ConnectionResetError, BrokenPipeError)):
            said(gateway, "127.0.0.4", get(b"/health/live"))
        is_refusal(said(gateway, PROXY, request())[0], "front.address")
        is_refusal(said(gateway, PROXY, request(b"X-Forwarded-For: 127.0.0.4"))[0], "front.address")
        assert said(gateway, PROXY, request(b"X-Forwarded-For: 192.0.2.77"))[0].status == 200
        assert len(upstream.requests) == 2
        assert gateway.worker.server.refusals["front.address"] == 3


# ---------------------------------------------------------------- paths


@pytest.mark.parametrize("prefix", [b"", b"/llm", b"/ai/gateway"])
def test_row_A18_a_prefix_is_cut_off_and_the_rest_is_as_ever(prefix: bytes):
    with fronted(base_paths=("/llm", "/ai/gateway", "/ai")) as (gateway, upstream):
        dated = b"/openai/deployments/chat/chat/completions?api-version=2024-10-21"
        for path in (PATH, b"/v1/chat/completions", dated):
            assert ask(gateway.port, request(path=prefix + path)).status == 200
        assert upstream.requests[-1].target == b"/openai/deployments/gpt-4o-1/chat/completions?api-version=2024-10-21"
        assert ask(gateway.port, get(prefix + b"/v1/models", key=KEY)).json["data"][0]["id"] == "chat"
        assert ask(gateway.port, get(prefix + b"/health/ready")).status == 200


@pytest.mark.parametrize(
    "path",
    [
        b"/llm", b"/llmx" + PATH, b"/LLM" + PATH, b"/llm/llm" + PATH, b"/llm/" + PATH, b"/llm/.." + PATH, b"/x/../llm" + PATH,
        b"/llm%2f" + PATH, b"/llm//health/live", b"/./llm" + PATH, b"//llm" + PATH, b"/llm;x" + PATH, b"http://x/llm" + PATH,
        b"/llm\\" + PATH, b"/llm?" + PATH, b"/llm#" + PATH, b"/ai/gateway/ai" + PATH, b"/ai/llm" + PATH,
    ],
)  # fmt: skip
def test_abuse_24_what_only_looks_like_the_prefix_is_none(path: bytes):
    with fronted(base_paths=("/llm", "/ai/gateway", "/ai")) as (gateway, upstream):
        got = ask(gateway.port, request(path=path))
        is_refusal(got, "route.path", "request.target", "request.malformed")
        assert upstream.requests == []


# ---------------------------------------------------------------- browsers

PAGE = b"Origin: https://app.contoso.example"
ORIGINS = Cors(("https://app.contoso.example", "http://localhost:3000"), 600.0)


def preflight(*headers: bytes, path: bytes = PATH) -> bytes:
    lines = [b"OPTIONS " + path + b" HTTP/1.1", b"Host: gateway", *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def test_a_page_asks_whether_it_may_and_is_told_without_a_credential():
    with fronted(cors=ORIGINS) as (gateway, upstream):
        asked = preflight(PAGE, b"Access-Control-Request-Method: POST",
                          b"Access-Control-Request-Headers: authorization,content-type,x-stainless-os")  # fmt: skip
        for path in (PATH, b"/v1/models", b"/nothing/here"):
            got = ask(gateway.port, asked.replace(PATH, path), method=b"OPTIONS")
            assert got.status == 200 and got.body == b""
            assert got.header("access-control-allow-origin") == b"https://app.contoso.example"
            assert got.header("access-control-allow-headers") == b"authorization,content-type,x-stainless-os"
            assert b"POST" in (got.header("access-control-allow-methods") or b"").split(b", ")
            assert got.header("access-control-max-age") == b"600" and got.header("vary") == b"origin"
            assert got.header("access-control-allow-credentials") is None
        answered = said(gateway, "127.0.0.1", asked, request(PAGE), asked, request(PAGE))
        assert [a.status for a in answered] == [200] * 4, "the connection is kept"
        assert len(upstream.requests) == 2


def test_answers_and_refusals_may_be_read_by_the_page_that_asked_and_by_no_other():
    with fronted(cors=ORIGINS) as (gateway, _):
        for message, status in ((request(PAGE), 200), (request(PAGE, key="nobody"), 401), (request(PAGE, path=b"/x"), 404),
                                (request(PAGE, body=b"{"), 400), (get(b"/v1/models", PAGE, key=KEY), 200),
                                (request(PAGE, b"Expect: x"), 417)):  # fmt: skip
            got = ask(gateway.port, message)
            assert got.status == status
            assert got.header("access-control-allow-origin") == b"https://app.contoso.example"
            assert b"x-sluicegate-reason" in (got.header("access-control-expose-headers") or b"").split(b", ")
        for page in (b"Origin: https://evil.example", b"Origin: null", b"Origin: https://app.contoso.example.evil.example",
                     b"Origin: http://app.contoso.example", b"Origin: https://app.contoso.example:444", b"Origin: *",
                     PAGE + b"\r\n" + PAGE, PAGE + b"/", b"X: y"):  # fmt: skip
            got = ask(gateway.port, request(page))
            assert got.status == 200 and b"access-control" not in got.raw_head
            refused = ask(gateway.port, preflight(page, b"Access-Control-Request-Method: POST"), method=b"OPTIONS")
            is_refusal(refused, "front.origin")
            assert b"access-control" not in refused.raw_head


def test_each_request_of_a_connection_is_answered_for_its_own_page():
    with fronted(cors=ORIGINS) as (gateway, _):
        other = b"Origin: http://localhost:3000"
        pages = [PAGE, PAGE, PAGE, PAGE, other, None, None, None, PAGE, PAGE]
        got = said(gateway, "127.0.0.1", *[request(page) if page else request() for page in pages])
        origins = [a.header("access-control-allow-origin") for a in got]
        assert origins == [page and page.removeprefix(b"Origin: ") for page in pages]


def test_a_page_cannot_make_us_say_more_headers_than_it_asked_for():
    with fronted(cors=ORIGINS) as (gateway, _):
        for asked in (b"x\x01y", b"a" * 5000, b"\xff", b"a:b", b'"a"'):
            got = ask(gateway.port, preflight(PAGE, b"Access-Control-Request-Method: POST",
                                              b"Access-Control-Request-Headers: " + asked), method=b"OPTIONS")  # fmt: skip
            assert got.header("access-control-allow-headers") is None or got.status == 400


def test_without_the_section_a_page_gets_nothing():
    with fronted() as (gateway, _):
        got = ask(gateway.port, preflight(PAGE, b"Access-Control-Request-Method: POST"), method=b"OPTIONS")
        is_refusal(got, "route.method")
        assert b"access-control" not in ask(gateway.port, request(PAGE)).raw_head


# ---------------------------------------------------------------- keys in URLs


@pytest.mark.parametrize(
    "query",
    [b"?api-key=%k", b"?subscription-key=%k", b"?Subscription-Key=%k", b"?api-version=2024-10-21&api-key=%k", b"?api-key=%k&x=1",
     b"?api%2dkey=%k", b"?api-key=%k&api-key=%k"],
)  # fmt: skip
def test_a_key_in_the_url_counts_where_that_is_allowed_and_goes_no_further(query: bytes):
    deployment = b"/openai/deployments/chat/chat/completions"
    with fronted(query_keys=True) as (gateway, upstream):
        for path in (PATH, deployment):
            message = request(path=path + query.replace(b"%k", KEY.encode()), key=None)
            assert [a.status for a in said(gateway, "127.0.0.1", message, message)] == [200, 200]
        for seen in upstream.requests:
            assert KEY.encode() not in seen.raw
        server = gateway.worker.server
        kept = gateway.call(lambda: repr([*server.seen, *server.paths._seen, *gateway.journal.recent]))
        assert KEY not in kept and "api-key" not in kept and "subscription" not in kept.lower()
    with fronted() as (gateway, upstream):
        is_refusal(
            ask(gateway.port, request(path=PATH + query.replace(b"%k", KEY.encode()), key=None)), "credential.missing"
        )


def test_a_key_in_the_url_and_another_in_a_header_are_two_callers():
    with fronted(query_keys=True) as (gateway, upstream):
        both = request(path=PATH + b"?api-key=" + OTHER.encode())
        is_refusal(ask(gateway.port, both), "credential.ambiguous")
        is_refusal(ask(gateway.port, request(path=PATH + b"?api-key=nobody")), "credential.ambiguous")
        assert ask(gateway.port, request(path=PATH + b"?api-key=" + KEY.encode())).status == 200
        assert len(upstream.requests) == 1


# ---------------------------------------------------------------- abuse 44: guessing


def test_abuse_44_after_too_many_failures_nothing_is_looked_at_but_what_was_good_goes_on():
    with fronted(failures=5) as (gateway, upstream):
        assert ask(gateway.port, request()).status == 200
        for n in range(5):
            is_refusal(ask(gateway.port, request(key=f"guess-{n}")), "credential.unknown")
        got = ask(gateway.port, request(key="guess-6"))
        is_refusal(got, "credential.too_many_failures")
        assert got.status == 429 and 1 <= int(got.header("retry-after") or b"") <= 60
        is_refusal(ask(gateway.port, request(key=OTHER)), "credential.too_many_failures")  # not known from here
        assert ask(gateway.port, request()).status == 200, "good from here, not long ago"
        is_refusal(ask(gateway.port, request(b"x-api-key: guess")), "credential.too_many_failures")
        is_refusal(ask(gateway.port, request(key=None)), "credential.missing")
        assert ask(gateway.port, get(b"/health/live", key="guess")).status == 200
        assert said(gateway, "127.0.0.9", request(key=OTHER))[0].status == 200, "another address"
        assert len(upstream.requests) == 3


def test_abuse_44_guesses_on_one_connection_count_however_alike_they_are():
    with fronted(failures=3) as (gateway, upstream):
        got = said(gateway, "127.0.0.1", *[request(key="guess")] * 6)
        assert [a.reason for a in got] == ["credential.unknown"] * 3 + ["credential.too_many_failures"] * 3
        assert upstream.requests == []


def test_abuse_44_a_guess_beside_a_good_key_counts_too():
    """`ambiguous` would tell that one of the two is good."""
    with fronted(failures=3) as (gateway, _):
        got = [ask(gateway.port, request(b"x-api-key: guess-%d" % n)).reason for n in range(5)]
        assert got == ["credential.ambiguous"] * 3 + ["credential.too_many_failures"] * 2


def test_abuse_44_behind_a_proxy_each_client_has_its_own_count():
    with fronted(failures=2, **TRUST) as (gateway, _):

        def shown(address: bytes, key: str) -> str:
            return str(said(gateway, PROXY, request(b"X-Forwarded-For: " + address, key=key))[0].reason)

        assert [shown(b"203.0.113.1", "guess") for _ in range(3)][-1] == "credential.too_many_failures"
        assert (
            shown(b"203.0.113.2", KEY) == "" and shown(b"6.6.6.6, 203.0.113.1", KEY) == "credential.too_many_failures"
        )
        assert [shown(b"2001:db8::%d" % n, "guess") for n in range(3)][-1] == "credential.too_many_failures", "one /64"
        assert shown(b"2001:db8:0:1::1", KEY) == ""


def test_a_body_behind_a_refusal_of_the_front_does_not_become_the_next_request():
    smuggled = request(b"X-Azure-FDID: " + DOOR.encode())
    with fronted(doors=(DOOR,)) as (gateway, upstream), From(gateway.port, "127.0.0.1") as client:
        client.send(request(body=smuggled))
        is_refusal(client.answer(), "front.door")
        client.send(request(b"X-Azure-FDID: " + DOOR.encode(), body=CHAT))
        assert client.answer().status == 200
        assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    ("reason", "counts"),
    [("credential.unknown", True), ("credential.ambiguous", True), ("credential.token.signature", True),
     ("credential.token.malformed", True), ("credential.token.binding", True), ("credential.token.expired", False),
     ("credential.missing", False), ("credential.issuer_unavailable", False), ("identity.unmatched", False)],
)  # fmt: skip
def test_abuse_44_what_counts_as_a_guess(reason: str, counts: bool):
    assert guessed(reason) is counts


def test_abuse_16_pipelined_requests_are_each_asked_for_themselves():
    """All in one write: the door, the client that the proxy names, the key in the URL, the page."""
    door = b"X-Azure-FDID: " + DOOR.encode()
    mine, other = b"X-Forwarded-For: 203.0.113.7", b"X-Forwarded-For: 198.51.100.1"
    messages = [
        request(door, mine), request(mine), request(door, other), request(door, mine, PAGE), request(door, mine),
        request(door, mine, key=None, path=PATH + b"?api-key=" + OTHER.encode()), request(door, mine, key=None),
        request(door, mine, key="nobody"), request(door, mine), request(door), request(door, mine),
    ]  # fmt: skip
    expected = [
        "",
        "front.door",
        "front.address",
        "",
        "",
        "",
        "credential.missing",
        "credential.unknown",
        "",
        "front.address",
        "",
    ]
    front: dict[str, Any] = {**TRUST, "doors": (DOOR,), "allow": ("203.0.113.0/24",), "cors": ORIGINS, "query_keys": True,
                             "failures": 5, "base_paths": ("/llm",)}  # fmt: skip
    with fronted(**front) as (gateway, upstream):
        for pieces in ([b"".join(messages)], [bytes((byte,)) for byte in b"".join(messages)]):
            with From(gateway.port, PROXY) as client:
                client.send(*pieces)
                got = [client.answer() for _ in messages]
            assert [a.reason for a in got] == expected
            shown = [a.header("access-control-allow-origin") is not None for a in got]
            assert shown == [n == 3 for n in range(len(messages))]
        served = [record.consumer for record in gateway.journal.recent]
        assert served == [1, 1, 1, 2, 1, 1] * 2
        assert len(upstream.requests) == 12


# ---------------------------------------------------------------- end users that a proxy names


def test_row_G3_behind_one_shared_key_a_trusted_proxy_names_the_end_user_of_each_record():
    entries = (
        ConsumerEntry(1, "app", "default", ("chat",), (digest(KEY.encode(), SECRET),), end_user="header:x-user"),
        ConsumerEntry(2, "other", "default", ("chat",), (digest(OTHER.encode(), SECRET),)),
    )
    ann, bob = request(b"X-User: ann"), request(b"x-user: bob")
    asked = (ann, bob, ann, request(), request(b"X-User: ann", b"X-User: eve"), request(b"X-User: ann", key=OTHER))
    for proxy, wanted in ((PROXY, ["ann", "bob", "ann", "", "", ""]), ("127.0.0.1", [""] * 6)):
        with Upstream() as upstream:
            plain = snapshot([instance(1, upstream.port)])
            spec = replace(plain, gateway=replace(plain.gateway, front=Front(proxies=(f"{PROXY}/32",))))
            with GatewayThread(spec, Directory((SECRET,), entries)) as gateway:
                assert [a.status for a in said(gateway, proxy, *asked)] == [200] * 6
                assert [record.context.end_user for record in gateway.journal.recent] == wanted
            assert all(b"x-user" not in seen.raw.lower() for seen in upstream.requests), "it goes no further"
