"""Chat completions: what a request decides, what its answer used, and how its stream is read (apis/chat_stream.py).

Costs for a plain 1 KB request: fields 1.2, facts 1.6, body unchanged 0.05, renamed 1.5; answer 1.3 us.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from msgspec import Raw

from sluicegate.apis.base import FOUNDRY, OPENAI, PROVIDERS_OF_OPENAI, Bases
from sluicegate.apis.chat_media import media
from sluicegate.apis.chat_stream import ChatMeter
from sluicegate.apis.chat_usage import answered, usage_at_end
from sluicegate.apis.json_body import NULL, asking, asks_usage, count, fields_of, flag, model_of, renamed, some
from sluicegate.core.events import Facts, Usage
from sluicegate.core.ports import Chunk, Meter

MOST_TOKENS: Final = 2**31 - 1
MOST_CHOICES: Final = 128


class ChatCompletions:
    """The row."""

    name: ClassVar[str] = "chat_completions"
    method: ClassVar[str] = "POST"
    deployment_path: ClassVar[str] = "/chat/completions"
    model_path: ClassVar[str] = "/chat/completions"
    bases: ClassVar[Bases] = (*OPENAI, (FOUNDRY, True))
    providers: ClassVar[tuple[str, ...]] = PROVIDERS_OF_OPENAI
    takes: ClassVar[str] = "json"
    everywhere: ClassVar[bool] = True
    repeatable: ClassVar[bool] = True
    unmetered: ClassVar[str] = ""
    dialect: ClassVar[str] = "openai"

    def fields(self, body: Chunk) -> Mapping[str, Any]:
        """The top-level fields, raw."""
        return fields_of(body)

    def facts(self, fields: Mapping[str, Any], body: Chunk) -> Facts:
        """What the fields decide. Fields we do not read are the upstream's to judge."""
        get = fields.get
        images, embedded, beyond = 0, 0, 0
        messages = get("messages")
        if messages is not None:
            images, embedded, beyond = media(messages, body, fields)
        stream = get("stream")
        streams = stream is not None and flag("stream", stream)
        facts = Facts(
            model_of(get("model")),
            streams,
            _most(get("max_tokens"), get("max_completion_tokens")),
            1,
            (len(body) - embedded) // 4 + beyond,
            some(get("tools")) or some(get("functions")),
            images,
            False,
            beyond,
        )
        n = get("n")
        if n is not None and n != NULL:
            facts.n = count("n", n, 1, MOST_CHOICES)
        best_of = get("best_of")
        if best_of is not None and best_of != NULL:
            facts.best_of = count("best_of", best_of, 1, MOST_CHOICES)
        options = get("stream_options")
        if options is not None and options != NULL:
            facts.asked_usage = asks_usage(options)
        return facts

    def body(
        self, body: Chunk, fields: Mapping[str, Any], facts: Facts, model: str | None, usage: bool,
        put: dict[str, bytes] | None = None,
    ) -> Chunk:  # fmt: skip
        """The same buffer, or with another `model`, with `include_usage` in `stream_options`, with what rules `put`."""
        if usage and facts.stream and not facts.asked_usage:
            put = dict(put) if put else {}
            put["stream_options"] = asking(fields.get("stream_options"))
        return renamed(body, fields, facts.model, model, put)

    def meter(self, facts: Facts, asked: bool) -> Meter:
        """A fresh meter for one streamed answer."""
        return ChatMeter(facts.n, asked)

    def answer(self, body: Chunk) -> Usage | None:
        """Check that this is one whole answer, and read its usage."""
        return answered(body)

    def tail(self, tail: bytes) -> Usage | None:
        """Usage from the end of a large answer; None if it stands before it, which is then estimated."""
        return usage_at_end(tail)


def _most(old: Raw | None, new: Raw | None) -> int | None:
    """The output maximum under its old and its new name; the larger where both are given, to reserve enough."""
    most: int | None = None
    if old is not None and old != NULL:
        most = count("max_tokens", old, 0, MOST_TOKENS)
    if new is not None and new != NULL:
        other = count("max_completion_tokens", new, 0, MOST_TOKENS)
        most = other if most is None else max(most, other)
    return most
