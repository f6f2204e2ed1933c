"""Many consumers that say the same: held as what is their own, and each is itself when it asks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sluicegate.core.caller import LIVE, Callers, digest
from sluicegate.core.limits.base import LimitSpec
from sluicegate.core.secret import Secret
from sluicegate.core.snapshot import Change, ConsumerEntry, Directory, Match, TenantEntry

SECRET = Secret("s" * 64)
LIMIT = (LimitSpec("concurrency", 3),)
TENANT = TenantEntry(1, "retail", LIMIT, labels=(("area", "shops"),), boundary="eu")


def key(n: int) -> bytes:
    return b"key %d" % n


def entries(count: int) -> tuple[ConsumerEntry, ...]:
    """Two kinds, in turn; half of their fields equal and not the same objects, as a directory might have them."""
    found = []
    for n in range(count):
        tenant, models = ("retail", ("chat",)) if n % 2 else ("default", tuple(sorted({"chat", "embed"})))
        found.append(ConsumerEntry(n + 1, f"app-{n}", tenant, models, (digest(key(n), SECRET),), labels=(("k", "v"),)))
    return tuple(found)


def callers(count: int = 100) -> Callers:
    return Callers(Directory((SECRET,), entries(count), (TENANT,)), "westeurope")


def test_each_is_itself_and_says_what_all_of_its_kind_say():
    table = callers()
    alone = {
        n: Callers(Directory((SECRET,), (e,), (TENANT,)), "westeurope").find(key(n)) for n, e in enumerate(entries(100))
    }
    for n in range(100):
        found, wanted = table.find(key(n)), alone[n]
        assert found is not None and wanted is not None
        for name in ("number", "name", "tenant", "models", "boundary", "ruled", "limits", "everything"):
            assert getattr(found, name) == getattr(wanted, name), name
        assert (found.context.boundary, found.context.labels, found.context.region) == (
            wanted.context.boundary, wanted.context.labels, wanted.context.region)  # fmt: skip
        assert table.owner(digest(key(n), SECRET)) is found and table.called(f"app-{n}") is found
        assert table.name(n + 1) == f"app-{n}"
    assert table.find(b"nobody") is None and table.name(1000) is None and table.called("nobody") is None
    assert len({id(held.like) for held in table._by_digest.values()}) == 2


def test_two_of_them_are_two_however_many_asked_in_between():
    """Who asked of late is kept, and forgotten: nobody is taken for another, nor for two."""
    many = LIVE + 50
    table = callers(many)
    for n in range(many - 1):
        same, other = table.who([key(n), key(n)]), table.who([key(n), key(n + 1)])
        assert not isinstance(same, str) and same.name == f"app-{n}"
        assert other == "credential.ambiguous"
        assert len(table._bound) <= LIVE
    entry = replace(entries(1)[0], digests=(digest(b"a", SECRET), digest(b"b", SECRET)))
    found = Callers(Directory((SECRET,), (entry,))).who([b"a", b"b"])
    assert not isinstance(found, str) and found.number == 1, "two keys of one consumer"


def test_a_change_touches_whom_it_names_and_a_move_everybody():
    before = callers()
    one = before.find(key(7))
    changed = replace(entries(100)[7], models=("other",))
    after = before.altered(Change((), (changed,)))
    found, neighbour = after.find(key(7)), after.find(key(9))
    assert one is not None and found is not None and neighbour is not None
    assert found.models == {"other"} and one.models == {"chat"} and neighbour.models == {"chat"}
    gone = after.altered(Change((digest(key(7), SECRET),), ()))
    assert gone.find(key(7)) is None and after.find(key(7)) is found
    after.move("swedencentral")
    assert {after.find(key(n)).context.region for n in range(100)} == {"swedencentral"}  # type: ignore[union-attr]


class Unread(dict[bytes, Any]):
    """A table that nobody may go through."""

    def values(self) -> Any:
        raise AssertionError("all of them were looked at")


def test_what_a_consumer_that_asked_is_called_is_found_without_a_look_at_all_of_them():
    """Metrics ask it of each consumer that is busy, after every change of the directory."""
    named = ConsumerEntry(500, "by-token", "retail", ("chat",), (), match=Match("contoso"))
    table = Callers(Directory((SECRET,), (*entries(20), named), (TENANT,)))
    for changed in (table, table.altered(Change((digest(b"gone", SECRET),), ()))):
        changed._by_digest = Unread(changed._by_digest)
        for n in range(20):
            found = changed.find(key(n))
            assert found is not None and changed.name(found.number) == f"app-{n}"
        assert changed.name(500) == "by-token"
        with pytest.raises(AssertionError):
            changed.name(999)
    assert callers().name(7) == "app-6" and callers().name(999) is None
