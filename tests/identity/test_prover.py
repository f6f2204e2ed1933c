"""What is remembered of tokens, and for how long: by all of their bytes, judged by time and keys whenever it is used."""

import json
import tracemalloc
import uuid
from typing import Any

import pytest

from sluicegate.core.principal import Principal
from sluicegate.core.settings import Issuer, Says
from sluicegate.identity import prover as module
from sluicegate.identity.jose import keyset
from sluicegate.identity.keys import RsaKey
from sluicegate.identity.prover import Prover
from tests.identity.provider import CLIENT, TENANT, Signer

AUTHORITY = "https://login.example"
ISSUER = Issuer("contoso", (Says(f"{AUTHORITY}/{TENANT}/v2.0", (CLIENT,), TENANT, "2.0"),), ("RS256", "ES256"), "entra")
START = 1_800_000_000


class Ground:
    """A prover with its clocks, and how many signatures were checked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall = float(START)
        self.now = 0.0
        self.lacking: list[str] = []
        self.signer = Signer()
        self.prover = Prover(lambda: self.wall, lambda: self.now, self.lacking.append)
        self.prover.adopt([ISSUER])
        self.publish()
        self.checked = 0
        checks = RsaKey.checks

        def counted(key: RsaKey, *args: Any) -> bool:
            self.checked += 1
            return checks(key, *args)

        monkeypatch.setattr(RsaKey, "checks", counted)

    def publish(self, until: float = 1e11) -> None:
        self.prover.take([keyset("entra", json.dumps(self.signer.set()).encode(), until)])

    def token(self, **claims: Any) -> bytes:
        at = {"iat": START, "nbf": START, "exp": START + 3600, **claims}
        return self.signer.entra(AUTHORITY, **at).encode()

    def shown(self, token: bytes) -> str:
        found = self.prover.prove(token)
        return found if isinstance(found, str) else "proved"


@pytest.fixture
def ground(monkeypatch: pytest.MonkeyPatch) -> Ground:
    return Ground(monkeypatch)


def test_a_signature_is_checked_once_for_as_long_as_the_token_is_good(ground: Ground):
    token = ground.token()
    for _ in range(100):
        assert ground.shown(token) == "proved"
        ground.wall += 36
    assert ground.checked == 1
    ground.wall = START + 3600 + 29.9
    assert ground.shown(token) == "proved"
    ground.wall = START + 3600 + 30
    for _ in range(100):
        assert ground.shown(token) == "credential.token.expired"
    assert ground.checked == 2, "what is refused is remembered, too"


def test_a_token_that_is_too_early_is_good_when_its_time_comes(ground: Ground):
    token = ground.token(nbf=START + 100)
    for _ in range(10):
        assert ground.shown(token) == "credential.token.not_yet"
    ground.wall = START + 70.0
    assert ground.shown(token) == "proved"
    ground.wall = START + 69.0
    assert ground.shown(token) == "credential.token.not_yet", "a clock that is put back"


def test_garbage_pushes_nobody_out_and_costs_no_signature_twice(ground: Ground):
    good = [ground.token(jti=str(n)) for n in range(50)]
    assert {ground.shown(token) for token in good} == {"proved"}
    assert ground.checked == 50
    for n in range(2 * module.REFUSED):
        assert ground.shown(b"eyJ.%d.x" % n) == "credential.token.malformed"
    assert len(ground.prover._refused) <= module.REFUSED
    assert {ground.shown(token) for token in good} == {"proved"}
    assert ground.checked == 50
    bad = good[0][:-8] + b"AAAAAAAA"
    assert {ground.shown(bad) for _ in range(100)} == {"credential.token.signature"} and ground.checked == 51


def test_other_issuers_in_the_configuration_forget_all_and_the_same_ones_nothing(ground: Ground):
    token = ground.token()
    assert ground.shown(token) == "proved"
    ground.prover.adopt([Issuer(*[getattr(ISSUER, name) for name in ("name", "says", "algorithms", "source")])])
    ground.publish(until=2e11)
    assert ground.shown(token) == "proved" and ground.checked == 1, "keys that were fetched again are the same"
    ground.prover.adopt([Issuer("contoso", ISSUER.says, ("ES256",), "entra")])
    assert ground.shown(token) == "credential.token.algorithm"
    ground.prover.adopt([])
    assert ground.shown(token) == "credential.token.issuer"
    ground.prover.adopt([ISSUER])
    assert ground.shown(token) == "credential.issuer_unavailable", "its keys went with it"
    ground.publish()
    assert ground.shown(token) == "proved"


def test_keys_of_one_source_are_never_those_of_another(ground: Ground):
    ground.prover.adopt([Issuer("contoso", ISSUER.says, ("RS256",), "elsewhere")])
    ground.publish()
    assert ground.shown(ground.token()) == "credential.issuer_unavailable"


def test_a_token_without_key_id_is_checked_where_there_is_one_key_only(ground: Ground):
    token = ground.signer.token(
        header={"kid": None},
        iss=ISSUER.says[0].iss,
        aud=CLIENT,
        tid=TENANT,
        ver="2.0",
        iat=START,
        nbf=START,
        exp=START + 60,
    ).encode()
    assert ground.shown(token) == "proved"
    ground.signer.add("key-2")
    ground.publish()
    assert ground.shown(token + b"") == "proved", "the key that signed it is still published"
    other = ground.signer.token(
        header={"kid": None},
        iss=ISSUER.says[0].iss,
        aud=CLIENT,
        tid=TENANT,
        ver="2.0",
        iat=START,
        nbf=START,
        exp=START + 61,
    ).encode()
    assert ground.shown(other) == "credential.token.key" and ground.lacking == ["entra"]


def test_what_a_thousand_users_tokens_take(ground: Ground):
    people = [(str(uuid.uuid4()), [str(uuid.uuid4()) for _ in range(6)]) for _ in range(1000)]
    tokens = [ground.token(oid=oid, sub=oid, groups=groups) for oid, groups in people]
    assert 1000 < len(tokens[0]) < 2000
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        found = [ground.prover.prove(token) for token in tokens]
        each = (tracemalloc.get_traced_memory()[0] - before) / 1000
    finally:
        tracemalloc.stop()
    assert all(isinstance(one, Principal) for one in found) and len(ground.prover._proved) == 1000
    assert each < 5000, f"{each:.0f} bytes for a token of {len(tokens[0])}"
    again = [ground.prover.prove(token) for token in tokens]
    assert all(a is b for a, b in zip(found, again, strict=True)) and ground.checked == 1000


def test_a_token_of_the_largest_size_is_read_and_one_byte_more_is_not(ground: Ground):
    room = module.LARGEST - len(ground.token(padding=""))
    token = ground.token(padding="x" * (room * 3 // 4 - 2))
    assert module.LARGEST - 8 <= len(token) <= module.LARGEST and ground.shown(token) == "proved"
    larger = ground.token(padding="x" * (room * 3 // 4 + 10))
    assert len(larger) < module.LARGEST + 16 and ground.shown(larger) == "credential.token.too_large"
