"""Deployments that an operator took out of their pools, kept in `gateway.data` so that a restart does not forget it.

A drained deployment gets no new calls; those under way end. It keeps its live state: drained and brought back is the
same deployment. Kept by name (instance/deployment), because numbers belong to a compiled snapshot.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import replace

from sluicegate.core.snapshot import Snapshot
from sluicegate.spec.language import Document

FILE = "drained.json"


def labels(snapshot: Snapshot) -> dict[str, int]:
    """Every deployment's number by instance/deployment."""
    instances = {i.number: i.name for i in snapshot.instances}
    return {f"{instances[d.instance]}/{d.name}": d.number for d in snapshot.deployments}


def without(snapshot: Snapshot, drained: Iterable[str]) -> Snapshot:
    """The snapshot with these in no pool. Names that it does not know are no matter: they may come back."""
    known = labels(snapshot)
    gone = {known[name] for name in drained if name in known}
    if not gone:
        return snapshot
    models = []
    for model in snapshot.models:
        rollout = model.rollout
        if rollout is not None:
            rollout = replace(
                rollout, deployments=_less(rollout.deployments, gone), cuts=_cuts_less(rollout.cuts, gone)
            )
        models.append(
            replace(
                model, deployments=_less(model.deployments, gone), cuts=_cuts_less(model.cuts, gone), rollout=rollout
            )
        )
    return replace(snapshot, models=tuple(models))


def _less(numbers: tuple[int, ...], gone: set[int]) -> tuple[int, ...]:
    return tuple(n for n in numbers if n not in gone)


def _cuts_less(
    cuts: tuple[tuple[str, tuple[int, ...]], ...], gone: set[int]
) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return tuple((boundary, _less(numbers, gone)) for boundary, numbers in cuts)


def renamed(away: frozenset[str], document: Document) -> frozenset[str]:
    """What had another name before (`was`) is drained under the one that it has now."""
    found = set(away)
    for name, instance in document.instances.items():
        for before in (name, *instance.was) if away else ():
            for called, deployment in instance.deployments.items():
                for old in (called, *deployment.was):
                    if f"{before}/{old}" in found:
                        found.remove(f"{before}/{old}")
                        found.add(f"{name}/{called}")
    return frozenset(found)


def load(data: str) -> frozenset[str]:
    """Those kept there; none when the file is not there. Raises OSError or ValueError."""
    found: object = None
    try:
        with open(os.path.join(data, FILE), encoding="utf-8") as f:
            found = json.load(f)
    except FileNotFoundError:
        return frozenset()
    except (ValueError, RecursionError):
        pass
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise ValueError(f"{os.path.join(data, FILE)} is damaged: remove it, nothing is drained then")
    return frozenset(found)


def keep(data: str, drained: Iterable[str]) -> None:
    """Write it down, whole or not at all. Raises OSError."""
    os.makedirs(data, mode=0o700, exist_ok=True)
    path = os.path.join(data, FILE)
    with open(os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as f:
        json.dump(sorted(drained), f)
        f.flush()
        os.fsync(f.fileno())
    os.replace(f"{path}.new", path)
    fd = os.open(data, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)  # else a power cut brings the old one back
    finally:
        os.close(fd)
