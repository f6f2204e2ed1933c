"""How far a limit in tokens may be exceeded, for `check`: what is reserved before an answer is known decides it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sluicegate.core.limits.base import LimitSpec
from sluicegate.core.settings import ParamSpec
from sluicegate.core.snapshot import ConsumerEntry, Directory, Snapshot
from sluicegate.spec.ceilings import LimitForm


def together(snapshot: Snapshot, directory: Directory) -> Iterator[str]:
    """A line where several workers hold limits."""
    workers = snapshot.gateway.workers
    kinds = {limit.guarantee for consumer in directory.consumers for limit in consumer.limits}
    kinds |= {limit.guarantee for tenant in directory.tenants for limit in tenant.limits}
    if workers > 1 and kinds - {"local"}:
        yield f"{workers} workers share each limit: together they admit no more than one would"
    if workers > 1 and "local" in kinds:
        yield f"a limit with guarantee: local holds for each worker: {workers} times as much may pass together"


def bounds(snapshot: Snapshot, directory: Directory) -> Iterator[str]:
    """A line for each token limit in force, as it was written: those that many consumers share stand once."""
    tenants = {t.name: t for t in directory.tenants}
    users: dict[LimitSpec, list[ConsumerEntry]] = {}
    for c in directory.consumers:
        for limit in (*c.limits, *tenants[c.tenant].limits):
            if limit.kind == "token_rate" and limit.mode == "enforce":
                users.setdefault(limit, []).append(c)
    for limit, consumers in users.items():
        open_ended: dict[str, None] = {}
        for granted, params in {(c.models, c.params + tenants[c.tenant].params) for c in consumers}:
            for model in snapshot.models:
                if granted == ("*",) or model.name in granted:
                    if not _bounded((*model.params, *params)):
                        open_ended[model.name] = None
        yield f"{limit.origin}: {LimitForm().write(limit)}{_says(limit, list(open_ended), consumers)}"


def _bounded(params: Sequence[ParamSpec]) -> bool:
    """Every request has a maximum of tokens: its own, cut, or one that is put."""
    rules = [p for p in params if p.field == "max_tokens" and p.mode == "enforce"]
    return any(value is not None for p in rules for value in (p.default, p.max, p.force))


def _says(limit: LimitSpec, models: Sequence[str], consumers: Sequence[ConsumerEntry]) -> str:
    if limit.count == "input":
        return ": exceeded by no more than prompts are estimated too low"
    if limit.reserve == "max" or not models:
        return ": every answer is reserved whole; exceeded by no more than prompts are estimated too low"
    together = {x.amount for c in consumers for x in c.limits if x.kind == "concurrency" and x.mode == "enforce"}
    answers = f"up to {max(together)} answers" if len(consumers) == 1 and together else "answers"
    hint = f"models.{models[0]}.params: {{max_tokens: {{max: ...}}}}, or reserve: max, bounds it"
    return f": exceeded by what {answers} in flight use beyond what is usual; {hint}"
