"""Tokens that are not what they seem: none is answered, none reaches an upstream, and all are told the same.

The matrix of abuse cases 35 to 43, over real sockets. `good` is let in; each case changes one thing.
"""

import json
import time
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from hmac import new as hmac
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluicegate.apis import APIS, DEPLOYMENTS
from sluicegate.core.caller import digest
from sluicegate.core.keyset import KeySet
from sluicegate.core.refusals import TOKENS
from sluicegate.core.settings import Issuer, Says
from sluicegate.core.snapshot import ConsumerEntry, Directory, Match
from sluicegate.identity.jose import LARGEST, keyset
from tests.abuse.outside import CHAT, PATH, Answer, Client, Upstream, ask, is_refusal, request
from tests.gateway import KEY, SECRET, GatewayThread, instance, snapshot
from tests.identity.provider import APP, CLIENT, TENANT, URI, Signer, b64, joined, private, signature

AUTHORITY = "https://login.example"
USUAL = ("RS256", "PS256", "ES256")
ENTRA = Issuer(
    "contoso",
    (
        Says(f"{AUTHORITY}/{TENANT}/", (URI, CLIENT), TENANT, "1.0"),
        Says(f"{AUTHORITY}/{TENANT}/v2.0", (CLIENT,), TENANT, "2.0"),
    ),
    USUAL,
    "entra",
)
OIDC = Issuer("partner", (Says("https://id.example", (URI,)),), USUAL, "oidc")
LOST = Issuer("lost", (Says("https://lost.example", (URI,)),), USUAL, "lost")


def kept(source: str, signer: Signer, until: float = 1e11) -> KeySet:
    return keyset(source, json.dumps(signer.set()).encode(), until)


class Ground:
    """A gateway that trusts two issuers and knows the keys of both; of a third it never heard the keys."""

    def __init__(self, gateway: GatewayThread, upstream: Upstream) -> None:
        self.gateway = gateway
        self.upstream = upstream
        self.entra = Signer()
        self.entra.add("key-2")
        self.oidc = Signer()
        self.oidc.add("ec", "ES256")
        self.oidc.add("rsa")
        self.publish()
        self.held = {self.oidc.token("ec"), self.oidc.token("rsa")}

    def publish(self) -> None:
        sets = [kept("entra", self.entra), kept("oidc", self.oidc)]
        self.gateway.call(lambda: self.gateway.worker.take_keys(sets))

    def show(self, token: str | bytes, *headers: bytes, name: bytes = b"Authorization: Bearer ") -> Answer:
        raw = token.encode() if isinstance(token, str) else token
        return ask(self.gateway.port, request(name + raw, *headers, key=None))

    @property
    def last(self) -> Any:
        """The record of the last refusal."""
        return self.gateway.journal.refusals[-1]


def people() -> Directory:
    entries = (
        ConsumerEntry(1, "app", "default", ("chat",), (digest(KEY.encode(), SECRET),)),
        ConsumerEntry(2, "caller", "default", ("chat",), (), match=Match("contoso", (("azp", (APP,)),))),
        ConsumerEntry(3, "somebody", "default", ("chat",), (), match=Match("partner", (("sub", ("somebody",)),))),
    )
    return Directory((SECRET,), entries)


@pytest.fixture(scope="module")
def whole() -> Iterator[Ground]:
    with Upstream() as upstream:
        trusting = replace(snapshot([instance(1, upstream.port)]), issuers=(ENTRA, OIDC, LOST))
        with GatewayThread(trusting, people()) as gateway:
            yield Ground(gateway, upstream)


@pytest.fixture
def ground(whole: Ground) -> Iterator[Ground]:
    whole.upstream.forget()
    yield whole


def good(ground: Ground) -> str:
    return ground.oidc.token()


def refused(ground: Ground, token: str | bytes, reason: str) -> Answer:
    """As every token that is not let in; the reason is in our record only."""
    before = len(ground.upstream.requests)
    got = ground.show(token)
    assert got.status == 401, got
    is_refusal(got, "credential.token")
    assert got.header("www-authenticate") == b'Bearer error="invalid_token"'
    assert ground.last.reason == reason and ground.last.status == 401
    assert len(ground.upstream.requests) == before
    raw = token.encode() if isinstance(token, str) else token
    assert raw[:40] not in got.raw_head + got.body and reason.encode() not in got.raw_head + got.body
    return got


