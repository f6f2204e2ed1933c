"""Which headers pass, in both directions: allow-lists, so that what nobody thought of does not pass.

Down: content-type, ids for support cases, the budget headers that SDKs read. Never cookies, server and host names,
names of deployments or regions, the provider's utilisation, hints for retrying (the gateway decides who retries).
Up: what selects the wire format or correlates; credentials, organisation and project ids and whatever selects a
deployment or a content filter are the operator's to say.
"""

from __future__ import annotations

import re
from operator import itemgetter
from typing import Final

from sluicegate.core.ports import Alike, Chunk, Headers

ANSWER_PASS: Final = frozenset({
    b"content-type",
    b"x-request-id",           # what the SDKs show as request_id
    b"request-id",
    b"apim-request-id",        # what Azure's support asks for
    b"x-ms-client-request-id",  # the client's own, echoed
    b"openai-processing-ms",
    b"x-ms-rai-invoked",       # whether the content filter ran
    b"x-ratelimit-limit-requests",      # of the deployment that served; clients that pace themselves read them
    b"x-ratelimit-limit-tokens",
    b"x-ratelimit-remaining-requests",
    b"x-ratelimit-remaining-tokens",
    b"x-ratelimit-reset-requests",
    b"x-ratelimit-reset-tokens",
    *(b"anthropic-ratelimit-%b-%b" % (of, what)
      for of in (b"requests", b"tokens", b"input-tokens", b"output-tokens")
      for what in (b"limit", b"remaining", b"reset")),
})  # fmt: skip

SPILLOVER_TARGET: Final = b"x-ms-spillover-deployment"
"""By which a client asks Azure for its own spillover: the name of another deployment of the instance."""

REQUEST_PASS: Final = frozenset({
    b"accept",
    b"x-ms-client-request-id",  # correlation: echoed by Azure
    b"traceparent",
    b"tracestate",
    b"openai-beta",             # selects a wire format
    b"extra-parameters",        # azure-ai-inference: what to do with fields the model does not know
    b"anthropic-version",       # of the Messages API
    b"anthropic-beta",          # selects features of it
})  # fmt: skip
"""Lower-case names of request headers that go up. `content-type` is not here: the body was checked to be JSON, so the
plan says `application/json`. Nor is `idempotency-key`: behind our one identity, a key of one tenant could fetch the
answer of another."""

REQUEST_MAY_PASS: Final = REQUEST_PASS | {SPILLOVER_TARGET}
"""With those that pass where the route lets them only, see Route.lets_spill."""

CREDENTIAL_HEADERS: Final = (b"api-key", b"authorization", b"x-api-key", b"ocp-apim-subscription-key")
"""Where a client may show who it is. They are read and never forwarded."""

STATUS_LINES: Final = {
    code: b"HTTP/1.1 %d %b\r\n" % (code, phrase)
    for code, phrase in {
        100: b"Continue", 200: b"OK", 201: b"Created", 202: b"Accepted", 204: b"No Content", 206: b"Partial Content",
        301: b"Moved Permanently", 302: b"Found", 303: b"See Other", 304: b"Not Modified", 307: b"Temporary Redirect",
        308: b"Permanent Redirect", 400: b"Bad Request", 401: b"Unauthorized", 402: b"Payment Required",
        403: b"Forbidden", 404: b"Not Found", 405: b"Method Not Allowed", 406: b"Not Acceptable",
        408: b"Request Timeout", 409: b"Conflict", 410: b"Gone", 411: b"Length Required",
        412: b"Precondition Failed", 413: b"Content Too Large", 414: b"URI Too Long", 415: b"Unsupported Media Type",
        416: b"Range Not Satisfiable", 417: b"Expectation Failed", 421: b"Misdirected Request",
        422: b"Unprocessable Content", 423: b"Locked", 424: b"Failed Dependency", 425: b"Too Early",
        426: b"Upgrade Required", 428: b"Precondition Required", 429: b"Too Many Requests",
        431: b"Request Header Fields Too Large", 451: b"Unavailable For Legal Reasons",
        499: b"Client Closed Request", 500: b"Internal Server Error", 501: b"Not Implemented", 502: b"Bad Gateway",
        503: b"Service Unavailable", 504: b"Gateway Timeout", 505: b"HTTP Version Not Supported",
        529: b"Site is overloaded",
    }.items()
}  # fmt: skip

