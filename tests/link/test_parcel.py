"""The parcel: what goes in comes out, typed, with its secrets, and says nothing when it is broken."""

import subprocess
import sys
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.core.breaker import BreakerSpec, ThrottleSpec
from sluicegate.core.caller import Callers, Consumer
from sluicegate.core.limits.base import LimitSpec
from sluicegate.core.principal import Principal
from sluicegate.core.secret import Secret
from sluicegate.core.settings import (
    Gateway,
    Listen,
    OnDisconnect,
    ParamSpec,
    Price,
    Prices,
    Rollout,
    Spill,
    Timeouts,
    TlsFiles,
)
from sluicegate.core.snapshot import (
    Auth,
    Change,
    ConsumerEntry,
    Deployment,
    Directory,
    Instance,
    Match,
    Model,
    Snapshot,
    TenantEntry,
    Tree,
)
from sluicegate.link.parcel import FORMAT, Parcel, Unreadable, changed, pack, unpack

CANARY = "canary-5f2a9c10"

SNAPSHOT = Snapshot(
    "0123456789ab",
    Gateway("g", "westeurope", "/data", Listen("0.0.0.0", 8443, TlsFiles("c", "k")), 5.0),
    (
        Instance(1, "weu", "azure_openai", "https", "a.example", 443, "", Auth("key", Secret(CANARY)), "2024-10-21"),
        Instance(2, "vllm", "openai_compatible", "http", "::1", 8000, "/v1", ca="/ca.pem", region="fra"),
    ),
    (
        Deployment(1, "gpt-4o", 1, "gpt-4o", "2024-11-20", "Standard", 1),
        Deployment(2, "m", 2, "m", "3.2", "Standard", 1),
    ),
    (Model(1, "chat", (1, 2), ("chat_completions",), Timeouts(1.0, 2.0, 3.0, 4.0), 2, OnDisconnect(1.0, 0.0), 1024),),
)
DIRECTORY = Directory((Secret(CANARY * 3),), (ConsumerEntry(1, "app", "default", ("*",), (b"\x00\xff" * 8,)),))


def test_what_goes_in_comes_out():
    snapshot, directory = unpack(pack(SNAPSHOT, DIRECTORY))
    assert (snapshot, directory) == (SNAPSHOT, DIRECTORY)
    assert type(snapshot.instances[0].auth.secret) is Secret
    assert type(snapshot.models[0].deployments) is tuple
    assert snapshot.instances[1].auth.secret is None


def test_every_kind_of_thing_that_a_configuration_holds_comes_out():
    """With every optional field once given and once not: a compiled wheel reads these, too."""
    params = (
        ParamSpec("max_tokens", max=800.0, origin="models.chat"), ParamSpec("n", default="1"),
        ParamSpec("store", force="false"), ParamSpec("service_tier", allow=('"auto"', '"default"'), mode="shadow"),
    )  # fmt: skip
    limits = (LimitSpec("token_rate", 60_000, 60.0), LimitSpec("concurrency", 20, each="key", models=("chat",)))
    spill = (Spill(), Spill(False, 0.9, True))
    model = replace(
        SNAPSHOT.models[0], breaker=BreakerSpec(3, 0.25, 10.0, 1.0), throttle=ThrottleSpec(60.0, (1.0, 2.0)),
        rollout=Rollout((2,), 0.05), fallback=("small",), params=params, cuts=(("eu", (1,)),),
    )  # fmt: skip
    deployments = tuple(
        replace(d, capacity=c, ptu=c, max_input=c) for d, c in zip(SNAPSHOT.deployments, (None, 9), strict=True)
    )
    prices = Prices("EUR", ((1, (Price("p", (("input", 23, 10), ("output", 9, 1)), since=1.5),)), (2, ())))
    snapshot = replace(
        SNAPSHOT, models=tuple(replace(model, spill=s) for s in spill), deployments=deployments,
        prices=prices,
    )  # fmt: skip
    person = replace(DIRECTORY.consumers[0], limits=limits, params=params, labels=(("owner", "us"),))
    tree = Tree("==", None, tuple(Tree("literal", value) for value in ("a", 1, 1.5, True, None)), 7)
    matches = (
        Match("contoso", (("oid", ("a", "b")),), (("thumbprint", ("c",)),), (("x-tenant", ("d",)),), None, "", "azp"),
        Match(tree=tree, text="a == 1"), None,
    )  # fmt: skip
    everybody = tuple(replace(person, number=n, match=m) for n, m in enumerate(matches))
    tenants = (TenantEntry(1, "retail", limits, params, (("a", "b"),), "eu"), TenantEntry(2, "default"))
    directory = replace(DIRECTORY, consumers=everybody, tenants=tenants)
    assert unpack(pack(snapshot, directory)) == (snapshot, directory)


