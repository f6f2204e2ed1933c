"""Faults that replace the answer: statuses, throttling, pages of HTML, redirects, bombs, streams without an end."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from typing import Any, ClassVar

import msgspec

from sluicegate.sim.answer import Answer, Piece
from sluicegate.sim.azure import refusals
from sluicegate.sim.azure.messages import in_its_words
from sluicegate.sim.azure.refusals import Reason, RetryForm
from sluicegate.sim.azure.request import Request
from sluicegate.sim.faults.base import Fault

BLOCK = 64 * 1024
MEMBER = 10 * 1024 * 1024


def _instead(answer: Answer, other: Answer) -> Answer:
    """Another answer, keeping the instance's own headers."""
    given = {name.lower() for name, _ in other.headers}
    other.headers += [(n, v) for n, v in answer.headers if n.lower() not in given and n.lower() != b"content-type"]
    other.faults = answer.faults
    return other


class Status(Fault, tag="status"):
    """Any status, with any headers and body; without a body, Azure's words for it."""

    status: int = 500
    headers: dict[str, str] = {}
    text: str | None = None
    "Body as it is."
    json: Any = msgspec.UNSET
    "Body as JSON."
    shape: str = ""
    "One of: wrong_key, no_permission, network, no_deployment, no_resource, filtered, filtered_new, too_long."
    early: bool = False
    "Before the body is read; then the connection is closed."
    close: bool = False
    stage: ClassVar[int] = 0

    def __post_init__(self) -> None:
        if self.shape and self.shape not in _SHAPES:
            raise ValueError(f"shape: {self.shape} is none of {', '.join(_SHAPES)}")

    def act(self, answer: Answer, request: Request, age_s: float, wall: float) -> Answer:
        if self.shape:
            other = in_its_words(request, _SHAPES[self.shape](request))
        elif self.text is not None:
            other = Answer(self.status, [refusals.JSON], [(0.0, self.text.encode())])
        elif self.json is not msgspec.UNSET:
            other = refusals.refusal(self.status, self.json)
        else:
            other = in_its_words(request, refusals.server_error(self.status))
        for name, value in self.headers.items():
            other.set_header(name.encode(), value.encode("latin-1"))
        if self.early or self.close:
            other.ending = "fin"
        return _instead(answer, other)


_SHAPES: dict[str, Any] = {
    "wrong_key": lambda request: refusals.wrong_key(request.surface == "compatible"),
    "no_permission": lambda request: refusals.no_permission(),
    "network": lambda request: refusals.not_from_this_network(),
    "no_deployment": lambda request: refusals.no_deployment(request.surface == "compatible", request.deployment),
    "no_resource": lambda request: refusals.no_resource(),
    "filtered": lambda request: refusals.filtered_prompt(),
    "filtered_new": lambda request: refusals.filtered_prompt(1),
    "too_long": lambda request: refusals.too_long(128_000, 128_001),
}


class Throttle(Fault, tag="throttle"):
    """429 with the time to wait."""

    wait_s: float | None = None
    "The wait that is told; default: what is left of for_s, else 10 s."
    form: RetryForm = "both"
    "Headers that tell it: both, s, ms, date, none."
    reason: Reason = "rate"
    "rate, capacity (high demand), size (this request is too large now)."
    early: bool = False
    stage: ClassVar[int] = 0

    def act(self, answer: Answer, request: Request, age_s: float, wall: float) -> Answer:
        wait_s = self.wait_s
        if wait_s is None:
            wait_s = 10.0 if self.for_s is None else max(0.001, self.for_s - age_s)
        other = in_its_words(
            request, refusals.throttled(wait_s, wall, self.reason, self.form, request.api_version)
        )  # fmt: skip
        if self.early:
            other.ending = "fin"
        return _instead(answer, other)


class Html(Fault, tag="html"):
    """A page of HTML, with status 200 if not told otherwise."""

    status: int = 200
    stage: ClassVar[int] = 0

    def act(self, answer: Answer, request: Request, age_s: float, wall: float) -> Answer:
        page = b"<!DOCTYPE html><html><head><title>Sorry</title></head><body><h1>Not available</h1></body></html>"
        return _instead(answer, Answer(self.status, [(b"content-type", b"text/html")], [(0.0, page)]))


class Redirect(Fault, tag="redirect"):
    """302 to another host, which would love to see the key."""

    location: str = "http://collector.example/steal"
    status: int = 302
    stage: ClassVar[int] = 0

    def act(self, answer: Answer, request: Request, age_s: float, wall: float) -> Answer:
        return _instead(answer, Answer(self.status, [(b"location", self.location.encode())], [(0.0, b"")]))


class GzipBomb(Fault, tag="gzip_bomb"):
    """content-encoding gzip that nobody asked for: a thousandth of what it unpacks to."""

    mb: int = 100
    stage: ClassVar[int] = 0

    def act(self, answer: Answer, request: Request, age_s: float, wall: float) -> Answer:
        member = gzip.compress(b" " * MEMBER, 9, mtime=0)
        pieces = [(0.0, member)] * max(1, self.mb * 1024 * 1024 // MEMBER)
        other = Answer(200, [_type_of(answer), (b"content-encoding", b"gzip")], pieces)
        return _instead(answer, other)


class LongLine(Fault, tag="long_line"):
    """One line of a stream (or one string of a plain answer) that does not end for so many MB."""

    mb: int = 64
    stage: ClassVar[int] = 0

    def act(self, answer: Answer, request: Request, age_s: float, wall: float) -> Answer:
        blocks = self.mb * 1024 * 1024 // BLOCK

        def line() -> Iterator[Piece]:
            where = b"delta" if answer.stream else b"message"
            yield 0.0, (b"data: " if answer.stream else b"") + b'{"choices":[{"%b":{"content":"' % where
            for _ in range(blocks):
                yield 0.0, b"x" * BLOCK

        return _instead(answer, _endless(answer, line()))


class Comments(Fault, tag="comments"):
    """A stream of comments and nothing else."""

    count: int | None = None
    "Default: without end."
    gap_s: float = 0.0
    stage: ClassVar[int] = 0

    def act(self, answer: Answer, request: Request, age_s: float, wall: float) -> Answer:
        block = b": keep-alive\n\n" if self.gap_s else b": keep-alive\n\n" * 1000
        size = block.count(b":")

        def comments() -> Iterator[Piece]:
            sent = 0
            while self.count is None or sent < self.count:
                yield self.gap_s, block if self.count is None else b": keep-alive\n\n" * min(size, self.count - sent)
                sent += size

        return _instead(answer, _endless(answer, comments()))


class Endless(Fault, tag="endless"):
    """A stream that goes on and on: proper content chunks, no end."""

    gap_s: float = 0.0

    def act(self, answer: Answer, request: Request, age_s: float, wall: float) -> Answer:
        events = list(answer.events())
        again = events[min(2, len(events) - 1)][1] * (1 if self.gap_s else 100)

        def forever() -> Iterator[Piece]:
            yield from events[:2]
            while True:
                yield self.gap_s, again

        answer.pieces = forever()
        answer.framing = "chunked"
        answer.usage_piece = -1
        return answer


def _type_of(answer: Answer) -> tuple[bytes, bytes]:
    return b"content-type", b"text/event-stream; charset=utf-8" if answer.stream else b"application/json"


def _endless(answer: Answer, pieces: Iterator[Piece]) -> Answer:
    other = Answer(200, [_type_of(answer)], pieces, stream=answer.stream)
    other.framing = "chunked"
    return other


KINDS = (Status, Throttle, Html, Redirect, GzipBomb, LongLine, Comments, Endless)
