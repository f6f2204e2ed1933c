"""Words from speech: a form in; JSON, text, subtitles or events out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from sluicegate.apis.audio_heard import EVENT_A_TOKEN, HEARD, LAST, heard, heard_facts, heard_usage_at_end
from sluicegate.apis.base import OPENAI, PROVIDERS_OF_OPENAI, Bases
from sluicegate.apis.form_body import as_form, flag_in
from sluicegate.apis.json_body import fields_of, renamed
from sluicegate.apis.media_stream import MediaMeter
from sluicegate.core.events import Facts, Usage
from sluicegate.core.ports import Chunk, Meter


class AudioTranscriptions:
    """The row."""

    name: ClassVar[str] = "audio_transcriptions"
    method: ClassVar[str] = "POST"
    deployment_path: ClassVar[str] = "/audio/transcriptions"
    model_path: ClassVar[str] = "/audio/transcriptions"
    bases: ClassVar[Bases] = OPENAI
    providers: ClassVar[tuple[str, ...]] = PROVIDERS_OF_OPENAI
    takes: ClassVar[str] = "form"
    or_json: ClassVar[bool] = False
    decides: ClassVar[frozenset[str]] = HEARD
    everywhere: ClassVar[bool] = False
    repeatable: ClassVar[bool] = True
    unmetered: ClassVar[str] = ""
    dialect: ClassVar[str] = "openai"

    def form(self, fields: Mapping[str, bytes], names: Sequence[str], size: int) -> Facts:
        """What a form decides."""
        facts = heard_facts(fields, size)
        facts.stream = flag_in(fields, "stream")
        if facts.stream and facts.special is not None:
            facts.special.a_token = EVENT_A_TOKEN
        return facts

    def fields(self, body: Chunk) -> Mapping[str, Any]:
        """Of a JSON body, which only questions about a request have."""
        return fields_of(body)

    def facts(self, fields: Mapping[str, Any], body: Chunk) -> Facts:
        """What they decide."""
        return self.form(as_form(fields), (), len(body))

    def body(
        self, body: Chunk, fields: Mapping[str, Any], facts: Facts, model: str | None, usage: bool,
        put: dict[str, bytes] | None = None,
    ) -> Chunk:  # fmt: skip
        """The same buffer, or with another `model`, with what rules `put`."""
        return renamed(body, fields, facts.model, model, put)

    def meter(self, facts: Facts, asked: bool) -> Meter:
        """A fresh one."""
        assert facts.special is not None
        return MediaMeter(LAST, 1, facts.special.a_token)

    def answer(self, body: Chunk) -> Usage | None:
        """Check a whole answer, and read its usage."""
        return heard(body)

    def tail(self, tail: bytes) -> Usage | None:
        """Usage from the end of a large answer."""
        return heard_usage_at_end(tail)