def test_what_comes_out_prints_no_secret():
    snapshot, directory = unpack(pack(SNAPSHOT, DIRECTORY))
    assert CANARY not in repr(snapshot) + repr(directory)


@given(st.lists(st.tuples(st.text(), st.text(), st.binary(min_size=16, max_size=16)), max_size=20), st.text(min_size=1))
def test_any_directory_goes_round(people: list[tuple[str, str, bytes]], secret: str):
    entries = tuple(ConsumerEntry(n, name, tenant, ("a",), (d,)) for n, (name, tenant, d) in enumerate(people))
    directory = Directory((Secret(secret),), entries)
    assert unpack(pack(SNAPSHOT, directory))[1] == directory


def test_ten_thousand_consumers_travel_quickly_enough_to_be_compiled_beside_traffic():
    entry = DIRECTORY.consumers[0]
    many = tuple(replace(entry, number=n, digests=(n.to_bytes(16, "big"),)) for n in range(10_000))
    packed = pack(SNAPSHOT, Directory(DIRECTORY.secrets, many))
    assert len(packed) < 1_500_000
    who = Callers(unpack(packed)[1])
    found = who.owner((7).to_bytes(16, "big"))
    assert isinstance(found, Consumer) and (found.number, found.name) == (7, entry.name)


def test_what_many_say_travels_once_and_is_one_object_when_it_arrives():
    limits = (LimitSpec("token_rate", 60_000, 60.0, origin="plans.team"),)
    entry = replace(DIRECTORY.consumers[0], limits=limits, labels=(("cost_centre", "4711"),))
    many = tuple(replace(entry, number=n, name=f"c{n}", digests=(n.to_bytes(16, "big"),)) for n in range(1000))
    directory = Directory(DIRECTORY.secrets, many)
    packed = pack(SNAPSHOT, directory)
    assert packed.count(b"plans.team") == 1
    found = unpack(packed)[1]
    assert found == directory
    assert isinstance(found, Directory)
    assert len({id(e.limits) for e in found.consumers}) == 1


RULES = (
    Match("contoso", (("oid", ("u1",)),)), Match("contoso", (("azp", ("a1", "a2")), ("oid", ("u2",)))),
    Match("contoso", (("roles", ("x", "y")), ("tid", ("t",)))), Match("contoso", (("tid", ("t",)),)),
    Match(certificate=(("thumbprint", ("ff",)),)),
)  # fmt: skip
WHO = (
    Principal("contoso", {"oid": "u1", "appid": "a1", "tid": "t", "roles": ["y"]}, b"", 0.0),
    Principal("contoso", {"oid": "u2", "azp": "a2", "tid": "t"}, b"", 0.0, {"thumbprint": "ff"}),
)

MOVES = st.tuples(
    st.sampled_from(["gone", "new", "grant", "key", "swap", "rule", "keys only"]), st.integers(0, 9), st.integers(0, 9)
)