def sign(key: Any, algorithm: str) -> Any:
    return lambda signed: signature(key, algorithm, signed)


def claims(**more: Any) -> dict[str, Any]:
    now = int(time.time())
    return {"iss": "https://id.example", "aud": URI, "sub": "somebody", "iat": now, "exp": now + 600, **more}


# ---------------------------------------------------------------- who is let in


@pytest.mark.parametrize(
    "name", [b"Authorization: Bearer ", b"api-key: ", b"x-api-key: ", b"Ocp-Apim-Subscription-Key: "]
)
def test_a_good_token_is_let_in_wherever_keys_are_and_goes_no_further(name: bytes, ground: Ground):
    for token, number, issuer in (
        (ground.oidc.token(), 3, "partner"),
        (ground.oidc.token("ec"), 3, "partner"),
        (ground.oidc.token("rsa", "PS256"), 3, "partner"),
        (ground.entra.entra(AUTHORITY, 1), 2, "contoso"),
        (ground.entra.entra(AUTHORITY, 2), 2, "contoso"),
    ):
        ground.upstream.forget()
        assert ground.show(token, name=name).status == 200
        record = ground.gateway.journal.recent[-1]
        assert record.consumer == number and record.trail[0] == f"credential: token of {issuer}"
        (seen,) = ground.upstream.requests
        assert token.encode()[-40:] not in seen.raw and token.encode()[:40] not in seen.raw
        assert not any(token[:40] in line for line in record.trail)


def test_a_token_of_a_caller_that_nobody_declared_is_403(ground: Ground):
    got = ground.show(ground.oidc.token(sub="nobody"))
    is_refusal(got, "identity.unmatched")
    assert ground.upstream.requests == []


def test_what_is_said_of_a_refused_token_is_the_same_whatever_is_wrong(ground: Ground):
    ids = (b"x-sluicegate-request-id",)
    said = set()
    for token in (ground.oidc.token(aud="x"), ground.oidc.token(exp=1), "e.e.e", "eyJ.." + "a" * 9000):
        got = ground.show(token)
        lines = tuple(sorted((n, v) for n, v in got.headers if n.encode() not in ids and n != "date"))
        said.add((got.status, lines, got.body))
    assert len(said) == 1


# ---------------------------------------------------------------- the matrix


def other_key(ground: Ground) -> Any:
    return private("RS256", 99)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"alg": "none"}, "credential.token.algorithm"), ({"alg": "None"}, "credential.token.algorithm"),
        ({"alg": "nOnE"}, "credential.token.algorithm"), ({"alg": ""}, "credential.token.algorithm"),
        ({"alg": None}, "credential.token.algorithm"), ({"alg": ["RS256"]}, "credential.token.algorithm"),
        ({"alg": "RS384"}, "credential.token.algorithm"), ({"alg": "ES384"}, "credential.token.algorithm"),
        ({"alg": "EdDSA"}, "credential.token.algorithm"), ({"alg": "RS256 "}, "credential.token.algorithm"),
        ({"alg": "rs256"}, "credential.token.algorithm"), ({"alg": "ES256"}, "credential.token.algorithm"),
        ({"alg": "HS256"}, "credential.token.algorithm"), ({"alg": 0}, "credential.token.algorithm"),
        ({"alg": "RSA-OAEP", "enc": "A256GCM"}, "credential.token.algorithm"),
    ],
)  # fmt: skip
def test_abuse_35_no_algorithm_but_those_on_the_list(header: dict[str, Any], reason: str, ground: Ground):
    unsigned = {n: v for n, v in {"typ": "JWT", "kid": "rsa", **header}.items() if v is not None}
    refused(ground, joined(unsigned, claims(), lambda signed: b""), "credential.token.malformed")
    refused(ground, joined(unsigned, claims(), sign(ground.oidc.keys["rsa"][1], "RS256")), reason)


