"""Images from words: JSON in; base64 of several megabytes, or URLs, or events with partial images out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from sluicegate.apis.base import OPENAI, PROVIDERS_OF_OPENAI, Bases
from sluicegate.apis.form_body import as_form, typed
from sluicegate.apis.image_facts import LAST, OUTPUT, image_facts, images
from sluicegate.apis.json_body import fields_of, renamed
from sluicegate.apis.media_stream import MediaMeter
from sluicegate.apis.media_usage import usage_at_end
from sluicegate.core.events import Facts, Usage
from sluicegate.core.ports import Chunk, Meter


class ImagesGenerations:
    """The row."""

    name: ClassVar[str] = "images_generations"
    method: ClassVar[str] = "POST"
    deployment_path: ClassVar[str] = "/images/generations"
    model_path: ClassVar[str] = "/images/generations"
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
        return typed(image_facts(as_form(fields), 0), fields)

    def body(
        self, body: Chunk, fields: Mapping[str, Any], facts: Facts, model: str | None, usage: bool,
        put: dict[str, bytes] | None = None,
    ) -> Chunk:  # fmt: skip
        """The same buffer, or with another `model`, with what rules `put`."""
        return renamed(body, fields, facts.model, model, put)

    def meter(self, facts: Facts, asked: bool) -> Meter:
        """A fresh one."""
        assert facts.special is not None
        return MediaMeter(LAST, facts.n, facts.special.a_token, OUTPUT)

    def answer(self, body: Chunk) -> Usage | None:
        """Check a whole answer, and read its usage."""
        return images(body)

    def tail(self, tail: bytes) -> Usage | None:
        """Usage from the end of a large answer."""
        return usage_at_end(tail, OUTPUT)
