"""Issuers as they are declared: what their tokens have to say follows, and what cannot be meant is an error."""

import pytest

from sluicegate.core.settings import Identity, Issuer, Says
from sluicegate.keeper.parcels import for_workers
from sluicegate.spec.load import Loaded, load
from sluicegate.spec.references import Sources
from tests.identity.provider import CLIENT, TENANT, URI

REST = """
instances:
  weu: {endpoint: https://weu.example, auth: none, deployments: {gpt-4o: {model: gpt-4o, version: 2024-11-20}}}
models: {chat: {use: gpt-4o@2024-11-20}}
gateway: {secrets: ["${env:SECRET}"]}
consumers: {app: {key: "${env:SECRET}", models: [chat]}}
"""


def read(issuers: str, base: str = ".") -> Loaded:
    text = "version: 1\nissuers:\n" + "\n".join(f"  {line}" for line in issuers.splitlines()) + REST
    return load(text.encode(), "gateway.yaml", base, Sources({"SECRET": "s" * 32}), ("chat_completions",))


def one(issuers: str, base: str = ".") -> Issuer:
    loaded = read(issuers, base)
    assert loaded.errors == [] and loaded.snapshot is not None
    return loaded.snapshot.issuers[0]


def test_entra_is_two_forms_of_tokens_and_the_id_alone_is_the_audience_of_the_second():
    made = one(f"contoso: {{kind: entra, tenant_id: {TENANT.upper()}, audience: ['{URI}', {CLIENT}]}}")
    assert made == Issuer(
        "contoso",
        (
            Says(f"https://sts.windows.net/{TENANT}/", (URI, CLIENT), TENANT, "1.0"),
            Says(f"https://login.microsoftonline.com/{TENANT}/v2.0", (CLIENT,), TENANT, "2.0"),
        ),
        ("RS256", "PS256", "ES256"),
        f"https://login.microsoftonline.com/{TENANT}/v2.0/.well-known/openid-configuration",
    )
    assert made.leeway_s <= 60


@pytest.mark.parametrize(
    ("authority", "first", "second"),
    [
        ("https://login.microsoftonline.us", "https://sts.windows.net", "https://login.microsoftonline.us"),
        (
            "https://login.partner.microsoftonline.cn/",
            "https://sts.chinacloudapi.cn",
            "https://login.partner.microsoftonline.cn",
        ),
        ("http://127.0.0.1:4711", "http://127.0.0.1:4711", "http://127.0.0.1:4711"),
    ],
)
def test_other_clouds_say_other_issuers(authority: str, first: str, second: str):
    made = one(f"contoso: {{kind: entra, tenant_id: {TENANT}, audience: {CLIENT}, authority: '{authority}'}}")
    assert [says.iss for says in made.says] == [f"{first}/{TENANT}/", f"{second}/{TENANT}/v2.0"]
    assert made.source.startswith(f"{second}/{TENANT}/v2.0/.well-known/")


def test_a_provider_is_its_issuer_to_the_letter():
    made = one("auth0: {kind: oidc, issuer: 'https://x.auth0.example/', audience: a, leeway: 0s, algorithms: [ES512]}")
    assert made.says == (Says("https://x.auth0.example/", ("a",)),)
    assert (made.source, made.kind) == ("https://x.auth0.example/.well-known/openid-configuration", "discovery")
    assert (made.leeway_s, made.algorithms) == (0.0, ("ES512",))


def test_keys_may_be_elsewhere_or_in_a_file(tmp_path):
    made = one("a: {kind: oidc, issuer: https://id.example, audience: a, jwks: 'https://keys.example/jwks?v=1'}")
    assert (made.source, made.kind) == ("https://keys.example/jwks?v=1", "set")
    (tmp_path / "keys.json").write_text("{}")
    made = one("a: {kind: oidc, issuer: https://id.example, audience: a, jwks: keys.json}", str(tmp_path))
    assert (made.source, made.kind) == (str(tmp_path / "keys.json"), "file")


ENTRA = f"kind: entra, tenant_id: {TENANT}, audience: {CLIENT}"
OIDC = "kind: oidc, issuer: https://id.example, audience: a"
RESOLVE = f"{ENTRA}, groups_overage: resolve, groups_by: managed_identity"


