"""Chat completions: what a request decides, what its answer used, and how its stream is read (apis/chat_stream.py).

Costs for a plain 1 KB request: fields 1.2, facts 1.6, body unchanged 0.05, renamed 1.5; answer 1.3 us.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final

import msgspec
from msgspec import Raw

from sluicegate.apis.base import OPENAI, PROVIDERS_OF_OPENAI, BadRequest, Bases, Malformed
from sluicegate.apis.chat_media import media
from sluicegate.apis.chat_shapes import Answer
from sluicegate.apis.chat_stream import ChatMeter
from sluicegate.apis.chat_usage import tier_of, usage_of
from sluicegate.core.events import Facts, Usage
from sluicegate.core.ports import Chunk, Meter
from sluicegate.wire.fields import BadJson, rebuild, tidied, top_level

MOST_TOKENS: Final = 2**31 - 1
MOST_CHOICES: Final = 128
LONGEST_MODEL: Final = 256

_TRUE: Final = Raw(b"true")
_FALSE: Final = Raw(b"false")
_NULL: Final = Raw(b"null")
_EMPTY: Final = Raw(b"[]")
_TIER: Final = re.compile(rb'"service_tier"\s*:\s*"([a-z_]{1,32})"')
"""Behind the usage, where OpenAI and Azure write it; such bytes cannot occur inside a JSON string."""

_text: Final = msgspec.json.Decoder(str).decode
_integer: Final = msgspec.json.Decoder(int).decode
_ASK: Final = b'{"include_usage":true}'


_answer: Final = msgspec.json.Decoder(Answer).decode


class ChatCompletions:
    """The row."""

    name: ClassVar[str] = "chat_completions"
    method: ClassVar[str] = "POST"
    deployment_path: ClassVar[str] = "/chat/completions"
    model_path: ClassVar[str] = "/chat/completions"
    bases: ClassVar[Bases] = OPENAI
    providers: ClassVar[tuple[str, ...]] = PROVIDERS_OF_OPENAI
    takes: ClassVar[str] = "json"
    repeatable: ClassVar[bool] = True
    unmetered: ClassVar[str] = ""
    dialect: ClassVar[str] = "openai"

    def fields(self, body: Chunk) -> Mapping[str, Any]:
        """The top-level fields, raw."""
        try:
            return top_level(body)
        except BadJson as bad:
            raise BadRequest(bad.reason, bad.message) from None

    def facts(self, fields: Mapping[str, Any], size: int) -> Facts:
        """What the fields decide. Fields we do not read are the upstream's to judge."""
        get = fields.get
        images, embedded, beyond = 0, 0, 0
        messages = get("messages")
        if messages is not None:
            images, embedded, beyond = media(messages)
        stream = get("stream")
        streams = stream is not None and _flag("stream", stream)
        facts = Facts(
            _model(get("model")),
            streams,
            _most(get("max_tokens"), get("max_completion_tokens")),
            1,
            (size - embedded) // 4 + beyond,
            _some(get("tools")) or _some(get("functions")),
            images,
            False,
            beyond,
        )
        n = get("n")
        if n is not None and n != _NULL:
            facts.n = _count("n", n, 1, MOST_CHOICES)
        best_of = get("best_of")
        if best_of is not None and best_of != _NULL:
            facts.best_of = _count("best_of", best_of, 1, MOST_CHOICES)
        options = get("stream_options")
        if options is not None and options != _NULL:
            asked = self._options(options).get("include_usage")
            facts.asked_usage = asked is not None and _flag("stream_options.include_usage", asked)
        return facts

    def body(
        self, body: Chunk, fields: Mapping[str, Any], facts: Facts, model: str | None, usage: bool,
        put: dict[str, bytes] | None = None,
    ) -> Chunk:  # fmt: skip
        """The same buffer, or with another `model`, with `include_usage` in `stream_options`, with what rules `put`."""
        rename = model is not None and model != facts.model
        ask = usage and facts.stream and not facts.asked_usage
        if not rename and not ask and not put:
            return body
        changes: dict[str, bytes] = dict(put) if put else {}
        if rename:
            changes["model"] = msgspec.json.encode(model)
        if ask:
            options = fields.get("stream_options")
            if options is None or options == _NULL:
                changes["stream_options"] = _ASK
            else:  # include_obfuscation and whatever else stands there stays
                text = bytes(options)
                changes["stream_options"] = rebuild(text, top_level(text), {"include_usage": b"true"})
        return rebuild(body, fields, changes)

    def meter(self, facts: Facts, asked: bool) -> Meter:
        """A fresh meter for one streamed answer."""
        return ChatMeter(facts.n, asked)

    def answer(self, body: Chunk) -> Usage | None:
        """Check that this is one whole answer, and read its usage."""
        try:
            said = _answer(body)
        except (msgspec.DecodeError, ValueError, RecursionError):
            said = _lenient(body)
        if len(said.error) and said.error != _NULL:
            raise Malformed("answer.error")
        if not said.choices:
            raise Malformed("answer.shape")
        usage = usage_of(said.usage) if len(said.usage) else None
        if usage is not None and len(said.service_tier):
            usage.tier = tier_of(said.service_tier)
        return usage

    def tail(self, tail: bytes) -> Usage | None:
        """Usage from the end of a large answer; None if it stands before it, which is then estimated."""
        if not tail.rstrip().endswith(b"}"):
            raise Malformed("answer.truncated")
        at = tail.rfind(b'"usage"')
        begin = tail.find(b"{", at)
        if at < 0 or tail[at + 7 : begin].strip() != b":":
            return None
        end = begin
        for _ in range(8):  # the object's own brace is among the next few: its details are objects, too
            end = tail.find(b"}", end) + 1
            if not end:
                break
            usage = usage_of(Raw(tail[begin:end]))
            if usage is not None:
                said = _TIER.search(tail, end)
                if said is not None:
                    usage.tier = said[1].decode("ascii")
                return usage
        return None

    def _options(self, raw: Raw) -> dict[str, Raw]:
        try:
            return top_level(raw)
        except BadJson as bad:
            if bad.reason != "request.invalid_json":
                raise BadRequest(bad.reason, bad.message) from None
            raise _invalid("stream_options", "an object") from None


