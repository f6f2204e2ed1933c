"""Ceilings over a short time: `60k tokens/minute`, `600 requests/minute`, `20 concurrent`, or a map that says more."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from sluicegate.core.limits.base import LimitSpec
from sluicegate.spec.kinds import MISSING, Choice, Context, Kind, PublicName, Word
from sluicegate.spec.nodes import Mapping, Node
from sluicegate.spec.offered import Operation
from sluicegate.spec.problems import Path
from sluicegate.spec.references import Wrong
from sluicegate.spec.sections import Listing, Section
from sluicegate.spec.units import Count, Whole

WINDOWS = {"second": 1.0, "minute": 60.0, "hour": 3600.0}
CALENDAR = ("day", "week", "month", "year")
KINDS = {"tokens": "token_rate", "requests": "request_rate", "concurrent": "concurrency"}
_NOUNS = {kind: noun for noun, kind in KINDS.items()}
_PER = {window: per for per, window in WINDOWS.items()}
_QUOTA = "that is a quota, which belongs to the language and arrives later"
MOST = 10**15


@dataclass(frozen=True, slots=True)
class LimitMap:
    """A ceiling with more words. It has one of `tokens`, `requests` and `concurrent`."""

    tokens: Annotated[int, Count(1, MOST)] | None = None
    "Tokens in each `per`."
    requests: Annotated[int, Count(1, MOST)] | None = None
    "Requests in each `per`."
    concurrent: Annotated[int, Whole(1, 1_000_000)] | None = None
    "Requests at the same time."
    per: Annotated[str, Choice(tuple(WINDOWS), later=CALENDAR)] | None = None
    "The time that slides; not of `concurrent`."
    each: Annotated[str, Choice(("consumer", "tenant", "key", "end_user", "model"))] | None = None
    "What one counter covers; left out: the consumer or tenant that it is written at."
    count: Annotated[str, Choice(("total", "input", "output", "uncached"))] | None = None
    "Which tokens count; left out: total."
    models: Annotated[tuple[str, ...], Listing(PublicName())] = ()
    "Models whose requests count; left out: all."
    operations: tuple[Annotated[str, Operation()], ...] = ()
    "Operations whose requests count; left out: all."
    reserve: Annotated[str, Choice(("learned", "max"))] | None = None
    "What a request without a maximum of tokens takes until it is known: what is usual, or all that it could use."
    guarantee: Annotated[str, Choice(("leased", "exact", "local"))] = "leased"
    "How several processes hold it together: by shares, by asking each time, or each for itself."
    mode: Annotated[str, Choice(("enforce", "shadow", "off"))] = "enforce"
    "`shadow` counts and records what it would refuse; `off` does nothing."


class Rate(Word):
    """`60k tokens/minute`, `600 requests/minute`, `20 concurrent`."""

    pattern = r"[0-9.]+ ?[kMB]? ((tokens|requests)/(second|minute|hour)|concurrent)"
    _short: ClassVar = re.compile(r"([0-9.]+[kMB]?) ?([tTrR])[pP][mM]")
    _parts: ClassVar = re.compile(r"(\S+?) ?([kMB]?) (?:(tokens|requests) ?(?:/|per) ?([a-z]+)|(concurrent))")

    def says(self) -> str:
        return "a limit such as 60k tokens/minute, 600 requests/minute or 20 concurrent"

    def parse(self, text: str) -> LimitSpec:
        found = self._parts.fullmatch(text)
        if found is None:
            short = self._short.fullmatch(text)
            noun = {"t": "tokens", "r": "requests"}.get(short[2].lower()) if short else ""
            better = f"write {short[1]} {noun}/minute" if short else ""
            raise Wrong("is not a limit", f"write {self.says()}", better=better)
        number, scale, noun, per, concurrent = found.groups()
        if concurrent:
            return LimitSpec("concurrency", Whole(1, 1_000_000).parse(number + scale))
        if per in CALENDAR:
            raise Wrong(f"counts by the {per}: {_QUOTA}", "limits are per second, minute or hour")
        if per not in WINDOWS:
            raise Wrong("has a time that is none of second, minute, hour", f"write {self.says()}")
        return LimitSpec(KINDS[noun], Count(1, MOST).parse(number + scale), WINDOWS[per])


class LimitForm(Kind):
    """Either form of a ceiling."""

    _short = Rate()
    map = Section(LimitMap)

    def says(self) -> str:
        return self._short.says()

    def read(self, cx: Context, node: Node, path: Path) -> Any:
        if not isinstance(node, Mapping):
            spec = self._short.read(cx, node, path)
            return spec and _at(spec, cx.origin_of(path))
        said = self.map.read(cx, node, path)
        if not said or cx.problems.damaged(path):
            return MISSING
        kinds = [noun for noun in KINDS if getattr(said, noun) is not None]
        if len(kinds) != 1:
            what = "says neither tokens nor requests nor concurrent" if not kinds else f"says {' and '.join(kinds)}"
            cx.say(path, what, "a ceiling has exactly one of tokens, requests, concurrent", key=True)
            return MISSING
        noun = kinds[0]
        useless = [("per", said.per)] if noun == "concurrent" else []
        useless += [("count", said.count), ("reserve", said.reserve)] if noun != "tokens" else []
        for key, value in useless:
            if value is not None:
                cx.say((*path, key), f"has no effect on {noun}", "remove it", key=True)
        if noun != "concurrent" and said.per is None:
            cx.say(path, "has no time", "write per: minute, or second, or hour", key=True)
        if cx.problems.damaged(path):
            return MISSING
        return LimitSpec(
            kind=KINDS[noun],
            amount=getattr(said, noun),
            window=WINDOWS[said.per or "minute"],
            each=said.each or "",
            count=said.count or "total",
            reserve=said.reserve or "learned",
            guarantee=said.guarantee,
            mode=said.mode,
            models=said.models,
            operations=said.operations,
            origin=cx.origin_of(path),
        )

    def write(self, value: LimitSpec) -> str:
        return amount_of(value) + " " + unit_of(value)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [self._short.schema(), self.map.schema()]}

    def below(self) -> Iterable[tuple[str, Kind]]:
        return [("", self.map)]


def amount_of(spec: LimitSpec) -> str:
    """`60k`."""
    return Count().write(spec.amount)


def unit_of(spec: LimitSpec) -> str:
    """Everything but the amount: `tokens/minute`, `output tokens/minute for each model of [chat] (shadow)`."""
    noun = _NOUNS[spec.kind]
    text = noun if spec.kind == "concurrency" else f"{noun}/{_PER[spec.window]}"
    if spec.count != "total":
        text = f"{spec.count} {text}"
    if spec.each:
        text += f" for each {spec.each}"
    if spec.models or spec.operations:
        text += f" of [{', '.join((*spec.models, *spec.operations))}]"
    said = [word for word, usual in ((spec.mode, "enforce"), (spec.guarantee, "leased")) if word != usual]
    said += ["reserve max"] if spec.reserve == "max" else []
    return f"{text} ({', '.join(said)})" if said else text


def identity(spec: LimitSpec) -> tuple[object, ...]:
    """What it counts, and over which time: two of these in one list are one too many."""
    window = 0.0 if spec.kind == "concurrency" else spec.window
    return spec.kind, window, spec.each, spec.count, spec.models, spec.operations, spec.mode


def _at(spec: LimitSpec, origin: str) -> LimitSpec:
    return LimitSpec(spec.kind, spec.amount, spec.window, origin=origin)
