"""Sources of tokens, each against who hands them out in Azure, over sockets: what they ask, and what they refuse."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import time
from collections.abc import Awaitable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import RSAKey

from sluicegate.core.secret import Secret
from sluicegate.core.settings import Identity
from sluicegate.sim.azure.tokens import HEADER, Cloud, garbage, says
from sluicegate.sim.tls import certificates
from sluicegate.upstream.credentials import assertion, managed_identity
from sluicegate.upstream.credentials.azure_identity import NAMES, Library
from sluicegate.upstream.credentials.sources import Sources
from sluicegate.upstream.credentials.token import Failed, Fetched, fetched
from sluicegate.upstream.fetch import LARGEST, Unreachable, fetch

AOAI = "https://cognitiveservices.azure.com"
SCOPE = f"{AOAI}/.default"
CLIENT = "3f0c0000-0000-4000-8000-000000000002"
TENANT = "11110000-0000-4000-8000-000000000003"
SECRET = "a-secret-of-the-service-principal"


@pytest.fixture(scope="module")
def running() -> Iterator[Cloud]:
    with Cloud() as cloud:
        yield cloud


@pytest.fixture
def cloud(running: Cloud) -> Cloud:
    issuer = running.issuer
    for things in (issuer.asked, issuer.wrong, issuer.made, issuer.answers, issuer.secrets):
        things.clear()
    issuer.form = lambda document: document
    return running


def never(*_: Any) -> Any:
    raise AssertionError("was asked")


def ask(identity: Identity, environ: Mapping[str, str], sign: Any = never, library: Any = never) -> Fetched:
    return asyncio.run(_whole(Sources(environ, sign, library).fetch(identity)))


async def _whole(work: Awaitable[Fetched]) -> Fetched:
    return await work


def why(identity: Identity, environ: Mapping[str, str], **more: Any) -> Failed:
    with pytest.raises(Failed) as caught:
        ask(identity, environ, **more)
    return caught.value


def machine(cloud: Cloud) -> dict[str, str]:
    return {"AZURE_POD_IDENTITY_AUTHORITY_HOST": cloud["imds"].origin + "/"}


def app(cloud: Cloud) -> dict[str, str]:
    return {"IDENTITY_ENDPOINT": cloud["app_service"].origin + "/msi/token", "IDENTITY_HEADER": HEADER}


SYSTEM = Identity("managed_identity", SCOPE)


# ---------------------------------------------------------------- what works


@pytest.mark.parametrize("client", ["", CLIENT])
def test_the_metadata_service_hands_out_a_token_of_the_identity_that_was_asked_for(cloud: Cloud, client: str):
    got = ask(Identity("managed_identity", SCOPE, client), machine(cloud))
    made = cloud.issuer.made[got.token.reveal()]
    assert (made.client, made.audience) == (client, AOAI)
    assert got.life_s == 86_400 and not cloud.issuer.wrong


def test_app_service_says_the_end_in_quotes_and_no_life(cloud: Cloud):
    got = ask(SYSTEM, {**app(cloud), "AZURE_POD_IDENTITY_AUTHORITY_HOST": "http://127.0.0.1:9"})
    assert cloud.issuer.made[got.token.reveal()].audience == AOAI
    assert 86_390 < got.life_s <= 86_400 and not cloud.issuer.wrong
    assert cloud.issuer.asked == {"app_service": 1}


def cluster(cloud: Cloud, folder: Path) -> dict[str, str]:
    path = folder / "token"
    path.write_text("token-of-the-cluster-1\n")
    cloud.issuer.secrets[CLIENT] = {"token-of-the-cluster-1"}
    return {
        "AZURE_FEDERATED_TOKEN_FILE": str(path), "AZURE_CLIENT_ID": CLIENT, "AZURE_TENANT_ID": TENANT,
        "AZURE_AUTHORITY_HOST": cloud["entra"].origin + "/",
    }  # fmt: skip


def test_the_token_of_the_cluster_is_read_anew_each_time(cloud: Cloud, tmp_path: Path):
    environ = cluster(cloud, tmp_path)
    workload = Identity("workload_identity", SCOPE)
    ask(workload, environ)
    cloud.issuer.secrets[CLIENT] = {"token-of-the-cluster-2"}
    assert "AADSTS7000215" in why(workload, environ).what
    Path(environ["AZURE_FEDERATED_TOKEN_FILE"]).write_text("token-of-the-cluster-2")
    assert ask(workload, environ).token.reveal() in cloud.issuer.made
    lacking = why(workload, {k: v for k, v in environ.items() if k != "AZURE_CLIENT_ID"})
    assert lacking.what.startswith("AZURE_CLIENT_ID is not set")


def principal(cloud: Cloud, **more: Any) -> Identity:
    return Identity("service_principal", SCOPE, CLIENT, TENANT, cloud["entra"].origin, **more)


def test_a_service_principal_shows_its_secret_and_nothing_of_it_is_told(cloud: Cloud):
    cloud.issuer.secrets[CLIENT] = {SECRET}
    got = ask(principal(cloud, secret=Secret(SECRET)), {})
    assert cloud.issuer.made[got.token.reveal()].client == CLIENT
    failed = why(principal(cloud, secret=Secret("wrong-secret-of-mine")), {})
    assert failed.what == "Entra answered 401 invalid_client (AADSTS7000215)"
    assert failed.again_s == 60.0
    assert "wrong-secret-of-mine" not in repr(principal(cloud, secret=Secret("wrong-secret-of-mine")))


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gateway")])
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, begin, begin + timedelta(days=3650))
    path = tmp_path_factory.mktemp("pem") / "client.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(private + made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    return path


def test_an_assertion_is_signed_by_the_certificate_for_one_end_point_and_a_few_minutes(cloud: Cloud, pem: Path):
    identity = principal(cloud, certificate=str(pem))
    got = ask(identity, {}, sign=assertion.sign)
    assert got.token.reveal() in cloud.issuer.made and cloud.issuer.asked["assertion"] == 1
    certificate = x509.load_pem_x509_certificate(pem.read_bytes())
    public = certificate.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    token = jwt.decode(
        assertion.sign(identity, "https://x.test/token"), RSAKey.import_key(public), algorithms=["PS256"]
    )
    thumbprint = assertion._base64(certificate.fingerprint(hashes.SHA256()))
    assert token.header == {"alg": "PS256", "typ": "JWT", "x5t#S256": thumbprint}
    claims = token.claims
    assert (claims["iss"], claims["sub"], claims["aud"]) == (CLIENT, CLIENT, "https://x.test/token")
    assert claims["exp"] - time.time() <= 300 and claims["jti"] != ""


def test_a_certificate_that_is_none_is_said_so(cloud: Cloud, tmp_path: Path):
    path = tmp_path / "nothing.pem"
    path.write_text("-----BEGIN CERTIFICATE-----\nnonsense\n")
    assert "cannot be read" in why(principal(cloud, certificate=str(path)), {}, sign=assertion.sign).what


def az(folder: Path, script: str) -> dict[str, str]:
    program = folder / "az"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


def test_az_is_asked_for_the_resource(tmp_path: Path):
    end = int(time.time()) + 3600
    said = {"accessToken": "token-of-az", "expiresOn": "2031-01-01 00:00:00.000000", "expires_on": end,
            "tokenType": "Bearer"}  # fmt: skip
    environ = az(tmp_path, f"echo \"$@\" > {tmp_path}/asked\ncat <<'E'\n{json.dumps(said)}\nE")
    got = ask(Identity("azure_cli", SCOPE, tenant_id=TENANT), environ)
    assert got.token.reveal() == "token-of-az" and 3590 < got.life_s <= 3600
    words = (tmp_path / "asked").read_text().split()
    assert words == ["account", "get-access-token", "--output", "json", "--resource", AOAI, "--tenant", TENANT]
    assert why(Identity("azure_cli", SCOPE), az(tmp_path, "exit 1")).what == "az ended with status 1: az login?"
    assert "something else" in why(Identity("azure_cli", SCOPE), az(tmp_path, "echo no")).what
    assert why(Identity("azure_cli", SCOPE), {"PATH": "/nowhere"}).what == "there is no az on this machine"


def test_the_library_is_asked_by_its_own_names():
    """A stand-in for azure-identity, which is an extra: what is called is what it documents."""

    class Credential:
        def get_token(self, *scopes: str) -> Any:
            assert scopes == (SCOPE,)
            return SimpleNamespace(token="token-of-the-library", expires_on=1_000 + 3600)

    def broken() -> Any:
        raise RuntimeError("token eyJ-something")

    found = SimpleNamespace(**dict.fromkeys(NAMES.values(), Credential))
    library = Library(lambda: found, lambda: 1_000.0)
    for which in NAMES:
        got = ask(Identity("azure_identity", SCOPE, which=which), {}, library=library)
        assert (got.token.reveal(), got.life_s) == ("token-of-the-library", 3600)
    failed = why(Identity("azure_identity", SCOPE, which="default"), {}, library=Library(broken))
    assert failed.what == "azure-identity: RuntimeError"


# ---------------------------------------------------------------- Azure Arc


def test_arc_s_key_is_read_where_its_agent_keeps_them_and_nowhere_else(tmp_path: Path):
    folder = tmp_path / "tokens"
    folder.mkdir()
    key = folder / "a.key"
    key.write_text("the-key\n")
    assert managed_identity._arc_key(str(key), str(folder)) == "the-key"
    other = tmp_path / "b.key"
    other.write_text("a private key")
    (folder / "link.key").symlink_to(other)
    (folder / "large.key").write_text("x" * 5000)
    for path in (other, folder / "link.key", folder / "large.key", folder / "a.txt", folder / ".." / "b.key", ""):
        with pytest.raises(Failed):
            managed_identity._arc_key(str(path), str(folder))


def test_arc_asks_for_the_key_that_only_its_group_may_read(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    key = tmp_path / "a.key"
    key.write_text("the-key")
    monkeypatch.setattr(managed_identity, "ARC_KEYS", str(tmp_path))
    environ = {
        "IDENTITY_ENDPOINT": cloud["imds"].origin + "/metadata/identity/oauth2/token",
        "IMDS_ENDPOINT": cloud["imds"].origin,
    }  # fmt: skip
    challenge = says(401)
    challenge.headers.append((b"WWW-Authenticate", f"Basic realm={key}".encode()))
    cloud.issuer.answers.append(challenge)
    assert ask(SYSTEM, environ).token.reveal() in cloud.issuer.made
    first, second = cloud.issuer.heads[-2:]
    assert b"authorization" not in first and b"authorization: Basic the-key\r\n" in second
    elsewhere = says(401)
    elsewhere.headers.append((b"WWW-Authenticate", b"Basic realm=/etc/ssl/private/a.key"))
    cloud.issuer.answers.append(elsewhere)
    assert why(SYSTEM, environ).what == "Azure Arc names a file that is not its own"
    assert "no other identity" in why(Identity("managed_identity", SCOPE, CLIENT), environ).what


# ---------------------------------------------------------------- answers that are none


@pytest.mark.parametrize(
    ("answer", "what", "again"),
    [
        (says(404, error="not_found"), "the metadata service answered 404 not_found", None),
        (says(410, error="gone"), "the metadata service answered 410 gone", None),
        (says(429, error="too_many"), "the metadata service answered 429 too_many", None),
        (says(500, error="a b <script>"), "the metadata service answered 500", None),
        (says(400, error="invalid_request"), "the metadata service answered 400 invalid_request", 60.0),
        (garbage(b"<html>token</html>"), "no token of the managed identity: its answer is not a JSON object", None),
        (garbage(b"[" * 100_000), "no token of the managed identity: its answer is not a JSON object", None),
        (garbage(b"x" * (LARGEST + 10)), "no token of the managed identity: its answer is larger than 256 KiB", None),
        (says(302, location="http://127.0.0.1:1/"), "the metadata service answered 302", 60.0),
        (says(200, token_type="Bearer", expires_in=10), "the answer has no token", 60.0),
        (says(200, access_token="a b", expires_in=10), "the answer has no token", 60.0),
        (says(200, access_token="a\r\nx-evil: 1", expires_in=10), "the answer has no token", 60.0),
        (says(200, access_token="a" * 20_000, expires_in=10), "the answer's token is longer than any header may be", 60.0),
        (says(200, access_token="a", token_type="pop", expires_in=1), "the answer's token is no bearer token", 60.0),
        (says(200, access_token="a", resource="https://vault.azure.net", expires_in=9),
         "the answer's token is for another resource", 60.0),
        (says(200, access_token="a"), "the answer does not say how long its token lasts", 60.0),
        (says(200, access_token="a", expires_on="soon"), "the answer does not say how long its token lasts", 60.0),
    ],
)  # fmt: skip
def test_an_answer_that_is_no_token_is_refused_and_not_quoted(
    cloud: Cloud, answer: Any, what: str, again: float | None
):
    cloud.issuer.answers.append(answer)
    failed = why(SYSTEM, machine(cloud))
    assert (failed.what, failed.again_s) == (what, again)


def test_a_source_that_hangs_or_is_gone_costs_its_time_and_no_more(cloud: Cloud, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(managed_identity, "IMDS_S", 0.2)
    cloud.issuer.answers.append("hang")
    assert why(SYSTEM, machine(cloud)).what == "no token of the managed identity: no answer within 0.2 s"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    failed = why(SYSTEM, {"AZURE_POD_IDENTITY_AUTHORITY_HOST": f"http://127.0.0.1:{port}"})
    assert failed.what.startswith("no token of the managed identity: no connection to 127.0.0.1")


def test_a_wrong_header_of_app_service_is_its_refusal(cloud: Cloud):
    assert "App Service answered 401" in why(SYSTEM, {**app(cloud), "IDENTITY_HEADER": "other"}).what


def test_a_secret_is_not_sent_in_clear():
    identity = Identity("service_principal", SCOPE, CLIENT, TENANT, "http://login.contoso.example", Secret(SECRET))
    assert why(identity, {}).what == "the authority is no https:// address: secrets are not sent in clear"


# ---------------------------------------------------------------- times


@given(
    st.fixed_dictionaries(
        {"access_token": st.sampled_from(["t", "", None, 5])},
        optional={
            name: st.one_of(st.none(), st.integers(), st.floats(), st.text(max_size=30), st.booleans(), st.just([]))
            for name in ("expires_in", "expires_on", "refresh_in", "token_type", "resource", "expiresOn")
        },
    )
)
def test_whatever_an_answer_says_it_is_a_token_or_a_reason(document: dict[str, Any]):
    try:
        got = fetched(document, 1_000.0, "r")
    except Failed as e:
        assert e.what
    else:
        assert got.token.reveal() == "t" and got.life_s <= 366 * 86_400


@pytest.mark.parametrize(
    "said",
    [1_600_003_600, "1600003600", "1600003600.5", "09/13/2020 13:26:40 +00:00", "9/13/2020 1:26:40 PM +00:00",
     "2020-09-13T13:26:40Z", "2020-09-13T15:26:40+02:00"],
)  # fmt: skip
def test_the_end_of_a_token_as_it_is_told_here_and_there(said: Any):
    got = fetched({"access_token": "t", "expires_on": said}, 1_600_000_000.0)
    assert got.life_s == pytest.approx(3600, abs=1)


def test_the_life_counts_more_than_the_end_since_clocks_differ():
    got = fetched({"access_token": "t", "expires_in": "60", "expires_on": 10, "refresh_in": "30"}, 1_600_000_000.0)
    assert (got.life_s, got.refresh_s) == (60, 30)


# ---------------------------------------------------------------- fetch


def test_abuse_30_link_local_addresses_are_refused_but_where_tokens_are_handed_out():
    for url in ("http://169.254.169.254/x", "http://[fe80::1]/x", "http://[::ffff:169.254.169.254]/x"):
        with pytest.raises(Unreachable, match="addresses that are refused"):
            asyncio.run(fetch("GET", url, within_s=2))


@pytest.mark.parametrize(
    "url", ["ftp://127.0.0.1/", "http://u:p@127.0.0.1/", "file:///etc/passwd", "http:///x", "http://h:x/"]
)
def test_an_address_of_another_kind_is_not_called(url: str):
    with pytest.raises(Unreachable):
        asyncio.run(fetch("GET", url))


def test_no_header_can_carry_another_line(cloud: Cloud):
    with pytest.raises(Unreachable, match="cannot be sent"):
        asyncio.run(fetch("GET", cloud["imds"].origin, {"authorization": "a\r\nx: y"}))


def test_abuse_31_a_redirect_is_an_answer_and_nobody_goes_there(cloud: Cloud):
    other = f"{cloud['app_service'].origin}/"
    answer = says(302)
    answer.headers.append((b"location", other.encode()))
    cloud.issuer.answers.append(answer)
    got = asyncio.run(fetch("GET", cloud["imds"].origin, {"authorization": "Bearer x"}))
    assert got.status == 302 and cloud.issuer.asked == {"imds": 1}


def test_abuse_32_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path):
    context = certificates(tmp_path).context()

    async def run() -> None:
        server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        try:
            await fetch("GET", f"https://localhost:{port}/", within_s=5)
        finally:
            server.close()

    with pytest.raises(Unreachable, match="is not to be trusted"):
        asyncio.run(run())
