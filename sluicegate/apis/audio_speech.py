"""Speech from words: JSON in; audio out as its bytes, or in events (`stream_format: sse`), the last of which has usage.

The bytes say no usage. They are counted by the format that was asked for, as tokens of which a second of speech has
about 21, and flagged as an estimate; the characters that were spoken are exact, for prices that are by the character.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from sluicegate.apis.base import OPENAI, PROVIDERS_OF_OPENAI, Bases, Malformed
from sluicegate.apis.form_body import as_form, model_in, typed
from sluicegate.apis.json_body import fields_of, renamed
from sluicegate.apis.media_stream import MediaMeter
from sluicegate.core.events import BYTES, Facts, Special, Usage
from sluicegate.core.ports import Chunk, Meter

OUTPUT: Final = "audio_output"
A_TOKEN: Final = {b"mp3": 768, b"opus": 288, b"aac": 576, b"flac": 1440, b"wav": 2304, b"pcm": 2304}
"""Bytes, by format. 24 kHz, 16 bits: 48,000 a second where nothing is compressed."""

BASE64_A_TOKEN: Final = 1024
TOKENS_A_CHARACTER: Final = 2
"""A slow voice; a usual one needs 1.4."""


class AudioSpeech:
    """The row."""

    name: ClassVar[str] = "audio_speech"
    method: ClassVar[str] = "POST"
    deployment_path: ClassVar[str] = "/audio/speech"
    model_path: ClassVar[str] = "/audio/speech"
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
        said = as_form(fields)
        text = said.get("input", b"")
        spoken = len(text.decode("utf-8", "replace"))
        streams = said.get("stream_format") == b"sse"
        facts = Facts(
            model_in(said), streams, 16 + TOKENS_A_CHARACTER * spoken, 1,
            (len(text) + len(said.get("instructions", b""))) // 4 + 1,
        )  # fmt: skip
        a_token = BASE64_A_TOKEN if streams else A_TOKEN.get(said.get("response_format", b"mp3"), A_TOKEN[b"mp3"])
        facts.special = Special(BYTES, a_token, "", OUTPUT, {"character": spoken})
        return typed(facts, fields)

    def body(
        self, body: Chunk, fields: Mapping[str, Any], facts: Facts, model: str | None, usage: bool,
        put: dict[str, bytes] | None = None,
    ) -> Chunk:  # fmt: skip
        """The same buffer, or with another `model`, with what rules `put`."""
        return renamed(body, fields, facts.model, model, put)

    def meter(self, facts: Facts, asked: bool) -> Meter:
        """A fresh one."""
        assert facts.special is not None
        return MediaMeter(".done", 1, facts.special.a_token, OUTPUT)

    def answer(self, body: Chunk) -> Usage | None:
        """JSON is no audio."""
        raise Malformed("answer.content_type")

    def tail(self, tail: bytes) -> Usage | None:
        """Nor is it when it is large."""
        raise Malformed("answer.content_type")
