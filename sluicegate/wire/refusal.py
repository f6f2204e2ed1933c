"""The answer we give when we refuse: status, header lines and the error envelope of the client's dialect."""

from __future__ import annotations

from math import ceil
from typing import Final

from sluicegate.core.refusals import REFUSALS, TOKEN, TOKENS

CONTENT_TYPE = b"content-type: application/json\r\n"

OPENAI: Final = "openai"
ANTHROPIC: Final = "anthropic"
"""Dialects, as rows of APIS name theirs: which SDKs read the errors."""

_ANTHROPIC_TYPES: Final = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    413: "request_too_large", 429: "rate_limit_error", 503: "overloaded_error",
}  # fmt: skip
"""`error.type` by status, as Anthropic has them; what is not here is the request's fault below 500, else ours."""


def refusal(
    reason: str, message: str, retry_after: float | None, request_id: str, dialect: str = OPENAI
) -> tuple[int, bytes, bytes]:
    """Status, header lines (each ended by CRLF, framing excluded) and JSON body of one refusal.

    `retry_after`: seconds, None where nothing will change. Both forms are sent, whole seconds rounded up and at least
    1: openai SDKs read the milliseconds first, azure-core does not retry without the seconds.
    """
    if reason in TOKENS:
        reason = TOKEN
    r = REFUSALS[reason]
    seconds = retry_after
    if r.least_retry_after is not None:
        seconds = max(r.least_retry_after, seconds or 0.0)
    lines = [CONTENT_TYPE, b"x-sluicegate-reason: %b\r\n" % reason.encode()]
    if request_id:
        lines.append(b"x-sluicegate-request-id: %b\r\n" % request_id.encode())
    lines.append(b"x-should-retry: true\r\n" if r.should_retry else b"x-should-retry: false\r\n")
    if reason == TOKEN:
        lines.append(b'www-authenticate: Bearer error="invalid_token"\r\n')
    if r.limit_source:
        lines.append(b"x-sluicegate-limit-source: %b\r\n" % r.limit_source.encode())
    if seconds is not None:
        lines.append(
            b"retry-after: %d\r\nretry-after-ms: %d\r\n" % (max(1, ceil(seconds)), max(1, ceil(seconds * 1000)))
        )
    if dialect == ANTHROPIC:
        if request_id:
            lines.append(b"request-id: %b\r\n" % request_id.encode())  # which its SDKs show beside an error
        return r.status, b"".join(lines), anthropic_error(message, r.status, reason, request_id)
    return r.status, b"".join(lines), error_body(message, r.type, r.code, reason, r.status)


def anthropic_error(message: str, status: int, reason: str, request_id: str) -> bytes:
    """The error envelope that Anthropic's SDKs read, with our stable reason inside."""
    type_ = _ANTHROPIC_TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    return (
        b'{"type":"error","error":{"type":' + _text(type_) + b',"message":' + _text(message) + b',"reason":'
        + _text(reason) + b'},"request_id":' + (_text(request_id) if request_id else b"null") + b"}"
    )  # fmt: skip


def error_body(message: str, type_: str, code: str, reason: str, status: int) -> bytes:
    """The error envelope that OpenAI's and Azure's SDKs read, with our stable reason inside."""
    return (
        b'{"error":{"message":' + _text(message) + b',"type":' + _text(type_) + b',"param":null,"code":' + _text(code)
        + b',"status":' + str(status).encode() + b',"reason":' + _text(reason) + b"}}"
    )  # fmt: skip


def refused_upstream(status: int, request_id: str, dialect: str) -> bytes:
    """Instead of an upstream's refusal that is no error of its API, such as a page of HTML."""
    message = "The model's server refused the request."
    if dialect == ANTHROPIC:
        return anthropic_error(message, status, "upstream.refused", request_id)
    return error_body(message, "invalid_request_error", str(status), "upstream.refused", status)


def _text(value: str) -> bytes:
    """A JSON string in ASCII: safe inside an event stream, too, since it cannot contain a line end."""
    out = ['"']
    for c in value:
        o = ord(c)
        if c in '"\\':
            out.append("\\" + c)
        elif 32 <= o < 127:
            out.append(c)
        elif o < 0x10000:
            out.append(f"\\u{o:04x}")
        else:
            o -= 0x10000
            out.append(f"\\u{0xD800 + (o >> 10):04x}\\u{0xDC00 + (o & 0x3FF):04x}")
    out.append('"')
    return "".join(out).encode("ascii")
