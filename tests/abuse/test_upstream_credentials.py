"""What goes up, whatever a client shows: our credential and no other, on sockets, by the bytes that arrived there.

E8, E9, abuse 50: nothing of a client's credentials goes up, but its own token where `passthrough` is written; a token
of ours goes to the instances of its identity and nowhere else, and to no client.
"""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from sluicegate.core.caller import digest
from sluicegate.core.principal import Principal
from sluicegate.core.secret import Secret
from sluicegate.core.snapshot import Auth, ConsumerEntry, Directory, Match
from sluicegate.link.channel import Token
from sluicegate.sim.fleet import FleetThread
from tests.abuse.outside import Seen, Upstream, answer
from tests.gateway import KEY, SECRET, UPSTREAM_KEY, GatewayThread, instance, snapshot

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJhenAiOiJhcHAifQ.c2lnbmF0dXJlLW9mLXRoZS1jbGllbnQ"
OTHER = "eyJhbGciOiJSUzI1NiJ9.eyJhenAiOiJvdGhlciJ9.c2lnbmF0dXJlLW9mLWFub3RoZXI"
OURS = ["token-of-identity-one-0000000", "token-of-identity-two-0000000"]
CHAT = "/openai/deployments/chat/chat/completions?api-version=2024-10-21"
BODY = json.dumps({"messages": [{"role": "user", "content": "hello"}]})
KINDS = {
    "key": Auth("key", Secret(UPSTREAM_KEY)), "none": Auth(), "one": Auth("token", identity=1),
    "two": Auth("token", identity=2), "passthrough": Auth("passthrough"),
}  # fmt: skip


class Proves:
    """Stands in for identity/: knows two tokens."""

    def prove(self, token: bytes, mark: bytes = b"") -> Principal | str:
        if token in (JWT.encode(), OTHER.encode()):
            return Principal("contoso", {"azp": "app" if token == JWT.encode() else "other"}, token[-16:], 9e12)
        return "credential.token.malformed"


def people() -> Directory:
    entries = (
        ConsumerEntry(1, "app", "default", ("chat",), (digest(KEY.encode(), SECRET),)),
        ConsumerEntry(2, "by-token", "default", ("chat",), (), match=Match("contoso", claims=(("azp", ("app",)),))),
        ConsumerEntry(3, "no-models", "default", ("other",), (), match=Match("contoso", claims=(("azp", ("other",)),))),
    )
    return Directory((SECRET,), entries)


@pytest.fixture(scope="module")
def fleet() -> Iterator[FleetThread]:
    deployments = {"deployments": {f"gpt-4o-{n}": {} for n in range(1, 6)}}
    with FleetThread({"a": {**deployments, "key": UPSTREAM_KEY}, "b": {**deployments, "key": UPSTREAM_KEY}}) as fleet:
        for served in fleet:
            served.instance.bearers = lambda text: True
        yield fleet


def serving(fleet: FleetThread, *kinds: str) -> GatewayThread:
    instances = [
        instance(n, fleet["ab"[n - 1]].port, name=kind, auth=KINDS[kind]) for n, kind in enumerate(kinds, 1)
    ]  # fmt: skip
    return GatewayThread(snapshot(instances), people())


@pytest.fixture
def gateways(fleet: FleetThread) -> Iterator[Any]:
    up: list[GatewayThread] = []

    def start(*kinds: str) -> GatewayThread:
        gateway = serving(fleet, *kinds)
        up.append(gateway)
        gateway.__enter__()

        def supply() -> None:
            gateway.worker.world.know(Proves())  # type: ignore[arg-type]
            for number, text in enumerate(OURS, 1):
                gateway.worker.supply(Token(number, 1, text, 9e12))

        gateway.call(supply)
        return gateway

    yield start
    for gateway in up:
        gateway.__exit__()


def ask(gateway: GatewayThread, headers: dict[str, str], body: str = BODY) -> tuple[int, dict[str, str], Any]:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)
    try:
        connection.request("POST", CHAT, body, {"content-type": "application/json", **headers})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), json.loads(answer.read())
    finally:
        connection.close()


