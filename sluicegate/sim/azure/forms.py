"""Forms as an instance reads them: all parts at once, by their boundary. Not the gateway's own reader, so that one
mistake is not made twice."""

from __future__ import annotations

import re
from typing import Any, Final

_BOUNDARY: Final = re.compile(rb'multipart/form-data;.*?boundary="?([^";]+)', re.IGNORECASE)
_NAME: Final = re.compile(rb'[; ]name="?([^";]*)', re.IGNORECASE)
FILES: Final = "files"
"""Of the document: (name, content) of each."""


def document(content_type: bytes, body: bytes | bytearray) -> dict[str, Any] | None:
    """Fields as a JSON body would have them, and its files; None: this is no form."""
    found = _BOUNDARY.search(content_type)
    if found is None:
        return None
    line = b"--" + found[1]
    begin = body.find(line + b"\r\n")
    if begin != 0:
        return None
    said: dict[str, Any] = {FILES: []}
    at = len(line) + 2
    while True:
        end = body.find(b"\r\n" + line, at)
        head = body.find(b"\r\n\r\n", at)
        if end < 0 or not at <= head < end:
            return None
        name = _NAME.search(bytes(body[at:head]))
        if name is None:
            return None
        value = bytes(body[head + 4 : end])
        if b"filename" in body[at:head].lower():
            said[FILES].append((name[1].decode("utf-8", "replace"), value))
        else:
            said[name[1].decode("utf-8", "replace")] = _value(value.decode("utf-8", "replace"))
        at = end + 2 + len(line) + 2
        if body[at - 2 : at] == b"--":
            return said
        if body[at - 2 : at] != b"\r\n":
            return None


def _value(text: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    return int(text) if text.isdecimal() and len(text) < 10 else text