def test_abuse_35_a_secret_made_of_the_public_key_signs_nothing(ground: Ground):
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public = ground.oidc.keys["rsa"][1].public_key()
    shapes = [
        (e, f) for e in (Encoding.PEM, Encoding.DER) for f in (PublicFormat.SubjectPublicKeyInfo, PublicFormat.PKCS1)
    ]
    for encoding, shape in shapes:
        secret = public.public_bytes(encoding, shape)
        for algorithm in ("HS256", "RS256"):
            header = {"typ": "JWT", "alg": algorithm, "kid": "rsa"}
            token = joined(header, claims(), lambda signed, secret=secret: hmac(secret, signed, sha256).digest())
            refused(ground, token, f"credential.token.{'algorithm' if algorithm == 'HS256' else 'signature'}")


def test_abuse_35_a_key_signs_by_its_own_kind_only(ground: Ground):
    ec, rsa = ground.oidc.keys["ec"][1], ground.oidc.keys["rsa"][1]
    refused(ground, joined({"alg": "RS256", "kid": "ec"}, claims(), sign(ec, "ES256")), "credential.token.algorithm")
    refused(ground, joined({"alg": "ES256", "kid": "rsa"}, claims(), sign(rsa, "RS256")), "credential.token.algorithm")
    refused(ground, joined({"alg": "PS256", "kid": "rsa"}, claims(), sign(rsa, "RS256")), "credential.token.signature")
    zero = joined({"alg": "ES256", "kid": "ec"}, claims(), lambda signed: bytes(64))
    refused(ground, zero, "credential.token.signature")
    der = joined({"alg": "ES256", "kid": "ec"}, claims(), lambda signed: b"\x30\x06\x02\x01\x01\x02\x01\x01")
    refused(ground, der, "credential.token.signature")


