"""People who log in at a real gateway by a real provider on loopback, and programs that show its tokens: who gets in,
as what, for how long; and everything that somebody in between may try."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from sluicegate.keeper.audit import FILE
from sluicegate.sim.fleet import FleetThread
from tests.identity.people import CLIENT_ID, People
from tests.keeper.operators import OPS, chat
from tests.keeper.operators import text_of as base_text
from tests.keeper.running import Gateway

SECRET_OF_CLIENT = "client-secret-0123456789abcdef"


@pytest.fixture(scope="module")
def provider() -> Iterator[People]:
    with People(SECRET_OF_CLIENT) as provider:
        yield provider


def text_of(folder: Path, endpoint: str, provider: People, login: str = "") -> str:
    login = login or (
        "owners: {groups: [owners]}, operators: {roles: [ops]}, auditors: {groups: [audit]}, "
        "viewers: {users: [eve], groups: [everybody]}, tenant_admins: {default: {groups: [retail-admins]}}"
    )
    text = base_text(folder, endpoint, 1)
    said = f"login: {{issuer: here, client_id: {CLIENT_ID}, client_secret: '${{env:LOGIN}}', {login}}}, keys:"
    text = text.replace("keys: {ops", f"{said} {{ops", 1)
    return text + f"issuers:\n  here: {{kind: oidc, issuer: '{provider.url}', audience: sluicegate-api}}\n"


ENVIRON = {"LOGIN": SECRET_OF_CLIENT}


@pytest.fixture(scope="module")
def shared(fleet: FleetThread, provider: People, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("login")
    with Gateway(folder, text_of(folder, fleet["a"].origin, provider), ENVIRON) as gateway:
        yield gateway


@pytest.fixture
def own(fleet: FleetThread, provider: People, tmp_path: Path) -> Iterator[Gateway]:
    with Gateway(tmp_path, text_of(tmp_path, fleet["a"].origin, provider), ENVIRON) as gateway:
        yield gateway


@pytest.fixture(autouse=True)
def honest(provider: People) -> None:
    provider.lie, provider.person = "", {"sub": "ann", "groups": ["owners"]}


class Browser:
    """Keeps cookies, follows nothing by itself."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.cookies: dict[str, str] = {}
        self.flags: dict[str, str] = {}

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, str, dict[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.gateway.admin, timeout=20)
        try:
            sent = {k.replace("_", "-"): v for k, v in headers.items()}
            if self.cookies:
                sent["cookie"] = "; ".join(f"{n}={v}" for n, v in self.cookies.items())
            raw = body if isinstance(body, str) else None if body is None else json.dumps(body)
            connection.request(method, path, raw, sent)
            answer = connection.getresponse()
            for line in answer.headers.get_all("set-cookie") or []:
                pair, _, flags = line.partition("; ")
                name, _, value = pair.partition("=")
                self.flags[name] = flags
                self.cookies[name] = value
                if "Max-Age=0" in flags:
                    del self.cookies[name]
            return answer.status, answer.read().decode(), dict(answer.headers)
        finally:
            connection.close()

    def log_in(self, provider: People) -> tuple[int, str, dict[str, str]]:
        status, _, headers = self.ask("GET", "/login")
        assert status == 302
        return self.ask("GET", f"/login/callback?{provider.log_in(headers['location'])}")

    def whoami(self) -> dict[str, Any]:
        status, body, _ = self.ask("GET", "/v1/whoami")
        return json.loads(body) if status == 200 else {"status": status}


def test_E14_somebody_logs_in_sees_who_they_are_changes_something_and_leaves(own: Gateway, provider: People):
    browser = Browser(own)
    status, page, headers = browser.ask("GET", "/")
    assert status == 200 and "/login" in page
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "default-src 'none'" in headers["content-security-policy"] and headers["x-content-type-options"] == "nosniff"
    status, _, headers = browser.log_in(provider)
    assert status == 303 and headers["location"] == f"http://127.0.0.1:{own.admin}/"
    asked = provider.asked_for[-1]
    assert (
        asked["redirect_uri"] == f"http://127.0.0.1:{own.admin}/login/callback" and asked["scope"] == "openid profile"
    )
    flags = browser.flags["__Host-sluicegate"]
    assert set(flags.split("; ")) == {"Path=/", "Secure", "HttpOnly", "SameSite=Lax"}
    assert list(browser.cookies) == ["__Host-sluicegate"]
    me = browser.whoami()
    assert (me["name"], me["role"], me["kind"]) == ("ann", "owner", "login")
    page = browser.ask("GET", "/")[1]
    assert "ann" in page and "owner" in page and "<script" not in page and "style" not in page
    assert browser.ask("POST", "/v1/deployments/weu/gpt-4o/drain")[0] == 403, "without the token of our own page"
    assert browser.ask("POST", "/v1/deployments/weu/gpt-4o/drain", x_csrf_token="x")[0] == 403
    evil = browser.ask(
        "POST", "/v1/deployments/weu/gpt-4o/drain", x_csrf_token=me["csrf"], origin="https://evil.example"
    )
    assert evil[0] == 403
    assert browser.ask("POST", "/v1/deployments/weu/gpt-4o/undrain", x_csrf_token=me["csrf"])[0] == 200
    assert browser.ask("POST", "/logout", "csrf=wrong")[0] == 403
    kept = dict(browser.cookies)
    assert browser.ask("POST", "/logout", f"csrf={me['csrf']}")[0] == 303
    browser.cookies = kept
    assert browser.whoami() == {"status": 401}, "the cookie is worth nothing any more"
    entries = [json.loads(line) for line in (own.folder / "data" / FILE).read_text().splitlines()]
    logins = [e for e in entries if e["what"] == "login"]
    assert [e["outcome"] for e in logins] == ["done", "left"] and logins[0]["who"]["name"] == "ann"
    change = next(e for e in entries if e["what"] == "undrain")
    assert change["who"] == {"name": "ann", "role": "owner", "kind": "login"} and change["from"] == "127.0.0.1"
    text = "".join(own.said) + json.dumps(entries)
    for secret in (*kept.values(), SECRET_OF_CLIENT, me["csrf"], asked["state"], asked["nonce"]):
        assert secret not in text


