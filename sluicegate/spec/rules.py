"""Rules for fields of requests: `{max_tokens: {default: 1000, max: 4000}, store: {force: false}}`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

from sluicegate.core.params import FAMILY, UNTOUCHABLE
from sluicegate.core.settings import ParamSpec
from sluicegate.spec.kinds import MISSING, Choice, Context, Kind, Name, Word
from sluicegate.spec.nodes import Listing as ListNode
from sluicegate.spec.nodes import Mapping, Node, Scalar
from sluicegate.spec.problems import Path
from sluicegate.spec.references import Wrong
from sluicegate.spec.sections import Keys, Listing, Named, Section

WHOLE = ("max_tokens", "n", "best_of")


class Field(Name):
    """A field of a request."""

    pattern = r"[A-Za-z_][A-Za-z0-9_]{0,62}"
    hint = "use letters, digits and underscore, at most 63, beginning with a letter"

    def says(self) -> str:
        return "a field such as max_tokens"


class Json(Kind):
    """Any value a request may have, kept as JSON. Plain numbers, `true` and `false` are these; all else is text."""

    def says(self) -> str:
        return "a value such as 1000, false, auto or {type: text}"

    def read(self, cx: Context, node: Node, path: Path) -> Any:
        if isinstance(node, Scalar) and node.empty:
            cx.say(path, "is empty", f"write {self.says()}, or remove the key")
            return MISSING
        before = len(cx.problems)
        value = self._value(cx, node, path)
        return MISSING if len(cx.problems) > before else json.dumps(value, separators=(",", ":"))

    def _value(self, cx: Context, node: Node, path: Path) -> Any:
        if isinstance(node, Mapping):
            return {key: self._value(cx, child, path) for key, child in node.items.items()}
        if isinstance(node, ListNode):
            return [self._value(cx, child, path) for child in node.items]
        try:
            text, referred = cx.sources.resolve(node.text)
        except Wrong as e:
            cx.say(path, f"{node.text} {e.what}", e.hint)
            return None
        if node.plain and not referred:
            if text in ("true", "false"):
                return text == "true"
            if re.fullmatch(r"-?(0|[1-9][0-9]{0,15})", text):
                return int(text)
            if re.fullmatch(r"-?(0|[1-9][0-9]{0,15})\.[0-9]{1,15}", text):
                return float(text)
        return text

    def write(self, value: str) -> str:
        return value

    def schema(self) -> dict[str, Any]:
        return {}


class Number(Word):
    """A number as requests have them."""

    pattern = r"-?[0-9]{1,15}(\.[0-9]{1,9})?[kMB]?"
    _scales = {"k": 1e3, "M": 1e6, "B": 1e9}

    def says(self) -> str:
        return "a number such as 4000 or 0.7"

    def parse(self, text: str) -> float:
        if not re.fullmatch(self.pattern, text):
            raise Wrong("is not a number", f"write {self.says()}")
        scale = self._scales.get(text[-1])
        return float(text[:-1]) * scale if scale else float(text)

    def write(self, value: float) -> str:
        return f"{value:.15g}"


@dataclass(frozen=True, slots=True)
class RuleSpec:
    """What holds for one field of requests. `max_tokens` stands for every name that dialects have for it."""

    default: Annotated[str, Json()] | None = None
    "Put where a request has none; cut to `max`."
    max: Annotated[float, Number()] | None = None
    "Larger numbers are cut to it."
    force: Annotated[str, Json()] | None = None
    "Put whatever a request says."
    allow: Annotated[tuple[str, ...], Listing(Json())] | None = None
    "Anything else is refused."
    mode: Annotated[str, Choice(("enforce", "shadow", "off"))] = "enforce"
    "`shadow` records what it would do; `off` does nothing."


class Rules(Kind):
    """A map from fields to their rules."""

    section = Section(RuleSpec)
    _map = Named(Keys("field of requests", Field()), section)

    def says(self) -> str:
        return "a map from fields to their rules, such as {max_tokens: {max: 4000}}"

    def read(self, cx: Context, node: Node, path: Path) -> Any:
        said = self._map.read(cx, node, path)
        if said is MISSING:
            return MISSING
        rules = []
        for field, rule in said.items():
            at = (*path, field)
            self._judge(cx, at, field, rule)
            rules.append(
                ParamSpec(field, rule.default, rule.max, rule.force, rule.allow, rule.mode, cx.origin_of(path))
            )
        return tuple(rules)

    def _judge(self, cx: Context, at: Path, field: str, rule: RuleSpec) -> None:
        """Say why a rule cannot do what it says."""
        if cx.problems.damaged(at):
            return
        if field in UNTOUCHABLE:
            cx.say(at, "the gateway itself decides by this field: there is no rule for it", "remove it", key=True)
        if field in FAMILY[1:]:
            cx.say(at, "one rule stands for all names of the token maximum", "write max_tokens", key=True)
        if (rule.default, rule.max, rule.force, rule.allow) == (None, None, None, None):
            cx.say(at, "rules nothing", "write default, max, force or allow", key=True)
        if rule.force is not None:
            for key in ("default", "max", "allow"):
                if getattr(rule, key) is not None:
                    cx.say((*at, key), "has no effect beside force", "remove one of them", key=True)
        if rule.default is not None and rule.allow is not None and rule.default not in rule.allow:
            cx.say((*at, "default"), "is not among what is allowed", f"allowed: {', '.join(rule.allow)}")
        if rule.max is not None and _number(rule.default) is not None and (_number(rule.default) or 0) > rule.max:
            cx.say((*at, "default"), "is more than max", f"write at most {Number().write(rule.max)}")
        if field in WHOLE:
            if rule.max is not None and (rule.max != int(rule.max) or rule.max < 1):
                cx.say((*at, "max"), "is not a whole number above 0", f"{field} is a whole number")
            for key in ("default", "force"):
                text = getattr(rule, key)
                if text is not None and not re.fullmatch("[1-9][0-9]*", text):
                    cx.say((*at, key), "is not a whole number above 0", f"{field} is a whole number")

    def write(self, value: tuple[ParamSpec, ...]) -> str:
        return "{" + ", ".join(f"{p.field}: {rule_of(p)}" for p in value) + "}"

    def schema(self) -> dict[str, Any]:
        return self._map.schema()

    def below(self) -> Iterable[tuple[str, Kind]]:
        return self._map.below()


def rule_of(spec: ParamSpec) -> str:
    """`default 1000, max 4000`."""
    said = [f"{key} {text}" for key, text in (("default", spec.default), ("force", spec.force)) if text is not None]
    said += [f"max {Number().write(spec.max)}"] if spec.max is not None else []
    said += [f"allow {' '.join(spec.allow)}"] if spec.allow is not None else []
    return ", ".join(said + [spec.mode] * (spec.mode != "enforce"))


def contradiction(specs: Iterable[ParamSpec]) -> tuple[ParamSpec, ParamSpec] | None:
    """Two rules on one field that no request can satisfy both, None if there are none."""
    forced: dict[str, ParamSpec] = {}
    allowed: dict[str, tuple[set[str], ParamSpec]] = {}
    specs = [s for s in specs if s.mode == "enforce"]
    for spec in specs:
        if spec.force is not None:
            first = forced.setdefault(spec.field, spec)
            if first.force != spec.force:
                return first, spec
        if spec.allow is not None:
            both = set(spec.allow) & allowed[spec.field][0] if spec.field in allowed else set(spec.allow)
            if not both:
                return allowed[spec.field][1], spec
            allowed[spec.field] = (both, spec)
    for spec in specs:
        force = forced.get(spec.field)
        if force is None or force is spec:
            continue
        if spec.allow is not None and force.force not in spec.allow:
            return force, spec
    return None


def _number(text: str | None) -> float | None:
    return float(text) if text is not None and re.fullmatch(r"-?[0-9.]+", text) else None
