"""Whose a token is: tokens against rules, rank by rank, and what holds whatever the rules are."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Mapping
from dataclasses import replace
from time import process_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.core.caller import KNOWN, LIVE, Callers, Consumer
from sluicegate.core.expr.parse import parse
from sluicegate.core.match import rank_of
from sluicegate.core.principal import Principal
from sluicegate.core.secret import Secret
from sluicegate.core.snapshot import Change, ConsumerEntry, Directory, Match, TenantEntry

C = "contoso"


def callers(**rules: Match) -> Callers:
    entries = [ConsumerEntry(n, name, "t", ("*",), (), match=m) for n, (name, m) in enumerate(rules.items(), 1)]
    return Callers(Directory((Secret("s" * 32),), tuple(entries)))


def who(claims: Mapping[str, object], issuer: str = C, **certificate: object) -> Principal:
    return Principal(issuer, claims, b"m" * 16, 1e12, certificate or None)


def name(found: Consumer | str) -> str:
    return found.name if isinstance(found, Consumer) else found


HOUSE = {
    "recommender": Match(C, (("azp", ("app-4",)),)),
    "assistant": Match(C, (("azp", ("app-5",)), ("azpacr", ("2",)))),
    "alice": Match(C, (("oid", ("user-1",)),)),
    "device": Match(certificate=(("thumbprint", ("ab" * 32,)),)),
    "bob-at-partner": Match("partner", (("sub", ("bob",)),)),
    "nightly": Match(C, (("roles", ("llm.batch", "llm.night")),)),
    "staff": Match(C, (("tid", ("T1",)), ("groups", ("g-staff",)))),
    "readers": Match(C, (("scp", ("models.read",)),)),
    "strong": Match(C, (("tid", ("T9",)), ("idtyp", ("app",)))),
    "partners": Match("partner"),
    "plant": Match(certificate=(("dns", ("press.plant.example",)),)),
}
MATRIX: list[tuple[Principal, str, str]] = [
    (who({"azp": "app-4"}), "recommender", "an application, by azp"),
    (who({"appid": "app-4"}), "recommender", "the same in a token of version 1"),
    (who({"azp": "app-4", "roles": ["llm.batch"]}), "recommender", "rank 1 decides, whatever its roles"),
    (who({"azp": "other", "appid": "app-4"}), "identity.unmatched", "appid stands in for azp, never against it"),
    (who({"azp": ["app-4"]}), "identity.unmatched", "a list is nobody's name"),
    (who({"azp": "APP-4"}), "identity.unmatched", "letters count"),
    (who({"azp": "app-4"}, "partner"), "partners", "another issuer's app-4 is another app"),
    (who({"azp": "app-5", "azpacr": "2"}), "assistant", "with a certificate, as asked for"),
    (who({"azp": "app-5", "azpacr": 2}), "assistant", "a number is what it looks like"),
    (who({"appid": "app-5", "appidacr": "2"}), "assistant", "version 1 again"),
    (who({"azp": "app-5", "azpacr": "1"}), "identity.unmatched", "with a secret only"),
    (who({"azp": "app-5"}), "identity.unmatched", "a claim that is missing is not equal"),
    (who({"azp": "app-5", "roles": ["llm.batch"]}), "nightly", "a rank without a match passes on"),
    (who({"oid": "user-1"}), "alice", "a user"),
    (who({"oid": "user-1", "azp": "app-4"}), "identity.ambiguous", "two of rank 1"),
    (who({"sub": "bob"}, "partner"), "bob-at-partner", "a subject beats the issuer alone"),
    (who({"sub": "bob"}), "identity.unmatched", "bob is somebody else there"),
    (who({}, "", thumbprint="ab" * 32), "device", "a certificate alone"),
    (who({}, C, thumbprint="ab" * 32), "device", "and beside a token"),
    (who({"oid": "user-1"}, C, thumbprint="ab" * 32), "identity.ambiguous", "a certificate of one, a token of another"),
    (who({"oid": "user-1"}, "", thumbprint="cd" * 32), "identity.unmatched", "claims without an issuer are nothing"),
    (who({"roles": ["a", "llm.batch"]}), "nightly", "one common element is enough"),
    (who({"roles": "llm.night"}), "nightly", "a text where others have a list"),
    (who({"roles": [["llm.batch"], {"a": 1}, None, 1.5]}), "identity.unmatched", "nested things are no roles"),
    (who({"roles": {"llm.batch": 1}}), "identity.unmatched", "a map is no role"),
    (who({"tid": "T1", "groups": ["x", "g-staff"]}), "staff", "two conditions"),
    (who({"tid": "T2", "groups": ["g-staff"]}), "identity.unmatched", "all must hold"),
    (who({"tid": "T1", "groups": ["g-staff"], "roles": ["llm.batch"]}), "identity.ambiguous", "two of rank 2"),
    (who({"scp": "openid models.read"}), "readers", "scopes are words"),
    (who({"scp": "models.read.all models.reader"}), "identity.unmatched", "whole words"),
    (who({"scp": ["models.read"]}), "readers", "or a list"),
    (who({"tid": "T9", "idtyp": "app"}), "strong", "an application's own token"),
    (who({"tid": "T9", "idtyp": "user"}), "identity.unmatched", "not a user's"),
    (who({}, "partner"), "partners", "everybody of an issuer"),
    (who({}), "identity.unmatched", "nobody"),
    (who({}, "third"), "identity.unmatched", "an issuer of which nobody said anything"),
    (who({}, "", dns=["x", "press.plant.example"]), "plant", "a name in a certificate"),
    (who({"scp": "models.read"}, C, dns=["press.plant.example"]), "identity.ambiguous", "of the same rank"),
]  # fmt: skip


@pytest.mark.parametrize(("principal", "expected", "why"), MATRIX, ids=[why for _, _, why in MATRIX])
def test_E5_whose_a_token_is(principal: Principal, expected: str, why: str) -> None:
    assert name(callers(**HOUSE).match(principal)) == expected


def test_E5_the_trail_names_the_rule_and_no_claim() -> None:
    table = callers(**HOUSE)
    assert table.matched(who({"oid": "user-1"})).trail == "match: rank 1: consumers.alice"
    both = table.matched(who({"oid": "user-1", "azp": "app-4"}))
    assert both.trail == "match: rank 1: consumers.alice, consumers.recommender"
    assert table.matched(who({})).trail == "match: no rule"


def headed(headers: dict[str, str], principal: Principal | None = None) -> Principal:
    if principal is None:
        return Principal("", {}, b"", 1e12, None, headers)
    return Principal(principal.issuer, principal.claims, b"m" * 16, 1e12, principal.certificate, headers)


def expressed(text: str) -> Match:
    return Match(tree=parse(text), text=text)


def test_A5_headers_alone_speak_where_nothing_else_does_and_nothing_else_speaks_there() -> None:
    mapped, said = Match(headers=(("x-tenant", ("a",)),)), expressed('headers["x-tenant"] == "b"')
    table = callers(mapped=mapped, said=said, others=expressed('issuer != "partner" || size(claims) == 0'))
    assert name(table.match(headed({"x-tenant": "a"}))) == "mapped"
    assert name(table.match(headed({"x-tenant": "b"}))) == "said"
    assert name(table.match(headed({"x-tenant": "c"}))) == "identity.unmatched", "who shows nothing meets no other rule"
    for tenant in "abc":
        assert name(table.match(headed({"x-tenant": tenant}, who({"azp": "x"})))) == "others"
        assert name(table.match(headed({"x-tenant": tenant}, who({}, "", dns=["y"])))) == "others"
        assert name(table.match(headed({"x-tenant": tenant}, who({"azp": "x"}, "partner")))) == "identity.unmatched"


def test_a_header_beside_claims_narrows() -> None:
    table = callers(
        mapped=Match(C, (("azp", ("x",)),), headers=(("x-zone", ("a", "b")),)),
        said=replace(expressed('issuer == "contoso" && azp == "y" && headers["x-zone"] == "a"'), issuer=C),
    )
    for azp, consumer in (("x", "mapped"), ("y", "said")):
        assert name(table.match(headed({"x-zone": "a"}, who({"azp": azp})))) == consumer
        assert name(table.match(headed({"x-zone": "z"}, who({"azp": azp})))) == "identity.unmatched"
        assert name(table.match(headed({}, who({"azp": azp})))) == "identity.unmatched"
        assert name(table.match(headed({"x-zone": "a"}))) == "identity.unmatched"


CLAIMS = ("oid", "azp", "tid", "roles")
VALUES = st.sampled_from(["a", "b", "c"])
MATCHES = st.builds(
    lambda issuer, claims: Match(issuer, tuple(sorted(claims.items()))),
    st.sampled_from([C, "partner"]),
    st.dictionaries(st.sampled_from(CLAIMS), st.lists(VALUES, min_size=1, max_size=2).map(tuple), max_size=3),
)
TOKENS = st.builds(
    who,
    st.dictionaries(st.sampled_from((*CLAIMS, "appid")), st.one_of(VALUES, st.lists(VALUES)), max_size=4),
    st.sampled_from([C, "partner", ""]),
)


def slowly(rules: Mapping[str, Match], principal: Principal) -> str:
    """What config.md says, read aloud: no index."""

    def values(claim: str) -> list[str]:
        held: Any = principal.claims.get(claim)
        if claim == "azp" and held is None:
            held = principal.claims.get("appid")
        if isinstance(held, list):
            return [] if claim in ("oid", "azp", "tid") else held
        return [] if held is None else [held]

    def holds(m: Match) -> bool:
        if not principal.issuer or m.issuer != principal.issuer:
            return False
        return all(set(values(claim)) & set(wanted) for claim, wanted in m.claims)

    for rank in (1, 2):
        hits = [n for n, m in rules.items() if rank_of(m) == rank and holds(m)]
        if hits:
            return hits[0] if len(hits) == 1 else "identity.ambiguous"
    return "identity.unmatched"


@given(st.lists(MATCHES, max_size=8), TOKENS, st.randoms(use_true_random=False))
def test_the_index_says_what_reading_every_rule_says_in_any_order(rules: list[Match], token: Principal, random) -> None:
    named = {f"c{n}": m for n, m in enumerate(rules)}
    expected = slowly(named, token)
    assert name(callers(**named).match(token)) == expected
    order = list(named.items())
    random.shuffle(order)
    assert name(callers(**dict(order)).match(token)) == expected


@given(st.lists(MATCHES, max_size=6), MATCHES, TOKENS)
def test_a_rule_of_a_lower_rank_changes_nothing_above_it(rules: list[Match], more: Match, token: Principal) -> None:
    named = {f"c{n}": m for n, m in enumerate(rules)}
    before = callers(**named).matched(token)
    after = callers(**named, more=more).matched(token)
    if before.rank and rank_of(more) > before.rank:
        assert (before.trail, before.reason) == (after.trail, after.reason)


@given(st.lists(MATCHES, min_size=1, max_size=8), st.data(), TOKENS)
def test_a_table_that_changed_says_what_one_made_anew_says(rules: list[Match], data, token: Principal) -> None:
    entries = {n: ConsumerEntry(n, f"c{n}", "t", ("*",), (), match=m) for n, m in enumerate(rules)}
    table = Callers(Directory((Secret("s" * 32),), tuple(entries.values())))
    for _ in range(data.draw(st.integers(1, 4))):
        number = data.draw(st.integers(0, 9))
        said = name(table.match(token))
        if data.draw(st.booleans()):
            entries[number] = ConsumerEntry(number, f"c{number}", "t", ("*",), (), match=data.draw(MATCHES))
            other = table.altered(Change((), (entries[number],)))
        else:
            entries.pop(number, None)
            other = table.altered(Change((), (), (number,)))
        assert name(table.match(token)) == said, "what is in force was touched"
        table = other
        anew = Callers(Directory((Secret("s" * 32),), tuple(entries.values())))
        assert name(table.match(token)) == name(anew.match(token))


# ---------------------------------------------------------------- families


def test_a_family_has_one_member_for_each_value() -> None:
    table = callers(app=Match("partner", each="azp"))
    a, b = table.match(who({"azp": "a"}, "partner")), table.match(who({"appid": "b"}, "partner"))
    assert isinstance(a, Consumer) and isinstance(b, Consumer)
    assert (a.name, b.name, a.number, b.number) == ("app:a", "app:b", 1, 1)
    assert a.mark != b.mark and len(a.mark) == 12
    assert dict(a.context.labels) == {"member": "a"}
    assert table.match(who({"azp": "a"}, "partner")) is a
    assert a.may("anything")


@pytest.mark.parametrize("claims", [{}, {"roles": ["a", "b"]}, {"roles": []}, {"roles": ""}, {"roles": [{}]}])
def test_who_has_no_value_or_several_is_no_member(claims: dict[str, object]) -> None:
    assert callers(app=Match("partner", each="roles")).match(who(claims, "partner")) == "identity.unmatched"


def test_what_a_member_is_called_is_bounded_and_safe_to_show() -> None:
    table = callers(app=Match("partner", each="azp"))
    odd = table.match(who({"azp": "a\r\nx: y\x1b[2J\ud800"}, "partner"))
    assert isinstance(odd, Consumer) and odd.name.isprintable()
    long = table.match(who({"azp": "z" * 5000}, "partner"))
    longer = table.match(who({"azp": "z" * 5001}, "partner"))
    assert isinstance(long, Consumer) and isinstance(longer, Consumer)
    assert long.name != longer.name and len(long.name) < 60


def test_members_are_held_up_to_a_bound_and_one_that_was_forgotten_is_the_same_again() -> None:
    table = callers(app=Match("partner", each="azp"))
    first = table.match(who({"azp": "a"}, "partner"))
    for n in range(LIVE + 10):
        table.match(who({"azp": f"n{n}"}, "partner"))
    assert len(table._members) == LIVE
    again = table.match(who({"azp": "a"}, "partner"))
    assert isinstance(first, Consumer) and isinstance(again, Consumer)
    assert again is not first and (again.mark, again.name, again.number) == (first.mark, first.name, first.number)


def test_a_member_keeps_its_labels_where_the_gateway_is_said_to_be_elsewhere() -> None:
    entry = ConsumerEntry(1, "app", "t", ("*",), (), labels=(("owner", "us"),), match=Match("partner", each="azp"))
    tenant = TenantEntry(1, "t", labels=(("cost", "1"),), boundary="eu")
    table = Callers(Directory((Secret("s" * 32),), (entry,), (tenant,)), "here")
    for region in ("here", "there"):
        table.move(region)
        found = table.match(who({"azp": "a"}, "partner"))
        assert isinstance(found, Consumer)
        assert (found.context.region, found.context.boundary) == (region, "eu")
        assert dict(found.context.labels) == {"cost": "1", "owner": "us", "member": "a"}


# ---------------------------------------------------------------- many


def oids(count: int) -> list[ConsumerEntry]:
    return [
        ConsumerEntry(n, f"c{n}", "t", ("chat",), (), match=Match(C, (("oid", (f"{n:08x}-0000-4000-8000-{n:012x}",)),)))
        for n in range(count)
    ]


def test_a_hundred_thousand_rules_cost_what_one_costs() -> None:
    """Steps of the interpreter, not seconds: the same number, whatever the number of rules."""

    def steps(table: Callers) -> int:
        count = 0

        def trace(*_: object) -> None:
            nonlocal count
            count += 1

        token = who({"oid": "00000007-0000-4000-8000-000000000007", "tid": "T", "roles": ["a", "b"]})
        sys.setprofile(trace)
        try:
            found = table.match(token)
        finally:
            sys.setprofile(None)
        assert name(found) == "c7"
        return count

    few = Callers(Directory((Secret("s" * 32),), tuple(oids(10))))
    many = Callers(Directory((Secret("s" * 32),), tuple(oids(100_000))))
    assert steps(many) == steps(few)
    begun = process_time()
    for _ in range(1000):
        many.match(who({"oid": "00000007-0000-4000-8000-000000000007"}))
    assert process_time() - begun < 1.0


def test_a_rule_takes_less_than_a_kilobyte() -> None:
    entries = oids(20_000)
    table = Callers(Directory((Secret("s" * 32),), ()))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        table._add(entries)
        held = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert held / len(entries) < 1000, held / len(entries)


def test_rules_over_what_many_share_are_found_by_what_few_share() -> None:
    """10,000 rules want the same tenant: the role tells them apart, and no other rule is looked at."""
    entries = [
        ConsumerEntry(n, f"c{n}", "t", ("*",), (), match=Match(C, (("tid", ("T1",)), ("roles", (f"role-{n}",)))))
        for n in range(10_000)
    ]
    table = Callers(Directory((Secret("s" * 32),), tuple(entries)))
    assert {rule.key for rule in table._rules.all()} == {"roles"}
    assert name(table.match(who({"tid": "T1", "roles": ["role-77"]}))) == "c77"
    assert name(table.match(who({"tid": "T2", "roles": ["role-77"]}))) == "identity.unmatched"


def test_a_reload_that_changes_a_rule_changes_who_is_matched() -> None:
    table = callers(a=Match(C, (("azp", ("x",)),)), b=Match(C, (("azp", ("y",)),)))
    entry = ConsumerEntry(1, "a", "t", ("*",), (), match=Match(C, (("azp", ("z",)),)))
    after = table.altered(Change((), (entry,)))
    assert [name(after.match(who({"azp": v}))) for v in "xyz"] == ["identity.unmatched", "b", "a"]
    keys_only = after.altered(Change((), (replace(entry, match=None),)))
    assert name(keys_only.match(who({"azp": "z"}))) == "identity.unmatched"


def test_what_one_issuer_calls_somebody_is_nobody_that_another_one_knows() -> None:
    """A partner's provider writes what it likes: its people must not use up the limits of ours, nor be booked as them."""
    tree = parse('issuer in ["contoso", "partner"] && "llm" in roles')
    table = callers(app=Match(tree=tree, each="sub"))
    members = [table.match(who({"sub": sub, "roles": ["llm"]}, issuer))
               for issuer in (C, "partner") for sub in ("bob", "contoso/bob")]  # fmt: skip
    assert [name(m) for m in members] == [
        "app:contoso/bob", "app:contoso/contoso/bob", "app:partner/bob", "app:partner/contoso/bob",
    ]  # fmt: skip
    assert len({m.mark for m in members if isinstance(m, Consumer)}) == 4
    called = table.called("app:partner/bob")
    assert called is not None and isinstance(members[2], Consumer) and called.mark == members[2].mark
    alone = callers(app=Match("partner", each="sub"))
    assert name(alone.match(who({"sub": "bob"}, "partner"))) == "app:bob"
    assert table.match(who({"sub": "", "roles": ["llm"]})) == "identity.unmatched"


def test_tokens_of_which_it_is_kept_whose_they_are_are_bounded() -> None:
    table = callers(app=Match(C))
    for n in range(3 * KNOWN):
        principal = Principal(C, {"sub": str(n)}, b"%16d" % n, 1e12)
        assert table.known(principal) is table.known(principal)
    assert len(table._known) <= KNOWN <= 1000
