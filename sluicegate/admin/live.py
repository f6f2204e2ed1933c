"""All counts of the traffic at one moment, by model, deployment and consumer: for live views, which make rates of two.

From the counters that workers publish once a second, so nobody is asked and nobody waits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from sluicegate.core.families import (
    ATTEMPTS,
    CLIENTS,
    CONSUMER_REQUESTS,
    CONSUMER_TOKENS,
    DEPLOYMENT_IN_FLIGHT,
    DEPLOYMENT_STATE,
    IN_FLIGHT,
    OTHER,
    REQUESTS,
    SECONDS,
    TOKENS,
)
from sluicegate.core.snapshot import Snapshot

Samples = Mapping[tuple[str, tuple[str, ...]], Sequence[int]]


class Running(Protocol):
    """Of the keeper."""

    snapshot: Snapshot
    drained: frozenset[str]

    def status(self) -> dict[str, Any]: ...


def counts(samples: Samples, running: Running, at: float) -> dict[str, Any]:
    """Plain data, as shapes.Live has it. Everything that is declared is there, whether or not anybody asked for it."""
    status = running.status()
    snapshot = running.snapshot
    instances = {i.number: i.name for i in snapshot.instances}
    labels = {d.number: f"{instances[d.instance]}/{d.name}" for d in snapshot.deployments}
    models: dict[str, dict[str, Any]] = {
        m.name: _model(m.name, [labels[n] for n in m.deployments]) for m in snapshot.models
    }
    deployments: dict[str, dict[str, Any]] = {
        labels[d.number]: _deployment(labels[d.number], d.tier, labels[d.number] in running.drained)
        for d in snapshot.deployments
    }
    consumers: dict[tuple[str, str], dict[str, Any]] = {}
    singles = {IN_FLIGHT.name: 0, CLIENTS.name: 0}
    for (family, names), cells in samples.items():
        value = cells[0]
        if family in singles:
            singles[family] += value
        elif set(names) == {OTHER} and not any(cells):
            continue
        elif family == REQUESTS.name:
            model, code, reason = names
            held = models.setdefault(model, _model(model, []))
            held["requests"] += value
            held["status"][code] = held["status"].get(code, 0) + value
            if reason:
                held["refused"][reason] = held["refused"].get(reason, 0) + value
        elif family == TOKENS.name:
            held = models.setdefault(names[0], _model(names[0], []))
            held["tokens"][names[1]] = value
        elif family == SECONDS.name:
            held = models.setdefault(names[0], _model(names[0], []))
            held["answers"] += sum(cells[:-1])
            held["seconds"] = round(held["seconds"] + cells[-1] * SECONDS.per, 6)
        elif family in (CONSUMER_REQUESTS.name, CONSUMER_TOKENS.name):
            tenant, consumer = names
            one = consumers.setdefault(
                (tenant, consumer), {"tenant": tenant, "consumer": consumer, "requests": 0, "tokens": 0}
            )
            one["requests" if family == CONSUMER_REQUESTS.name else "tokens"] = value
        elif names and names[0] in deployments:
            of = deployments[names[0]]
            if family == ATTEMPTS.name:
                of["calls"][names[1]] = value
            elif family == DEPLOYMENT_IN_FLIGHT.name:
                of["in_flight"] = value
            elif family == DEPLOYMENT_STATE.name and value:
                of["states"][names[1]] = value
    return {
        "at_s": at, "name": status["name"], "config": status["config"], "up_s": status["up_s"],
        "workers": sum(w["state"] == "ready" for w in status["workers"]),
        "in_flight": singles[IN_FLIGHT.name], "clients": singles[CLIENTS.name],
        "models": list(models.values()), "deployments": list(deployments.values()),
        "consumers": sorted(consumers.values(), key=lambda c: (-c["requests"], c["consumer"])),
    }  # fmt: skip


def _model(name: str, deployments: list[str]) -> dict[str, Any]:
    return {
        "model": name, "requests": 0, "answers": 0, "status": {}, "refused": {}, "tokens": {}, "seconds": 0.0,
        "deployments": deployments,
    }  # fmt: skip


def _deployment(label: str, tier: int, drained: bool) -> dict[str, Any]:
    return {"deployment": label, "tier": tier, "drained": drained, "calls": {}, "in_flight": 0, "states": {}}