def _lenient(body: Chunk) -> Answer:
    """An answer that our strict reader does not take but the SDKs do, as NaN among the logprobs."""
    tidy = tidied(body)
    if tidy is None:
        raise Malformed("answer.json")
    try:
        return _answer(tidy)
    except (msgspec.DecodeError, RecursionError):
        raise Malformed("answer.shape") from None


def _invalid(field: str, wanted: str) -> BadRequest:
    return BadRequest("request.invalid_field", f"The field '{field}' must be {wanted}.")


def _model(raw: Raw | None) -> str | None:
    if raw is None or raw == _NULL:
        return None
    if len(raw) <= 8 * LONGEST_MODEL:
        try:
            model = _text(raw)
            if 0 < len(model) <= LONGEST_MODEL:
                return model
        except (msgspec.DecodeError, ValueError):
            pass
    raise _invalid("model", f"a string of 1 to {LONGEST_MODEL} characters")


def _flag(field: str, raw: Raw) -> bool:
    if raw == _TRUE:
        return True
    if raw in (_FALSE, _NULL):
        return False
    raise _invalid(field, "true or false")


def _count(field: str, raw: Raw, least: int, most: int) -> int:
    if len(raw) <= 10:  # int() of a long number is slow, and msgspec reads it as a float
        try:
            number = _integer(raw)
            if least <= number <= most:
                return number
        except msgspec.DecodeError:
            pass
    raise _invalid(field, f"an integer from {least} to {most}")


def _most(old: Raw | None, new: Raw | None) -> int | None:
    """The output maximum under its old and its new name; the larger where both are given, to reserve enough."""
    most: int | None = None
    if old is not None and old != _NULL:
        most = _count("max_tokens", old, 0, MOST_TOKENS)
    if new is not None and new != _NULL:
        other = _count("max_completion_tokens", new, 0, MOST_TOKENS)
        most = other if most is None else max(most, other)
    return most


def _some(raw: Raw | None) -> bool:
    return raw is not None and raw != _NULL and raw != _EMPTY
