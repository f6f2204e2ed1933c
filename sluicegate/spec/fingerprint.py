"""The hash of the effective configuration: equal when what applies is equal, whatever the file looks like.

Consumers enter as a sum of digests, one for each: whoever knows it needs to look at those only that changed. Numbers
are left out, because they follow from what an installation has seen before, so two gateways that share a
configuration and its secrets have one hash. Secrets enter as keyed digests: a changed key changes the hash, and the
hash tells nothing about the key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from hashlib import blake2b
from operator import attrgetter
from typing import Any

import msgspec

from sluicegate.core.caller import digest
from sluicegate.core.secret import Secret
from sluicegate.core.snapshot import ConsumerEntry, Directory, Snapshot, TenantEntry

BYTES = 6
SUM_BYTES = 24
_WHOLE = 1 << 8 * SUM_BYTES
_encoder = msgspec.msgpack.Encoder()
_NEVER: Mapping[bytes, float] = {}

Cuts = tuple[tuple[str, tuple[int, ...]], ...]


def people(consumers: Iterable[ConsumerEntry]) -> int:
    """The sum of their digests: 0.8 us each. It is the same in any order, and changes by what is taken out of it and
    put into it."""
    encode, total = _encoder.encode, 0
    for entry in consumers:
        total += int.from_bytes(blake2b(encode(_CONSUMER(entry)), digest_size=16).digest(), "little")
    return total


def fingerprint(
    snapshot: Snapshot, directory: Directory, expires: Mapping[bytes, float] = _NEVER, summed: int | None = None
) -> str:
    """Twelve hex digits. `expires`: until when keys hold, by digest. `summed`: of the directory's consumers, where
    that is known."""
    key = directory.secrets[0]

    def hidden(value: Any) -> bytes:
        assert isinstance(value, Secret)
        return digest(value.reveal().encode(), key)

    encoder = msgspec.msgpack.Encoder(enc_hook=hidden)
    made = blake2b(digest_size=BYTES)
    made.update(encoder.encode(in_order(snapshot)))
    made.update(encoder.encode(directory.secrets))
    made.update(encoder.encode(sorted(map(_TENANT, directory.tenants), key=lambda entry: entry[0])))
    total = people(directory.consumers) if summed is None else summed
    made.update((total % _WHOLE).to_bytes(SUM_BYTES, "little"))
    if expires:
        made.update(encoder.encode(sorted(expires.items())))
    return made.hexdigest()


def in_order(snapshot: Snapshot) -> Snapshot:
    """The same with numbers by order of declaration, and without its hash."""
    return renumbered(
        replace(snapshot, hash=""),
        {i.number: n for n, i in enumerate(snapshot.instances, 1)},
        {d.number: n for n, d in enumerate(snapshot.deployments, 1)},
        {m.number: n for n, m in enumerate(snapshot.models, 1)},
    )


def renumbered(
    snapshot: Snapshot, instances: dict[int, int], deployments: dict[int, int], models: dict[int, int]
) -> Snapshot:
    """The same with other numbers: each map says what becomes of the old one."""

    def members(numbers: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(deployments[n] for n in numbers)

    def cuts(old: Cuts) -> Cuts:
        return tuple((name, members(numbers)) for name, numbers in old)

    return replace(
        snapshot,
        instances=tuple(replace(i, number=instances[i.number]) for i in snapshot.instances),
        deployments=tuple(
            replace(d, number=deployments[d.number], instance=instances[d.instance]) for d in snapshot.deployments
        ),
        prices=replace(
            snapshot.prices, deployments=tuple((deployments[n], prices) for n, prices in snapshot.prices.deployments)
        ),
        models=tuple(
            replace(
                m,
                number=models[m.number],
                deployments=members(m.deployments),
                cuts=cuts(m.cuts),
                rollout=m.rollout
                and replace(m.rollout, deployments=members(m.rollout.deployments), cuts=cuts(m.rollout.cuts)),
            )
            for m in snapshot.models
        ),
    )


def _but_number(cls: type) -> attrgetter[tuple[Any, ...]]:
    names = [f.name for f in fields(cls) if f.name != "number"]
    return attrgetter(*sorted(names, key=lambda name: name != "name"))


_CONSUMER = _but_number(ConsumerEntry)
_TENANT = _but_number(TenantEntry)