SHOWN = {
    "api-key": {"api-key": KEY},
    "bearer key": {"authorization": f"Bearer {KEY}"},
    "x-api-key": {"x-api-key": KEY},
    "subscription key": {"ocp-apim-subscription-key": KEY},
    "everywhere": {"api-key": KEY, "authorization": f"Bearer {KEY}", "x-api-key": KEY, "cookie": f"a={KEY}",
                   "proxy-authorization": f"Basic {KEY}", "x-ms-token-aad-access-token": KEY},
    "token": {"authorization": f"Bearer {JWT}", "cookie": "session=of-the-client", "x-forwarded-access-token": JWT},
}  # fmt: skip


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("shown", list(SHOWN))
def test_E8_E9_what_goes_up_is_ours_and_nothing_of_the_clients_but_its_token_where_that_is_passed_on(
    fleet: FleetThread, gateways: Any, kind: str, shown: str
):
    gateway = gateways(kind)
    before = len(fleet.ledger.of("a", None))
    status, headers, body = ask(gateway, SHOWN[shown])
    arrived = fleet.ledger.of("a", None)[before:]
    if kind == "passthrough" and shown != "token":
        assert (status, headers["x-sluicegate-reason"]) == (401, "passthrough.no_token") and not arrived
        return
    assert status == (503 if kind == "none" else 200)
    lines = arrived[0].head.lower().split(b"\r\n")
    wanted = {
        "key": [b"api-key: " + UPSTREAM_KEY.encode()], "none": [], "one": [f"authorization: bearer {OURS[0]}".encode()],
        "two": [f"authorization: bearer {OURS[1]}".encode()],
        "passthrough": [f"authorization: bearer {JWT}".lower().encode()],
    }[kind]  # fmt: skip
    names = (b"authorization", b"api-key", b"x-api-key", b"cookie", b"proxy-authorization")
    assert [line for line in lines if line.partition(b":")[0] in names] == wanted
    head = arrived[0].head
    assert KEY.encode() not in head and b"of-the-client" not in head
    assert head.count(JWT.encode()) == (1 if kind == "passthrough" else 0)
    told = json.dumps([headers, body])
    assert all(text not in told for text in (*OURS, UPSTREAM_KEY, KEY, JWT))


def test_E9_grants_hold_where_tokens_are_passed_on(fleet: FleetThread, gateways: Any):
    gateway = gateways("passthrough")
    before = len(fleet.ledger.of("a", None))
    status, headers, _ = ask(gateway, {"authorization": f"Bearer {OTHER}"})
    assert (status, headers["x-sluicegate-reason"]) == (404, "route.model")
    status, _, _ = ask(gateway, {"authorization": "Bearer eyJhbGciOiJub25lIn0.e30."})
    assert status == 401 and len(fleet.ledger.of("a", None)) == before


def test_E9_a_long_prompt_goes_up_with_the_clients_token(fleet: FleetThread, gateways: Any):
    gateway = gateways("passthrough")
    long = json.dumps({"messages": [{"role": "user", "content": "hello " * 400_000}]})
    assert ask(gateway, SHOWN["token"], long)[0] == 200
    head = fleet.ledger.of("a", None)[-1].head
    assert head.count(f"authorization: Bearer {JWT}".encode()) == 1


def test_E9_a_key_is_served_by_members_that_are_shown_ours(fleet: FleetThread, gateways: Any):
    gateway = gateways("passthrough", "one")
    before = len(fleet.ledger.of("a", None)), len(fleet.ledger.of("b", None))
    assert [ask(gateway, {"api-key": KEY})[0] for _ in range(5)] == [200] * 5
    assert (len(fleet.ledger.of("a", None)) - before[0], len(fleet.ledger.of("b", None)) - before[1]) == (0, 5)


def test_E9_who_shows_a_key_is_told_of_the_time_of_those_that_it_may_have(fleet: FleetThread, gateways: Any):
    gateway = gateways("passthrough", "one")
    fleet.fault("throttle", instance="b", wait_s=30, times=1)
    assert ask(gateway, {"api-key": KEY})[0] == 429
    status, headers, _ = ask(gateway, {"api-key": KEY})
    assert status == 429 and 25 < int(headers["retry-after"]) <= 30
    assert ask(gateway, SHOWN["token"])[0] == 200


def test_E9_a_refusal_of_the_clients_own_token_is_its_own_business(fleet: FleetThread, gateways: Any):
    """Nobody can put a deployment out of service for others by a token that it does not take."""
    gateway = gateways("passthrough")
    fleet["a"].instance.bearers = lambda text: False
    try:
        status, headers, body = ask(gateway, SHOWN["token"])
    finally:
        fleet["a"].instance.bearers = lambda text: True
    assert (status, headers["x-sluicegate-reason"]) == (403, "passthrough.refused")
    assert "subscription" not in json.dumps(body)
    assert ask(gateway, SHOWN["token"])[0] == 200, "its breaker is closed"
    record = next(r for r in gateway.journal.recent if r.reason == "passthrough.refused")
    assert record.state == "settled" and record.attempts[0].status == 401


def test_abuse_50_two_identities_and_each_token_goes_to_its_own(fleet: FleetThread, gateways: Any):
    gateway = gateways("one", "two")
    before = {name: len(fleet.ledger.of(name, None)) for name in "ab"}
    for _ in range(20):
        assert ask(gateway, {"api-key": KEY})[0] == 200
    seen = {}
    for name in "ab":
        heads = [e.head for e in fleet.ledger.of(name, None)[before[name] :]]
        seen[name] = len(heads)
        mine, others = (OURS[0], OURS[1]) if name == "a" else (OURS[1], OURS[0])
        assert all(mine.encode() in head and others.encode() not in head for head in heads)
    assert sum(seen.values()) == 20


