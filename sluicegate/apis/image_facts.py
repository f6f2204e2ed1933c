"""What an image costs before it is made, and what its answer says: for generations and edits alike.

Tokens of an image hang on its size and quality; the table is of the first GPT image model, whose successors' are of
the same order. Where a model says no usage, an image counts as what the table says, and where it is billed by the
image, as one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from sluicegate.apis.base import Malformed
from sluicegate.apis.form_body import count_in, flag_in, model_in
from sluicegate.apis.media_shapes import ImagesSaid
from sluicegate.apis.media_usage import usage_of
from sluicegate.core.events import JSON, Facts, Special, Usage
from sluicegate.core.ports import Chunk
from sluicegate.wire.fields import tidied

MOST_IMAGES: Final = 128
LAST: Final = ".completed"
OUTPUT: Final = "image_output"

_PIXELS: Final = 1024 * 1024
_OF_QUALITY: Final = {
    b"low": 272, b"medium": 1056, b"high": 4160, b"xhigh": 4160, b"max": 4160, b"standard": 1056, b"hd": 4160,
}  # fmt: skip
_UNSAID: Final = 4160
_SIZE: Final = re.compile(rb"(\d{1,5})x(\d{1,5})")
_A_TOKEN: Final = 700
"""Bytes of base64, of a PNG of high quality."""

_answer: Final = msgspec.json.Decoder(ImagesSaid).decode


def image_facts(fields: Mapping[str, bytes], given: int) -> Facts:
    """`given`: tokens of the images that came with the request."""
    n = count_in(fields, "n", 1, MOST_IMAGES, 1)
    size = _SIZE.fullmatch(fields.get("size", b""))
    pixels = int(size[1]) * int(size[2]) if size else _PIXELS * 3 // 2
    tokens = _OF_QUALITY.get(fields.get("quality", b""), _UNSAID)
    facts = Facts(
        model_in(fields), flag_in(fields, "stream"), max(16, tokens * pixels // _PIXELS), n,
        len(fields.get("prompt", b"")) // 4 + 1 + given, images=n, media=given,
    )  # fmt: skip
    expected = n * (facts.max_output or 0)
    facts.special = Special(JSON, _A_TOKEN, "image_input" if given else "", OUTPUT, {"image": n}, expected)
    return facts


def images(body: Chunk) -> Usage | None:
    """Check that this is one whole answer, and read its usage. Raises Malformed."""
    try:
        said = _answer(body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        tidy = tidied(body)
        if tidy is None:
            raise Malformed("answer.json") from None
        try:
            said = _answer(tidy)
        except (msgspec.DecodeError, RecursionError):
            raise Malformed("answer.shape") from None
    if len(said.error) and bytes(said.error) != b"null":
        raise Malformed("answer.error")
    if not said.data:
        raise Malformed("answer.shape")
    return usage_of(said.usage, OUTPUT) if len(said.usage) else None