@pytest.mark.parametrize(
    ("person", "role", "tenant"),
    [
        ({"groups": ["owners", "everybody"]}, "owner", ""),
        ({"roles": ["ops"]}, "operator", ""),
        ({"groups": ["audit"]}, "auditor", ""),
        ({"groups": ["retail-admins"]}, "tenant_admin", "default"),
        ({"sub": "eve"}, "viewer", ""),
        ({"oid": "eve", "sub": "pairwise"}, "viewer", ""),
    ],
)
def test_claims_decide_what_somebody_is(
    shared: Gateway, provider: People, person: dict[str, Any], role: str, tenant: str
):
    provider.person = {"sub": "bob", **person}
    browser = Browser(shared)
    assert browser.log_in(provider)[0] == 303
    me = browser.whoami()
    assert (me["role"], me["tenant"]) == (role, tenant)
    assert (browser.ask("GET", "/v1/audit")[0] == 200) == (role in ("owner", "auditor"))
    assert (browser.ask("GET", "/v1/status")[0] == 403) == (role == "tenant_admin")


@pytest.mark.parametrize(
    "person",
    [{"sub": "mallory"}, {"sub": "mallory", "groups": []}, {"sub": "mallory", "groups": "owner"},
     {"sub": "mallory", "preferred_username": "eve", "name": "owners", "upn": "eve", "email": "eve"},
     {"sub": "mallory", "groups": [["owners"]]}],
)  # fmt: skip
def test_whoever_has_no_role_is_not_let_in(
    fleet: FleetThread, tmp_path: Path, provider: People, person: dict[str, Any]
):
    with Gateway(tmp_path, text_of(tmp_path, fleet["a"].origin, provider), ENVIRON) as gateway:
        provider.person = person
        browser = Browser(gateway)
        assert browser.log_in(provider)[0] == 403 and "__Host-sluicegate" not in browser.cookies


@pytest.mark.parametrize(
    "lie", ["nonce", "no_nonce", "audience", "expired", "issuer", "both", "signature", "none"]
)  # fmt: skip
def test_a_token_that_is_not_of_this_login_lets_nobody_in(own: Gateway, provider: People, lie: str):
    provider.lie = lie
    browser = Browser(own)
    status, body, _ = browser.log_in(provider)
    assert status == 403 and "__Host-sluicegate" not in browser.cookies and "eyJ" not in body
    entries = [json.loads(line) for line in (own.folder / "data" / FILE).read_text().splitlines()]
    assert entries[-1]["what"] == "login" and entries[-1]["outcome"] == "refused"


def test_a_login_belongs_to_the_browser_that_began_it_and_to_one_code(own: Gateway, provider: People):
    victim, evil = Browser(own), Browser(own)
    back = provider.log_in(evil.ask("GET", "/login")[2]["location"])
    assert victim.ask("GET", f"/login/callback?{back}")[0] == 400, "somebody else's login, sent as a link"
    before = provider.redeemed
    assert evil.ask("GET", f"/login/callback?{back}")[0] == 400, "and it is over then"
    assert provider.redeemed == before
    assert evil.log_in(provider)[0] == 303
    back = provider.log_in(victim.ask("GET", "/login")[2]["location"])
    assert victim.ask("GET", f"/login/callback?{back}")[0] == 303
    assert victim.ask("GET", f"/login/callback?{back}")[0] == 400, "twice"
    for query in ("", "?state=x", "?code=x", "?state=&code=", "?error=access_denied"):
        assert Browser(own).ask("GET", f"/login/callback{query}")[0] in (400, 429), query


def test_nothing_that_is_sent_says_where_to_go(own: Gateway, provider: People):
    for query in ("next=https://evil.example", "redirect_uri=https://evil.example", "return_to=//evil.example"):
        browser = Browser(own)
        status, _, headers = browser.ask("GET", f"/login?{query}", host="localhost", x_forwarded_host="evil.example")
        assert status == 302 and headers["location"].startswith(provider.url)
        assert "evil" not in headers["location"]
        back = provider.log_in(headers["location"])
        status, _, headers = browser.ask("GET", f"/login/callback?{back}&{query}")
        assert status == 303 and headers["location"] == f"http://127.0.0.1:{own.admin}/"
    assert Browser(own).ask("GET", "/login", host="evil.example")[0] == 421


