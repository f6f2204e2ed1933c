"""What `sluicegate explain` found, as people read it: rules and limits, candidates in order, and how it ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sluicegate.cli.running import table
from sluicegate.core.explain import WORDS
from sluicegate.core.refusals import REFUSALS

SAYS = {
    "passes": "passes",
    "shadow": "would refuse, but only watches",
    "never": "refuses, always: it asks for more than the limit itself",
}


TIMES = (("connect", "connect_s"), ("first byte", "first_byte_s"), ("idle", "idle_s"), ("total", "total_s"))


def refused_early(reason: str, message: str) -> dict[str, Any]:
    """Of a request that is refused by what it is, whoever sends it."""
    outcome = {
        "sent": False, "deployment": "", "model": "", "tier": None, "status": REFUSALS[reason].status,
        "reason": reason, "message": message, "retry_after_s": None, "advice": "",
    }  # fmt: skip
    return {"worker": None, "outcome": outcome}


def text(found: Sequence[dict[str, Any]], silent: Sequence[int] = ()) -> str:
    """The first in full, of the others what differs. `silent`: workers that did not answer."""
    told, *others = found
    parts = []
    if "consumer" in told:
        parts += [_head(told), _params(told), _limits(told), _candidates(told)]
    parts += [_outcome(told), _workers(told, others), "\n".join(f"worker {pid} does not answer" for pid in silent)]
    return "\n\n".join(part for part in parts if part)


def matches(told: dict[str, Any]) -> str:
    """Whose a token is, by which rule, and which rules nearly match."""
    rules = told["rules"]
    if told["consumer"]:
        tenant = f" (tenant {told['tenant']})" if told["tenant"] else ""
        lines = [f"the caller is {told['consumer']}{tenant}, by rank {told['rank']}: {rules[0]['rule']}"]
    elif rules and told["reason"] == "identity.ambiguous":
        lines = [f"refused, identity.ambiguous: {len(rules)} rules of rank {told['rank']} match"]
        lines += [f"  consumers.{r['consumer']}: {r['rule']}" for r in rules]
    elif rules:
        lines = [
            f"refused, {told['reason']}: consumers.{rules[0]['consumer']} matches, but each member needs one value"
        ]
        lines.append(f"  {rules[0]['rule']}")
    else:
        lines = [f"refused, {told['reason']}: no rule matches"]
    if told["near"]:
        lines += ["", "nearly:"]
        for rule in told["near"]:
            lines.append(f"  consumers.{rule['consumer']}, rank {rule['rank']}: {rule['rule']}")
            lines += [f"    {lacks}" for lacks in rule["lacks"]]
    return "\n".join(lines)


def _head(told: dict[str, Any]) -> str:
    who = [f"tenant {told['tenant']}"] if told["tenant"] else []
    who += [f"boundary {told['boundary']}"] if told["boundary"] else []
    asker = told["consumer"] + (f" ({', '.join(who)})" if who else "")
    streamed = ", streamed" if told["stream"] else ""
    model = told["model"] or "no model"
    worker = f"worker {told['worker']}, its state of now" if told["worker"] else "with nothing under way"
    lines = [
        f"{asker} asks {model}, {told['operation']}: a prompt of {told['tokens']:,} tokens, estimated{streamed}",
        f"configuration {told['config']}, {worker}",
    ]
    times = told["times"]
    if times:
        waits = ", ".join(f"{name} {times[key]:g} s" for name, key in TIMES)
        lines.append(f"times: {waits}; {times['attempts']} attempts may fail")
    return "\n".join(lines)


def _params(told: dict[str, Any]) -> str:
    params = told["params"]
    lines = []
    for rule in params["set"]:
        value = "changed" if rule["value"] is None else f"= {rule['value']}"
        lines.append(f"rule: {rule['field']} {value}" + (f" ({rule['of']})" if rule["of"] else ""))
    lines += [f"rule, only watching: {note.removeprefix('params ')}" for note in params["notes"]]
    return "\n".join(lines)


def _limits(told: dict[str, Any]) -> str:
    rows = []
    for limit in told["limits"]:
        says = SAYS.get(limit["verdict"]) or f"refuses, for {limit['wait_s']:,.1f} s"
        if limit["share"] is not None:
            says += f"; this worker's share is {limit['share']:,}"
        whose = limit["origin"] + (f", each {limit['each']}" if limit["each"] else "")
        rows.append((limit["limit"], whose, f"{limit['wants']:,}", f"{limit['room']:,}", says))
    return table(rows, ("limit", "of", "wants", "room", "says"), right=(2, 3)) if rows else ""


def _candidates(told: dict[str, Any]) -> str:
    rows = [
        (c["model"], c["deployment"], c["tier"], c["word"], _state(c), c.get("in_flight", ""), _load(c), _why(c))
        for c in told["candidates"]
    ]
    lines = [table(rows, HEAD, right=(5, 6)) if rows else "no deployment was looked at"]
    if told["arm"]:
        which = "the arm of the rollout" if told["arm"] == "rollout" else "the model's own arm, not that of its rollout"
        lines.append(f"rollout: this consumer is on {which}")
    for other in told["fallback"]:
        what = f"no, {REFUSED.get(other['reason'])}" if other["reason"] else "when nobody of these can serve"
        lines.append(f"fallback to {other['model']}: {what}")
    return "\n".join(lines)


REFUSED = {
    "route.model": "this consumer may not use it",
    "grant.operation": "it does not offer this operation to this consumer",
    "boundary.mismatch": "it is not inside the consumer's boundary",
    "request.body_too_large": "the request is larger than its body.max",
}
HEAD = ("model", "deployment", "tier", "word", "state", "in flight", "load", "")


def _state(c: dict[str, Any]) -> str:
    state = str(c.get("state", ""))
    if c.get("until_s"):
        state += f", {c['until_s']:,.1f} s more"
    return state + (f" ({c['cause']})" if c.get("cause") else "")


def _load(c: dict[str, Any]) -> str:
    """Tokens in flight and of the last ten seconds, or so; with a capacity, their share of what it takes in them."""
    if "load" not in c:
        return ""
    return f"{c['load']:,}" if not c["capacity"] else f"{c['load']:,} ({c['load'] * 6 / c['capacity']:.0%})"


def _why(c: dict[str, Any]) -> str:
    return WORDS[c["word"]] + (f" ({c['balance']})" if c["word"] in ("taken", "balance") else "")


def _outcome(told: dict[str, Any]) -> str:
    outcome = told["outcome"]
    if not outcome["sent"]:
        again = "" if outcome["retry_after_s"] is None else f", to come again in {outcome['retry_after_s']:,.1f} s"
        lines = [f"REFUSED: {outcome['status']} {outcome['reason']}{again}"]
        if outcome["message"]:
            lines.append(f"  the client reads: {outcome['message']}")
        if outcome["advice"]:
            lines.append(f"  what to do: {outcome['advice']}")
        return "\n".join(lines)
    first = f"SENT to {outcome['deployment']}"
    if outcome["model"] != told["model"]:
        first += f", of the fallback {outcome['model']}"
    lines = [first]
    for key, what in (("if_throttled", "is throttled"), ("if_failed", "fails")):
        lines.append(f"  if it {what} there, and wherever it goes then: {_then(told[key])}")
    return "\n".join(lines)


def _then(then: dict[str, Any]) -> str:
    steps = [step["deployment"] for step in then["then"]]
    end = f"{then['status']} {then['reason']}" if then["reason"] else "the client gets the deployment's own answer"
    return ", then ".join([*steps, end])


def _workers(told: dict[str, Any], others: Sequence[dict[str, Any]]) -> str:
    """Where they differ: what each has of a limit, or heard of a deployment, may be another."""
    lines = []
    here = _words(told)
    for other in others:
        there = _words(other)
        changes = [f"{what}: {there[what]}" for what in there if there[what] != here.get(what)]
        changes += [f"{what}: nothing" for what in here if what not in there]
        if changes:
            lines.append(f"worker {other['worker']} differs: {'; '.join(changes)}")
    if others and not lines:
        lines.append(f"{len(others) + 1} workers say the same")
    return "\n".join(lines)


def _words(told: dict[str, Any]) -> dict[str, str]:
    outcome = told["outcome"]
    words = {c["deployment"]: c["word"] for c in told.get("candidates", ())}
    for limit in told.get("limits", ()):
        words[f"{limit['limit']} of {limit['origin']}"] = SAYS.get(limit["verdict"], "refuses")
    end = f"sent to {outcome['deployment']}" if outcome["sent"] else f"refused, {outcome['reason']}"
    return {**words, "the request": end}
