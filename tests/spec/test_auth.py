"""`auth` of instances: every word and map, what it comes to, and what is refused."""

from __future__ import annotations

import pytest

from sluicegate.core.settings import Identity
from sluicegate.spec import auth
from tests.spec.reading import SMALLEST, compiled, found

KEY = "    auth:\n      key: ${env:AOAI_KEY}\n"
CLIENT = "3f0c0000-0000-4000-8000-000000000002"
TENANT = "11110000-0000-4000-8000-000000000003"
SCOPE = "https://cognitiveservices.azure.com/.default"


def shown(written: str) -> str:
    return SMALLEST.replace(KEY, f"    auth: {written}\n")


def identity(written: str, provider: str = "", endpoint: str = "") -> Identity:
    text = shown(written)
    if endpoint:
        text = text.replace("https://contoso-weu.openai.azure.com", endpoint)
    if provider:
        text = text.replace("    auth:", f"    provider: {provider}\n    auth:")
    snapshot = compiled(text)[0]
    auth = snapshot.instances[0].auth
    assert auth.kind == "token" and auth.secret is None
    return snapshot.identities[auth.identity - 1]


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("managed_identity", Identity("managed_identity", SCOPE)),
        ("{managed_identity: system}", Identity("managed_identity", SCOPE)),
        (f"{{managed_identity: {CLIENT.upper()}}}", Identity("managed_identity", SCOPE, CLIENT)),
        ("workload_identity", Identity("workload_identity", SCOPE)),
        (f"{{workload_identity: {CLIENT}, tenant_id: {TENANT}}}", Identity("workload_identity", SCOPE, CLIENT, TENANT)),
        ("azure_cli", Identity("azure_cli", SCOPE)),
        (f"{{azure_cli: developer, tenant_id: {TENANT}}}", Identity("azure_cli", SCOPE, "", TENANT)),
        ("{managed_identity: system, scope: 'api://other/.default'}", Identity("managed_identity", "api://other/.default")),
    ],
)  # fmt: skip
def test_every_way_to_write_an_identity(written: str, wanted: Identity):
    assert identity(written) == wanted


@pytest.mark.parametrize(
    ("provider", "endpoint", "scope", "authority"),
    [
        ("", "https://x.openai.azure.com", SCOPE, ""),
        ("", "https://aoai.contoso.internal", SCOPE, ""),
        ("foundry", "https://x.services.ai.azure.com", "https://ai.azure.com/.default", ""),
        ("", "https://x.openai.azure.us", "https://cognitiveservices.azure.us/.default", "https://login.microsoftonline.us"),
        ("", "https://x.openai.azure.cn", "https://cognitiveservices.azure.cn/.default", "https://login.chinacloudapi.cn"),
    ],
)  # fmt: skip
def test_what_tokens_are_for_and_where_they_are_asked_for_follows_from_the_endpoint(
    provider: str, endpoint: str, scope: str, authority: str
):
    found = identity("workload_identity", provider, endpoint)
    assert (found.scope, found.authority) == (scope, authority)


def test_instances_that_show_one_identity_share_it_and_others_do_not():
    more = "".join(
        f"  i{n}:\n    endpoint: https://i{n}.openai.azure.com\n    auth: {written}\n"
        f"    deployments: {{gpt-4o: {{model: gpt-4o, version: 2024-11-20}}}}\n"
        for n, written in enumerate(["managed_identity", f"{{managed_identity: {CLIENT}}}", "managed_identity", "none"])
    )
    snapshot = compiled(shown("managed_identity").replace("models:\n  chat", f"{more}models:\n  chat"))[0]
    assert [i.auth.identity for i in snapshot.instances] == [1, 1, 2, 1, 0]
    assert len(snapshot.identities) == 2


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        (f"{{client_id: {CLIENT}}}", "needs tenant_id"),
        (f"{{client_id: {CLIENT}, tenant_id: {TENANT}}}", "needs client_secret or client_certificate"),
        (f"{{client_id: {CLIENT}, tenant_id: {TENANT}, client_secret: '${{env:AOAI_KEY}}', client_certificate: x.pem}}",
         "needs client_secret or client_certificate, not both"),
        (f"{{client_id: {CLIENT}, tenant_id: {TENANT}, client_secret: in-the-file}}", "must be a reference"),
        (f"{{client_id: {CLIENT}, tenant_id: {TENANT}, client_certificate: /nowhere.pem}}", "cannot be read"),
        ("{managed_identity: system, key: '${env:AOAI_KEY}'}", "stands beside key"),
        ("{managed_identity: system, tenant_id: a.example}", "has no effect with managed_identity"),
        ("{key: '${env:AOAI_KEY}', scope: 'api://x/.default'}", "has no effect with key"),
        ("{scope: 'api://x/.default'}", "does not say who the gateway is"),
        ("{client_secret: '${env:AOAI_KEY}'}", "needs client_id"),
        ("{managed_identity: system, scope: 'https://x'}", "is no scope"),
        ("{workload_identity: environment, authority: 'http://login.example'}", "is not https://"),
        ("{workload_identity: environment, authority: 'https://login.example/tenant'}", "has a path"),
        ("{workload_identity: environment, authority: 'http://169.254.169.254'}", "is a metadata address"),
        ("{managed_identity: me}", "is no client id"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(written: str, problem: str):
    told = found(shown(written))
    assert told and problem in told[0], told


def test_a_server_of_ones_own_does_not_say_what_tokens_are_for():
    text = shown("managed_identity").replace("https://contoso-weu.openai.azure.com", "https://vllm.contoso.internal/v1")
    text = text.replace("    auth:", "    provider: openai_compatible\n    auth:")
    assert "does not say what tokens are for" in found(text)[0]


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(auth, "_installed", lambda: False)
    told = found(shown("azure_identity"))
    assert "needs the library azure-identity" in told[0] and "sluicegate[azure]" in told[0]
    monkeypatch.setattr(auth, "_installed", lambda: True)
    assert identity("azure_identity") == Identity("azure_identity", SCOPE, which="default")
    assert identity("{azure_identity: powershell}").which == "powershell"


def test_E9_passing_the_clients_token_on_is_warned_of():
    snapshot = compiled(shown("passthrough"))[0]
    assert snapshot.instances[0].auth.kind == "passthrough" and not snapshot.identities
    assert any("may call around it (E9)" in line for line in found(shown("passthrough"), "warning"))
    assert any("for a developer's machine" in line for line in found(shown("azure_cli"), "warning"))