_RATELIMIT: Final = (b"x-ratelimit-", b"anthropic-ratelimit-")
_SPILLOVER: Final = b"x-ms-spillover-"
_FROM: Final = b"x-ms-spillover-from-"
_NAME: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_KNOWN_MOST: Final = 512
_SHAPE_BYTES: Final = 4096
_COMMON: Final = frozenset({b"application/json", b"text/event-stream"})
_KNOWN: dict[bytes, bytes] = {}
"""Spellings seen so far: name as it came -> the beginning of its line, b"" to drop it; the names
that we read are not here, see `_note`. A cache and nothing else; bounded, because upstreams choose the names."""


class Spillover:
    """What Azure says when it sent a request on by itself, from a provisioned deployment that could not take it."""

    __slots__ = ("error", "lines", "served", "source")

    def __init__(self, pairs: Headers) -> None:
        """The documentation has the deployment's name in the header's name, the service in its value."""
        self.source = self.served = self.error = ""
        "Names of the deployments that refused and that served, and the status of the refusal; empty: not said."
        self.lines = b""
        for name, value in pairs:
            lower = name.lower()
            if lower == b"x-ms-deployment-name":
                self.served = _word(value)
            elif lower.startswith(_SPILLOVER):
                if _clean(lower) and _clean(value):
                    self.lines += lower + b": " + value + b"\r\n"
                if lower == b"x-ms-spillover-error":
                    self.error = _word(value)
                elif lower == b"x-ms-spillover-from-deployment":
                    self.source = _word(value)
                elif lower.startswith(_FROM):
                    self.source = _word(name[len(_FROM) :])


class AnswerHead:
    """What we read from the head of an upstream's answer, and the lines of it that the client may see."""

    __slots__ = (
        "_limits", "_shape", "_values", "content_type", "encoding", "length", "lines", "region", "spillover",
        "utilisation",
    )  # fmt: skip

    def __init__(self) -> None:
        self.content_type = b""
        "Media type, lower-case, without parameters."
        self.encoding = b""
        "Content-Encoding, lower-case; empty for identity."
        self.length: int | None = None
        self.lines = b""
        "Complete header lines, content-type among them, each ended by CRLF. No framing, no content-encoding."
        self._limits = b""
        self._shape: _Shape | None = None
        "Of which the limits are yet to be written."
        self._values: tuple[bytes, ...] = ()
        self.region = ""
        self.spillover: Spillover | None = None
        self.utilisation: float | None = None
        "Share of a provisioned deployment in use, 0.0 to 1.0 and beyond."

    def limits(self) -> bytes:
        """More lines: those that tell the limits of the deployment. Few clients are told them, so they are written
        when they are asked for."""
        shape = self._shape
        return self._limits if shape is None or shape.left is None else shape.limits % shape.left(self._values)


class _Shape:
    """What a sequence of header names comes to: an instance sends the same names in every answer. Places are those in
    the sequence, -1: it is not there."""

    __slots__ = ("encoding", "form", "left", "length", "limits", "region", "spilled", "type", "utilisation", "values")

    def __init__(self, names: tuple[bytes, ...]) -> None:
        read = {name.lower(): place for place, name in enumerate(names)}
        all_ = [place for place, name in enumerate(names) if name.lower() in ANSWER_PASS]
        passed = [place for place in all_ if not names[place].lower().startswith(_RATELIMIT)]
        limits = [place for place in all_ if names[place].lower().startswith(_RATELIMIT)]
        self.type = read.get(b"content-type", -1)
        self.length = read.get(b"content-length", -1)
        self.encoding = read.get(b"content-encoding", -1)
        self.region = read.get(b"x-ms-region", -1)
        self.utilisation = read.get(b"azure-openai-deployment-utilization", -1)
        self.spilled = any(name.startswith(_SPILLOVER) for name in read)
        self.form = b"".join(names[place].lower() + b": %b\r\n" for place in passed)
        self.values = itemgetter(*passed) if passed else None
        self.limits = b"".join(names[place].lower() + b": %b\r\n" for place in limits)
        self.left = itemgetter(*limits) if limits else None


