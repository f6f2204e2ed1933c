"""Where an answer becomes bytes: head, framing, and every edit of them. Lazy, because some answers never end.

`Wire` yields (seconds to wait, bytes to write). It keeps account: how many bytes of body content the first N raw bytes
held, and from which raw offset on the usage has been said.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from http import HTTPStatus

from sluicegate.sim.answer import Answer, Piece, bursts

REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
NEXT_TURN = -1.0
"""Instead of seconds: in the next turn of the loop, so that this write is one of its own."""


def head_bytes(answer: Answer, date: bytes) -> bytes:
    """Status line and headers with framing, the empty line included."""
    framing = answer.framing
    lines = [b"HTTP/1.1 %d %b\r\n" % (answer.status, REASONS.get(answer.status, b"Unknown"))]
    if framing in ("length", "both") and not _bodiless(answer):
        lines.append(b"Content-Length: %d\r\n" % max(0, len(answer.body()) + answer.length_by))
    if framing in ("chunked", "both"):
        lines.append(b"Transfer-Encoding: chunked\r\n")
    lines += [b"%b: %b\r\n" % header for header in answer.headers]
    if answer.ending in ("fin", "bare") and answer.cut_at is None:
        lines.append(b"Connection: close\r\n")
    lines.append(b"Date: %b\r\n\r\n" % date)
    return b"".join(lines)


def _bodiless(answer: Answer) -> bool:
    return answer.status in (204, 304) or answer.status < 200


def whole(answer: Answer, date: bytes) -> tuple[float, bytes] | None:
    """Wait and bytes of an untouched plain answer: the way of almost all of them. None: go the long way."""
    if answer.stream or not answer.as_pieces or not isinstance(answer.pieces, list) or len(answer.pieces) != 1:
        return None
    after, body = answer.pieces[0]
    return after, head_bytes(answer, date) + body


class Wire:
    """The bytes of one answer, once."""

    __slots__ = ("_answer", "_body", "_body_done", "_date", "_raw", "_segments", "complete", "raw_end", "usage_raw")

    def __init__(self, answer: Answer, date: bytes) -> None:
        self._answer = answer
        self._date = date
        self._raw = 0
        "Raw bytes made so far, of the uncut answer."
        self._body = 0
        self._body_done = 0
        self._segments: deque[tuple[int, int]] = deque()
        "Raw start and length of stretches of body content, those not yet accounted for."
        self.usage_raw: int | None = None
        "Raw offset at which the usage has been said; None while it has not come up."
        self.raw_end: int | None = None
        "Raw length of the complete answer, surplus excluded, once it is known."
        self.complete = False
        "Everything the answer wanted to say was yielded: nothing was cut off."

    def __iter__(self) -> Iterator[Piece]:
        answer = self._answer
        steps = self._limited(self._made())
        if answer.split_size:
            return _sized(steps, answer.split_size, answer.split_gap_s)
        if answer.split_at:
            return _split(steps, answer.split_at, answer.split_gap_s)
        return steps

    def body_in(self, raw: int) -> int:
        """Bytes of body content among the first `raw` bytes, which are no fewer than at the last call."""
        segments = self._segments
        while segments and sum(segments[0]) <= raw:
            self._body_done += segments.popleft()[1]
        return self._body_done + (max(0, raw - segments[0][0]) if segments else 0)

    def _step(self, after: float, raw: bytes, start: int = 0, length: int = 0) -> Piece:
        if length:
            self._segments.append((self._raw + start, length))
        self._raw += len(raw)
        self._body += length
        return after, raw

    def _made(self) -> Iterator[Piece]:
        """The whole answer, uncut (but for a body limit, whose place in the raw bytes is known only here)."""
        answer = self._answer
        head = head_bytes(answer, self._date)
        chunked = answer.framing in ("chunked", "both")
        limit = answer.cut_at if answer.cut_of == "body" else None
        headed = False
        if answer.interim:
            yield self._step(0.0, answer.interim)
        usage_body: int | None = None
        if answer.usage_piece >= 0 and isinstance(answer.pieces, list):
            usage_body = sum(len(data) for _, data in answer.pieces[: answer.usage_piece + 1])
        for after, data in bursts(answer.pieces, answer.burst):
            before = b"" if headed else head
            headed = True
            cut = limit is not None and self._body + len(data) >= limit
            content = data[: limit - self._body] if cut and limit is not None else data
            frame = b"%x\r\n" % len(data) if chunked else b""
            step = self._step(
                after,
                before + frame + content + (b"\r\n" if chunked and not cut else b""),
                len(before) + len(frame),
                len(content),
            )
            if usage_body is not None and self.usage_raw is None and self._body >= usage_body:
                tail = self._body - usage_body + (2 if chunked and not cut else 0)
                self.usage_raw = self._raw - tail
            yield step
            if cut:
                return
        if not headed:
            yield self._step(0.0, head)
        if limit is not None:
            return
        if chunked:
            yield self._step(0.0, b"0\r\n\r\n")
        self.raw_end = self._raw
        self.complete = answer.cut_at is None
        if answer.surplus:
            yield self._step(0.0, answer.surplus)

    def _limited(self, steps: Iterator[Piece]) -> Iterator[Piece]:
        answer = self._answer
        if answer.cut_at is None or answer.cut_of != "raw":
            yield from steps
            return
        left = answer.cut_at
        for after, raw in steps:
            if left <= 0:
                return
            yield after, raw[:left]
            left -= len(raw)


def _sized(steps: Iterator[Piece], size: int, gap_s: float) -> Iterator[Piece]:
    for after, raw in steps:
        for start in range(0, len(raw), size):
            yield (after if not start and after else gap_s or NEXT_TURN), raw[start : start + size]


def _split(steps: Iterator[Piece], at: tuple[int, ...], gap_s: float) -> Iterator[Piece]:
    """Writes that end exactly at the given raw offsets; between them, everything that is there is one write."""
    marks = deque(sorted(at))
    held, after_held, position = b"", 0.0, 0
    for after, raw in steps:
        if held and after > 0:
            yield after_held, held
            held, after_held = b"", after
        else:
            after_held = max(after_held, after)
        while marks and position + len(held) + len(raw) >= marks[0]:
            take = marks.popleft() - position - len(held)
            if take <= 0 and not held:
                continue
            yield after_held, held + raw[: max(0, take)]
            position += len(held) + max(0, take)
            raw = raw[max(0, take) :]
            held, after_held = b"", gap_s or NEXT_TURN
        held += raw
    if held:
        yield after_held, held
