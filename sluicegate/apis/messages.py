"""Messages, in Anthropic's dialect: passed through as they are, never translated. What a request decides, what its
answer used; how its stream is read stands in apis/messages_stream.py.

What names other models is refused, since nobody granted them: the fallbacks of Anthropic's API, tools that ask another
model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import msgspec
from msgspec import Raw

from sluicegate.apis.base import BadRequest, Bases, Malformed
from sluicegate.apis.json_body import NULL, count, fields_of, flag, invalid, model_of, renamed, some
from sluicegate.apis.messages_media import media
from sluicegate.apis.messages_shapes import MessageSaid, Tool
from sluicegate.apis.messages_stream import MessagesMeter
from sluicegate.apis.messages_usage import Said
from sluicegate.core.events import Facts, Usage
from sluicegate.core.ports import Chunk, Meter
from sluicegate.wire.fields import tidied

ANTHROPIC: Final[Bases] = (("/anthropic/v1", False), ("/v1", False))
"""Where Anthropic's operations lie: Foundry's way and its own."""

PROVIDERS_OF_ANTHROPIC: Final[tuple[str, ...]] = ("anthropic", "foundry")

MOST_TOKENS: Final = 2**31 - 1

_answer: Final = msgspec.json.Decoder(MessageSaid).decode
_tools: Final = msgspec.json.Decoder(list[Tool]).decode
_ODD: Final = (msgspec.DecodeError, ValueError, RecursionError)


class Messages:
    """The row."""

    name: ClassVar[str] = "messages"
    method: ClassVar[str] = "POST"
    deployment_path: ClassVar[str] = ""
    model_path: ClassVar[str] = "/messages"
    bases: ClassVar[Bases] = ANTHROPIC
    providers: ClassVar[tuple[str, ...]] = PROVIDERS_OF_ANTHROPIC
    takes: ClassVar[str] = "json"
    everywhere: ClassVar[bool] = True
    repeatable: ClassVar[bool] = True
    unmetered: ClassVar[str] = ""
    dialect: ClassVar[str] = "anthropic"

    def fields(self, body: Chunk) -> Mapping[str, Any]:
        """The top-level fields, raw."""
        return fields_of(body)

    def facts(self, fields: Mapping[str, Any], body: Chunk) -> Facts:
        """What the fields decide. Fields we do not read are the upstream's to judge."""
        get = fields.get
        refuse_other_models(fields)
        embedded = beyond = images = 0
        messages = get("messages")
        if messages is not None:
            found = media(messages, body, fields)
            images, embedded, beyond = found.images, found.size, found.tokens
        stream = get("stream")
        most = get("max_tokens")
        return Facts(
            model_of(get("model")),
            stream is not None and flag("stream", stream),
            None if most is None or most == NULL else count("max_tokens", most, 0, MOST_TOKENS),
            1,
            (len(body) - embedded) // 4 + beyond,
            some(get("tools")),
            images,
            False,
            beyond,
        )

    def body(
        self, body: Chunk, fields: Mapping[str, Any], facts: Facts, model: str | None, usage: bool,
        put: dict[str, bytes] | None = None,
    ) -> Chunk:  # fmt: skip
        """The same buffer, or with another `model` and what rules `put`. Usage comes unasked."""
        return renamed(body, fields, facts.model, model, put)

    def meter(self, facts: Facts, asked: bool) -> Meter:
        """A fresh meter for one streamed answer."""
        return MessagesMeter()

    def answer(self, body: Chunk) -> Usage | None:
        """Check that this is one whole message, and read its usage."""
        try:
            said = _answer(body)
        except _ODD:
            said = _lenient(body)
        if said.type == "error" or (len(said.error) and said.error != NULL):
            raise Malformed("answer.error")
        if said.type != "message" or said.content is None:
            raise Malformed("answer.shape")
        return Said().read(said.usage) if len(said.usage) else None

    def tail(self, tail: bytes) -> Usage | None:
        """Usage from the end of a large answer; None if it stands before it, which is then estimated."""
        if not tail.rstrip().endswith(b"}"):
            raise Malformed("answer.truncated")
        at = tail.rfind(b'"usage"')
        begin = tail.find(b"{", at)
        if at < 0 or tail[at + 7 : begin].strip() != b":":
            return None
        end = begin
        for _ in range(12):  # the object's own brace is among the next few: what it holds are objects, too
            end = tail.find(b"}", end) + 1
            if not end:
                break
            usage = Said().read(Raw(tail[begin:end]))
            if usage is not None:
                return usage
        return None


def refuse_other_models(fields: Mapping[str, Any]) -> None:
    """Raises BadRequest where the request names models besides its `model`: only that one was granted, is limited and
    priced."""
    fallbacks = fields.get("fallbacks")
    if fallbacks is not None and fallbacks != NULL:
        raise BadRequest(
            "request.invalid_field",
            "The field 'fallbacks' names other models, which this gateway does not pass on: it has fallbacks of its "
            "own. Leave the field out.",
        )
    tools = fields.get("tools")
    if tools is not None and some(tools):
        try:
            named = any(len(tool.model) for tool in _tools(tools))
        except _ODD:
            raise invalid("tools", "a list of objects") from None
        if named:
            raise BadRequest(
                "request.invalid_field",
                "One of the 'tools' names a model of its own, which this gateway does not pass on. Leave the tool out.",
            )


def _lenient(body: Chunk) -> MessageSaid:
    """An answer that our strict reader does not take but the SDKs do."""
    tidy = tidied(body)
    if tidy is None:
        raise Malformed("answer.json")
    try:
        return _answer(tidy)
    except _ODD:
        raise Malformed("answer.shape") from None
