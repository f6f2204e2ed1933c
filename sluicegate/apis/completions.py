"""Completions: the older way, one text in, its continuation out. `echo`, `suffix`, `logprobs` pass as they are.

A request may hold many prompts, each of which gets `n` choices of its own, and `best_of` are written to keep `n`: all
of them are billed, and a stream is whole when every choice has ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from sluicegate.apis.base import OPENAI, PROVIDERS_OF_OPENAI, Bases
from sluicegate.apis.chat_usage import answered, usage_at_end
from sluicegate.apis.json_body import NULL, asking, asks_usage, count, fields_of, flag, model_of, renamed
from sluicegate.apis.prompts import BYTES_A_TOKEN, prompt_of
from sluicegate.apis.text_stream import TextMeter
from sluicegate.core.events import Facts, Usage
from sluicegate.core.ports import Chunk, Meter

MOST_TOKENS: Final = 2**31 - 1
MOST_CHOICES: Final = 128


class Completions:
    """The row."""

    name: ClassVar[str] = "completions"
    method: ClassVar[str] = "POST"
    deployment_path: ClassVar[str] = "/completions"
    model_path: ClassVar[str] = "/completions"
    bases: ClassVar[Bases] = OPENAI
    providers: ClassVar[tuple[str, ...]] = PROVIDERS_OF_OPENAI
    takes: ClassVar[str] = "json"
    everywhere: ClassVar[bool] = False
    repeatable: ClassVar[bool] = True
    unmetered: ClassVar[str] = ""
    dialect: ClassVar[str] = "openai"

    def fields(self, body: Chunk) -> Mapping[str, Any]:
        """The top-level fields, raw."""
        return fields_of(body)

    def facts(self, fields: Mapping[str, Any], body: Chunk) -> Facts:
        """What the fields decide."""
        get = fields.get
        prompt = prompt_of(get("prompt"))
        suffix = get("suffix")
        tokens = prompt.tokens if suffix is None else prompt.tokens + len(suffix) // BYTES_A_TOKEN
        facts = Facts(model_of(get("model")), estimate=tokens, media=prompt.tokens if prompt.exact else 0)
        stream = get("stream")
        facts.stream = stream is not None and flag("stream", stream)
        most = get("max_tokens")
        if most is not None and most != NULL:
            facts.max_output = count("max_tokens", most, 0, MOST_TOKENS)
        n = get("n")
        facts.n = prompt.count if n is None or n == NULL else prompt.count * count("n", n, 1, MOST_CHOICES)
        best_of = get("best_of")
        if best_of is not None and best_of != NULL:
            facts.best_of = prompt.count * count("best_of", best_of, 1, MOST_CHOICES)
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
        return TextMeter(facts.n, asked)

    def answer(self, body: Chunk) -> Usage | None:
        """Check that this is one whole answer, and read its usage."""
        return answered(body)

    def tail(self, tail: bytes) -> Usage | None:
        """Usage from the end of a large answer."""
        return usage_at_end(tail)
