"""What the operations that take forms have in common: the values of the fields that decide, as text.

A wrong value of a field that decides is refused, as in JSON bodies; all others are the upstream's to judge.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw

from sluicegate.apis.json_body import LONGEST_MODEL, flag, invalid, model_of
from sluicegate.core.events import Facts

_text: Final = msgspec.json.Decoder(str).decode
_TRUE: Final = (b"true", b"True", b"1")
_FALSE: Final = (b"false", b"False", b"0", b"")


def model_in(fields: Mapping[str, bytes]) -> str | None:
    """The model; None: it does not say."""
    said = fields.get("model")
    if said is None:
        return None
    try:
        model = said.decode("utf-8")
    except UnicodeDecodeError:
        model = ""
    if not 0 < len(model) <= LONGEST_MODEL or not model.isprintable():
        raise invalid("model", f"a string of 1 to {LONGEST_MODEL} characters")
    return model


def flag_in(fields: Mapping[str, bytes], name: str) -> bool:
    """True or false; false where it does not say."""
    said = fields.get(name, b"")
    if said in _TRUE:
        return True
    if said in _FALSE:
        return False
    raise invalid(name, "true or false")


def count_in(fields: Mapping[str, bytes], name: str, least: int, most: int, default: int) -> int:
    """A number; `default` where it does not say."""
    said = fields.get(name, b"")
    if not said:
        return default
    if len(said) <= 10 and said.isdigit() and least <= int(said) <= most:
        return int(said)
    raise invalid(name, f"an integer from {least} to {most}")


def typed(facts: Facts, fields: Mapping[str, Any]) -> Facts:
    """Facts of a JSON body that was read as a form: there, a model is a text and no number, `stream` is no text."""
    facts.model = model_of(fields.get("model"))
    stream = fields.get("stream")
    if stream is not None:
        flag("stream", stream)
    return facts


def as_form(fields: Mapping[str, Any]) -> dict[str, bytes]:
    """The fields of a JSON body as a form would say them; lists and objects are left out."""
    found = {}
    for name, raw in fields.items():
        value = bytes(raw)
        if value[:1] == b'"':
            try:
                found[name] = _text(Raw(value)).encode("utf-8", "replace")
            except (msgspec.DecodeError, ValueError):
                continue
        elif value[:1] not in b"[{" and value != b"null":
            found[name] = value
    return found