@pytest.mark.parametrize(
    ("issuers", "where", "what"),
    [
        ("a: {kind: entra, audience: a}", "issuers.a", "needs tenant_id"),
        ("a: {kind: oidc, audience: a}", "issuers.a", "needs issuer"),
        ("a: {kind: oidc, issuer: https://id.example}", "issuers.a", "needs audience"),
        (f"a: {{{ENTRA}, issuer: https://id.example}}", "issuers.a.issuer", "has no effect"),
        (f"a: {{{ENTRA}, jwks: keys.json}}", "issuers.a.jwks", "has no effect"),
        (f"a: {{{OIDC}, tenant_id: {TENANT}}}", "issuers.a.tenant_id", "has no effect"),
        (f"a: {{{OIDC}, authority: https://login.example}}", "issuers.a.authority", "has no effect"),
        ("a: {kind: entra, tenant_id: contoso, audience: a}", "issuers.a.tenant_id", "is not such an id"),
        ("a: {kind: entra, tenant_id: common, audience: a}", "issuers.a.tenant_id", "is not such an id"),
        ("a: {kind: oidc, issuer: http://id.example, audience: a}", "issuers.a.issuer", "anybody could change"),
        (f"a: {{{ENTRA}, authority: http://login.example}}", "issuers.a.authority", "anybody could change"),
        (f"a: {{{OIDC}, jwks: http://id.example/keys}}", "issuers.a.jwks", "anybody could change"),
        (f"a: {{{OIDC}, jwks: 'https://169.254.169.254/keys'}}", "issuers.a.jwks", "metadata"),
        (f"a: {{{OIDC}, ca: nowhere.pem}}", "issuers.a.ca", "cannot be read"),
        (f"a: {{{OIDC}, algorithms: [HS256]}}", "issuers.a.algorithms", "proves nothing"),
        (f"a: {{{OIDC}, algorithms: [none]}}", "issuers.a.algorithms", "proves nothing"),
        (f"a: {{{OIDC}, algorithms: [RS1]}}", "issuers.a.algorithms", "not known"),
        (f"a: {{{OIDC}, algorithms: []}}", "issuers.a.algorithms", "empty"),
        (f"a: {{{OIDC}, leeway: 61s}}", "issuers.a.leeway", "too large"),
        (f"a: {{{OIDC}, groups_overage: resolve}}", "issuers.a.groups_overage", "directories of Entra only"),
        (f"a: {{{ENTRA}, groups_overage: resolve}}", "issuers.a.groups_overage", "needs groups_by"),
        (f"a: {{{ENTRA}, groups_overage: resolve, groups_by: passthrough}}", "issuers.a.groups_by", "no identity"),
        (f"a: {{{ENTRA}, groups_overage: resolve, groups_by: none}}", "issuers.a.groups_by", "no identity"),
        (f"a: {{{ENTRA}, groups_by: managed_identity}}", "issuers.a.groups_by", "no effect without"),
        (f"a: {{{ENTRA}, graph: 'https://graph.microsoft.com'}}", "issuers.a.graph", "no effect without"),
        (f"a: {{{RESOLVE}, graph: 'https://graph.example'}}", "issuers.a.graph", "no address of Microsoft Graph"),
        (f"a: {{{RESOLVE}, graph: 'http://graph.microsoft.com'}}", "issuers.a.graph", "no address of Microsoft Graph"),
        (f"a: {{{RESOLVE}, authority: 'https://login.example'}}", "issuers.a", "needs graph"),
        (
            f"a: {{{ENTRA}, groups_overage: resolve, groups_by: {{client_id: {CLIENT}, tenant_id: {CLIENT}, "
            "client_secret: '${env:SECRET}'}}",
            "issuers.a.groups_by.tenant_id",
            "another directory",
        ),
        (f"a: {{{OIDC}}}\nb: {{{OIDC}}}", "issuers.b", "as those of"),
        (
            f"a: {{{ENTRA}}}\nb: {{kind: oidc, issuer: 'https://sts.windows.net/{TENANT}/', audience: b}}",
            "issuers.b",
            "as those of",
        ),
    ],
)
def test_what_cannot_be_meant_is_said_where_it_stands(issuers: str, where: str, what: str):
    errors = read(issuers).errors
    assert [e.path for e in errors] == [where], errors
    assert what in errors[0].what or what in errors[0].hint


@pytest.mark.parametrize(
    ("more", "graph", "scope"),
    [
        ("", "https://graph.microsoft.com", "https://graph.microsoft.com"),
        ("authority: 'https://login.microsoftonline.us'", "https://graph.microsoft.us", "https://graph.microsoft.us"),
        (
            "authority: 'https://login.microsoftonline.us', graph: 'https://dod-graph.microsoft.us'",
            "https://dod-graph.microsoft.us",
            "https://dod-graph.microsoft.us",
        ),
        (
            "authority: 'https://login.partner.microsoftonline.cn'",
            "https://microsoftgraph.chinacloudapi.cn",
            "https://microsoftgraph.chinacloudapi.cn",
        ),
        ("graph: 'http://127.0.0.1:9'", "http://127.0.0.1:9", "https://graph.microsoft.com"),
    ],
)
def test_the_directory_of_each_cloud_is_asked_where_it_is(more: str, graph: str, scope: str):
    loaded = read(f"a: {{{RESOLVE}{', ' if more else ''}{more}}}")
    assert loaded.errors == [] and loaded.snapshot is not None
    made = loaded.snapshot.issuers[0]
    assert (made.groups, made.graph) == ("resolve", graph)
    assert loaded.snapshot.identities[made.groups_by - 1] == Identity("managed_identity", f"{scope}/.default")


def test_an_identity_that_asks_a_directory_goes_to_no_worker():
    loaded = read(f"a: {{{RESOLVE}}}")
    assert loaded.snapshot is not None
    sent = for_workers(loaded.snapshot, (), [0, 5])
    assert sent.identities == () and [i.groups_by for i in sent.issuers] == [0] and loaded.snapshot.issuers[0].groups_by


def test_a_directory_without_the_id_of_the_application_is_noted():
    loaded = read(f"a: {{kind: entra, tenant_id: {TENANT}, audience: 'api://x'}}")
    assert loaded.errors == []
    assert any("version 2 are refused" in p.what for p in loaded.notes)
    assert loaded.snapshot is not None and loaded.snapshot.issuers[0].says[1].audiences == ()


def test_a_file_of_keys_may_come_later():
    loaded = read(f"a: {{{OIDC}, jwks: nowhere.json}}")
    assert loaded.errors == []
    assert [(p.path, p.severity) for p in loaded.notes if "cannot be read" in p.what] == [("issuers.a.jwks", "warning")]
