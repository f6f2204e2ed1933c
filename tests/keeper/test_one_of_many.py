"""One consumer of many changes: what workers get for it, and what becomes of the hash, is as if all had been looked at."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from sluicegate.core.caller import Callers, Consumer, digest
from sluicegate.core.secret import Secret
from sluicegate.core.snapshot import ConsumerEntry, Directory, TenantEntry
from sluicegate.keeper.parcels import exchanged, one
from sluicegate.link.parcel import pack, unpack
from sluicegate.spec.fingerprint import fingerprint, people
from tests.gateway import instance, snapshot

SECRET = Secret("s" * 64)
SNAPSHOT = snapshot([instance(1, 1)])
KEYS = [digest(b"key-%d" % n, SECRET) for n in range(8)]
ENTRY = st.builds(
    lambda models, keys, labels: ConsumerEntry(
        0, "", "t", tuple(models), tuple(KEYS[k] for k in sorted(keys)), labels=labels
    ),
    st.lists(st.sampled_from(["chat", "embed"]), min_size=1, max_size=2, unique=True),
    st.sets(st.integers(0, 7), max_size=2),
    st.sampled_from([(), (("team", "a"),)]),
)
STEPS = st.lists(st.tuples(st.integers(1, 4), st.none() | ENTRY), max_size=12)


def said(callers: Callers) -> list[tuple[object, ...]]:
    found = []
    for n in range(8):
        who = callers.find(b"key-%d" % n)
        found.append((who.number, who.name, who.models, who.context.labels) if isinstance(who, Consumer) else ())
    return found


@given(STEPS)
def test_after_any_changes_workers_and_hash_are_those_of_the_whole(steps: list[tuple[int, ConsumerEntry | None]]):
    whole = Directory((SECRET,), (), (TenantEntry(1, "t"),))
    callers, total = Callers(whole), people(())
    for number, entry in steps:
        before = next((c for c in whole.consumers if c.number == number), None)
        if entry is not None:
            others = {d for c in whole.consumers if c.number != number for d in c.digests}
            own = tuple(d for d in entry.digests if d not in others)
            entry = replace(entry, number=number, name=f"app-{number}", digests=own)
        after = one(entry)
        whole = replace(whole, consumers=(*(c for c in whole.consumers if c.number != number), *after))
        _, change = unpack(pack(SNAPSHOT, exchanged(before, replace(whole, consumers=after))))
        assert change is not None and not isinstance(change, Directory)
        callers = callers.altered(change)
        total += people(after) - people(one(before))
        assert said(callers) == said(Callers(whole))
        assert fingerprint(SNAPSHOT, whole, summed=total) == fingerprint(SNAPSHOT, whole)
        if before != entry:
            old = replace(whole, consumers=(*(c for c in whole.consumers if c.number != number), *one(before)))
            assert fingerprint(SNAPSHOT, old) != fingerprint(SNAPSHOT, whole)
