"""Secrets of key vaults, against one on loopback that wants a token of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sluicegate.core.settings import Identity
from sluicegate.sim.azure.tokens import Cloud, garbage, says
from sluicegate.upstream.credentials.keyvault import DOWN_S, FRESH_S, READ_AGAIN_S, Vault, who
from sluicegate.upstream.credentials.sources import Sources
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
