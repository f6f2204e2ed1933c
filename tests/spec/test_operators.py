"""Who may run the gateway, as the configuration says it: keys with roles, people of an issuer, addresses and TLS."""

from __future__ import annotations

import pytest

from sluicegate.apis import APIS
from sluicegate.core.settings import LoginRule
from sluicegate.spec.load import Loaded, load
from sluicegate.spec.references import Sources

TEXT = """\
version: 1
gateway:
  data: /nonexistent/data
  admin: {ADMIN}
issuers:
  contoso: {kind: entra, tenant_id: 11110000-0000-4000-8000-000000000003, audience: [api://x, 22220000-0000-4000-8000-000000000009]}
  own: {kind: oidc, issuer: https://id.example, audience: gateway, jwks: https://id.example/keys}
tenants: {retail: {}}
instances:
  weu: {endpoint: https://a.openai.azure.com, auth: {key: "${env:K}"}, deployments: {gpt-4o: {model: gpt-4o, version: 2024-11-20}}}
models:
  chat: {use: gpt-4o@2024-11-20}
consumers:
  app: {key: "${env:KEY}", models: [chat]}
"""
KEY = 'key: "sga1:5f2a9c10:MDEyMzQ1Njc4OWFiY2RlZg"'
OWNERS = "owners: {groups: [a]}"


def loaded(admin: str) -> Loaded:
    text = TEXT.replace("{ADMIN}", admin)
    sources = Sources({"K": "k" * 32, "KEY": "z" * 32, "S": "s" * 32})
    return load(text.encode(), "gateway.yaml", "/", sources, tuple(APIS))


def test_a_login_says_who_has_which_role_owners_first():
    found = loaded(
        "{login: {issuer: contoso, client_secret: '${env:S}', viewers: {users: [v]}, owners: {groups: [a, b], roles: [r]}, "
        "tenant_admins: {retail: {groups: [t]}}}}"
    )
    assert found.snapshot is not None, found.errors
    login = found.snapshot.gateway.admin.login
    assert login is not None and login.client_id == "22220000-0000-4000-8000-000000000009"
    assert login.rules == (
        LoginRule("owner", "groups", ("a", "b")), LoginRule("owner", "roles", ("r",)),
        LoginRule("tenant_admin", "groups", ("t",), "retail"), LoginRule("viewer", "users", ("v",)),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("admin", "path", "what"),
    [
        ("{login: {issuer: contosso, @OWNERS}}", "gateway.admin.login.issuer", 'did you mean "contoso"'),
        ("{login: {issuer: own, @OWNERS}}", "gateway.admin.login.issuer", "nobody knows where its people log in"),
        ("{login: {issuer: contoso}}", "gateway.admin.login", "lets nobody in"),
        ("{login: {issuer: contoso, owners: {groups: []}}}", "gateway.admin.login.owners.groups", "empty"),
        ("{login: {issuer: contoso, owners: {emails: [a]}}}", "gateway.admin.login.owners", "unknown key"),
        ("{login: {issuer: contoso, client_secret: literally, @OWNERS}}", "gateway.admin.login.client_secret", "reference"),
        ("{login: {issuer: contoso, client_secret: '${env:UNSET}', @OWNERS}}", "gateway.admin.login.client_secret", "UNSET"),
        ("{login: {issuer: contoso, tenant_admins: {retial: {groups: [a]}}}}", "gateway.admin.login.tenant_admins.retial",
         "no tenant is called"),
        ("{address: '0.0.0.0:8081', login: {issuer: contoso, @OWNERS}}", "gateway.admin.login", "others reach"),
        ("{address: '0.0.0.0:8081', public_url: 'http://admin.example', login: {issuer: contoso, @OWNERS}}",
         "gateway.admin.public_url", "is not https://"),
        ("{public_url: 'https://admin.example/x', login: {issuer: contoso, @OWNERS}}", "gateway.admin.public_url", "path"),
        ("{tls: {certificate: /no/such, key: /no/such}}", "gateway.admin.tls.certificate", "cannot be read"),
        ("{keys: {a: {role: tenant_admin, @KEY}}}", "gateway.admin.keys.a", "names no tenant"),
        ("{keys: {a: {role: viewer, tenant: retail, @KEY}}}", "gateway.admin.keys.a.tenant", "no effect"),
        ("{keys: {a: {role: tenant_admin, tenant: retial, @KEY}}}", "gateway.admin.keys.a.tenant", "did you mean"),
        ("{keys: {a: {role: root, @KEY}}}", "gateway.admin.keys.a.role", "one of viewer"),
        ("{keys: {a: {role: owner, is_admin: true, @KEY}}}", "gateway.admin.keys.a", "unknown key"),
    ],
)  # fmt: skip
def test_abuse_49_what_would_let_in_nobody_or_everybody_is_an_error_at_the_start(admin: str, path: str, what: str):
    found = loaded(admin.replace("@OWNERS", OWNERS).replace("@KEY", KEY))
    assert found.snapshot is None
    assert any(p.path == path and what in f"{p.what} {p.hint}" for p in found.errors), found.errors