def test_abuse_46_logins_are_limited_by_address(own: Gateway, provider: People):
    browser = Browser(own)
    found = [browser.ask("GET", "/login")[0] for _ in range(12)]
    assert found[:10] == [302] * 10 and found[-1] == 429


def test_who_is_taken_out_of_the_configuration_is_out_at_once(own: Gateway, provider: People):
    browser = Browser(own)
    assert browser.log_in(provider)[0] == 303 and browser.whoami()["role"] == "owner"
    text = own.file.read_text()
    own.file.write_text(text.replace("owners: {groups: [owners]}, ", "viewers_: x, ").replace("viewers_: x, ", ""))
    own.event("config.adopted")
    assert browser.whoami() == {"status": 403}
    assert browser.ask("GET", "/")[1].count("/login") == 1


def test_a_program_shows_a_token_of_the_issuer(own: Gateway, provider: People):
    browser = Browser(own)

    def as_(token: str, path: str = "/v1/whoami") -> tuple[int, Any]:
        status, body, _ = browser.ask("GET", path, authorization=f"Bearer {token}")
        return status, json.loads(body)

    token = provider.signer.token(aud="sluicegate-api", sub="ci", roles=["ops"])
    status, me = as_(token)
    assert (status, me["role"], me["kind"], me["name"]) == (200, "operator", "token", "ci")
    assert as_(token, "/v1/audit")[0] == 403
    assert browser.ask("POST", "/v1/deployments/weu/gpt-4o/undrain", authorization=f"Bearer {token}")[0] == 200
    assert as_(provider.signer.token(aud="sluicegate-api", sub="nobody"))[0] == 403, "known, and without a role"
    for claims in (
        {"aud": CLIENT_ID, "roles": ["ops"]}, {"aud": "sluicegate-api", "nonce": "n", "roles": ["ops"]},
        {"aud": "other", "roles": ["ops"]}, {"aud": "sluicegate-api", "exp": int(time.time()) - 999, "roles": ["ops"]},
        {"aud": "sluicegate-api", "iss": "https://evil.example", "roles": ["ops"]},
    ):  # fmt: skip
        assert as_(provider.signer.token(**claims))[0] == 401, claims
    assert as_(token[:-4] + "AAAA")[0] == 401
    assert browser.ask("GET", "/v1/whoami", authorization=f"Bearer {OPS}")[0] == 200, "keys go on beside it"
    assert chat(own, token) == 403, "and no model is behind it: no consumer matches"


def test_cookies_that_stand_twice_are_believed_neither(shared: Gateway, provider: People):
    browser = Browser(shared)
    provider.person = {"sub": "eve"}
    assert browser.log_in(provider)[0] == 303
    cookie = browser.cookies["__Host-sluicegate"]
    browser.cookies = {}
    assert browser.ask("GET", "/v1/whoami", cookie=f"__Host-sluicegate={cookie}; x=1")[0] == 200
    twice = f"__Host-sluicegate={cookie}; __Host-sluicegate=other"
    assert browser.ask("GET", "/v1/whoami", cookie=twice)[0] == 401


def test_abuse_57_a_name_is_shown_and_does_nothing(own: Gateway, provider: People):
    provider.person = {"sub": "ann", "groups": ["owners"], "name": '<img src=x onerror="alert(1)">'}
    browser = Browser(own)
    assert browser.log_in(provider)[0] == 303
    page = browser.ask("GET", "/")[1]
    assert "<img" not in page and "&lt;img" in page


def test_an_issuer_that_is_away_lets_nobody_in_and_says_so(fleet: FleetThread, tmp_path: Path):
    with People(SECRET_OF_CLIENT) as gone:
        text = text_of(tmp_path, fleet["a"].origin, gone)
        with Gateway(tmp_path, text, ENVIRON) as gateway:
            browser = Browser(gateway)
            gone.mode = "failing"
            status, body, _ = browser.ask("GET", "/login")
            assert status == 503 and "cannot be asked" in body
            gone.mode, gone.lie = "well", "elsewhere"
            assert browser.ask("GET", "/login")[0] == 503
            gone.lie = ""
            assert browser.log_in(gone)[0] == 303
            assert parse_qs(urlsplit(gone.url).query) == {}


def test_sessions_end_when_another_issuer_vouches_for_people(own: Gateway, provider: People):
    """What the one before said of somebody would be read by the rules of the one that is in force."""
    browser = Browser(own)
    assert browser.log_in(provider)[0] == 303
    text = own.file.read_text()
    own.hang_up_until("config.adopted")
    assert browser.whoami()["role"] == "owner", "a reload alone logs nobody out"
    own.file.write_text(text.replace("audience: sluicegate-api", "audience: another-api"))
    own.event("config.adopted")
    assert browser.whoami() == {"status": 401}
    assert browser.log_in(provider)[0] == 303 and browser.whoami()["role"] == "owner"
