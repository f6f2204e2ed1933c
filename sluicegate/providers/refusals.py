"""Why an upstream refused, read from status, headers and the error envelope that OpenAI's dialect shares.

Our faults (its credential, its deployment) are never the client's; a 429 is one of three kinds, each another door.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw

from sluicegate.core.events import AnswerFacts
from sluicegate.core.ports import Headers
from sluicegate.wire.headers import utilisation
from sluicegate.wire.retry import retry_after

_AS_5XX: Final = frozenset({408, 409, 424, 499})
"""The upstream gave up on something of its own: as good as a 5xx."""

_CLIENTS: Final = frozenset({400, 413, 422})
"""The request itself: another member would say the same."""

_CAPACITY: Final = ("high demand", "nocapacity", "no capacity", "at capacity", "over capacity", "overloaded")
_SIZE: Final = ("maximum usage size", "peak load")


class _Error(msgspec.Struct, gc=False):
    code: str | int | None = None
    type: str | None = None


class _Envelope(msgspec.Struct, gc=False):
    error: Raw = Raw()
    code: str | int | None = None
    "Some servers have no envelope."


_envelope: Final = msgspec.json.Decoder(_Envelope).decode
_error: Final = msgspec.json.Decoder(_Error).decode


def classify(status: int, headers: Headers, body: bytes, wall: float) -> AnswerFacts:
    """Cause, code and times of an answer that is not a 200. Never raises, whatever stands in it."""
    facts = AnswerFacts(code=code_of(body))
    for name, value in headers:
        if name[:1] in b"aAxX":
            lower = name.lower()
            if lower == b"azure-openai-deployment-utilization":
                facts.utilisation = utilisation(value)
            elif lower == b"x-ms-region" and len(value) <= 64 and value.isascii():
                facts.region = "".join(c for c in value.decode("ascii") if c.isprintable())
    if status == 429:
        facts.cause = "upstream.throttled." + _kind(facts.code, text_of(body))
        facts.retry_after = retry_after(headers, wall)
    elif status >= 500 or status in _AS_5XX:
        facts.cause = "upstream.status_5xx"
        facts.retry_after = retry_after(headers, wall)
    elif status in (401, 403):
        facts.cause = "upstream.credential"
    elif status in (404, 410):
        facts.cause = "upstream.deployment"
    elif 300 <= status < 400:
        facts.cause = "upstream.redirect"
    elif status not in _CLIENTS:
        facts.cause = "upstream.status"
    return facts


def code_of(body: bytes) -> str:
    """`error.code`, or its type, as a plain word; empty where there is none or it is anything but a word."""
    try:
        said = _envelope(body)
        error = _error(said.error) if len(said.error) else None
    except (msgspec.DecodeError, ValueError, RecursionError):
        return ""
    code = str((error and (error.code or error.type)) or said.code or "")
    return code if len(code) <= 64 and code.isascii() and code.replace("_", "").replace("-", "").isalnum() else ""


def text_of(body: bytes) -> str:
    """The body in lower case, to search: messages are not an interface, but Azure has no other."""
    return body[:4096].decode("latin-1").lower()


def _kind(code: str, text: str) -> str:
    if any(words in text for words in _SIZE):
        return "size"
    if code == "NoCapacity" or any(words in text for words in _CAPACITY):
        return "capacity"
    return "rate"
