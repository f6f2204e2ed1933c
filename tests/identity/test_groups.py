"""Tokens whose groups are in the directory only: proved, and worth nothing until the keeper has told these."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from typing import Any

import pytest

from sluicegate.core.caller import KNOWN, Callers, Shown
from sluicegate.core.principal import ELSEWHERE, Principal, Whose
from sluicegate.core.snapshot import ConsumerEntry, Directory, Match
from sluicegate.identity import prover as module
from tests.gateway import SECRET
from tests.identity.provider import TENANT
from tests.identity.test_prover import ISSUER
from tests.identity.test_prover import Ground as Proving

OID = "33330000-0000-4000-8000-000000000001"
ASKED = Whose("contoso", TENANT, "users", OID)
GROUP = "77770000-0000-4000-8000-000000000001"
LEFT_OUT: dict[str, Any] = {
    "_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": "https://graph.example/"}}
}  # fmt: skip


class Ground(Proving):
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(monkeypatch)
        self.wanted: list[Whose] = []
        self.prover.wants = self.wanted.append
        self.prover.adopt([replace(ISSUER, groups="resolve")])
        self.publish()

    def token(self, **claims: Any) -> bytes:
        """Of a person."""
        return super().token(**{"scp": "llm", "sub": "pairwise", **claims})

    def proved(self, token: bytes) -> Principal:
        found = self.prover.prove(token)
        assert isinstance(found, Principal), found
        return found


@pytest.fixture
def ground(monkeypatch: pytest.MonkeyPatch) -> Ground:
    return Ground(monkeypatch)


@pytest.mark.parametrize("more", [LEFT_OUT, {"hasgroups": True}, {**LEFT_OUT, "groups": ["of-the-token"]}])
def test_it_has_the_groups_that_the_directory_names_and_no_others(more: dict[str, Any], ground: Ground):
    token = ground.token(**more)
    assert ground.shown(token) == ELSEWHERE and ground.prover.whose(token) == ASKED
    ground.prover.told(ASKED, [GROUP], 600.0)
    principal = ground.proved(token)
    assert principal.claims["groups"] == [GROUP] and principal.claims["oid"] == OID
    assert not {"_claim_names", "_claim_sources", "hasgroups"} & set(principal.claims)
    assert ground.proved(token) is principal and ground.prover.whose(token) is None
    other = ground.token(**more, uti="another")
    assert ground.proved(other).claims["groups"] == [GROUP] and ground.wanted == [ASKED]
    assert ground.checked == 2


def test_they_are_asked_for_ahead_of_their_end_and_others_make_another_principal(ground: Ground):
    token = ground.token(**LEFT_OUT)
    ground.prover.told(ASKED, [GROUP], 600.0)
    first = ground.proved(token)
    ground.now = 539.0
    assert ground.proved(token) is first and ground.wanted == []
    ground.now = 541.0
    for _ in range(5):
        assert ground.proved(token) is first
    assert ground.wanted == [ASKED]
    ground.prover.told(ASKED, [], 1141.0)
    assert ground.proved(token).claims["groups"] == []
    ground.now = 1141.0
    assert ground.shown(token) == ELSEWHERE


def test_of_whom_the_directory_does_not_know_the_token_is_refused_and_it_is_no_guess_for_ever(ground: Ground):
    token = ground.token(**LEFT_OUT)
    ground.prover.told(ASKED, None, 600.0)
    assert ground.shown(token) == "credential.token.groups"
    ground.now = 600.0
    assert ground.shown(token) == ELSEWHERE


@pytest.mark.parametrize(
    "more",
    [
        {"oid": None}, {"oid": "../me"}, {"oid": OID + "/x"}, {"oid": [OID]}, {"_claim_names": {"groups": "a", "wids": "b"}},
        {"_claim_names": {"wids": "b"}},
    ],
)  # fmt: skip
def test_whom_nobody_could_be_asked_about_is_refused(more: dict[str, Any], ground: Ground):
    assert ground.shown(ground.token(**{**LEFT_OUT, **more})) == "credential.token.groups"
    assert ground.wanted == []


def test_an_application_is_one_and_time_and_keys_are_judged_as_ever(ground: Ground):
    token = ground.token(**LEFT_OUT, idtyp="app")
    for other in (token, ground.token(**LEFT_OUT, scp=None, sub=OID), ground.token(**LEFT_OUT)):
        assert ground.shown(other) == ELSEWHERE
    assert [w.kind for w in ground.wanted] == ["servicePrincipals", "servicePrincipals", "users"]
    ground.prover.told(ground.wanted[0], [GROUP], 1e9)
    assert ground.shown(token) == "proved"
    ground.wall += 3600 + 30
    assert ground.shown(token) == "credential.token.expired"


def test_a_token_that_says_all_is_asked_nothing(ground: Ground):
    assert ground.proved(ground.token(groups=[GROUP])).claims["groups"] == [GROUP]
    assert ground.shown(ground.token(hasgroups=False)) == "proved" and ground.wanted == []


def test_what_was_told_of_other_issuers_or_directories_is_worth_nothing(ground: Ground):
    token = ground.token(**LEFT_OUT)
    for one in (
        ASKED._replace(issuer="x"),
        ASKED._replace(tenant="x"),
        ASKED._replace(oid="x"),
        ASKED._replace(kind="x"),
    ):
        ground.prover.told(one, [GROUP], 600.0)
        assert ground.shown(token) == ELSEWHERE
    ground.prover.told(ASKED, [GROUP], 600.0)
    assert ground.shown(token) == "proved"
    ground.prover.adopt([ISSUER])
    ground.publish()
    ground.prover.told(ASKED, [GROUP], 600.0)
    assert ground.shown(token) == "credential.token.groups", "this one refuses them"


def test_whose_it_is_is_found_anew_when_groups_are(ground: Ground):
    rule = Match("contoso", (("groups", (GROUP,)),))
    callers = Callers(Directory((SECRET,), (ConsumerEntry(1, "analysts", "t", ("chat",), (), match=rule),)))
    callers.prover = ground.prover
    shown = Shown([ground.token(**LEFT_OUT)])
    assert shown.who(callers) == ELSEWHERE and shown.principal is None
    for groups, expected in (([GROUP], "analysts"), ([], "identity.unmatched"), ([GROUP], "analysts")):
        ground.prover.told(ASKED, groups, 600.0)
        found = shown.who(callers)
        assert (found if isinstance(found, str) else found.name) == expected
    ground.now = 600.0
    assert shown.who(callers) == ELSEWHERE


def test_a_thousand_people_in_eleven_thousand_groups_do_not_fill_a_worker(ground: Ground):
    callers = Callers(
        Directory((SECRET,), (ConsumerEntry(1, "a", "t", (), (), match=Match("contoso", (("oid", (OID,)),))),))
    )
    callers.prover = ground.prover
    people = [f"33330000-0000-4000-8000-{n:012d}" for n in range(150)]
    tokens = [ground.token(oid=oid, **LEFT_OUT) for oid in people]
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for oid, token in zip(people, tokens, strict=True):
            ground.shown(token)
            groups = [f"{n:08d}{oid[8:]}" for n in range(11_000)]
            ground.prover.told(ASKED._replace(oid=oid), groups, 600.0)
            Shown([token]).who(callers)
        del groups
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    bound = module.KNOWN_BYTES + module.PROVED_BYTES
    assert KNOWN > 150 and taken < bound, f"{taken / 1e6:.0f} of {bound / 1e6:.0f} MB; all of it would be 150"
