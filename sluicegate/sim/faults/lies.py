"""Faults in what an answer says: wrong type, errors inside 200, missing events, model drift, forged usage, delay."""

from __future__ import annotations

import re
from typing import Literal

from sluicegate.sim.answer import Answer, Piece
from sluicegate.sim.azure.chat import DONE, encode
from sluicegate.sim.azure.messages import STOP
from sluicegate.sim.azure.request import ANTHROPIC, MESSAGES, Request
from sluicegate.sim.faults.base import Fault

_MODEL = re.compile(rb'"model":"[^"]+"')
_USAGE = re.compile(rb',?"usage":\{(?:[^{}]|\{[^{}]*\})*\}')
_COUNT = {name: re.compile(rb'"%b":-?\d+' % name) for name in (
    b"prompt_tokens", b"completion_tokens", b"total_tokens", b"input_tokens", b"output_tokens",
)}  # fmt: skip


class ContentType(Fault, tag="content_type"):
    """The right body under a wrong content type."""

    value: str = "text/plain"

    def act(self, answer: Answer, request: Request, age_s: float, wall: float) -> Answer:
        answer.set_header(b"content-type", self.value.encode())
        return answer


class Headers(Fault, tag="headers"):
    """More headers on an answer that is fine otherwise."""

    headers: dict[str, str]

    def act(self, answer: Answer, request: Request, age_s: float, wall: float) -> Answer:
        answer.headers = [*answer.headers, *((n.encode(), v.encode("latin-1")) for n, v in self.headers.items())]
        return answer


class TwoDocuments(Fault, tag="two_documents"):
    """The body twice, one after the other."""

    def act(self, answer: Answer, request: Request, age_s: float, wall: float) -> Answer:
        answer.pieces = [*answer.events(), *answer.events()]
        return answer


class ErrorEvent(Fault, tag="error_event"):
    """Status 200, then an error: after so many events of a stream, or as the body of a plain answer."""

    after: int = 0
    code: str = "server_error"
    message: str = "The server had an error while processing your request. Sorry about that!"
    done: bool = False
    "`[DONE]` after it, as if nothing had happened."

    def act(self, answer: Answer, request: Request, age_s: float, wall: float) -> Answer:
        error = encode({"error": {"message": self.message, "type": "server_error", "param": None, "code": self.code}})
        name = b""
        if request.surface in (ANTHROPIC, MESSAGES):
            error = encode({"type": "error", "error": {"type": self.code, "message": self.message}})
            name = b"event: error\n"
        if not answer.stream:
            answer.replace_body(error)
            return answer
        events = answer.events()[: self.after]
        events.append((0.0 if events else answer.events()[0][0], name + b"data: " + error + b"\n\n"))
        if self.done:
            events.append((0.0, STOP if name else DONE))
        answer.pieces = events
        answer.usage_piece = -1
        return answer


class Drop(Fault, tag="drop"):
    """A stream without some of its events, ending cleanly as HTTP."""

    events: tuple[Literal["finish", "usage", "done"], ...] = ("finish", "usage", "done")

    def act(self, answer: Answer, request: Request, age_s: float, wall: float) -> Answer:
        if answer.stream:
            usage = answer.usage_piece
            kept = [
                (i, piece) for i, piece in enumerate(answer.events()) if _what(piece, i == usage) not in self.events
            ]
            answer.usage_piece = next((at for at, (i, _) in enumerate(kept) if i == usage), -1)
            answer.pieces = [piece for _, piece in kept]
        return answer


def _what(piece: Piece, usage: bool) -> str:
    if usage:
        return "usage"
    if piece[1] == DONE or piece[1] == STOP:
        return "done"
    return "finish" if b'"finish_reason":"' in piece[1] else ""


class Drift(Fault, tag="drift"):
    """Answers of another model than was declared."""

    model: str = "gpt-4o-2025-08-01"

    def act(self, answer: Answer, request: Request, age_s: float, wall: float) -> Answer:
        name = b'"model":' + encode(self.model)
        answer.pieces = [(after, _MODEL.sub(lambda _: name, data)) for after, data in answer.events()]
        return answer


class Usage(Fault, tag="usage"):
    """Usage withheld, or forged."""

    prompt: int | None = None
    completion: int | None = None
    missing: bool = False

    def act(self, answer: Answer, request: Request, age_s: float, wall: float) -> Answer:
        index = answer.usage_piece
        if index < 0:
            return answer
        events = answer.events()
        after, data = events[index]
        if self.missing:
            answer.usage_piece = -1
            if answer.stream:
                del events[index]
            else:
                events[index] = (after, _USAGE.sub(b"", data))
            return answer
        claim = answer.claim
        prompt = self.prompt if self.prompt is not None else claim.prompt if claim else 0
        completion = self.completion if self.completion is not None else claim.completion if claim else 0
        forged = {
            b"prompt_tokens": prompt, b"completion_tokens": completion, b"total_tokens": prompt + completion,
            b"input_tokens": prompt, b"output_tokens": completion,
        }  # fmt: skip
        for name, count in forged.items():
            data = _COUNT[name].sub(b'"%b":%d' % (name, count), data)
        events[index] = (after, data)
        return answer


class Slow(Fault, tag="slow"):
    """The same, later."""

    first_s: float = 0.0
    "More before the first byte."
    piece_s: float = 0.0
    "More before each later event."

    def act(self, answer: Answer, request: Request, age_s: float, wall: float) -> Answer:
        answer.pieces = [
            (after + (self.piece_s if i else self.first_s), data) for i, (after, data) in enumerate(answer.events())
        ]
        return answer


KINDS = (ContentType, Headers, TwoDocuments, ErrorEvent, Drop, Drift, Usage, Slow)
