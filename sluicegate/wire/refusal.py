"""The answer we give when we refuse: status, header lines and the error envelope that all SDKs read."""

from __future__ import annotations

from math import ceil

from sluicegate.core.refusals import REFUSALS

CONTENT_TYPE = b"content-type: application/json\r\n"


def refusal(reason: str, message: str, retry_after: float | None, request_id: str) -> tuple[int, bytes, bytes]:
    """Status, header lines (each ended by CRLF, framing excluded) and JSON body of one refusal.

    `retry_after`: seconds, None where nothing will change. Both forms are sent, whole seconds rounded up and at least
    1: openai SDKs read the milliseconds first, azure-core does not retry without the seconds.
    """
    r = REFUSALS[reason]
    seconds = retry_after
    if r.least_retry_after is not None:
        seconds = max(r.least_retry_after, seconds or 0.0)
    lines = [CONTENT_TYPE, b"x-sluicegate-reason: %b\r\n" % reason.encode()]
    if request_id:
        lines.append(b"x-sluicegate-request-id: %b\r\n" % request_id.encode())
    lines.append(b"x-should-retry: true\r\n" if r.should_retry else b"x-should-retry: false\r\n")
    if r.limit_source:
        lines.append(b"x-sluicegate-limit-source: %b\r\n" % r.limit_source.encode())
    if seconds is not None:
        lines.append(
            b"retry-after: %d\r\nretry-after-ms: %d\r\n" % (max(1, ceil(seconds)), max(1, ceil(seconds * 1000)))
        )
    return r.status, b"".join(lines), error_body(message, r.type, r.code, reason, r.status)


def error_body(message: str, type_: str, code: str, reason: str, status: int) -> bytes:
    """The error envelope that OpenAI's and Azure's SDKs read, with our stable reason inside."""
    return (
        b'{"error":{"message":' + _text(message) + b',"type":' + _text(type_) + b',"param":null,"code":' + _text(code)
        + b',"status":' + str(status).encode() + b',"reason":' + _text(reason) + b"}}"
    )  # fmt: skip


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
