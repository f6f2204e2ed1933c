"""Whose a principal would be, told: the rule that decides, and the rules that nearly do. For people who write rules.

Unlike the table itself this looks at every rule: it says why those that were meant to match do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sluicegate.core.caller import Callers
from sluicegate.core.claims import SAME, certificate_texts, texts
from sluicegate.core.expr.bind import Env, bind
from sluicegate.core.expr.write import write
from sluicegate.core.match import Rule
from sluicegate.core.principal import Principal
from sluicegate.core.snapshot import Match, Tree

NEAR: Final = 10
"""Rules that nearly matched, told at most."""

LONGEST: Final = 200
"""Characters of a value that is shown."""


class NoQuestion(Exception):
    """The message is for the one who asks."""


def principal(asked: Mapping[str, Any]) -> Principal:
    """Of a question: `issuer` (a name), `claims`, `certificate`. Raises NoQuestion."""
    issuer, claims, certificate = asked.get("issuer", ""), asked.get("claims", {}), asked.get("certificate")
    if not isinstance(issuer, str) or not isinstance(claims, dict):
        raise NoQuestion("claims are a map, and the issuer is a name")
    if certificate is not None and not isinstance(certificate, dict):
        raise NoQuestion("a certificate is a map of its fields")
    if claims and not issuer:
        raise NoQuestion("whose claims are these? Name the issuer")
    return Principal(issuer, claims, b"", 0.0, certificate)


def whose(callers: Callers, who: Principal) -> dict[str, Any]:
    """Plain data: `consumer` (empty: nobody), `reason`, `rank`, `rules` that matched in it, `near`."""
    found = callers.matched(who)
    near = []
    if found.consumer is None or found.rank != 1:
        for rule in callers.rules():
            if rule not in found.rules and (not rule.issuer or rule.issuer == who.issuer):
                met, lacks = judged(rule.match, who)
                if met and lacks:
                    near.append((len(lacks), rule.rank, rule.consumer.name, rule, lacks))
        near.sort(key=lambda one: one[:3])
    return {
        "consumer": "" if found.consumer is None else found.consumer.name,
        "tenant": "" if found.consumer is None else found.consumer.tenant,
        "reason": found.reason, "rank": found.rank, "rules": [_rule(rule) for rule in found.rules],
        "near": [{**_rule(rule), "lacks": lacks} for _, _, _, rule, lacks in near[:NEAR]],
    }  # fmt: skip


def _rule(rule: Rule) -> dict[str, Any]:
    return {"consumer": rule.consumer.name, "rank": rule.rank, "rule": said(rule.match)}


def judged(match: Match, who: Principal) -> tuple[int, list[str]]:
    """How much of a rule holds, and what does not, in words."""
    met = 0
    lacks = []
    if match.tree is not None:
        env = Env(who)
        parts = match.tree.parts if match.tree.op == "&&" else (match.tree,)
        for part in parts:
            if bind(part)(env) is True:
                met += 0 if _only_issuer(part) else 1
            else:
                lacks.append(f"not true: {write(part)}")
        return met, lacks
    for name, wanted in match.claims:
        held = texts(who.claims, SAME.get(name, name)) if who.issuer else ()
        met, lacks = _compared(name, wanted, held, met, lacks)
    for name, wanted in match.certificate:
        held = () if who.certificate is None else certificate_texts(who.certificate, name)
        met, lacks = _compared(f"certificate.{name}", wanted, held, met, lacks)
    if match.each and not lacks and len(texts(who.claims, match.each)) != 1:
        lacks.append(f"each {match.each}: has no one value")
    return met, lacks


def _only_issuer(tree: Tree) -> bool:
    return tree.op == "==" and any(p.op == "name" and p.value == "issuer" for p in tree.parts)


def _compared(name: str, wanted: tuple[str, ...], held: Any, met: int, lacks: list[str]) -> tuple[int, list[str]]:
    if any(value in wanted for value in held):
        return met + 1, lacks
    is_ = ", ".join(held)[:LONGEST] if held else "missing"
    return met, [*lacks, f"{name}: {is_}, not {' or '.join(wanted)[:LONGEST]}"]


def said(match: Match) -> str:
    """A rule as it would stand in a file."""
    each = f", each {match.each}" if match.each else ""
    if match.tree is not None:
        return (match.text or write(match.tree)) + each
    parts = [f"issuer: {match.issuer}"] if match.issuer else []
    parts += [f"{name}: {_listed(values)}" for name, values in match.claims]
    for place, wanted in (("certificate", match.certificate), ("headers", match.headers)):
        if wanted:
            parts.append(f"{place}: {{" + ", ".join([f"{name}: {_listed(values)}" for name, values in wanted]) + "}")
    return "{" + ", ".join(parts) + "}" + each


def _listed(values: tuple[str, ...]) -> str:
    return values[0] if len(values) == 1 else f"[{', '.join(values)}]"
