"""One point decides: whatever the operation, its URL and the credential, nothing is reached that was not granted.

Every row of APIS, in every family of URLs that it has, asked by key and by token.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from sluicegate.apis import APIS, DEPLOYMENTS
from sluicegate.core.caller import digest
from sluicegate.core.keyset import KeySet
from sluicegate.core.refusals import REFUSALS
from sluicegate.core.settings import Issuer, Says
from sluicegate.core.snapshot import ConsumerEntry, Deployment, Directory, Match, Model, TenantEntry
from sluicegate.identity.jose import keyset
from tests.abuse.outside import Answer, Upstream, ask, is_refusal, request
from tests.edge.forms import BOUNDARY, END, field, file
from tests.gateway import KEY, SECRET, UNMOVED, GatewayThread, instance, snapshot
from tests.identity.provider import URI, Signer

ISSUER = Issuer("partner", (Says("https://id.example", (URI,)),), ("RS256",), "oidc")
EVERY = tuple(APIS)
NARROW = "narrow-key-0123456789"
PATHS = [
    (api.name, path)
    for api in APIS.values()
    for path in (
        *((base + api.model_path for base, _ in api.bases) if api.model_path else ()),
        *((DEPLOYMENTS + api.deployment_path + "?api-version=2024-10-21",) if api.deployment_path else ()),
    )
]


class Ground:
    """Models `chat` and `secret`, both with every operation. `wide` has all of chat; `narrow` of chat one operation."""

    def __init__(self, gateway: GatewayThread, upstream: Upstream) -> None:
        self.gateway = gateway
        self.upstream = upstream
        self.signer = Signer("https://id.example")
        sets: list[KeySet] = [keyset("oidc", json.dumps(self.signer.set()).encode(), 1e11)]
        gateway.call(lambda: gateway.worker.take_keys(sets))
        self.who = {
            "wide by key": b"api-key: " + KEY.encode(),
            "narrow by key": b"api-key: " + NARROW.encode(),
            "wide by token": b"Authorization: Bearer " + self.signer.token(sub="wide").encode(),
            "narrow by token": b"Authorization: Bearer " + self.signer.token(sub="narrow").encode(),
            "member by token": b"Authorization: Bearer "
            + self.signer.token(sub="m", azp="x", roles=["member"]).encode(),
        }

    def ask(self, who: str, operation: str, path: str, model: str) -> Answer:
        api = APIS[operation]
        headers = [self.who[who]]
        body = json.dumps({"model": model, "messages": [], "input": "x", "prompt": "x", "max_tokens": 5}).encode()
        if api.takes == "form":
            headers.append(b"Content-Type: multipart/form-data; boundary=" + BOUNDARY)
            body = field(b"model", model.encode()) + field(b"prompt", b"x") + file(b"data") + END
        raw = request(
            *headers, path=path.replace("{model}", model).encode(), body=body, key=None, method=api.method.encode()
        )
        if api.takes == "form":
            raw = raw.replace(b"Content-Type: application/json\r\n", b"", 1)
        self.upstream.forget()
        return ask(self.gateway.port, raw)


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with Upstream() as upstream:
        made = snapshot([instance(1, upstream.port, provider="foundry")])
        deployments = (*made.deployments, Deployment(2, "gpt-4o-2", 1, "gpt-4o", "2024-11-20", "Standard", 1))
        models = tuple(Model(n, name, (n,), EVERY, breaker=UNMOVED) for n, name in enumerate(("chat", "secret"), 1))
        whole = replace(made, deployments=deployments, models=models, issuers=(ISSUER,))
        entries = (
            ConsumerEntry(1, "wide", "a", ("chat",), (digest(KEY.encode(), SECRET),), match=Match("partner", (("sub", ("wide",)),))),
            ConsumerEntry(
                2, "narrow", "b", ("chat",), (digest(NARROW.encode(), SECRET),), operations=("embeddings",),
                match=Match("partner", (("sub", ("narrow",)),)),
            ),
            ConsumerEntry(3, "member", "b", ("chat",), (), match=Match("partner", (("roles", ("member",)),), each="azp")),
        )  # fmt: skip
        people = Directory((SECRET,), entries, (TenantEntry(1, "a"), TenantEntry(2, "b")))
        with GatewayThread(whole, people) as gateway:
            yield Ground(gateway, upstream)


@pytest.mark.parametrize(("operation", "path"), PATHS, ids=[path for _, path in PATHS])
def test_E4_no_operation_reaches_a_model_or_does_what_was_not_granted(
    operation: str, path: str, ground: Ground
) -> None:
    for who in ground.who:
        unknown = ground.ask(who, operation, path, "nothing")
        hidden = ground.ask(who, operation, path, "secret")
        refuses(hidden, "route.model")
        assert ground.upstream.requests == []
        assert (hidden.status, told(hidden)) == (unknown.status, told(unknown)), "a name that exists looks like none"
        granted = ground.ask(who, operation, path, "chat")
        if who.startswith("narrow") and operation != "embeddings":
            refuses(granted, "grant.operation")
            assert ground.upstream.requests == []
        else:
            assert granted.reason not in ("route.model", "grant.operation"), granted


def refuses(got: Answer, reason: str) -> None:
    """In the dialect of the operation."""
    assert (got.reason, got.status) == (reason, REFUSALS[reason].status), got


def told(got: Answer) -> Any:
    """What a client learns."""
    said = [
        (n, v)
        for n, v in got.headers
        if n not in ("date", "x-sluicegate-request-id", "x-request-id", "apim-request-id")
    ]
    return got.body.replace(dict(got.headers).get("x-sluicegate-request-id", b"-"), b""), len(said)


def test_E4_lists_name_what_was_granted_whoever_asks_and_details_too(ground: Ground) -> None:
    for who in ground.who:
        for path in ("/v1/models", "/openai/v1/models", "/openai/models?api-version=2024-10-21"):
            raw = request(ground.who[who], method=b"GET", path=path.encode(), body=b"", key=None, length=False)
            got = ask(ground.gateway.port, raw)
            assert got.status == 200 and b"secret" not in got.body, (who, path)
            assert [m["id"] for m in json.loads(got.body)["data"]] == ["chat"]
        for path, status in (("/v1/models/chat", 200), ("/v1/models/secret", 404), ("/v1/models/nothing", 404),
                             ("/health/models/chat", 200), ("/health/models/secret", 404)):  # fmt: skip
            raw = request(ground.who[who], method=b"GET", path=path.encode(), body=b"", key=None, length=False)
            assert ask(ground.gateway.port, raw).status == status, (who, path)


def test_E13_a_model_that_is_new_is_nobodys_until_it_is_granted(ground: Ground) -> None:
    whole = ground.gateway.snapshot
    more = replace(whole, models=(*whole.models, Model(3, "new", (1,), EVERY, breaker=UNMOVED)))
    worker = ground.gateway.worker
    ground.gateway.call(lambda: worker.adopt(more, worker.world.callers, None))
    try:
        for who in ground.who:
            is_refusal(ground.ask(who, "chat_completions", "/v1/chat/completions", "new"), "route.model")
            assert ground.upstream.requests == []
    finally:
        ground.gateway.call(lambda: worker.adopt(whole, worker.world.callers, None))
