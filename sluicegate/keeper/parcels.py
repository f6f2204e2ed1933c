"""What workers get of what the keeper has: nothing that is drained, over, or only the keeper's business."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from sluicegate.core.snapshot import Change, ConsumerEntry, Directory, Snapshot
from sluicegate.keeper import drained
from sluicegate.link.parcel import changed, pack


def for_workers(snapshot: Snapshot, away: Iterable[str], numbers: Sequence[int] = ()) -> Snapshot:
    """What workers get: nothing that is drained, and nothing that only the keeper is asked for. `numbers`: what the
    identities are called, by their place."""
    if snapshot.identities:
        instances = tuple(
            replace(i, auth=replace(i.auth, identity=numbers[i.auth.identity])) if i.auth.identity else i
            for i in snapshot.instances
        )
        issuers = tuple(replace(i, groups_by=0) if i.groups_by else i for i in snapshot.issuers)
        snapshot = replace(snapshot, instances=instances, identities=(), issuers=issuers)
    gateway = snapshot.gateway
    if gateway.admin.keys or gateway.admin.login or gateway.telemetry.alerts:
        admin, telemetry = replace(gateway.admin, keys=(), login=None), replace(gateway.telemetry, alerts=())
        snapshot = replace(snapshot, gateway=replace(gateway, admin=admin, telemetry=telemetry))
    return drained.without(snapshot, away)


def unexpired(directory: Directory, expires: Mapping[bytes, float], now: float) -> Directory:
    """Without keys whose time is up."""
    gone = {d for d, at in expires.items() if at <= now}
    if not gone:
        return directory
    return replace(directory, consumers=tuple(
        replace(c, digests=tuple(d for d in c.digests if d not in gone)) if not gone.isdisjoint(c.digests) else c
        for c in directory.consumers
    ))  # fmt: skip


def overdue(directory: Directory, expires: Mapping[bytes, float], now: float) -> bool:
    """Whether somebody gets in with a key whose time is up. Looks at everybody only when one of them may be."""
    gone = {d for d, at in expires.items() if at <= now}
    return bool(gone) and any(not gone.isdisjoint(c.digests) for c in directory.consumers)


def parcels(snapshot: Snapshot, before: Directory, now: Directory) -> tuple[bytes, bytes]:
    """For a worker that starts, and for one that knows the directory before."""
    whole = pack(snapshot, now)
    change = changed(before, now)
    return whole, whole if change is now else pack(snapshot, change)


def one(entry: ConsumerEntry | None) -> tuple[ConsumerEntry, ...]:
    """That one, or nobody."""
    return () if entry is None else (entry,)


def exchanged(before: ConsumerEntry | None, after: Directory) -> Change:
    """What workers need to know of one consumer that is another now, is new, or is gone."""
    gone = () if before is None or after.consumers else (before.number,)
    return Change(() if before is None else before.digests, after.consumers, gone)
