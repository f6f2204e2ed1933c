"""Faults in the bytes: cuts at every offset, resets, hangs, wrong lengths, floods before an answer, rubbish after."""

from __future__ import annotations

from typing import ClassVar, Literal

from sluicegate.sim.answer import Answer
from sluicegate.sim.azure.chat import DONE
from sluicegate.sim.azure.request import Request
from sluicegate.sim.faults.base import Fault
from sluicegate.sim.wire import REASONS

Place = Literal[
    "first_event", "inside_utf8", "inside_json", "after_tool_start", "before_finish", "after_finish", "before_done"
]


def position(answer: Answer, at: int | Place) -> int:
    """Offset in the body. Negative: from its end. A place that the answer does not have is its middle."""
    events = answer.events()
    body = b"".join(data for _, data in events)
    if isinstance(at, int):
        return max(0, len(body) + at) if at < 0 else at
    if at == "inside_utf8":
        return next((i + 1 for i, byte in enumerate(body) if byte >= 0xC0), len(body) // 2)
    start = 0
    for index, (_, data) in enumerate(events):
        end = start + len(data)
        if at == "first_event":
            return end
        if at == "inside_json" and (b'"content":' in data or not answer.stream) and (index > 1 or not answer.stream):
            return start + len(data) // 2
        if at == "after_tool_start" and b'"tool_calls"' in data:
            return end if answer.stream else start + data.index(b'"tool_calls"') + 12
        if at in ("before_finish", "after_finish") and b'"finish_reason":"' in data:
            return start if at == "before_finish" else end
        if at == "before_done" and data == DONE:
            return start
        start = end
    return len(body) // 2


class _Stop(Fault, tag=""):
    """The answer stops at a place."""

    at: int | Place | None = None
    "Bytes of body content, or a named place; default: before the first byte of the answer."
    of: Literal["body", "raw"] = "body"
    "raw: `at` counts every byte of the answer, its head included."
    stage: ClassVar[int] = 2

    def stop(self, answer: Answer) -> None:
        if self.at is None:
            answer.cut_at, answer.cut_of = 0, "raw"
        elif self.of == "raw" and isinstance(self.at, int):
            answer.cut_at, answer.cut_of = self.at, "raw"
        else:
            answer.cut_at, answer.cut_of = position(answer, self.at), "body"


class Cut(_Stop, tag="cut"):
    """The answer stops and the connection is closed."""

    how: Literal["fin", "clean", "bare"] = "fin"
    "fin: closed. clean: HTTP ends properly, only content is missing. bare: closed without TLS's goodbye."

    def act(self, answer: Answer, request: Request, age_s: float, wall: float) -> Answer:
        if self.how != "clean":
            self.stop(answer)
            answer.ending = self.how
            return answer
        left = position(answer, self.at or 0)
        kept = []
        for after, data in answer.events():
            kept.append((after, data[:left]))
            left -= len(data)
            if left <= 0:
                break
        if answer.usage_piece >= len(kept) or (answer.usage_piece == len(kept) - 1 and left < 0):
            answer.usage_piece = -1
        answer.pieces = [(after, data) for after, data in kept if data or not answer.stream]
        return answer


class Reset(_Stop, tag="reset"):
    """The answer stops and the connection is reset."""

    def act(self, answer: Answer, request: Request, age_s: float, wall: float) -> Answer:
        self.stop(answer)
        answer.ending = "rst"
        return answer


class Hang(_Stop, tag="hang"):
    """The answer stops and nothing follows, ever: the connection stays open."""

    def act(self, answer: Answer, request: Request, age_s: float, wall: float) -> Answer:
        self.stop(answer)
        answer.ending = "hang"
        return answer


class Accept(Fault, tag="accept"):
    """A connection is accepted, then reset or left without a word. Requests do not matter, nor markers."""

    how: Literal["reset", "hang"] = "hang"
    stage: ClassVar[int] = 2

    def act(self, answer: Answer, request: Request, age_s: float, wall: float) -> Answer:
        return answer


class Close(Fault, tag="close"):
    """A complete answer, after which the connection is closed, as announced."""

    stage: ClassVar[int] = 2

    def act(self, answer: Answer, request: Request, age_s: float, wall: float) -> Answer:
        answer.ending = "fin"
        return answer


class Length(Fault, tag="length"):
    """content-length is wrong by so many bytes. Longer: closed after what there is; shorter: the rest is surplus."""

    by: int
    stage: ClassVar[int] = 2

    def act(self, answer: Answer, request: Request, age_s: float, wall: float) -> Answer:
        answer.framing = "length"
        answer.length_by = self.by
        if self.by > 0:
            answer.cut_at, answer.cut_of = len(answer.body()), "body"
            answer.ending = "fin"
        return answer


class BothFramings(Fault, tag="both_framings"):
    """content-length and transfer-encoding in one head: the seed of a smuggled answer."""

    stage: ClassVar[int] = 2

    def act(self, answer: Answer, request: Request, age_s: float, wall: float) -> Answer:
        answer.events()
        answer.framing = "both"
        return answer


class Unframed(Fault, tag="unframed"):
    """Neither: the body ends with the connection, which proves nothing."""

    stage: ClassVar[int] = 2

    def act(self, answer: Answer, request: Request, age_s: float, wall: float) -> Answer:
        answer.framing = "close"
        answer.ending = "fin"
        return answer


class Interim(Fault, tag="interim"):
    """So many 1xx answers before the real one."""

    count: int = 1000
    status: int = 103
    stage: ClassVar[int] = 2

    def act(self, answer: Answer, request: Request, age_s: float, wall: float) -> Answer:
        line = b"HTTP/1.1 %d %b\r\n" % (self.status, REASONS.get(self.status, b"Interim"))
        answer.interim = (line + b"link: </style.css>\r\n\r\n") * self.count
        return answer


class Surplus(Fault, tag="surplus"):
    """Bytes after the answer: rubbish, or an answer to a question nobody asked."""

    text: str = "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nfor another customer"
    stage: ClassVar[int] = 2

    def act(self, answer: Answer, request: Request, age_s: float, wall: float) -> Answer:
        answer.surplus = self.text.encode()
        return answer


class Split(Fault, tag="split"):
    """Writes of another size: one byte each, or ending at chosen offsets; nothing given: all at once."""

    size: int = 0
    at: tuple[int, ...] = ()
    gap_s: float = 0.0
    "Between writes; default: one turn of the loop."
    stage: ClassVar[int] = 2

    def act(self, answer: Answer, request: Request, age_s: float, wall: float) -> Answer:
        if not self.size and not self.at:
            events = answer.events()
            answer.pieces = [(sum(after for after, _ in events), b"".join(data for _, data in events))]
            answer.usage_piece = 0 if answer.usage_piece >= 0 else -1
        answer.split_size = self.size
        answer.split_at = self.at
        answer.split_gap_s = self.gap_s
        return answer


KINDS = (Cut, Reset, Hang, Accept, Close, Length, BothFramings, Unframed, Interim, Surplus, Split)
