"""Secrets of key vaults, against one on loopback that wants a token of its own."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator

import pytest

from sluicegate.core.secret import Secret
from sluicegate.core.settings import Identity
from sluicegate.sim.azure.tokens import Cloud, garbage, says
from sluicegate.upstream.credentials import keyvault
from sluicegate.upstream.credentials.keyvault import AT_ONCE, DOWN_S, FRESH_S, READ_AGAIN_S, Vault, who
from sluicegate.upstream.credentials.sources import Sources
from sluicegate.upstream.credentials.token import Fetched
from sluicegate.upstream.fetch import Answer
from tests.upstream.test_credentials import CLIENT, TENANT, never


class Clock:
    at = 1_000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture(scope="module")
def running() -> Iterator[Cloud]:
    with Cloud() as cloud:
        yield cloud


@pytest.fixture
def cloud(running: Cloud) -> Cloud:
    issuer = running.issuer
    for things in (issuer.asked, issuer.wrong, issuer.made, issuer.answers, issuer.revoked):
        things.clear()
    issuer.vault = {"key-of-weu": ["the-first-value"], "other": ["another-value"]}
    return running


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def vault(cloud: Cloud, clock: Clock) -> Vault:
    environ = {"AZURE_POD_IDENTITY_AUTHORITY_HOST": cloud["imds"].origin}
    asked = []

    def address(host: str) -> str:
        asked.append(host)
        assert host == "contoso-kv.vault.azure.net"
        return cloud["vault"].origin

    return Vault(environ, Sources(environ, never, never).fetch, clock, address)


def test_a_secret_is_read_with_a_token_for_vaults_and_both_are_kept(vault: Vault, cloud: Cloud, clock: Clock):
    assert vault("contoso-kv/key-of-weu") == vault("contoso-kv/key-of-weu") == "the-first-value"
    assert vault("contoso-kv/other") == "another-value"
    assert cloud.issuer.asked == {"imds": 1, "vault": 2}
    assert [made.audience for made in cloud.issuer.made.values()] == ["https://vault.azure.net"]
    cloud.issuer.vault["key-of-weu"].append("the-second-value")
    clock.at += FRESH_S
    assert vault("contoso-kv/key-of-weu") == "the-second-value", "read anew when a configuration is loaded"
    pinned = f"contoso-kv/key-of-weu/{0:032x}"
    assert vault(pinned) == "the-first-value"


def test_what_was_read_once_is_used_on_while_the_vault_is_gone(vault: Vault, cloud: Cloud, clock: Clock):
    assert vault("contoso-kv/key-of-weu") == "the-first-value"
    cloud.mode("vault", "down")
    try:
        clock.at += READ_AGAIN_S * 2
        assert vault.due() and not vault.read_again()
        assert vault("contoso-kv/key-of-weu") == "the-first-value"
        assert "no connection" in vault.failing["contoso-kv/key-of-weu"]
        with pytest.raises(LookupError, match="no connection"):
            vault("contoso-kv/other")
    finally:
        cloud.mode("vault", "up")
    clock.at += DOWN_S
    cloud.issuer.vault["key-of-weu"].append("the-second-value")
    assert vault.read_again() and vault("contoso-kv/key-of-weu") == "the-second-value"
    assert not vault.failing and not vault.due()


def test_a_hundred_secrets_of_a_vault_that_is_gone_are_one_attempt(vault: Vault, cloud: Cloud):
    cloud.issuer.answers.extend([says(503), *[says(503)] * 5])
    for n in range(100):
        with pytest.raises(LookupError):
            vault(f"contoso-kv/secret-{n}")
    assert sum(cloud.issuer.asked.values()) == 1


def test_a_token_that_the_vault_does_not_take_is_renewed_once(vault: Vault, cloud: Cloud):
    assert vault("contoso-kv/other") == "another-value"
    cloud.issuer.revoked.update(cloud.issuer.made)
    assert vault("contoso-kv/key-of-weu") == "the-first-value"
    assert cloud.issuer.asked["imds"] == 2


def test_nothing_of_an_answer_is_quoted(vault: Vault, cloud: Cloud, clock: Clock):
    vault("contoso-kv/other")
    for answer in (
        garbage(b"the-secret-itself"), says(200, value=5), says(200, value=""), says(200, value="x" * 5000),
        says(403, error={"code": "Forbidden", "message": "the-secret-itself"}),
    ):  # fmt: skip
        cloud.issuer.answers.append(answer)
        with pytest.raises(LookupError) as caught:
            vault("contoso-kv/key-of-weu")
        assert "the-secret-itself" not in str(caught.value)
        clock.at += DOWN_S
    assert str(caught.value) == "key vault contoso-kv answered 403 Forbidden"


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, Identity("managed_identity", "s")),
        ({"AZURE_CLIENT_ID": CLIENT}, Identity("managed_identity", "s", CLIENT)),
        ({"AZURE_CLIENT_ID": CLIENT, "AZURE_TENANT_ID": TENANT, "AZURE_FEDERATED_TOKEN_FILE": "/t"},
         Identity("workload_identity", "s")),
        ({"AZURE_CLIENT_ID": CLIENT, "AZURE_TENANT_ID": TENANT, "AZURE_CLIENT_CERTIFICATE_PATH": "/c.pem"},
         Identity("service_principal", "s", CLIENT, TENANT, certificate="/c.pem")),
    ],
)  # fmt: skip
def test_who_asks_is_what_the_environment_says(environ: dict[str, str], wanted: Identity):
    assert who(environ, "s") == wanted


@pytest.mark.parametrize(
    ("authority", "domain"),
    [("", "vault.azure.net"), ("https://login.microsoftonline.com/", "vault.azure.net"),
     ("https://login.microsoftonline.us/", "vault.usgovcloudapi.net"),
     ("https://login.chinacloudapi.cn", "vault.azure.cn")],
)  # fmt: skip
def test_vaults_are_in_the_cloud_whose_authority_the_environment_names(authority: str, domain: str):
    assert Vault({"AZURE_AUTHORITY_HOST": authority}, never).domain == domain


def test_many_are_asked_for_side_by_side_after_the_first_of_their_vault(monkeypatch: pytest.MonkeyPatch):
    """A hundred secrets of two vaults: eight at a time, in a thirteenth of the round trips; one token for all."""
    running: Counter[str] = Counter()
    most: list[int] = []
    tokens = []

    async def token(identity: Identity) -> Fetched:
        tokens.append(identity)
        await asyncio.sleep(0)
        return Fetched(Secret("shown"), 3600.0)

    async def slow(method: str, url: str, *_: object, **__: object) -> Answer:
        vault = url.split("/")[2]
        running[vault] += 1
        most.append(running.total())
        for _ in range(20):
            await asyncio.sleep(0)
        running[vault] -= 1
        return Answer(200, {}, json.dumps({"value": "of " + url.split("/")[4]}).encode())

    monkeypatch.setattr(keyvault, "fetch", slow)
    vault = Vault({}, token)
    wanted = [f"contoso-{v}/secret-{n}" for v in ("a", "b") for n in range(50)]
    assert vault.many(wanted) == {name: "of " + name.split("/")[1] for name in wanted}
    assert max(most) == AT_ONCE and most[:2] == [1, 2], "the first of each, then eight"
    assert len(most) == 100 and len(tokens) == 1
    assert vault.many(wanted) == {name: "of " + name.split("/")[1] for name in wanted}
    assert len(most) == 100, "just read"


def test_one_that_is_not_there_says_nothing_of_the_others(vault: Vault, cloud: Cloud):
    found = vault.many(["contoso-kv/misspelt", "contoso-kv/other", "contoso-kv/key-of-weu", "no-vault"])
    assert [str(found[name]) for name in found if name != "no-vault"] == [
        "key vault contoso-kv answered 404 SecretNotFound", "another-value", "the-first-value"
    ]  # fmt: skip
    assert isinstance(found["contoso-kv/misspelt"], LookupError) and isinstance(found["no-vault"], LookupError)


def test_of_a_vault_that_is_gone_the_others_are_not_asked(vault: Vault, cloud: Cloud):
    assert vault("contoso-kv/other") == "another-value", "with a token that is kept"
    cloud.issuer.asked.clear()
    cloud.issuer.answers.extend([says(503)] * 100)
    found = vault.many([f"contoso-kv/secret-{n}" for n in range(100)])
    assert {str(why) for why in found.values()} == {"key vault contoso-kv answered 503"}
    assert sum(cloud.issuer.asked.values()) == 1
