"""Operations that we do not know, passed on where a model's `operations` name them: `POST /responses/compact`.

They meet the same grants, limits and records as all others. What goes up is the client's body with its model renamed;
what comes back is not judged beyond being JSON, or events. Tokens are what a `usage` object says, in either of the
two spellings; an answer that says none is counted as a request and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import msgspec
from msgspec import Raw

from sluicegate.apis.base import OPENAI, PROVIDERS_OF_OPENAI, BadRequest, Bases, Malformed
from sluicegate.apis.chat_shapes import UsageSaid
from sluicegate.apis.chat_stream import code_of
from sluicegate.apis.chat_usage import believable, usage_at_end
from sluicegate.apis.json_body import NULL, count, fields_of, flag, model_of, renamed
from sluicegate.apis.json_shapes import AnyAnswer, AnyUsage
from sluicegate.core.events import Facts, Usage
from sluicegate.core.ports import Chunk, Meter, Terminal
from sluicegate.wire.fields import tidied
from sluicegate.wire.sse import Assembler

MOST_TOKENS: Final = 2**31 - 1
WRAPPING: Final = 160
"""Bytes of an event that are not what the model said, about."""

BYTES_A_TOKEN: Final = 4
MAXIMA: Final = ("max_output_tokens", "max_completion_tokens", "max_tokens")

_answer: Final = msgspec.json.Decoder(AnyAnswer).decode
_usage: Final = msgspec.json.Decoder(AnyUsage).decode


class Passing:
    """A row made from what a configuration says. `name`: method and path, as they stand there."""

    takes: ClassVar[str] = "json"
    bases: ClassVar[Bases] = OPENAI
    providers: ClassVar[tuple[str, ...]] = PROVIDERS_OF_OPENAI
    deployment_path: ClassVar[str] = ""
    everywhere: ClassVar[bool] = False
    repeatable: ClassVar[bool] = False
    "What it leaves behind nobody knows."
    unmetered: ClassVar[str] = "what an operation that we do not know costs, only its answer says"
    dialect: ClassVar[str] = "openai"

    def __init__(self, name: str) -> None:
        self.name = name
        self.method, _, self.model_path = name.partition(" ")

    def fields(self, body: Chunk) -> Mapping[str, Any]:
        """The top-level fields, raw."""
        return fields_of(body)

    def facts(self, fields: Mapping[str, Any], body: Chunk) -> Facts:
        """The body's bytes as text, and the fields that all operations share."""
        stream = fields.get("stream")
        most: int | None = None
        for name in MAXIMA:
            said = fields.get(name)
            if said is not None and said != NULL:
                try:
                    most = max(most or 0, count(name, said, 0, MOST_TOKENS))
                except BadRequest:
                    pass  # it may be something else here
        return Facts(
            model_of(fields.get("model")), stream is not None and flag("stream", stream), most,
            estimate=len(body) // BYTES_A_TOKEN, asked_usage=True,
        )  # fmt: skip

    def body(
        self, body: Chunk, fields: Mapping[str, Any], facts: Facts, model: str | None, usage: bool,
        put: dict[str, bytes] | None = None,
    ) -> Chunk:  # fmt: skip
        """The same buffer, or with another `model`, with what rules `put`."""
        return renamed(body, fields, facts.model, model, put)

    def meter(self, facts: Facts, asked: bool) -> Meter:
        """A fresh one."""
        return PassingMeter()

    def answer(self, body: Chunk) -> Usage | None:
        """Check that it is JSON, and read what usage it says."""
        try:
            said = _answer(body)
        except msgspec.ValidationError:
            return None  # of another shape
        except (msgspec.DecodeError, ValueError, RecursionError):
            if tidied(body) is None:
                raise Malformed("answer.json") from None
            return None
        return any_usage(said.usage)

    def tail(self, tail: bytes) -> Usage | None:
        """Usage from the end of a large answer."""
        if tail.rstrip().endswith(b"]"):
            return None
        return usage_at_end(tail, any_usage)


def any_usage(raw: Raw) -> Usage | None:
    """As chat completions or as responses spell it."""
    if not len(raw) or raw == NULL:
        return None
    try:
        u = _usage(raw)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    prompt = u.input_tokens if u.prompt_tokens is None else u.prompt_tokens
    if prompt is None:
        return None
    completion = u.output_tokens if u.completion_tokens is None else u.completion_tokens
    if completion is None and u.total_tokens is None:
        completion = 0
    return believable(
        UsageSaid(
            prompt,
            completion,
            u.total_tokens,
            u.prompt_tokens_details or u.input_tokens_details,
            u.completion_tokens_details or u.output_tokens_details,
        )
    )


class PassingMeter:
    """Of a stream: events pass as they come. It is whole when its HTTP message is, or at `[DONE]`."""

    __slots__ = (
        "_begun", "_sse", "broken", "delivered", "error", "finished", "first_token_at", "tier", "usage",
    )  # fmt: skip

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.first_token_at: float | None = None
        self.error = ""
        self.tier = ""
        self.delivered = 0
        self.finished = False
        self.broken = False
        self._begun = False
        self._sse = Assembler()

    @property
    def prompt(self) -> Usage | None:
        """Nothing: usage comes at the end."""
        return None

    def feed(self, chunk: bytes, now: float) -> bytes:
        """The events that this chunk completes, as they came. Raises wire.sse.Endless."""
        out: list[bytes] = []
        if not self.finished:
            for event, data in self._sse.feed(chunk):
                out.append(event)
                if data is not None and self._read(data, now):
                    break
        return b"".join(out)

    def end(self) -> str:
        """How it stands when the upstream has nothing more to say."""
        if self.error:
            return Terminal.ERROR
        if self.finished:
            return Terminal.DONE
        rest = self._sse.rest()
        if rest in (b"data: [DONE]", b"data:[DONE]"):
            return Terminal.DONE
        return Terminal.DONE if self._begun and not rest and not self._sse.passing else Terminal.INCOMPLETE

    def cut(self, reason: str, message: str) -> bytes | None:
        """An event that makes the SDKs raise; None while a part of an event is with the client already."""
        if self._sse.passing:
            return None
        error = {"message": message, "type": "server_error", "code": "upstream_interrupted", "reason": reason}
        return b"data: " + msgspec.json.encode({"error": error}) + b"\n\n"

    def _read(self, data: bytes, now: float) -> bool:
        """Look at one event; True: it was the last."""
        if data == b"[DONE]":
            self.finished = True
            if not self._begun:
                self.error = "answer.empty"
            return True
        begun = self._begun
        self._begun = True
        if self.first_token_at is None:
            self.first_token_at = now
        self.delivered += max(1, (len(data) - WRAPPING) // BYTES_A_TOKEN)
        try:
            said = _answer(data)
        except (msgspec.DecodeError, ValueError, RecursionError):
            if not begun and tidied(data) is None:
                self.error = "answer.json"
                self.finished = True
            return self.finished
        inside = said.response
        self.usage = any_usage(said.usage) or (any_usage(inside.usage) if inside is not None else None) or self.usage
        if said.type == "error" or (len(said.error) and said.error != NULL):
            self.error = code_of(said.error) if len(said.error) else "error"
            self.finished = True
        return self.finished