def test_abuse_31_nobody_follows_an_upstream_elsewhere_with_our_token(fleet: FleetThread, gateways: Any):
    gateway = gateways("one")
    before = len(fleet.ledger.of("b", None))
    fleet.fault("redirect", instance="a", location=f"{fleet['b'].origin}{CHAT}", times=1)
    status, headers, body = ask(gateway, {"api-key": KEY})
    assert (status, headers["x-sluicegate-reason"]) == (503, "pool.failed") and "location" not in headers
    assert len(fleet.ledger.of("b", None)) == before and OURS[0] not in json.dumps(body)


def test_a_token_that_ended_is_not_shown_though_no_keeper_says_so(fleet: FleetThread, gateways: Any):
    gateway = gateways("one")
    assert ask(gateway, {"api-key": KEY})[0] == 200
    gateway.call(lambda: gateway.worker.world.look_at_tokens(9.5e12))
    before = len(fleet.ledger.of("a", None))
    status, headers, _ = ask(gateway, {"api-key": KEY})
    assert (status, headers["x-sluicegate-reason"]) == (503, "pool.failed")
    assert len(fleet.ledger.of("a", None)) == before
    told = gateway.call(lambda: gateway.worker.pools())["one/gpt-4o-1"]
    assert (told["state"], told["cause"], told["until"]) == ("open", "upstream.credential", 0.0)
    gateway.call(lambda: gateway.worker.supply(Token(1, 2, OURS[0], 9e12)))
    assert ask(gateway, {"api-key": KEY})[0] == 200, "and at once when there is one again"


# ---------------------------------------------------------------- a credential that is renewed while it is being refused


class Rotating:
    """An instance on which the old credential is refused, later: answers to it wait until they may go."""

    def __init__(self, old: bytes) -> None:
        self.old = old
        self.asked = threading.Event()
        self.let_go = threading.Event()

    def __call__(self, seen: Seen, s: socket.socket) -> bool:
        if self.old in seen.head:
            self.asked.set()
            assert self.let_go.wait(10)
            s.sendall(answer(b'{"error":{"code":"401","message":"old key"}}', b"401 Unauthorized"))
        else:
            s.sendall(answer())
        return True


@pytest.mark.parametrize("kind", ["key", "one"])
def test_E12_a_request_that_met_the_old_credential_is_asked_again_with_the_new_one(kind: str):
    """One member only. The refusal says nothing of the new credential, so the door stays open for others, too."""
    new = "another-key-of-the-upstream-0001"
    with Upstream() as upstream:
        old = UPSTREAM_KEY if kind == "key" else OURS[0]
        upstream.answer = rotating = Rotating(old.encode())
        instances = [instance(1, upstream.port, name="only", auth=KINDS[kind])]
        with GatewayThread(snapshot(instances), people()) as gateway, ThreadPoolExecutor(1) as pool:
            gateway.call(lambda: gateway.worker.supply(Token(1, 1, OURS[0], 9e12)))
            asked = pool.submit(ask, gateway, {"api-key": KEY})
            assert rotating.asked.wait(10)

            def rotate() -> None:
                worker = gateway.worker
                if kind == "key":
                    other = replace(instances[0], auth=Auth("key", Secret(new)))
                    worker.adopt(replace(worker.snapshot, instances=(other,)), worker.world.callers, None)
                else:
                    worker.supply(Token(1, 2, new, 9e12))

            gateway.call(rotate)
            rotating.let_go.set()
            assert asked.result()[0] == 200
            assert [ask(gateway, {"api-key": KEY})[0] for _ in range(3)] == [200] * 3
            told = gateway.call(lambda: gateway.worker.pools())["only/gpt-4o-1"]
            assert (told["state"], told["cause"]) == ("closed", "")
            record = next(r for r in gateway.journal.recent if len(r.attempts) == 2)
            assert [a.status for a in record.attempts] == [401, 200] and record.state == "settled"
        heads = [seen.head for seen in upstream.requests]
        assert old.encode() in heads[0] and all(new.encode() in head for head in heads[1:])


def test_E12_a_refusal_of_what_is_still_shown_is_asked_again_by_nobody():
    with Upstream() as upstream:
        upstream.answer = rotating = Rotating(OURS[0].encode())
        rotating.let_go.set()
        instances = [instance(1, upstream.port, name="only", auth=KINDS["one"])]
        with GatewayThread(snapshot(instances), people()) as gateway:
            gateway.call(lambda: gateway.worker.supply(Token(1, 1, OURS[0], 9e12)))
            assert ask(gateway, {"api-key": KEY})[0] == 503
            gateway.call(lambda: gateway.worker.supply(Token(1, 2, OURS[0], 9.1e12)))  # the same one, longer
            assert ask(gateway, {"api-key": KEY})[0] == 503
        assert len(upstream.requests) == 1
