"""Moderations: is this text or image harmful? Neither OpenAI nor the servers that copy it bill or count its tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import msgspec

from sluicegate.apis.base import OPENAI, Bases, Malformed
from sluicegate.apis.json_body import NULL, fields_of, model_of, renamed
from sluicegate.apis.json_shapes import Judged
from sluicegate.apis.passing import PassingMeter
from sluicegate.core.events import Facts, Usage
from sluicegate.core.ports import Chunk, Meter

_judged: Final = msgspec.json.Decoder(Judged).decode


class Moderations:
    """The row. Azure OpenAI has no such operation: there the content filter looks at every call."""

    name: ClassVar[str] = "moderations"
    method: ClassVar[str] = "POST"
    deployment_path: ClassVar[str] = ""
    model_path: ClassVar[str] = "/moderations"
    bases: ClassVar[Bases] = OPENAI
    providers: ClassVar[tuple[str, ...]] = ("openai_compatible",)
    takes: ClassVar[str] = "json"
    everywhere: ClassVar[bool] = False
    repeatable: ClassVar[bool] = True
    unmetered: ClassVar[str] = "moderations cost nothing, and their answers name no tokens"
    dialect: ClassVar[str] = "openai"

    def fields(self, body: Chunk) -> Mapping[str, Any]:
        """The top-level fields, raw."""
        return fields_of(body)

    def facts(self, fields: Mapping[str, Any], body: Chunk) -> Facts:
        """No tokens, in or out."""
        return Facts(model_of(fields.get("model")), max_output=0)

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
        """Check that there is a verdict."""
        try:
            said = _judged(body)
        except msgspec.ValidationError:
            raise Malformed("answer.shape") from None
        except (msgspec.DecodeError, ValueError, RecursionError):
            raise Malformed("answer.json") from None
        if len(said.error) and said.error != NULL:
            raise Malformed("answer.error")
        if not said.results:
            raise Malformed("answer.shape")
        return None

    def tail(self, tail: bytes) -> Usage | None:
        """Whole, or not."""
        if not tail.rstrip().endswith(b"}"):
            raise Malformed("answer.truncated")
        return None
