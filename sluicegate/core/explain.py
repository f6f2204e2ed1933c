"""Explain: why a request would go where it would go now, or why it would be refused. Plain data, for people to read.

Whatever is said here was decided by the exchange itself, in a dry run (core/dry_run.py). The words for what became of
a candidate are those of WORDS, the reasons of a refusal those of core/refusals.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from math import inf
from typing import Any, Final

from sluicegate.core.caller import Consumer
from sluicegate.core.dry_run import Answers, Run, dry_run, fails, serves, throttles
from sluicegate.core.end_user import end_user
from sluicegate.core.events import Body, Facts, Head, Special
from sluicegate.core.fork import Named, Said
from sluicegate.core.params import LONGEST, UNTOUCHABLE
from sluicegate.core.pool import PASSED, Look
from sluicegate.core.refusals import NO_PATH, REFUSALS
from sluicegate.core.route import Route
from sluicegate.core.snapshot import Directory
from sluicegate.core.state import World
from sluicegate.core.urls import private as private_url

WORDS: Final = {
    "taken": "the balance prefers it",
    "only": "nobody else of its tier can be asked",
    "balance": "it could be asked, the balance prefers another",
    "tier": "not needed: a tier before it has room",
    "region": "not needed: the gateway's own region has room",
    "boundary": "outside the boundary of the consumer's tenant",
    "drained": "drained: an operator took it out of its pools",
    **{f"passed.{reason}": text for reason, text in PASSED.items()},
}
"""What became of a candidate, as in docs/reference/reasons.md."""

ADVICE: Final = {
    "route.path": "An operation that the gateway does not know is named by a model: operations: [POST /its/path].",
    "grant.operation": "Allow the operation under the model's or the consumer's 'operations'.",
    "boundary.mismatch": "Send its requests to a gateway that serves this boundary, or name it in gateway.boundaries.",
    "route.model": "No model has this name. The names are under 'models', and in `sluicegate pools`.",
    "grant.model": "The model exists, but not for this consumer: add it to the 'models' of the consumer or its plan.",
    "request.no_model": "Name a model, in the path or in the body.",
    "request.body_too_large": "Send less, or raise body.max of the model.",
    "request.context_length": "Shorten the prompt, or add a deployment with a longer window (max_input).",
    "params.not_allowed": "Change the field, or the rule under 'params'.",
    "limit.rate": "Wait for the time named, or raise the limit. The table of limits says whose it is.",
    "limit.concurrency": "Wait for a running request to end, or raise the limit. The table of limits says whose it is.",
    "limit.too_large": "It will never pass: ask for fewer tokens (max_tokens), or raise the limit.",
    "pool.throttled": "Wait for the time named. More capacity: another deployment, a second tier, or a fallback.",
    "pool.failed": "Look at the deployments above whose breakers are open: the cause of each stands there.",
    "boundary.throttled": "Wait for the time named. More capacity: another deployment inside the boundary.",
    "boundary.failed": "Look at the deployments above whose breakers are open; none outside the boundary may stand in.",
    "boundary.empty": "Undrain a deployment, or declare one inside the consumer's boundary.",
    "pool.body_passed": "Send it again, or raise body.max of the model: so much of an upload is kept.",
    "pool.empty": "Nobody is left in the pool: undrain a deployment, or declare one inside the consumer's boundary.",
}
"""What to do about a refusal."""

CHANCE: Final = 0.5
"""The draw of a request about which nobody said another."""


PRIVATE: Final = b'{"url":"http://localhost/' + b"." * LONGEST + b'"}'
"""In place of a long value that holds an address that is not public."""


class Unknown(Exception):
    """The question names what is not there, or is no question. The message is for the one who asks."""


class Question:
    """A request as far as it decides anything. No text of a prompt is part of it."""

    __slots__ = (
        "api", "chance", "consumer", "drained", "facts", "fields", "key", "path_model", "repeatable", "rests", "size",
    )  # fmt: skip

    def __init__(
        self, consumer: str, api: str, path_model: str | None, facts: Facts, size: int,
        fields: Mapping[str, bytes], chance: float = CHANCE, repeatable: bool = True,
    ) -> None:  # fmt: skip
        self.consumer = consumer
        "Its name: a key is never asked for."
        self.api = api
        self.path_model = path_model
        self.facts = facts
        self.size = size
        self.fields = fields
        "Top-level fields that a rule about parameters may look at."
        self.chance = chance
        self.repeatable = repeatable
        "Of the operation, as Head.repeatable."
        # What whoever passes the question on knows and a World does not:
        self.key = b""
        "Digest of a key of the consumer."
        self.drained: Mapping[str, Sequence[int]] = {}
        "Numbers of deployments that an operator took out of each model's pools."
        self.rests: Mapping[str, int] = {}
        "What there is to be had of limits that workers share, by key, where more is known than a worker knows."

    def plain(self) -> dict[str, Any]:
        """To be sent; `asked` reads it."""
        f = self.facts
        return {
            "consumer": self.consumer, "api": self.api, "path_model": self.path_model, "size": self.size,
            "model": f.model, "stream": f.stream, "max_output": f.max_output, "n": f.n, "estimate": f.estimate,
            "best_of": f.best_of, "media": f.media, "chance": self.chance, "repeatable": self.repeatable,
            "form": f.special is not None and f.special.form,
            "fields": {k: v.decode() for k, v in self.fields.items()},
            "key": self.key.hex(), "drained": {k: list(v) for k, v in self.drained.items()},
            "rests": dict(self.rests),
        }  # fmt: skip


def deciding(fields: Mapping[str, Any]) -> dict[str, bytes]:
    """Of a body's fields those that rules may look at, and of long ones no more than that they are long. Of those that
    hold an address that is not public, wherever in them, that they do."""
    found = {}
    for name, raw in fields.items():
        text = bytes(raw)
        apart = name in UNTOUCHABLE
        if not apart and len(text) < LONGEST:
            found[name] = text
        elif private_url({name: text}):
            found[name] = PRIVATE
        elif not apart:
            found[name] = b'"' + b"." * LONGEST + b'"'
    return found


def asked(value: Any) -> Question:
    """The question that was sent. Raises Unknown for what is none."""
    try:
        facts = Facts(
            _text(value["model"]) if value["model"] is not None else None,
            value["stream"] is True,
            _count(value["max_output"]) if value["max_output"] is not None else None,
            max(1, _count(value["n"])),
            _count(value["estimate"]),
            media=_count(value["media"]),
        )
        facts.best_of = _count(value.get("best_of", 0))
        facts.special = _form(value.get("form") is True)
        path_model = None if value["path_model"] is None else _text(value["path_model"])
        fields = {_text(k): _text(v).encode() for k, v in value["fields"].items()}
        chance = min(max(float(value["chance"]), 0.0), 0.999999)
        question = Question(
            _text(value["consumer"]), _text(value["api"]), path_model, facts, _count(value["size"]), fields, chance,
            value.get("repeatable") is not False,
        )  # fmt: skip
        question.key = bytes.fromhex(value["key"])
        question.drained = {_text(k): [_count(n) for n in numbers] for k, numbers in value["drained"].items()}
        question.rests = {_text(k): _count(n) for k, n in value["rests"].items()}
        return question
    except (KeyError, TypeError, ValueError, AttributeError) as bad:
        raise Unknown(f"this is no question: {type(bad).__name__} {bad}") from None


def key_of(name: str, directory: Directory) -> bytes:
    """Digest of a key of this consumer. Raises Unknown. Looks at all of them."""
    family, colon, _ = name.partition(":")
    for consumer in directory.consumers:
        if consumer.name == name or (colon and consumer.name == family):
            if consumer.match is not None and (consumer.name != name or consumer.match.each or not consumer.digests):
                if bool(consumer.match.each) == bool(colon):
                    return b""
                each = consumer.match.each
                hint = f'it is one for each {each}: ask as "{name}:VALUE"' if each else f'ask as "{family}"'
                raise Unknown(f'nobody is "{name}" alone: {hint}' if each else f'"{family}" is no family: {hint}')
            if consumer.digests:
                return consumer.digests[0]
            raise Unknown(f'"{name}" has no key, so nobody can ask as it')
    near = get_close_matches(name, [c.name for c in directory.consumers], 1)
    raise Unknown(f'no consumer is called "{name}"' + (f'; did you mean "{near[0]}"?' if near else ""))


def explain(world: World, question: Question, now: float) -> dict[str, Any]:
    """The answer. Raises Unknown where nobody has that key."""
    callers = world.callers
    consumer = callers.owner(question.key) if question.key else callers.called(question.consumer)
    if consumer is None:
        raise Unknown(f'the key of "{question.consumer}" is not in force here (any more, or yet): ask again')
    run = _run(world, question, now, consumer, serves)
    model = question.path_model or question.facts.model or ""
    route = _route(world, question, consumer, model)
    facts = question.facts
    told: dict[str, Any] = {
        "config": world.snapshot.hash,
        "consumer": consumer.name,
        "tenant": consumer.tenant,
        "boundary": consumer.boundary,
        "operation": question.api,
        "offers": _offered(world, consumer, model),
        "model": model,
        "stream": facts.stream,
        "tokens": facts.estimate,
        "arm": "" if route is None else "rollout" if route.base else "own" if route.arm else "",
        "times": None if route is None else _times(route),
        "params": _params(run),
        "limits": [_limit(said) for said in run.said],
        "candidates": _candidates(world, question, run, route),
        "fallback": [] if route is None else _fallback(world, question, route, consumer),
    }
    if run.sends:
        first = run.sends[0]
        told["outcome"] = {
            "sent": True, "deployment": first.member.label, "model": first.route.name, "tier": first.member.tier,
            "status": 200, "reason": "", "message": "", "retry_after_s": None, "advice": "",
        }  # fmt: skip
        told["if_throttled"] = _then(_run(world, question, now, consumer, throttles))
        told["if_failed"] = _then(_run(world, question, now, consumer, fails))
    else:
        told["outcome"] = outcome = _refusal(world, run, model)
        if outcome["reason"] == "grant.operation" and told["offers"]:
            outcome["advice"] += f" It offers: {', '.join(told['offers'])}."
        told["if_throttled"] = told["if_failed"] = None
    if " " in question.api and all(question.api not in route.operations for route in world.routes.all()):
        told["outcome"] = {  # by method and path, and no model names it: it never gets so far as to have a model
            "sent": False, "deployment": "", "model": "", "tier": None, "status": REFUSALS["route.path"].status,
            "reason": "route.path", "message": NO_PATH,
            "retry_after_s": None, "advice": ADVICE["route.path"],
        }  # fmt: skip
    return told


def _route(world: World, question: Question, consumer: Consumer, model: str) -> Route | None:
    """Where the request belongs: the arm of a rollout may hang on its end user."""
    found = world.routes.find(consumer, question.api, model)
    if not isinstance(found, str) and found.by_user:
        user = end_user(question.fields.get(consumer.end_user)) if consumer.end_user else ""
        if user:
            found = world.routes.find(consumer, question.api, model, user)
    return None if isinstance(found, str) else found


def _run(world: World, question: Question, now: float, consumer: Consumer, answers: Answers) -> Run:
    f = question.facts
    facts = Facts(f.model, f.stream, f.max_output, f.n, f.estimate, media=f.media)  # rules change them
    facts.best_of = f.best_of
    facts.special = _form(f.special is not None and f.special.form)
    head = Head(
        now, "", question.api, question.path_model, None, Named(consumer), (), "", question.chance, question.repeatable
    )
    return dry_run(
        world, head, Body(now, facts, question.size, question.fields), answers, question.key, None, question.rests
    )


def _form(form: bool) -> Special | None:
    """Of a request that is one: it may be larger than others."""
    if not form:
        return None
    special = Special()
    special.form = True
    return special


def _offered(world: World, consumer: Consumer, model: str) -> list[str]:
    """The operations for which this consumer may ask the model."""
    route = world.routes.inside(consumer.boundary, model)
    if route is None or not consumer.may(model):
        return []
    return [name for name in route.model.operations if not consumer.operations or name in consumer.operations]


def _times(route: Route) -> dict[str, float]:
    """What is waited for, in seconds, and how many attempts may fail."""
    times = route.timeouts
    return {
        "connect_s": times.connect, "first_byte_s": times.first_byte, "idle_s": times.idle, "total_s": times.total,
        "attempts": route.attempts,
    }  # fmt: skip


def _params(run: Run) -> dict[str, Any]:
    """What rules put into the body, and whose they are; without values where nothing was sent."""
    trail = run.record.trail
    names = [name for line in trail if line.startswith("params: ") for name in line[8:].split(", ")]
    values = (run.sends[0].changes if run.sends else None) or {}
    rules = []
    for name in dict.fromkeys((*values, *names)):
        origin = ", ".join(dict.fromkeys(rule.origin for rule in run.rules if name in rule.names and rule.origin))
        text = values.get(name)
        rules.append({"field": name, "value": None if text is None else text.decode("utf-8", "replace"), "of": origin})
    return {"set": rules, "notes": [line for line in trail if line.startswith("params ")]}


def _limit(said: Said) -> dict[str, Any]:
    limit, lacks = said.limit, said.lacks
    verdict = "passes" if lacks is None else "shadow" if limit.shadow else "never" if lacks == inf else "refuses"
    return {
        "limit": limit.describe(), "kind": limit.kind, "origin": limit.spec.origin, "each": limit.spec.each,
        "verdict": verdict, "wants": said.wants, "room": said.room, "used": said.used,
        "wait_s": None if lacks is None or lacks == inf else round(lacks, 3),
        "key": limit.key, "share": said.share,
    }  # fmt: skip


def _candidates(world: World, question: Question, run: Run, route: Route | None) -> list[dict[str, Any]]:
    """In the order in which they were looked at; then those that had no turn, and those that may have none."""
    home = world.snapshot.gateway.region
    taken = next((look for look in run.looks if look.word in ("taken", "only")), None)
    near = taken is not None and taken.member.instance.region in (home, "")
    rows = []
    for look in run.looks:
        word = look.word
        if word == "later":
            away = home and look.member.instance.region not in (home, "")
            word = "region" if near and away else "tier"
        elif word in PASSED:
            word = f"passed.{word}"
        rows.append(_row(world, look, run.models[look.member], word))
    if route is not None:
        rows += _outside(world, question, route)
    return rows


def _row(world: World, look: Look, model: str, word: str) -> dict[str, Any]:
    d = look.member.deployment
    route = world.routes.get(model)
    return {
        "model": model, "deployment": look.member.label, "tier": d.tier, "region": look.member.instance.region,
        "word": word, "state": look.state, "until_s": round(look.until, 3) if look.until != inf else None,
        "cause": look.cause, "in_flight": look.in_flight, "load": round(look.load), "capacity": d.capacity,
        "answer_s": round(look.answer_s, 3), "balance": "" if route is None else route.model.balance,
    }  # fmt: skip


def _outside(world: World, question: Question, route: Route) -> list[dict[str, Any]]:
    """Members that the model has and this route has not."""
    rollout = route.model.rollout
    declared = rollout.deployments if route.base is not None and rollout is not None else route.model.deployments
    inside = {m.deployment.number for m in route.pool.members}
    drained = question.drained.get(route.name, ())
    rows = []
    for number in (*declared, *drained):
        member = world.members.get(number)
        if member is not None and number not in inside:
            rows.append({
                "model": route.name, "deployment": member.label, "tier": member.tier, "region": member.instance.region,
                "word": "drained" if number in drained else "boundary",
            })  # fmt: skip
    return rows


def _fallback(world: World, question: Question, route: Route, consumer: Consumer) -> list[dict[str, str]]:
    """Models that are written under `fallback`, and why one of them is none for this consumer."""
    told = []
    for name in route.model.fallback:
        other = world.routes.find(consumer, question.api, name)
        reason = other if isinstance(other, str) else ""
        if not isinstance(other, str) and question.size > other.body_max:
            reason = "request.body_too_large"
        told.append({"model": name, "reason": reason})
    return told


def _then(run: Run) -> dict[str, Any]:
    """Who else is asked, and what the client hears at last."""
    refusal = None if run.reply is None else REFUSALS[run.reply.reason]
    return {
        "then": [{"deployment": s.member.label, "model": s.route.name} for s in run.sends[1:]],
        "reason": "" if run.reply is None else run.reply.reason,
        "status": 200 if refusal is None else refusal.status,
    }


def _refusal(world: World, run: Run, model: str) -> dict[str, Any]:
    reply = run.reply
    assert reply is not None
    refusal = REFUSALS[reply.reason]
    wait, least = reply.retry_after, refusal.least_retry_after
    if least is not None:
        wait = max(wait or 0.0, least)
    return {
        "sent": False, "deployment": "", "model": model, "tier": None, "status": refusal.status,
        "reason": reply.reason, "message": reply.message, "retry_after_s": None if wait is None else round(wait, 3),
        "advice": advice(reply.reason, world.routes.get(model) is not None),
    }  # fmt: skip


def advice(reason: str, known: bool) -> str:
    """What to do about a refusal; empty: the message says it. `known`: there is a model of this name."""
    if reason == "route.model" and known:
        return ADVICE["grant.model"]
    if reason.endswith(".too_large") and reason.startswith("limit."):
        return ADVICE["limit.too_large"]
    if reason.endswith("_rate"):
        return ADVICE["limit.rate"]
    return ADVICE.get(reason, "")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a text was expected")
    return value


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 62:
        raise ValueError("a number was expected")
    return value
