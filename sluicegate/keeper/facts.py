"""What the keeper itself knows, for the metrics page: workers, processes, which configuration is in force."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sluicegate import __version__
from sluicegate.core.alerts import KINDS
from sluicegate.keeper.backlog import backlog
from sluicegate.keeper.keeper import Keeper
from sluicegate.keeper.mover import Moving

Fact = tuple[str, str, str, Sequence[tuple[Mapping[str, str], float]]]
"""Name, kind, help, values by labels."""

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
DEPLOYMENTS = 1000
"""That are told of."""
PAGE = os.sysconf("SC_PAGESIZE")


def facts(keeper: Keeper, moving: Moving) -> list[Fact]:
    """All of them, now."""
    supervisor = keeper.supervisor
    states = ("starting", "ready", "leaving")
    processes = {"keeper": [os.getpid()]}
    for worker in supervisor.workers:
        processes.setdefault(f"worker-{worker.seat.number}", []).append(worker.pid)
    used = {name: [process(pid) for pid in pids] for name, pids in processes.items()}
    return [
        *backlog(moving, time.monotonic(), time.time()),
        ("sluicegate_info", "gauge", "Which program with which configuration; always 1.",
         [({"version": __version__, "config": keeper.snapshot.hash}, 1)]),
        ("sluicegate_deployment_info", "gauge",
         "What a deployment is; always 1. Joined with sluicegate_attempts_total it says how much spilled over.",
         [({"deployment": one.label, "model": one.model, "version": one.version, "sku": one.sku, "tier": str(one.tier),
            "region": one.region, "subscription": one.subscription}, 1) for one in deployments(keeper)[:DEPLOYMENTS]]),
        ("sluicegate_workers", "gauge", "Worker processes, by state.",
         [({"state": s}, sum(w.state == s for w in supervisor.workers)) for s in states]),
        ("sluicegate_worker_restarts_total", "counter", "Workers started because the one before ended by itself.",
         [({}, sum(seat.restarts for seat in supervisor.seats))]),
        ("sluicegate_reloads_total", "counter", "Configurations loaded while running, by what became of them.",
         [({"state": state}, number) for state, number in sorted(keeper.reloads.items())]),
        ("sluicegate_deployments_drained", "gauge", "Deployments an operator took out of their pools.",
         [({}, len(keeper.drained))]),
        ("sluicegate_alerts", "gauge", "What is the matter now, by kind of alert.",
         [({"kind": kind}, sum(k == kind for k, _ in keeper.alerts.matters)) for kind in KINDS]),
        ("sluicegate_certificate_ends_seconds", "gauge",
         "When the certificate ends that clients or operators are shown, in seconds since 1970.",
         [({"listener": name}, end) for name, end in sorted(keeper.validity.ends.items())]),
        ("sluicegate_access_log_dropped_total", "counter", "Lines of the access log that found no room or no file.",
         [({}, keeper.log.dropped if keeper.log else 0)]),
        ("sluicegate_resident_bytes", "gauge", "Resident memory, by process.",
         [({"process": name}, sum(rss for rss, _ in found)) for name, found in used.items()]),
        ("sluicegate_cpu_seconds", "gauge", "CPU time of the processes that run now.",
         [({"process": name}, sum(cpu for _, cpu in found)) for name, found in used.items()]),
    ]  # fmt: skip


class Declared(NamedTuple):
    """A deployment as it is declared."""

    label: str
    model: str
    version: str
    sku: str
    tier: int
    region: str
    subscription: str


def deployments(keeper: Keeper) -> list[Declared]:
    """All of them."""
    snapshot = keeper.snapshot
    instances = {i.number: i for i in snapshot.instances}
    found = []
    for d in snapshot.deployments:
        i = instances[d.instance]
        found.append(
            Declared(f"{i.name}/{d.name}", d.model, d.version, d.sku, d.tier, i.region, keeper.subscription(i.name))
        )
    return found


def process(pid: int) -> tuple[int, float]:
    """Resident bytes and CPU seconds; zeros when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:
            fields = f.read().rpartition(b")")[2].split()
    except OSError:
        return 0, 0.0
    return int(fields[21]) * PAGE, (int(fields[11]) + int(fields[12])) / TICKS_PER_S