_REGIONS: dict[bytes, str] = {}
_SHAPES: dict[tuple[bytes, ...], _Shape] = {}


def _shape(names: tuple[bytes, ...]) -> _Shape:
    shape = _Shape(names)
    if sum(map(len, names)) <= _SHAPE_BYTES:
        if len(_SHAPES) >= _KNOWN_MOST:
            _SHAPES.clear()
        _SHAPES[names] = shape
    return shape


def answer(headers: Headers | dict[bytes, bytes] | Alike) -> AnswerHead:
    """Read and filter. Names that come together again and again are looked at once for all answers that have them. A
    dictionary comes from the HTTP parser, which lets no CR, LF or NUL into a value, as does Like; pairs may come from
    anywhere and are looked at."""
    if isinstance(headers, Alike):
        shape = headers.shape
        assert isinstance(shape, _Shape)
        return _by_shape(shape, headers.names, headers.values)
    if isinstance(headers, dict):
        names = tuple(headers)
        return _by_shape(_SHAPES.get(names) or _shape(names), names, tuple(headers.values()))
    return _in_turn(headers)


def pairs(headers: Headers | dict[bytes, bytes] | Alike) -> Headers:
    """Names and values, to keep."""
    if isinstance(headers, Alike):
        return tuple(zip(headers.names, headers.values, strict=True))
    return tuple(headers.items()) if isinstance(headers, dict) else headers


class Like:
    """Reads heads of plain answers that have the same names, in the same order and spelling, as one before that the
    HTTP parser took. It takes less than the parser would, and costs less than half of it.

    What it does not take goes to the parser as if nothing had been. A head that says anything of the connection or of
    its framing but a Content-Length has no Like.
    """

    __slots__ = ("begins", "count", "known", "length", "names", "shape", "values")

    def __init__(self, names: tuple[bytes, ...]) -> None:
        """Raises ValueError where there is none."""
        lower = [name.lower() for name in names]
        if not _FRAMING.isdisjoint(lower) or sum(map(len, names)) > _SHAPE_BYTES:
            raise ValueError("other framing than a length")
        self.names = names
        self.shape = _Shape(names)
        self.length = lower.index(b"content-length")
        "Place of the Content-Length."
        self.begins: list[bytes] = [name + b": " for name in names]
        self.count = len(names)
        self.known: list[bytes] = [b""] * len(names)
        "The last line that was taken at each place: most say the same again."
        self.values: list[bytes] = [b""] * len(names)
        "Their values."

    def read(self, data: Chunk) -> tuple[Alike, int, bytes] | None:
        """Headers, length of the body and what of it is there; None: let the parser look."""
        raw = bytes(data)
        count = self.count
        lines = raw.split(b"\r\n", count + 2)
        if len(lines) != count + 3 or lines[0] != _FINE or lines[count + 1]:
            return None
        body = lines[count + 2]
        known = self.known
        values = self.values
        for place in range(count):
            line = lines[place + 1]
            if line == known[place]:
                continue
            begin = self.begins[place]
            size = len(begin)
            if len(line) <= size or not line.startswith(begin) or line[size] <= 32 or line.translate(None, _TEXT):
                return None
            known[place] = line
            values[place] = line[size:]
        digits = values[self.length]
        if not digits.isdigit() or len(digits) > 15:
            return None
        length = int(digits)
        return (Alike(self.names, tuple(values), self.shape), length, body) if len(body) <= length else None