@given(st.lists(MOVES, max_size=3))
def test_a_change_leads_where_the_whole_directory_would(moves: list[tuple[str, int, int]]):
    """Consumers come, go, change their grants, their keys and their rules; keys move from one to another."""
    keys = iter(bytes([n]) * 16 for n in range(50))
    now = {
        n: ConsumerEntry(n, f"c{n}", "t", ("a",), (next(keys), next(keys)), match=RULES[n % len(RULES)])
        for n in range(10)
    }
    before = Directory(DIRECTORY.secrets, tuple(now.values()))
    for move, one, other in moves:
        first, second = now.get(one), now.get(other)
        if move == "gone":
            now.pop(one, None)
        elif move == "new":
            now[10 + one] = ConsumerEntry(10 + one, "new", "t", ("*",), (next(keys),), match=RULES[other % 5])
        elif first is not None and move == "rule":
            now[one] = replace(first, match=RULES[other % 5])
        elif first is not None and move == "keys only":
            now[one] = replace(first, match=None)
        elif first is not None and move == "grant":
            now[one] = replace(first, models=("a", "b"))
        elif first is not None and move == "key":
            now[one] = replace(first, digests=(*first.digests[1:], next(keys)))
        elif first is not None and second is not None and one != other:
            now[one], now[other] = replace(first, digests=second.digests), replace(second, digests=first.digests)
    after_ = Directory(DIRECTORY.secrets, tuple(now.values()))

    def seen(callers: Callers) -> object:
        found = {d: callers.owner(d) for d in callers._by_digest}
        keyed = {d: (c.number, c.name, c.models, c.everything) for d, c in found.items() if c is not None}
        assert len(keyed) == len(found)
        hits = [[sorted(r.consumer.name for r in callers._rules.hits(who, rank)) for who in WHO] for rank in (1, 2)]
        return keyed, hits, sorted((r.consumer.number, r.consumer.models) for r in callers._rules.all())

    callers = Callers(before)
    untouched = seen(callers)
    people = unpack(pack(SNAPSHOT, changed(before, after_)))[1]
    if people is None:
        assert set(before.consumers) == set(after_.consumers)
        return
    after = callers.altered(people) if isinstance(people, Change) else Callers(people)
    assert seen(after) == seen(Callers(after_))
    assert seen(callers) == untouched, "what is in force was touched before it was adopted"


def test_little_travels_when_little_changed_and_everything_when_the_secret_did():
    entry = DIRECTORY.consumers[0]
    many = tuple(replace(entry, number=n, digests=(n.to_bytes(16, "big"),)) for n in range(1000))
    before = Directory(DIRECTORY.secrets, many)
    assert changed(before, Directory(DIRECTORY.secrets, tuple(replace(e) for e in many))) is None
    now = Directory(DIRECTORY.secrets, (*many[1:999], replace(many[999], models=("b",))))
    assert changed(before, now) == Change((many[0].digests[0], many[999].digests[0]), (now.consumers[-1],), (0,))
    for other in (
        replace(before, secrets=(Secret("another" * 9),)),
        replace(before, tenants=(TenantEntry(1, "default"),)),
        replace(before, consumers=many[:400]),
    ):
        assert changed(before, other) is other


@pytest.mark.parametrize("how", ["empty", "cut", "junk", "format", "field"])
def test_what_is_no_parcel_is_refused_without_showing_it(how: str):
    packed = pack(SNAPSHOT, DIRECTORY)
    broken = {
        "empty": b"",
        "cut": packed[:-10],
        "junk": CANARY.encode(),
        "format": msgspec.msgpack.encode({**msgspec.msgpack.decode(packed), "format": FORMAT + 1}),
        "field": msgspec.msgpack.encode({**msgspec.msgpack.decode(packed), "people": CANARY}),
    }[how]
    with pytest.raises(Unreadable) as caught:
        unpack(broken)
    assert CANARY not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@given(st.binary(max_size=300))
def test_no_bytes_whatever_raise_anything_else(raw: bytes):
    with pytest.raises(Unreadable):
        unpack(raw)


def test_only_what_a_snapshot_is_made_of_can_be_packed():
    with pytest.raises(TypeError, match="cannot hold a object"):
        pack(replace(SNAPSHOT, hash=object()), DIRECTORY)  # type: ignore[arg-type]
    assert list(Parcel.__dataclass_fields__) == ["format", "snapshot", "people"]


def test_reading_one_needs_neither_the_language_nor_its_libraries():
    code = (
        "import sys, sluicegate.link.parcel; print([m for m in sys.modules if m.split('.')[0] in ('yaml', 'pydantic', "
    )
    code += "'click') or m.startswith('sluicegate.spec')])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
