"""Embeddings: texts or token ids in, vectors out. Only what comes in is billed, so only that is counted.

Token ids are counted one by one: they are the tokens. Text is estimated from bytes. `encoding_format`, `dimensions`
and the vectors pass as they are: base64 stays base64, numbers keep the digits they came with.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import msgspec

from sluicegate.apis.base import FOUNDRY, OPENAI, PROVIDERS_OF_OPENAI, Bases, Malformed
from sluicegate.apis.chat_usage import prompt_said, usage_at_end
from sluicegate.apis.json_body import NULL, fields_of, model_of, renamed
from sluicegate.apis.json_shapes import Vectors
from sluicegate.apis.passing import PassingMeter
from sluicegate.apis.prompts import prompt_of
from sluicegate.core.events import Facts, Usage
from sluicegate.core.ports import Chunk, Meter
from sluicegate.wire.fields import tidied

_vectors: Final = msgspec.json.Decoder(Vectors).decode


class Embeddings:
    """The row."""

    name: ClassVar[str] = "embeddings"
    method: ClassVar[str] = "POST"
    deployment_path: ClassVar[str] = "/embeddings"
    model_path: ClassVar[str] = "/embeddings"
    bases: ClassVar[Bases] = (*OPENAI, (FOUNDRY, True))
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
        """Never streamed; nothing comes out that is counted in tokens."""
        said = prompt_of(fields.get("input"))
        return Facts(
            model_of(fields.get("model")), max_output=0, estimate=said.tokens, media=said.tokens if said.exact else 0
        )

    def body(
        self, body: Chunk, fields: Mapping[str, Any], facts: Facts, model: str | None, usage: bool,
        put: dict[str, bytes] | None = None,
    ) -> Chunk:  # fmt: skip
        """The same buffer, or with another `model`, with what rules `put`."""
        return renamed(body, fields, facts.model, model, put)

    def meter(self, facts: Facts, asked: bool) -> Meter:
        """For an answer that is streamed all the same."""
        return PassingMeter()

    def answer(self, body: Chunk) -> Usage | None:
        """Check that there are vectors, and read what the prompt took."""
        try:
            said = _vectors(body)
        except (msgspec.DecodeError, ValueError, RecursionError):
            said = _lenient(body)
        if len(said.error) and said.error != NULL:
            raise Malformed("answer.error")
        if not said.data:
            raise Malformed("answer.shape")
        return prompt_said(said.usage) if len(said.usage) else None

    def tail(self, tail: bytes) -> Usage | None:
        """Usage from the end of a large answer: some forty vectors as numbers are one."""
        return usage_at_end(tail, prompt_said)


def _lenient(body: Chunk) -> Vectors:
    """Servers that compute in halves write NaN among the numbers."""
    tidy = tidied(body)
    if tidy is None:
        raise Malformed("answer.json")
    try:
        return _vectors(tidy)
    except (msgspec.DecodeError, RecursionError):
        raise Malformed("answer.shape") from None
