"""What the operations with JSON bodies have in common: their fields, and the values of those that decide.

Fields we do not read are the upstream's to judge; of those we do, a wrong type is refused here, since it would decide.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw

from sluicegate.apis.base import BadRequest
from sluicegate.core.ports import Chunk
from sluicegate.wire.fields import BadJson, rebuild, top_level

LONGEST_MODEL: Final = 256

TRUE: Final = Raw(b"true")
FALSE: Final = Raw(b"false")
NULL: Final = Raw(b"null")
EMPTY: Final = Raw(b"[]")

_ASK: Final = b'{"include_usage":true}'

_text: Final = msgspec.json.Decoder(str).decode
_integer: Final = msgspec.json.Decoder(int).decode


def fields_of(body: Chunk) -> Mapping[str, Any]:
    """The top-level fields, raw."""
    try:
        return top_level(body)
    except BadJson as bad:
        raise BadRequest(bad.reason, bad.message) from None


def renamed(
    body: Chunk, fields: Mapping[str, Any], said: str | None, model: str | None, put: dict[str, bytes] | None
) -> Chunk:
    """The same buffer, or with another `model` than it `said`, and with what rules `put`."""
    rename = model is not None and model != said
    if not rename and not put:
        return body
    changes: dict[str, bytes] = dict(put) if put else {}
    if rename:
        changes["model"] = msgspec.json.encode(model)
    return rebuild(body, fields, changes)


def invalid(field: str, wanted: str) -> BadRequest:
    return BadRequest("request.invalid_field", f"The field '{field}' must be {wanted}.")


def model_of(raw: Raw | None) -> str | None:
    if raw is None or raw == NULL:
        return None
    if len(raw) <= 8 * LONGEST_MODEL:
        try:
            model = _text(raw)
            if 0 < len(model) <= LONGEST_MODEL:
                return model
        except (msgspec.DecodeError, ValueError):
            pass
    raise invalid("model", f"a string of 1 to {LONGEST_MODEL} characters")


def flag(field: str, raw: Raw) -> bool:
    if raw == TRUE:
        return True
    if raw in (FALSE, NULL):
        return False
    raise invalid(field, "true or false")


def count(field: str, raw: Raw, least: int, most: int) -> int:
    if len(raw) <= 10:  # int() of a long number is slow, and msgspec reads it as a float
        try:
            number = _integer(raw)
            if least <= number <= most:
                return number
        except msgspec.DecodeError:
            pass
    raise invalid(field, f"an integer from {least} to {most}")


def some(raw: Raw | None) -> bool:
    return raw is not None and raw != NULL and raw != EMPTY


def asks_usage(options: Raw) -> bool:
    """Of `stream_options` that are there: whether the client itself wants to be told."""
    try:
        asked = top_level(options).get("include_usage")
    except BadJson as bad:
        if bad.reason != "request.invalid_json":
            raise BadRequest(bad.reason, bad.message) from None
        raise invalid("stream_options", "an object") from None
    return asked is not None and flag("stream_options.include_usage", asked)


def asking(options: Raw | None) -> bytes:
    """`stream_options` that ask for usage; include_obfuscation and whatever else stands there stays."""
    if options is None or options == NULL:
        return _ASK
    text = bytes(options)
    return rebuild(text, top_level(text), {"include_usage": b"true"})