_FINE: Final = b"HTTP/1.1 200 OK"
_TEXT: Final = b"\t" + bytes(range(32, 127))
_FRAMING: Final = frozenset(
    (b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade", b"content-encoding")
)


def _by_shape(shape: _Shape, names: tuple[bytes, ...], values: tuple[bytes, ...]) -> AnswerHead:
    head = AnswerHead()
    if shape.values is not None:
        head.lines = shape.form % shape.values(values)
    if shape.left is not None:
        head._shape, head._values = shape, values
    if shape.type >= 0:
        kind = values[shape.type]
        head.content_type = kind if kind in _COMMON else kind.partition(b";")[0].strip().lower()
    if shape.length >= 0:
        value = values[shape.length]
        head.length = int(value) if value.isdigit() and len(value) < 19 else None
    if shape.encoding >= 0:
        _note(head, b"content-encoding", values[shape.encoding], [])
    if shape.region >= 0:
        value = values[shape.region]
        region = _REGIONS.get(value)
        if region is None:
            _note(head, b"x-ms-region", value, [])
            if len(_REGIONS) < _KNOWN_MOST:
                _REGIONS[value] = head.region
        else:
            head.region = region
    if shape.spilled:
        head.spillover = Spillover(tuple(zip(names, values, strict=True)))
    if shape.utilisation >= 0:
        head.utilisation = utilisation(values[shape.utilisation])
    return head


def _in_turn(headers: Headers) -> AnswerHead:
    head = AnswerHead()
    parts: list[bytes] = []
    limits: list[bytes] = []
    known = _KNOWN.get
    for name, value in headers:
        line = known(name)
        if line is None:
            _note(head, name, value, parts)
            line = known(name, b"")
        if line:
            (limits if line.startswith(_RATELIMIT) else parts).append(line + value)
    head.lines = _joined(parts)
    head._limits = _joined(limits)
    if head.spillover is not None:
        head.spillover = Spillover(headers)
    return head


def _joined(parts: list[bytes]) -> bytes:
    if not parts:
        return b""
    lines = b"\r\n".join(parts) + b"\r\n"
    if lines.count(b"\r") != len(parts) or lines.count(b"\n") != len(parts) or b"\0" in lines:
        return b"".join(part + b"\r\n" for part in parts if _clean(part))
    return lines


def _note(head: AnswerHead, name: bytes, value: bytes, parts: list[bytes]) -> None:
    """A header that we read ourselves, or a spelling that we meet for the first time."""
    lower = name.lower()
    if lower == b"content-type":
        head.content_type = value.partition(b";")[0].strip().lower()
        parts.append(b"content-type: " + value)
    elif lower == b"content-length":
        head.length = int(value) if value.isdigit() and len(value) < 19 else None
    elif lower == b"content-encoding":
        encoding = value.strip().lower()
        head.encoding = b"" if encoding == b"identity" else encoding
    elif lower == b"x-ms-region":
        if len(value) <= 64 and value.isascii() and value.decode("ascii").isprintable():
            head.region = value.decode("ascii")
    elif lower == b"azure-openai-deployment-utilization":
        head.utilisation = utilisation(value)
    elif lower.startswith(_SPILLOVER):
        head.spillover = _SAID
    else:
        if len(_KNOWN) >= _KNOWN_MOST:
            _KNOWN.clear()
        _KNOWN[name] = lower + b": " if lower in ANSWER_PASS else b""


_SAID: Final = Spillover(())


def _word(value: bytes) -> str:
    """A name that may stand in a record; empty for anything else."""
    return value.decode("ascii") if _NAME.fullmatch(value) else ""


def utilisation(value: bytes) -> float | None:
    """`83.2%` -> 0.832; None for anything else."""
    number, percent, rest = value.partition(b"%")
    whole, _, fraction = number.partition(b".")
    if percent and not rest and len(number) <= 12 and whole.isdigit() and (not fraction or fraction.isdigit()):
        return float(number) / 100
    return None


def _clean(line: bytes) -> bool:
    """No byte that could end the line and begin another (response splitting)."""
    return b"\r" not in line and b"\n" not in line and b"\0" not in line