def test_abuse_35_a_signature_is_written_in_one_way_only(ground: Ground):
    """Bits beyond the end of base64, and zeros beside the halves of an ES256, are the same numbers: other bytes."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for kid in ("rsa", "ec"):
        token = ground.oidc.token(kid)
        end = letters.index(token[-1])
        same = [
            token[:-1] + letter for letter in letters if letters.index(letter) >> 4 == end >> 4 and letter != token[-1]
        ]
        assert len(same) == 15
        for other in same:
            assert urlsafe_b64decode(other.rpartition(".")[2] + "==") == urlsafe_b64decode(
                token.rpartition(".")[2] + "=="
            )
            refused(ground, other, "credential.token.malformed")
    ec = ground.oidc.keys["ec"][1]
    for split in (lambda s: s[:32] + b"\0" + s[32:], lambda s: b"\0" + s[:32] + b"\0" + s[32:], lambda s: s + b"\0"):
        token = joined(
            {"alg": "ES256", "kid": "ec"}, claims(), lambda signed, split=split: split(signature(ec, "ES256", signed))
        )
        refused(ground, token, "credential.token.signature")


def test_abuse_35_a_key_that_names_its_algorithm_signs_by_no_other(ground: Ground):
    jwks = ground.oidc.set()
    for key in jwks["keys"]:
        if key["kid"] == "rsa":
            key["alg"] = "RS256"
    said = keyset("oidc", json.dumps(jwks).encode(), 1e11)
    ground.gateway.call(lambda: ground.gateway.worker.take_keys([said]))
    try:
        assert ground.show(ground.oidc.token("rsa", "RS256")).status == 200
        refused(ground, ground.oidc.token("rsa", "PS256"), "credential.token.algorithm")
    finally:
        ground.publish()


@pytest.mark.parametrize(
    "kid",
    [
        "",
        "../../../etc/passwd",
        "/dev/null",
        "' OR 1=1 --",
        "https://evil.example/keys",
        "rsa\u0000",
        "RSA",
        "x" * 256,
        "rsa\r\nX: y",
    ],
)
def test_abuse_36_a_key_id_is_a_name_and_nothing_else(kid: str, ground: Ground):
    token = joined({"alg": "RS256", "kid": kid}, claims(), sign(other_key(ground), "RS256"))
    refused(ground, token, "credential.token.key")


@pytest.mark.parametrize("kid", [["rsa"], {"rsa": 1}, 7, True, "x" * 257])
def test_abuse_36_a_key_id_that_is_no_name_is_refused(kid: Any, ground: Ground):
    token = joined({"alg": "RS256", "kid": kid}, claims(), sign(ground.oidc.keys["rsa"][1], "RS256"))
    refused(ground, token, "credential.token.malformed")


def test_abuse_36_keys_that_a_token_brings_along_are_not_looked_at(ground: Ground):
    from tests.identity.provider import jwk

    mine = other_key(ground)
    with Upstream() as evil:
        url = f"http://127.0.0.1:{evil.port}/keys"
        for header in (
            {"jwk": jwk(mine, kid="rsa")}, {"jku": url}, {"x5u": url}, {"x5c": ["MIIB"]}, {"jku": url, "x5u": url, "jwk": jwk(mine)},
        ):  # fmt: skip
            token = joined({"alg": "RS256", "kid": "rsa", **header}, claims(), sign(mine, "RS256"))
            refused(ground, token, "credential.token.signature")
            token = joined({"alg": "RS256", "kid": "mine", **header}, claims(), sign(mine, "RS256"))
            refused(ground, token, "credential.token.key")
        good = joined({"alg": "RS256", "kid": "rsa", "jku": url}, claims(), sign(ground.oidc.keys["rsa"][1], "RS256"))
        assert ground.show(good).status == 200, "they are not looked at: they harm nobody either"
        assert evil.connections == 0


def test_abuse_36_a_key_of_one_issuer_signs_for_no_other(ground: Ground):
    token = ground.entra.token("key-2", iss="https://id.example")
    refused(ground, token, "credential.token.key")
    ground.entra.keys["rsa"] = ("RS256", other_key(ground))  # the same name, too
    token = ground.entra.token("rsa", iss="https://id.example")
    del ground.entra.keys["rsa"]
    refused(ground, token, "credential.token.signature")


def test_abuse_37_a_flood_of_unknown_keys_asks_once_a_minute_and_harms_nobody(ground: Ground):
    asked: list[str] = []
    prover = ground.gateway.worker.prover
    now = [1000.0]
    prover._now = lambda: now[0]
    prover._sets["oidc"].asked = float("-inf")
    ground.gateway.worker.on_lacks = asked.append
    try:
        with Client(ground.gateway.port) as client:
            for n in range(1000):
                token = joined({"alg": "RS256", "kid": f"k{n}"}, claims(), lambda signed: b"x" * 256).encode()
                client.send(request(b"Authorization: Bearer " + token, key=None))
                assert client.answer().status == 401
                now[0] += 0.001
        assert asked == ["oidc"]
        now[0] += 60.0
        again = joined({"alg": "RS256", "kid": "k1"}, claims(), lambda signed: b"x" * 256)
        assert ground.show(again).status == 401 and asked == ["oidc", "oidc"]
        assert ground.show(good(ground)).status == 200
    finally:
        ground.gateway.worker.on_lacks = lambda source: None
        prover._now = time.monotonic


def test_abuse_38_an_issuer_whose_keys_never_came_is_503_and_not_the_clients_fault(ground: Ground):
    got = ground.show(ground.oidc.token(iss="https://lost.example"))
    is_refusal(got, "credential.issuer_unavailable")
    assert got.status == 503 and int(got.header("retry-after") or 0) >= 1
    assert ground.upstream.requests == []


def test_abuse_38_keys_hold_until_their_time_is_up(ground: Ground):
    worker = ground.gateway.worker
    token = good(ground)
    assert ground.show(token).status == 200
    try:
        ground.gateway.call(lambda: worker.take_keys([kept("oidc", ground.oidc, time.time() - 1)]))
        for shown in (token, ground.oidc.token(jti="another")):
            is_refusal(ground.show(shown), "credential.issuer_unavailable")
    finally:
        ground.publish()
    assert ground.show(token).status == 200


NOW = 1_800_000_000


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"aud": "api://other"}, "audience"), ({"aud": URI + "/"}, "audience"), ({"aud": URI.upper()}, "audience"),
        ({"aud": ""}, "audience"), ({"aud": []}, "audience"), ({"aud": ["a", "b"]}, "audience"), ({"aud": None}, "claims"),
        ({"aud": {"api://sluicegate": 1}}, "claims"), ({"aud": [URI, 7]}, "claims"), ({"aud": [[URI]]}, "claims"), ({"aud": 7}, "claims"),
        ({"iss": "https://id.example/"}, "issuer"), ({"iss": "https://evil.example"}, "issuer"), ({"iss": None}, "issuer"),
        ({"iss": "https://ID.example"}, "issuer"), ({"iss": ["https://id.example"]}, "issuer"), ({"iss": ""}, "issuer"),
        ({"exp": -61}, "expired"), ({"exp": None}, "claims"), ({"exp": "later"}, "claims"), ({"exp": True}, "claims"),
        ({"exp": "9999999999"}, "claims"), ({"exp": [9999999999]}, "claims"), ({"exp": 1e400}, "claims"), ({"exp": -1e30}, "claims"),
        ({"exp": 0}, "expired"), ({"exp": {}}, "claims"),
        ({"nbf": 61}, "not_yet"), ({"iat": 61, "nbf": None}, "not_yet"), ({"nbf": "now"}, "claims"), ({"nbf": False}, "claims"),
        ({"iat": "now"}, "claims"), ({"iat": []}, "claims"),
    ],
)  # fmt: skip
def test_abuse_39_the_claims_that_decide(more: dict[str, Any], reason: str, ground: Ground):
    now = int(time.time())
    small = {
        n: now + v if type(v) is int and n in ("exp", "nbf", "iat") and 0 < abs(v) < 1000 else v
        for n, v in more.items()
    }
    for kid in ("rsa", "ec"):
        token = ground.oidc.token(kid, **small)
        if 1e400 in more.values():  # as a number that JSON may hold and no float can
            parts = token.split(".")
            text = urlsafe_b64decode(parts[1] + "==").replace(b"Infinity", b"1e400")
            key = ground.oidc.keys[kid]
            token = joined({"alg": key[0], "kid": kid}, text, sign(key[1], key[0]))
        refused(ground, token, f"credential.token.{reason}")


def test_abuse_39_an_array_of_audiences_counts_if_ours_is_in_it_and_clocks_may_differ_a_little(ground: Ground):
    now = int(time.time())
    for more in (
        {"aud": ["other", URI]},
        {"exp": now - 25},
        {"nbf": now + 25, "iat": now + 25},
        {"exp": now + 0.5},
        {"iat": None, "nbf": None},
    ):
        assert ground.show(ground.oidc.token(**more)).status == 200, more


@pytest.mark.parametrize(
    ("version", "more", "reason"),
    [
        (1, {"iss": f"{AUTHORITY}/{TENANT}/v2.0"}, "audience"), (1, {"iss": f"{AUTHORITY}/{TENANT}/v2.0", "aud": CLIENT}, "version"),
        (2, {"iss": f"{AUTHORITY}/{TENANT}/"}, "version"), (2, {"aud": URI}, "audience"), (1, {"ver": None}, "version"),
        (2, {"ver": 2.0}, "version"), (1, {"ver": "2.0"}, "version"), (2, {"tid": "99990000-0000-4000-8000-000000000003"}, "tenant"),
        (1, {"tid": None}, "tenant"), (2, {"tid": TENANT.upper() + " "}, "tenant"), (2, {"tid": [TENANT]}, "tenant"),
        (2, {"iss": f"{AUTHORITY}/common/v2.0"}, "issuer"), (2, {"iss": f"{AUTHORITY}/99990000-0000-4000-8000-000000000003/v2.0"}, "issuer"),
        (2, {"iss": f"{AUTHORITY}/{{tenantid}}/v2.0"}, "issuer"), (1, {"iss": f"https://sts.windows.net/{TENANT}/"}, "issuer"),
        (2, {"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": "https://graph.example/"}}}, "groups"),
        (2, {"hasgroups": True}, "groups"), (1, {"hasgroups": "true"}, "groups"), (2, {"_claim_names": {"groups": "src1"}, "groups": ["x"]}, "groups"),
    ],
)  # fmt: skip
def test_abuse_39_versions_and_directories_of_entra_are_not_mixed(
    version: int, more: dict[str, Any], reason: str, ground: Ground
):
    refused(ground, ground.entra.entra(AUTHORITY, version, **more), f"credential.token.{reason}")


def test_abuse_39_a_version_1_token_may_name_the_id_as_its_audience(ground: Ground):
    assert ground.show(ground.entra.entra(AUTHORITY, 1, aud=CLIENT)).status == 200


def nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (lambda g: g.oidc.token("rsa", header={"crit": ["exp"]}), "critical"), (lambda g: g.oidc.token("rsa", header={"crit": []}), "critical"),
        (lambda g: g.oidc.token("rsa", header={"crit": ["b64"], "b64": False}), "critical"), (lambda g: g.oidc.token("rsa", header={"crit": 0}), "critical"),
        (lambda g: g.oidc.token(padding="x" * LARGEST), "too_large"),
        (lambda g: ".".join((good(g), "e30", "e30")), "encrypted"), (lambda g: good(g) + ".e30", "malformed"),
        (lambda g: good(g) + ".", "malformed"), (lambda g: good(g).rpartition(".")[0] + ".", "malformed"),
        (lambda g: good(g) + "=", "malformed"), (lambda g: good(g).replace(".", "..", 1), "malformed"),
        (lambda g: joined(nested(900), claims(), lambda s: b"x" * 256), "malformed"),
        (lambda g: joined({"alg": "RS256", "kid": "rsa"}, nested(1500), lambda s: b"x" * 256), "malformed"),
        (lambda g: joined(b'{"alg":"RS256","alg":"none","kid":"rsa"}', claims(), sign(g.oidc.keys["rsa"][1], "RS256")), "malformed"),
        (lambda g: joined(b'{"alg":"none","\\u0061lg":"RS256","kid":"rsa"}', claims(), sign(g.oidc.keys["rsa"][1], "RS256")), "malformed"),
        (lambda g: joined({"alg": "RS256", "kid": "rsa"}, b'{"iss":"https://id.example","iss":"x"}', sign(g.oidc.keys["rsa"][1], "RS256")), "malformed"),
        (lambda g: joined({"alg": "RS256", "kid": "rsa"}, b"[]", sign(g.oidc.keys["rsa"][1], "RS256")), "malformed"),
        (lambda g: joined({"alg": "RS256", "kid": "rsa"}, b'{"exp":NaN}', sign(g.oidc.keys["rsa"][1], "RS256")), "malformed"),
        (lambda g: joined({"alg": "RS256", "kid": "rsa"}, b'\xef\xbb\xbf{"a":1}', sign(g.oidc.keys["rsa"][1], "RS256")), "malformed"),
        (lambda g: joined({"alg": "RS256", "kid": "rsa"}, '{"a":1}'.encode("utf-16"), sign(g.oidc.keys["rsa"][1], "RS256")), "malformed"),
        (lambda g: joined({"alg": "RS256", "kid": "rsa"}, b'{"sub":"\\ud800"}', sign(g.oidc.keys["rsa"][1], "RS256")), "malformed"),
        (lambda g: joined({"alg": "RS256", "kid": "rsa"}, b'{"exp":' + b"9" * 5000 + b"}", sign(g.oidc.keys["rsa"][1], "RS256")), "malformed"),
        (lambda g: g.oidc.token("rsa", header={"typ": "logout+jwt"}), "malformed"), (lambda g: g.oidc.token("rsa", header={"typ": "dpop+jwt"}), "malformed"),
        (lambda g: g.oidc.token("rsa", header={"typ": 7}), "malformed"),
    ],
)  # fmt: skip
def test_abuse_40_no_extension_no_size_no_nesting(token: Any, reason: str, ground: Ground):
    prover = ground.gateway.worker.prover
    checked = []
    keys = prover._sets["oidc"].keys
    originals = [type(k).checks for k in keys]
    try:
        for key in keys:
            type(key).checks = lambda self, *a: checked.append(self) or False
        refused(ground, token(ground), f"credential.token.{reason}")
    finally:
        for key, original in zip(keys, originals, strict=True):
            type(key).checks = original
    assert checked == [], "refused before any work on signatures"


def test_abuse_40_nothing_of_a_megabyte_is_read(ground: Ground):
    with Client(ground.gateway.port) as client:
        client.send(request(b"Authorization: Bearer eyJ" + b"a.a.a" * 200_000, key=None))
        assert client.answer().status == 431


def test_abuse_41_tokens_that_begin_alike_are_not_taken_for_each_other(ground: Ground):
    first = ground.oidc.token("rsa", note="x")
    assert ground.show(first).status == 200
    head = first[: first.rindex(".")]
    for other in (
        ground.oidc.token("rsa", note="x", sub="nobody"), ground.oidc.token("rsa", note="y", exp=1), first[:-2] + ("BA" if first.endswith("AA") else "AA"),
        head + "." + b64(b"\0" * 256), first[:20] + ground.oidc.token("rsa", aud="other")[20:],
    ):  # fmt: skip
        assert other[:20] == first[:20] and ground.show(other).status in (401, 403)
    assert ground.show(first).status == 200
    assert len(ground.upstream.requests) == 2


def test_abuse_42_a_key_that_its_issuer_takes_back_proves_nothing_any_more(ground: Ground):
    token, other = ground.oidc.token("ec"), ground.oidc.token("rsa")
    with Client(ground.gateway.port) as client:
        for _ in range(2):
            client.send(request(b"Authorization: Bearer " + token.encode(), key=None))
            assert client.answer().status == 200
        held = ground.oidc.keys.pop("ec")
        ground.publish()
        try:
            client.send(request(b"Authorization: Bearer " + token.encode(), key=None))
            is_refusal(client.answer(), "credential.token")
            assert ground.last.reason == "credential.token.key"
            assert ground.show(other).status == 200
        finally:
            ground.oidc.keys = {"ec": held, **ground.oidc.keys}
            ground.publish()
        client.send(request(b"Authorization: Bearer " + token.encode(), key=None))
        assert client.answer().status == 200, "and is back as soon as it is published again"


def test_abuse_42_a_token_ends_between_two_requests_of_a_connection(ground: Ground):
    prover = ground.gateway.worker.prover
    token = ground.oidc.token("ec").encode()
    wall = [time.time()]
    prover._wall = lambda: wall[0]
    try:
        with Client(ground.gateway.port) as client:
            for _ in range(3):
                client.send(request(b"Authorization: Bearer " + token, key=None))
                assert client.answer().status == 200
            wall[0] += 3600 + 31
            client.send(request(b"Authorization: Bearer " + token, key=None))
            is_refusal(client.answer(), "credential.token")
            assert ground.last.reason == "credential.token.expired"
            wall[0] -= 3600  # a clock that is put back: judged again
            client.send(request(b"Authorization: Bearer " + token, key=None))
            assert client.answer().status == 200
    finally:
        prover._wall = time.time


def test_abuse_43_a_token_beside_anything_but_itself_is_400_in_any_order(ground: Ground):
    token, other, bad = good(ground), ground.entra.entra(AUTHORITY), ground.oidc.token(aud="x")
    places = (b"api-key: ", b"Authorization: Bearer ", b"x-api-key: ", b"Ocp-Apim-Subscription-Key: ")
    for one, two in (
        (token, KEY),
        (token, other),
        (KEY, bad),
        (token, bad),
        (token, "nobody"),
        (bad, other),
        (token, token + "x"),
    ):
        for first, second in ((one, two), (two, one)):
            for a in places:
                for b in places:
                    got = ask(ground.gateway.port, request(a + first.encode(), b + second.encode(), key=None))
                    is_refusal(got, "credential.ambiguous")
    assert ground.upstream.requests == []
    assert (
        ask(
            ground.gateway.port,
            request(b"api-key: " + token.encode(), b"Authorization: Bearer " + token.encode(), key=None),
        ).status
        == 200
    )


# ---------------------------------------------------------------- laws


@settings(max_examples=150)
@given(st.data())
def test_any_change_of_one_byte_of_a_token_is_refused(whole: Ground, data: st.DataObject):
    prover = whole.gateway.worker.prover
    token = data.draw(st.sampled_from(sorted(whole.held))).encode()
    assert not isinstance(prover.prove(token), str)
    at = data.draw(st.integers(0, len(token) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda b: b != token[at]))
    changed = token[:at] + bytes([byte]) + token[at + 1 :]
    assert prover.prove(changed) in TOKENS
    cut = token[:at]
    assert prover.prove(cut) in TOKENS


@settings(max_examples=200)
@given(st.binary(max_size=300), st.binary(max_size=300), st.binary(max_size=80))
def test_any_bytes_in_the_parts_are_refused_in_words_that_are_listed(
    whole: Ground, header: bytes, payload: bytes, end: bytes
):
    prover = whole.gateway.worker.prover
    for raw in (header + b"." + payload + b"." + end, joined(header, payload, lambda s: end).encode()):
        assert prover.prove(raw) in TOKENS


@settings(max_examples=200)
@given(
    st.dictionaries(
        st.sampled_from(["alg", "kid", "typ", "crit", "iss", "aud", "exp", "nbf", "iat", "tid", "ver", "hasgroups"]),
        st.recursive(
            st.none()
            | st.booleans()
            | st.floats(allow_nan=False)
            | st.integers()
            | st.text(max_size=8)
            | st.sampled_from(["RS256", "rsa", "https://id.example", URI]),
            lambda inner: st.lists(inner, max_size=3),
            max_leaves=4,
        ),
    )
)
def test_any_claims_with_a_good_signature_are_judged_without_a_bug(whole: Ground, said: dict[str, Any]):
    prover = whole.gateway.worker.prover
    key = whole.oidc.keys["rsa"][1]
    token = joined(
        {"alg": "RS256", "kid": "rsa"}, {"iss": "https://id.example", "aud": URI, **said}, sign(key, "RS256")
    )
    found = prover.prove(token.encode())
    if not isinstance(found, str):
        assert isinstance(found.claims["exp"], int | float) and found.claims["exp"] > time.time() - 31
    else:
        assert found in TOKENS
    token = joined({"alg": "RS256", "kid": "rsa", **said}, claims(), sign(key, "RS256"))
    found = prover.prove(token.encode())
    assert not isinstance(found, str) or found in TOKENS


# ---------------------------------------------------------------- everywhere


def test_every_route_refuses_every_bad_credential_and_asks_no_upstream(ground: Ground):
    bad: list[list[bytes]] = [[], [b"api-key: nobody"], [b"Authorization: Basic " + b64(KEY.encode()).encode()]]
    tokens = [
        ground.oidc.token(aud="x"), ground.oidc.token(exp=1), ground.oidc.token(sub="nobody"), ground.oidc.token(iss="https://lost.example"),
        ground.oidc.token(iss="https://evil.example"), ground.oidc.token(header={"crit": ["x"]}), good(ground)[:-9] + "AAAAAAAAA",
        joined({"alg": "none"}, claims(), lambda s: b""), "eyJhbGciOiJub25lIn0.e30.", "e30.e30.e30.e30.e30",
    ]  # fmt: skip
    bad += [[b"Authorization: Bearer " + t.encode()] for t in tokens]
    bad += [[b"api-key: " + KEY.encode(), b"Authorization: Bearer " + t.encode()] for t in tokens]
    paths: list[tuple[bytes, bytes]] = [
        (b"GET", b"/v1/models"),
        (b"GET", b"/openai/models?api-version=2024-10-21"),
        (b"GET", b"/v1/models/chat"),
        (b"GET", b"/health/models/chat"),
    ]
    forms = set()
    for api in APIS.values():
        for path in routes(api):
            paths.append((api.method.encode(), path.encode()))
            if api.takes == "form":
                forms.add(path.encode())
    assert len(paths) > 20
    for method, path in paths:
        for headers in bad:
            body = b"" if method == b"GET" else CHAT
            got = ask(
                ground.gateway.port, request(*headers, method=method, path=path, key=None, body=body), method=method
            )
            assert got.status in (400, 401, 403, 415, 503), (method, path, headers, got)
            assert got.status != 415 or path in forms
            assert b"gpt-4o" not in got.body and b'"data"' not in got.body
    assert ground.upstream.requests == []
    assert ask(ground.gateway.port, request(path=PATH)).status == 200


def test_a_token_is_told_the_same_on_every_route(ground: Ground):
    for token, words in ((ground.oidc.token(exp=1), "invalid token"), (ground.oidc.token(iss="https://lost.example"), "cannot be checked"),
                         (ground.oidc.token(sub="nobody"), "belongs to no consumer")):  # fmt: skip
        for method, path, body in (
            (b"GET", b"/v1/models", b""),
            (b"GET", b"/health/models/chat", b""),
            (b"POST", PATH, CHAT),
        ):
            got = ask(
                ground.gateway.port,
                request(b"api-key: " + token.encode(), method=method, path=path, key=None, body=body),
            )
            assert words in got.json["error"]["message"], (path, got)


def routes(api: Any) -> list[str]:
    found = [base + api.model_path for base, _ in api.bases] if api.model_path else []
    if api.deployment_path:
        found.append(DEPLOYMENTS.replace("{model}", "chat") + api.deployment_path + "?api-version=2024-10-21")
    return found
