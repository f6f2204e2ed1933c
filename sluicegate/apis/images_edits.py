"""Images from images and words: a form in, or JSON that names its images; answers as generations' are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from sluicegate.apis.base import OPENAI, PROVIDERS_OF_OPENAI, Bases
from sluicegate.apis.form_body import as_form, typed
from sluicegate.apis.image_facts import LAST, OUTPUT, image_facts, images
from sluicegate.apis.json_body import fields_of, renamed
from sluicegate.apis.media_stream import MediaMeter
from sluicegate.apis.media_usage import usage_at_end
from sluicegate.core.events import Facts, Usage
from sluicegate.core.ports import Chunk, Meter

IMAGE_TOKENS: Final = 765
"""Of an image that is given, as with chat."""


class ImagesEdits:
    """The row."""

    name: ClassVar[str] = "images_edits"
    method: ClassVar[str] = "POST"
    deployment_path: ClassVar[str] = "/images/edits"
    model_path: ClassVar[str] = "/images/edits"
    bases: ClassVar[Bases] = OPENAI
    providers: ClassVar[tuple[str, ...]] = PROVIDERS_OF_OPENAI
    takes: ClassVar[str] = "form"
    or_json: ClassVar[bool] = True
    decides: ClassVar[frozenset[str]] = frozenset(("model", "stream", "n", "size", "quality", "prompt", "user"))
    everywhere: ClassVar[bool] = False
    repeatable: ClassVar[bool] = True
    unmetered: ClassVar[str] = ""
    dialect: ClassVar[str] = "openai"

    def form(self, fields: Mapping[str, bytes], names: Sequence[str], size: int) -> Facts:
        """What a form decides."""
        given = sum([1 for name in names if name.startswith(("image", "mask"))])
        return image_facts(fields, given * IMAGE_TOKENS)

    def fields(self, body: Chunk) -> Mapping[str, Any]:
        """Of a JSON body: the top-level fields, raw."""
        return fields_of(body)

    def facts(self, fields: Mapping[str, Any], body: Chunk) -> Facts:
        """What they decide. How many images they name is a matter of their shape: one at least."""
        return typed(image_facts(as_form(fields), IMAGE_TOKENS), fields)

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
