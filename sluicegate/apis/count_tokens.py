"""Counting the tokens of a message, in Anthropic's dialect: asks the model's own tokenizer and generates nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import msgspec

from sluicegate.apis.base import Bases, Malformed
from sluicegate.apis.json_body import fields_of, model_of, renamed
from sluicegate.apis.messages import ANTHROPIC, PROVIDERS_OF_ANTHROPIC, refuse_other_models
from sluicegate.apis.messages_shapes import TokensCounted
from sluicegate.apis.messages_stream import MessagesMeter
from sluicegate.core.events import Facts, Usage
from sluicegate.core.ports import Chunk, Meter

_answer: Final = msgspec.json.Decoder(TokensCounted).decode


class CountTokens:
    """The row. Upstreams limit its requests apart from those of messages and bill nothing; so do our token limits."""

    name: ClassVar[str] = "count_tokens"
    method: ClassVar[str] = "POST"
    deployment_path: ClassVar[str] = ""
    model_path: ClassVar[str] = "/messages/count_tokens"
    bases: ClassVar[Bases] = ANTHROPIC
    providers: ClassVar[tuple[str, ...]] = PROVIDERS_OF_ANTHROPIC
    takes: ClassVar[str] = "json"
    everywhere: ClassVar[bool] = False
    repeatable: ClassVar[bool] = True
    unmetered: ClassVar[str] = "it tells how many tokens a message would take, and takes none"
    dialect: ClassVar[str] = "anthropic"

    def fields(self, body: Chunk) -> Mapping[str, Any]:
        """The top-level fields, raw."""
        return fields_of(body)

    def facts(self, fields: Mapping[str, Any], body: Chunk) -> Facts:
        """Its model; nothing is generated and nothing of it counts."""
        refuse_other_models(fields)
        return Facts(model_of(fields.get("model")), max_output=0)

    def body(
        self, body: Chunk, fields: Mapping[str, Any], facts: Facts, model: str | None, usage: bool,
        put: dict[str, bytes] | None = None,
    ) -> Chunk:  # fmt: skip
        """The same buffer, or with another `model` and what rules `put`."""
        return renamed(body, fields, facts.model, model, put)

    def meter(self, facts: Facts, asked: bool) -> Meter:
        """It is never streamed: `facts` say so."""
        return MessagesMeter()

    def answer(self, body: Chunk) -> Usage | None:
        """Check that a number was said; nothing of it is used."""
        try:
            said = _answer(body)
        except (msgspec.DecodeError, ValueError, RecursionError):
            raise Malformed("answer.json") from None
        if said.type == "error":
            raise Malformed("answer.error")
        if said.input_tokens is None:
            raise Malformed("answer.shape")
        return None

    def tail(self, tail: bytes) -> Usage | None:
        """No number is that long."""
        raise Malformed("answer.shape")
