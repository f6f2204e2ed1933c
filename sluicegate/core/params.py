"""Rules for request parameters: default, max, force, allow; what several of them say about one field holds together.

A larger number is cut, an absent field filled in, another value put; what is not allowed is refused. `max_tokens` is
one rule for the whole family of names that the dialects have for it, whichever of them a request uses. Only fields of
the top level have rules; those that decide where a request goes or how it is answered have none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sluicegate.core.events import Facts
from sluicegate.core.settings import ParamSpec

FAMILY: Final = ("max_tokens", "max_completion_tokens", "max_output_tokens")
UNTOUCHABLE: Final = frozenset({"model", "messages", "input", "prompt", "stream", "stream_options"})
"""Fields without rules: the gateway itself decides by them."""

NEWER: Final = ("o1", "o3", "o4", "gpt-5")
"""How models begin that refuse `max_tokens`."""

LONGEST: Final = 1024
"""Bytes. A longer value is no number, and none that a rule names."""

MOST: Final = 2.0**31
OWN: Final = {
    "chat_completions": ("max_tokens", "max_completion_tokens"),
    "completions": ("max_tokens",),
    "messages": ("max_tokens",),
    "responses": ("max_output_tokens",),
}
"""The names that an operation reads. A server that ignores what it does not know would ignore the others, too: they
are cut as well, but a request that has only them has no maximum. An operation without any writes nothing: there is no
maximum to put where there is none."""

SAMPLING: Final = frozenset((
    "temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty", "seed", "stop", "n", "best_of",
    "logprobs", "top_logprobs", "logit_bias", "reasoning_effort", "verbosity", "response_format", "tools",
    "tool_choice", "parallel_tool_calls", "service_tier", "store",
))  # fmt: skip
"""Fields about how something is written. They are not put into a request of an operation that writes nothing: its
server would refuse them, and a rule for a whole team must not take embeddings from it."""


class NotAllowed(Exception):
    """A request that a rule refuses. `reason` is a name of core/refusals.py, `message` is for the client."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)
        self.reason = reason
        self.message = message


class Rule:
    """Everything that is said about one field."""

    __slots__ = ("allow", "default", "field", "force", "max", "max_text", "names", "numbers", "origin", "own")

    def __init__(self, field: str, specs: Sequence[ParamSpec], own: Sequence[str]) -> None:
        """`specs`: those that say something about the field, the nearest to the caller last."""
        self.field = field
        self.names = FAMILY if field in FAMILY else (field,)
        self.own = own
        "Names of which one must be there; the first is put where the request has none."
        self.max: float | None = None
        allow: list[str] | None = None
        force = None
        defaults: list[str] = []
        for spec in specs:
            if spec.max is not None and (self.max is None or spec.max < self.max):
                self.max = spec.max
            if spec.allow is not None:
                allow = list(spec.allow) if allow is None else [a for a in allow if a in spec.allow]
            if spec.default is not None:
                defaults.append(spec.default)
            force = force if spec.force is None else spec.force
        self.origin = ", ".join(dict.fromkeys(spec.origin for spec in specs if spec.origin))
        self.allow = None if allow is None else tuple(text.encode() for text in allow)
        self.numbers = frozenset(n for text in self.allow or () if (n := number(text)) is not None)
        self.max_text = b"" if self.max is None else _text(self.max)
        self.force = self._cut(force)
        self.default: bytes | None = None
        for default in defaults:  # the nearest that all of them allow: what we put ourselves is within the rules, too
            cut = self._cut(default)
            if cut is not None and (self.allow is None or cut in self.allow or number(cut) in self.numbers):
                self.default = cut
        if self.default is None and self.max is not None and field in FAMILY:
            self.default = self.max_text  # without a maximum the upstream would take its own, which is larger

    def _cut(self, text: str | None) -> bytes | None:
        if text is None:
            return None
        said = number(text.encode())
        return self.max_text if self.max is not None and said is not None and said > self.max else text.encode()

    def change(self, fields: Mapping[str, Any], changes: dict[str, bytes]) -> None:
        """Add what must be put into the request. Raises NotAllowed."""
        missing = True
        for name in self.names:
            raw = fields.get(name)
            if raw is None:
                continue
            text = bytes(raw) if len(raw) < LONGEST else b"..."
            if text == b"null":
                continue
            if name in self.own:
                missing = False
            if self.force is not None:
                if text != self.force:
                    changes[name] = self.force
                continue
            if self.max is None and self.allow is None:
                continue
            said = number(text)
            if self.max is not None:
                if said is None:
                    raise NotAllowed("request.invalid_field", f"The field '{name}' must be a number.")
                if said > self.max:
                    changes[name] = self.max_text
            if self.allow is not None and text not in self.allow and said not in self.numbers:
                raise NotAllowed("params.not_allowed", self._refusal(name))
        if missing and self.own:
            value = self.default if self.force is None else self.force
            if value is not None:
                changes[self.own[0]] = value

    def _refusal(self, name: str) -> str:
        where = f" (a rule of {self.origin})" if self.origin else ""
        if not self.allow:
            return f"The field '{name}' is not allowed here{where}."
        return f"The field '{name}' must be one of {b', '.join(self.allow).decode()} here{where}."


