"""examples/callers.yaml over real sockets: each caller reaches its own deployment, and no other, however it asks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest

from sluicegate.core.keyset import KeySet
from sluicegate.identity.jose import keyset
from tests.abuse.outside import CHAT, Answer, Upstream, ask, is_refusal, request
from tests.gateway import GatewayThread
from tests.identity.provider import CLIENT, Signer
from tests.spec.test_examples import example

CONTOSO, FABRIKAM = "11110000-0000-4000-8000-000000000003", "55550000-0000-4000-8000-000000000003"
APP = "0a1b0000-0000-4000-8000-000000000004"
KEY = "SHOP_KEY-0123456789abcdef"


class Ground:
    """The example with its three resources on loopback, and signers of its issuers. Peers on loopback are trusted."""

    def __init__(self, gateway: GatewayThread, upstreams: list[Upstream]) -> None:
        self.gateway = gateway
        self.upstreams = upstreams
        self.signer = Signer("https://id.partner.example")
        sets: list[KeySet] = [
            keyset(i.source, json.dumps(self.signer.set()).encode(), 1e11) for i in gateway.snapshot.issuers
        ]
        gateway.call(lambda: gateway.worker.take_keys(sets))

    def entra(self, tenant: str, **claims: Any) -> bytes:
        own = {"tid": tenant, "iss": f"https://login.microsoftonline.com/{tenant}/v2.0", "aud": CLIENT, "roles": None}
        return self.signer.entra("https://login.microsoftonline.com", 2, **{**own, **claims}).encode()

    def ask(self, model: str, *headers: bytes) -> Answer:
        body = CHAT.replace(b'"chat"', json.dumps(model).encode())
        return ask(self.gateway.port, request(*headers, body=body, key=None))

    def reached(self, model: str, *headers: bytes) -> tuple[int, list[int]]:
        """Status, and which of the resources were asked."""
        for upstream in self.upstreams:
            upstream.forget()
        status = self.ask(model, *headers).status
        return status, [n for n, upstream in enumerate(self.upstreams, 1) if upstream.requests]

    @property
    def record(self) -> Any:
        return self.gateway.journal.recent[-1]


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    loaded = example("callers")
    assert loaded.snapshot is not None and loaded.directory is not None, loaded.errors
    with ExitStack() as stack:
        upstreams = [stack.enter_context(Upstream()) for _ in range(3)]
        instances = tuple(
            replace(i, scheme="http", host="127.0.0.1", port=u.port, base_path="")
            for i, u in zip(loaded.snapshot.instances, upstreams, strict=True)
        )
        gateway = loaded.snapshot.gateway
        listen = replace(gateway.listen, host="127.0.0.1", port=0)
        here = replace(gateway, listen=listen, front=replace(gateway.front, proxies=("127.0.0.0/8",)))
        snapshot = replace(loaded.snapshot, instances=instances, gateway=here)
        running = stack.enter_context(GatewayThread(snapshot, loaded.directory))
        yield Ground(running, upstreams)


def bearer(token: bytes) -> bytes:
    return b"Authorization: Bearer " + token


def test_A5_a_tenant_is_recognised_by_claim_header_or_key_and_served_by_its_own_deployment(ground: Ground) -> None:
    by_claim = bearer(ground.entra(FABRIKAM, azp="any"))
    by_app = bearer(ground.entra(CONTOSO, azp=APP, azpacr="2"))
    by_header, by_key = b"x-tenant: shop", b"api-key: " + KEY.encode()
    assert ground.reached("chat-contoso", by_app) == (200, [1])
    assert ground.reached("chat-fabrikam", by_claim) == (200, [2])
    assert ground.record.tenant == "fabrikam"
    assert ground.reached("chat-shop", by_header) == (200, [3])
    assert ground.record.tenant == "shop" and ground.record.trail[:2] == [
        "credential: header of a trusted proxy", "match: rank 2: consumers.shop-web",
    ]  # fmt: skip
    assert ground.reached("chat-shop", by_key) == (200, [3])
    for who, models in (
        (by_app, ("chat-fabrikam", "chat-shop")), (by_claim, ("chat-contoso", "chat-shop")),
        (by_header, ("chat-contoso", "chat-fabrikam")), (by_key, ("chat-contoso", "chat-fabrikam")),
    ):  # fmt: skip
        for model in models:
            assert ground.reached(model, who) == (404, [])


def test_A5_a_header_beside_a_token_or_key_is_never_looked_at(ground: Ground) -> None:
    """A client's own x-tenant that the proxy forgot to drop changes nothing for who shows another credential."""
    spoofed = b"x-tenant: shop"
    fabrikam = bearer(ground.entra(FABRIKAM, azp="any"))
    assert ground.reached("chat-shop", fabrikam, spoofed) == (404, [])
    assert ground.reached("chat-fabrikam", fabrikam, spoofed) == (200, [2])
    assert ground.record.tenant == "fabrikam"
    nobody = bearer(ground.entra(CONTOSO, azp="any"))
    is_refusal(ground.ask("chat-shop", nobody, spoofed), "identity.unmatched")
    is_refusal(ground.ask("chat-shop", b"api-key: wrong", spoofed), "credential.unknown")
    is_refusal(ground.ask("chat-shop", bearer(b"eyJhbGciOiJub25lIn0.e30.e30"), spoofed), "credential.token")
    is_refusal(ground.ask("chat-shop", b"x-tenant: other"), "credential.missing")
    is_refusal(ground.ask("chat-shop", spoofed, spoofed), "credential.missing")
    is_refusal(ground.ask("chat-shop"), "credential.missing")


def test_A5_a_header_of_a_peer_that_is_not_trusted_is_nothing(ground: Ground) -> None:
    whole = ground.gateway.snapshot
    front = replace(whole.gateway.front, proxies=("10.20.0.0/16",))
    other = replace(whole, gateway=replace(whole.gateway, front=front))
    worker = ground.gateway.worker
    try:
        ground.gateway.call(lambda: worker.adopt(other, worker.world.callers, None))
        is_refusal(ground.ask("chat-shop", b"x-tenant: shop"), "credential.missing")
    finally:
        ground.gateway.call(lambda: worker.adopt(whole, worker.world.callers, None))
    assert ground.reached("chat-shop", b"x-tenant: shop")[0] == 200


def test_end_users_are_those_of_the_claim_or_the_header(ground: Ground) -> None:
    assert ground.reached("chat-shop", b"x-tenant: shop", b"x-user: anna@shop")[0] == 200
    assert ground.record.context.end_user == "anna@shop"
    assert ground.reached("chat-fabrikam", bearer(ground.entra(FABRIKAM, oid="user-9")))[0] == 200
    assert ground.record.context.end_user == "user-9"


def test_members_of_a_family_are_apart_in_records(ground: Ground) -> None:
    for app in ("one", "two"):
        token = ground.signer.token(aud="sluicegate", azp=app, scp="openid llm").encode()
        assert ground.reached("chat-fabrikam", bearer(token)) == (200, [2])
        assert dict(ground.record.context.labels)["member"] == app
    blocked = ground.signer.token(aud="sluicegate", azp="blocked-1", scp="llm").encode()
    is_refusal(ground.ask("chat-fabrikam", bearer(blocked)), "identity.unmatched")
    assert ground.gateway.journal.refusals[-1].trail == ["credential: token of partner", "match: no rule"]
