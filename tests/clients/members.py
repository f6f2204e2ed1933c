"""A gateway over scripted members, with short timeouts and every record kept."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from sluicegate.core.record import UsageRecord
from sluicegate.core.settings import Gateway, Listen
from sluicegate.core.snapshot import Deployment, Instance, Model, Snapshot
from tests.clients.upstream import Script, Upstream
from tests.gateway import UNMOVED, GatewayThread, directory, instance


def over(
    instances: list[Instance], models: dict[str, list[int]], listen: Listen | None = None,
    in_order: bool = False, **model: Any,
) -> Snapshot:  # fmt: skip
    """Models over deployments `gpt-4o-<n>`, one in each instance; `models` says which, in which order.
    Faults open no breaker and use up no budget. `in_order`: each is a tier of its own, so the first is always asked
    first."""
    model = {"breaker": UNMOVED, **model}
    deployments = tuple(
        Deployment(i.number, f"gpt-4o-{i.number}", i.number, "gpt-4o", "2024-11-20", "Standard", n if in_order else 1)
        for n, i in enumerate(instances)
    )
    return Snapshot(
        "0123456789ab", Gateway(listen=listen or Listen(port=0), drain_s=2.0, retry_budget=100.0),
        tuple(instances), deployments,
        tuple(Model(n, name, tuple(members), ("chat_completions",), **model)
              for n, (name, members) in enumerate(models.items(), 1)),
    )  # fmt: skip


@contextlib.contextmanager
def serving(snapshot: Snapshot) -> Iterator[GatewayThread]:
    """A gateway over a snapshot that keeps all its records."""
    with GatewayThread(snapshot, directory(tuple(m.name for m in snapshot.models))) as gateway:
        gateway.journal.recent = deque()
        yield gateway


@contextlib.contextmanager
def members(*scripts: Script, models: dict[str, list[int]] | None = None, listen: Listen | None = None,
            **model: Any) -> Iterator[tuple[GatewayThread, list[Upstream]]]:  # fmt: skip
    """A gateway with one instance for each script, numbered from 1. Model `chat` over all of them, if not said."""
    with contextlib.ExitStack() as stack:
        upstreams = [stack.enter_context(Upstream(script)) for script in scripts]
        instances = [instance(n, up.port) for n, up in enumerate(upstreams, 1)]
        named = models or {"chat": [i.number for i in instances]}
        gateway = stack.enter_context(serving(over(instances, named, listen, **model)))
        yield gateway, upstreams


def records(gateway: GatewayThread) -> dict[str, UsageRecord]:
    """All settled records by request id."""
    found: dict[str, UsageRecord] = gateway.call(lambda: {r.id: r for r in gateway.journal.recent})
    return found


def until(true: Callable[[], Any], seconds: float = 5.0, every: float = 0.002) -> float:
    """Wait until something is so; how long it took. A bound, not a delay: it returns at once when it is."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds, f"not so within {seconds} s"
        threading.Event().wait(every)
    return time.monotonic() - began


def settled(gateway: GatewayThread, count: int, seconds: float = 10.0) -> None:
    """Wait until so many records are settled and nothing is under way."""
    until(lambda: gateway.call(lambda: len(gateway.journal.recent) >= count and not gateway.worker.bound.live), seconds)


def run(coroutine: Any) -> Any:
    """In a loop of its own."""
    return asyncio.run(coroutine)