class Rules:
    """The rules of one consumer on one model."""

    __slots__ = ("enforced", "own", "shadowed")

    def __init__(self, enforced: Sequence[Rule], shadowed: Sequence[Rule], own: Sequence[str]) -> None:
        self.own = own
        "Names of the token maximum."
        self.enforced = enforced
        self.shadowed = shadowed

    def apply(self, fields: Mapping[str, Any], facts: Facts) -> dict[str, bytes]:
        """What to put into the body, field by field; `facts` then say what the upstream will read. Raises
        NotAllowed."""
        changes: dict[str, bytes] = {}
        for rule in self.enforced:
            rule.change(fields, changes)
        if changes:
            most: int | None = None
            for name in self.own:
                raw = changes.get(name) or fields.get(name)
                if raw is not None:
                    said = number(bytes(raw) if len(raw) < LONGEST else b"")
                    if said is not None and said < MOST and (most is None or said > most):
                        most = int(said)
            if self.own:
                facts.max_output = most
            if "n" in changes or "best_of" in changes:
                raw = fields.get("n")
                asked = None if raw is None or len(raw) >= LONGEST else number(bytes(raw))
                prompts = max(1, facts.n // max(1, int(asked or 1)))  # each has so many choices
                choices = number(changes.get("n", b""))
                if choices is not None:
                    facts.n = prompts * max(1, int(choices))
                choices = number(changes.get("best_of", b""))
                if choices is not None:
                    facts.best_of = prompts * max(1, int(choices))
        return changes

    def shadow(self, fields: Mapping[str, Any]) -> str:
        """What the rules that only watch would have done, for the record; empty: nothing."""
        changes: dict[str, bytes] = {}
        try:
            for rule in self.shadowed:
                rule.change(fields, changes)
        except NotAllowed as refusal:
            return f"params would refuse: {refusal.message}"
        return f"params would set: {', '.join(sorted(changes))}" if changes else ""


def rules(specs: Sequence[ParamSpec], operation: str, token_name: str) -> Rules | None:
    """Bound; None when there are none. `specs`: all that apply, the nearest to the caller last."""
    if not specs:
        return None
    own = sorted(OWN.get(operation, ()), key=lambda name: name != token_name)
    enforced, shadowed = (
        [
            Rule(
                field,
                [s for s in same if _field(s) == field],
                own if field in FAMILY else () if not own and field in SAMPLING else (field,),
            )
            for field in dict.fromkeys(_field(s) for s in same)
        ]
        for same in ([s for s in specs if s.mode == mode] for mode in ("enforce", "shadow"))
    )
    return Rules(enforced, shadowed, own) if enforced or shadowed else None


_WHOLE: Final = frozenset((*FAMILY, "n", "best_of"))


def problem(spec: ParamSpec) -> str:
    """Why this rule cannot take effect, empty if it can: for the compiler of configurations."""
    if spec.field in UNTOUCHABLE:
        return f"the gateway decides by '{spec.field}' itself; there is no rule for it"
    if spec.field in _WHOLE:
        for text in (spec.default, spec.force):
            if text is not None and (not text.isascii() or not text.isdigit()):
                return f"'{spec.field}' is a whole number, not {text}"
    return ""


def token_field(models: Sequence[str]) -> str:
    """What chat completions of these models call the token maximum."""
    return "max_completion_tokens" if any(name.startswith(NEWER) for name in models) else "max_tokens"


def carried(
    changes: Mapping[str, bytes], fields: Mapping[str, Any], operation: str, models: Sequence[str]
) -> dict[str, bytes]:
    """What rules put into a request, for other models: a token maximum that is ours has the name that these take."""
    found = dict(changes)
    own = OWN.get(operation, ())
    if len(own) > 1:
        wanted = token_field(models)
        for name in own:
            if name != wanted and name in found and (fields.get(name) is None or bytes(fields[name]) == b"null"):
                found[wanted] = found.pop(name)
    return found


def number(text: bytes) -> float | None:
    """A JSON number; None for any other value."""
    if len(text) <= 15 and text.isdigit():
        return float(int(text))
    return float(text) if text[:1] in b"-0123456789" and text else None


def _field(spec: ParamSpec) -> str:
    return FAMILY[0] if spec.field in FAMILY else spec.field


def _text(value: float) -> bytes:
    return str(int(value) if value == int(value) else value).encode()
