"""A certificate beside a key or a token, or alone: who that is, and when the two do not belong together."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from sluicegate.core.caller import Callers, Shown, digest
from sluicegate.core.principal import Principal, joined
from sluicegate.core.secret import Secret
from sluicegate.core.snapshot import ConsumerEntry, Directory, Match

SECRET = Secret("the installation's secret of these tests")
PRINT = "ab" * 32
BOUND = base64.urlsafe_b64encode(bytes.fromhex(PRINT)).decode().rstrip("=")


def certificate(thumbprint: str = PRINT) -> Principal:
    return Principal("", {}, bytes.fromhex(thumbprint)[:16], 1e12, {"thumbprint": thumbprint, "subject": "CN=shop"})


def entry(number: int, name: str, key: str = "", thumbprint: str = "") -> ConsumerEntry:
    digests = (digest(key.encode(), SECRET),) if key else ()
    match = Match("", certificate=(("thumbprint", (thumbprint,)),)) if thumbprint else None
    return ConsumerEntry(number, name, "default", ("chat",), digests, match=match)


def who(callers: Callers, keys: list[bytes], shown: Principal | None) -> str:
    found = Shown(keys, shown).who(callers)
    return found if isinstance(found, str) else found.name


def test_a_certificate_counts_only_where_a_rule_knows_it():
    keys_only = Callers(Directory((SECRET,), (entry(1, "app", "key"),)))
    assert who(keys_only, [], certificate()) == "credential.missing"
    assert who(keys_only, [b"key"], certificate()) == "app"
    ruled = Callers(Directory((SECRET,), (entry(1, "app", "key"), entry(2, "shop", "shop-key", PRINT))))
    assert who(ruled, [], certificate()) == "shop"
    assert who(ruled, [], certificate("cd" * 32)) == "identity.unmatched"
    assert who(ruled, [], None) == "credential.missing"
    assert who(ruled, [b"key"], certificate("cd" * 32)) == "app", "a machine's certificate beside an application's key"
    assert who(ruled, [b"shop-key"], certificate()) == "shop"
    assert who(ruled, [b"key"], certificate()) == "credential.ambiguous", "two callers"
    assert who(ruled, [b"nobody"], certificate()) == "credential.unknown", "a good certificate excuses no bad key"


def test_who_shows_a_certificate_alone_has_a_mark_of_its_own():
    ruled = Callers(Directory((SECRET,), (entry(1, "shop", "", PRINT), entry(2, "other", "", "cd" * 32))))
    marks = set()
    for thumbprint in (PRINT, "cd" * 32):
        shown = Shown((), certificate(thumbprint))
        assert not isinstance(shown.who(ruled), str)
        marks.add(shown.mark(ruled))
    assert len(marks) == 2


@pytest.mark.parametrize(
    "cnf",
    [{"x5t#S256": BOUND[:-1]}, {"x5t#S256": BOUND + "="}, {"x5t#S256": BOUND.swapcase()}, {"x5t#S256": ""}, {"x5t#S256": None},
     {"x5t#S256": [BOUND]}, {"x5t": BOUND}, {"jkt": BOUND}, {"jwk": {}}, {"kid": "1"}, {}, [], "x", BOUND, 1, True],
)  # fmt: skip
def test_a_token_bound_to_something_else_is_refused_with_the_certificate_and_without(cnf: Any):
    token = Principal("contoso", {"azp": "1", "cnf": cnf}, b"m" * 16, 5.0)
    assert joined(token, certificate()) == "credential.token.binding"
    assert joined(token, None) == "credential.token.binding"


def test_a_bound_token_is_good_with_its_certificate_only_and_both_are_one():
    token = Principal("contoso", {"azp": "1", "cnf": {"x5t#S256": BOUND}}, b"m" * 16, 5.0)
    whole = joined(token, certificate())
    assert isinstance(whole, Principal)
    assert (whole.issuer, whole.claims, whole.mark, whole.expires) == ("contoso", token.claims, token.mark, 5.0)
    assert whole.certificate == certificate().certificate
    assert joined(token, None) == joined(token, certificate("cd" * 32)) == "credential.token.binding"
    plain = Principal("contoso", {"azp": "1"}, b"m" * 16, 5.0)
    assert joined(plain, None) is plain


class Proves:
    """Stands in for the prover: the token is what it was told."""

    def __init__(self, said: Principal | str) -> None:
        self.said = said

    def prove(self, token: bytes, mark: bytes = b"") -> Principal | str:
        return self.said


def test_a_token_beside_a_certificate_is_matched_as_one_and_stays_so_on_its_connection():
    match = Match("contoso", claims=(("azp", ("1",)),), certificate=(("thumbprint", (PRINT,)),))
    callers = Callers(Directory((SECRET,), (ConsumerEntry(1, "both", "default", ("chat",), (), match=match),)))
    proves = Proves(Principal("contoso", {"azp": "1", "cnf": {"x5t#S256": BOUND}}, b"m" * 16, 5.0))
    callers.prover = proves  # type: ignore[assignment]
    token = b"eyJhbGciOiJSUzI1NiJ9.eyJhIjoxfQ.c2ln"
    shown = Shown([token], certificate())
    for _ in range(3):
        found = shown.who(callers)
        assert not isinstance(found, str) and found.name == "both"
    alone = Shown([token])
    assert [alone.who(callers) for _ in range(3)] == ["credential.token.binding"] * 3
    proves.said = "credential.token.expired"
    assert shown.who(callers) == "credential.token.expired"
    proves.said = Principal("contoso", {"azp": "1"}, b"n" * 16, 5.0)
    assert alone.who(callers) == "identity.unmatched", "the rule asks for the certificate"
