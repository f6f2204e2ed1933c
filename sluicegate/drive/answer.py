"""One attempt's answer on its way in: the sink of the upstream port, and the judge of what may be committed.

Not streamed and small: the whole answer, complete and well formed. Streamed: the first complete event that is not an
error. Until then whatever is wrong with it is a failure that another member can make good, unseen by the client.

Bytes that are no JSON (audio, subtitles) prove nothing by their form: they are complete if their framing says so, and
an answer without framing is not. With a length they are held like JSON; in chunks, as an upstream sends that makes
them while it sends, they are relayed from the first one on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sluicegate.apis.base import Malformed
from sluicegate.core.events import BYTES, JSON, TEXT, AnswerFacts, Ended, Failed, How, Responded, Sent, Usage
from sluicegate.core.exchange import estimated
from sluicegate.core.ports import Alike, Headers, Meter, Terminal
from sluicegate.providers.refusals import code_of
from sluicegate.wire.headers import AnswerHead, pairs
from sluicegate.wire.headers import answer as read_head
from sluicegate.wire.nesting import Nesting
from sluicegate.wire.sse import Endless

if TYPE_CHECKING:
    from sluicegate.drive import Drive

WHOLE_BYTES: Final = 1024 * 1024
"""An unstreamed answer up to this is held until it is complete and well formed; beyond, it is committed and relayed."""

REFUSAL_BYTES: Final = 64 * 1024
"""What is kept of an error answer. More than that is no error message of an API."""

TAIL_BYTES: Final = 64 * 1024
"""What is kept of the end of a relayed large answer, to find its usage."""

FINE: Final = AnswerFacts()
FINE_FROM: Final[dict[str, AnswerFacts]] = {"": FINE}
"""By the region that the answer names; there are as many as regions, and FROM_MOST at most."""
FROM_MOST: Final = 256
GIVEN_UP: Final = "given up"
JSON_LINES: Final[Headers] = ((b"content-type", b"application/json"),)

# modes of an answer, in the order of a life
WAITING: Final = 0
WHOLE: Final = 1
LARGE: Final = 2
STREAM: Final = 3
REFUSAL: Final = 4
DRAINING: Final = 5
BLOB: Final = 6
FLOW: Final = 7

CAUSES: Final = {
    "eof": "answer.truncated",
    "cut": "answer.truncated",
    "reset": "connection.reset",
    "malformed": "answer.http",
}
"""How an attempt ended, from the upstream port, as causes of records; `connect.*` are causes as they are."""

_OCTETS: Final = frozenset((b"application/octet-stream", b"binary/octet-stream", b"application/ogg"))
_NO_TEXT: Final = frozenset((b"text/html", b"text/event-stream"))
_SUBTITLES: Final = frozenset((b"application/x-subrip", b"application/octet-stream"))

LACKED: Final = ("upstream.deployment", "upstream.status_5xx", "upstream.status")
"""Causes under which a server may only say that it has no such operation."""

ERRORS: Final = {
    "429": "upstream.throttled.rate",
    "RateLimitReached": "upstream.throttled.rate",
    "TooManyRequests": "upstream.throttled.rate",
    "insufficient_quota": "upstream.throttled.rate",
    "rate_limit_error": "upstream.throttled.rate",
    "rate_limit_exceeded": "upstream.throttled.rate",
    "too_many_requests": "upstream.throttled.rate",
    "NoCapacity": "upstream.throttled.capacity",
    "overloaded_error": "upstream.throttled.capacity",
    "server_is_overloaded": "upstream.throttled.capacity",
    "slow_down": "upstream.throttled.capacity",
}
"""Codes of an error behind a status 200, in the first event or as the whole body, as causes: the instance is well, and
has nothing to spare."""

THEIRS: Final = frozenset((
    "400", "413", "422", "BadRequest", "BadRequestError", "content_filter", "context_length_exceeded", "invalid_prompt",
    "invalid_request_error", "invalid_value", "request_too_large", "string_above_max_length", "unsupported_parameter",
    "unsupported_value",
))  # fmt: skip
"""Codes of such an error that say the request itself is wrong: servers that send their head before they look at it. It
is a 400 all the same, and no fault: who sends such requests could put every member out of service."""

CUT_MESSAGES: Final = {
    "stream.interrupted": "The model's answer broke off. What was received so far is incomplete.",
    "stream.idle": "The model stopped sending. What was received so far is incomplete.",
    "stream.total": "The answer took longer than the gateway allows. What was received so far is incomplete.",
    "stream.drained": "The gateway is shutting down. What was received so far is incomplete.",
    "credential.revoked": "The credential of this request was revoked. What was received so far is incomplete.",
    "stream.endless": "The model's answer exceeded what the gateway accepts. What was received so far is incomplete.",
}


def fine_from(region: str) -> AnswerFacts:
    """Facts of a fine answer that names this region."""
    facts = AnswerFacts(region=region)
    if len(FINE_FROM) < FROM_MOST:
        FINE_FROM[region] = facts
    return facts


def error_of(events: bytes) -> bytes:
    """The data of the last of these events, as a body."""
    found = b""
    for line in events.splitlines():
        if line[:5] == b"data:" and line[5:].strip() != b"[DONE]":
            found = line[5:].strip()
    return found


def lacks(status: int, body: bytes) -> bool:
    """A server has no such operation: it found nothing there, and says nothing of a model or a deployment. That is the
    client's to know; taken for a missing deployment it would put one out of service for everybody."""
    if status not in (404, 405, 501):
        return False
    said = body[:4096].lower()
    return b"model" not in said and b"deployment" not in said


class Answer:
    """One attempt's answer on its way in: the sink of the upstream port. Decides when there is something to commit."""

    __slots__ = (
        "asked",
        "drive",
        "head_",
        "headers",
        "held",
        "meter",
        "mode",
        "nesting",
        "over",
        "size",
        "status",
        "ticket",
        "usage",
    )

    def __init__(self, drive: Drive, ticket: int, asked: bool) -> None:
        self.drive = drive
        self.ticket = ticket
        self.asked = asked
        "We injected include_usage."
        self.mode = WAITING
        self.over: str = ""
        "How the HTTP message ended, empty while it has not."
        self.status = 0
        self.size = 0
        self.held: list[bytes] = []
        self.headers: Headers = ()
        self.head_: AnswerHead | None = None
        self.meter: Meter | None = None
        self.nesting: Nesting | None = None
        "Of a large answer, whether it came to its end."
        self.usage: Usage | None = None

    def head(self, status: int, headers: Headers | dict[bytes, bytes] | Alike, now: float) -> None:
        drive = self.drive
        drive.last = now
        self.status = status
        if drive.timeouts.idle < drive.timeouts.first_byte:
            drive.watch_idle()
        if status != 200:
            self.mode = REFUSAL
            self.headers = pairs(headers)
            return
        self.head_ = head = read_head(headers)
        if head.encoding:  # we asked for identity and unpack nothing: there is no bomb to bound
            self.fail("answer.encoding", now)
        elif drive.facts.stream:
            if head.content_type == b"text/event-stream":
                self.mode = STREAM
                self.meter = drive.api.meter(drive.facts, self.asked)
            elif drive.facts.special is not None and head.content_type == b"application/json":
                self.mode = WHOLE  # a model that streams nothing does not mind being asked to
            else:
                self.fail("answer.content_type", now)
        elif head.content_type == b"application/json":
            self.mode = WHOLE
        elif self.is_special(head.content_type):
            self.mode = BLOB if head.length is not None and head.length <= WHOLE_BYTES else FLOW
        else:
            self.fail("answer.content_type", now)

    def data(self, chunk: bytes, now: float) -> None:
        drive = self.drive
        drive.last = now
        mode = self.mode
        if mode == STREAM:
            meter = self.meter
            assert meter is not None
            try:
                out = meter.feed(chunk, now)
            except Endless:
                self.broke_off("stream.endless", now)
                return
            if out:
                if drive.relaying:
                    if meter.finished:
                        self.finished(out, now)
                    elif not drive.gone and not drive.down.data(out):
                        drive.pause(now)
                elif meter.error in THEIRS:
                    self.refused(error_of(out), meter.error, now)
                elif meter.error:
                    self.fail(ERRORS.get(meter.error, "answer.error_event"), now)
                else:
                    self.held.append(out)
                    if len(self.held) == 1:
                        drive.event(self.ticket, Responded(now, 200, self.fine(), False))
            elif meter.finished and drive.relaying:
                self.finished(b"", now)
            if meter.broken and not self.over and not drive.done:
                self.broke_off("stream.interrupted", now)
        elif mode == WHOLE:
            self.held.append(chunk)
            self.size += len(chunk)
            if self.size > WHOLE_BYTES:
                self.mode = LARGE
                self.nesting = nesting = Nesting()
                for piece in self.held:
                    nesting.feed(piece)
                drive.event(self.ticket, Responded(now, 200, self.fine(), False))
        elif mode == LARGE:
            self.held.append(chunk)
            if self.nesting is not None:
                self.nesting.feed(chunk)
            if drive.relaying:
                self.keep_tail()
                if not drive.gone and not drive.down.data(chunk):
                    drive.pause(now)
        elif mode == BLOB:
            self.held.append(chunk)
            self.size += len(chunk)
        elif mode == FLOW:
            self.size += len(chunk)
            if drive.relaying:
                if not drive.gone and not drive.down.data(chunk):
                    drive.pause(now)
            else:
                self.held.append(chunk)
                if len(self.held) == 1:
                    drive.event(self.ticket, Responded(now, 200, self.fine(), False))
        elif mode == REFUSAL:
            if self.size < REFUSAL_BYTES:
                self.held.append(chunk)
            self.size += len(chunk)
            if self.size > WHOLE_BYTES:
                self.fail("answer.too_large", now)
        elif mode == DRAINING:
            self.size += len(chunk)
            if self.size > WHOLE_BYTES:
                drive.give_up()

    def end(self, how: str, now: float) -> None:
        drive = self.drive
        drive.last = now
        self.over = how
        sent: Sent = drive.attempt.sent if drive.attempt is not None else "nothing"
        drive.attempt = None
        mode = self.mode
        if mode == DRAINING:
            drive.bound.wheel.drop(drive)
            drive.answer = None
        elif mode == WHOLE:
            if how != "done" and how != "eof":
                drive.event(self.ticket, Failed(now, CAUSES.get(how, how), "all", self.passed()))
                return
            try:
                self.usage = drive.api.answer(self.whole())
            except Malformed as m:
                cause = m.cause
                if cause == "answer.error":
                    code = code_of(self.whole())
                    if code in THEIRS:
                        self.refused(self.whole(), code, now)
                        return
                    cause = ERRORS.get(code, cause)
                drive.event(self.ticket, Failed(now, cause, "all", self.passed()))
                return
            drive.event(self.ticket, Responded(now, 200, self.fine(), True))
        elif mode == STREAM:
            if drive.relaying:
                drive.event(self.ticket, self.ended(now))
            elif not self.held:
                drive.event(self.ticket, Failed(now, CAUSES.get(how, "answer.truncated"), "all", self.passed()))
            # else: responded, not relayed yet; perform_relay asks again
        elif mode == LARGE:
            if drive.relaying:
                drive.event(self.ticket, self.ended(now))
        elif mode in (BLOB, FLOW):
            if drive.relaying:
                drive.event(self.ticket, self.ended(now))
            elif how != "done":
                cause = "answer.truncated" if how == "eof" else CAUSES.get(how, how)
                drive.event(self.ticket, Failed(now, cause, "all", self.passed()))
            elif not self.size:
                drive.event(self.ticket, Failed(now, "answer.empty", "all", 0))
            elif mode == BLOB:
                drive.event(self.ticket, Responded(now, 200, self.fine(), True))
            # else: responded, not relayed yet; perform_relay asks again
        elif mode == REFUSAL:
            bound = drive.bound
            assert drive.member is not None
            provider = bound.providers[drive.member.instance.provider]
            facts = provider.refusal(self.status, self.headers, self.whole()[:REFUSAL_BYTES], bound.wall())
            if facts.cause in LACKED and not drive.api.everywhere and lacks(self.status, self.whole()):
                facts.cause = ""
            if not facts.cause and how not in ("done", "eof"):
                drive.event(self.ticket, Failed(now, "answer.truncated", "all"))
            else:
                drive.event(self.ticket, Responded(now, self.status, facts, True))
        else:
            cause = CAUSES.get(how, "answer.http" if how == "done" else how)
            drive.event(self.ticket, Failed(now, cause, sent, 0 if sent == "all" else None))

    # ------------------------------------------------------------------ helpers

    def is_special(self, content_type: bytes) -> bool:
        """Whether this is what an operation answers that answers no JSON."""
        special = self.drive.facts.special
        if special is None or special.answers == JSON:
            return False
        kind = content_type.partition(b"/")[0]
        if special.answers == BYTES:
            return kind == b"audio" or content_type in _OCTETS
        if special.answers == TEXT and content_type not in _NO_TEXT:
            return kind == b"text" or content_type in _SUBTITLES
        return False

    def whole(self) -> bytes:
        """The body held so far, in one piece."""
        if len(self.held) != 1:
            self.held = [b"".join(self.held)]
        return self.held[0]

    def fine(self) -> AnswerFacts:
        """Of an answer that may be committed."""
        head = self.head_
        if head is None:
            return FINE
        said = head.spillover
        if said is not None:
            return AnswerFacts(region=head.region, spilled=(said.source, said.served, said.error))
        return FINE_FROM.get(head.region) or fine_from(head.region)

    def spillover(self) -> bytes:
        """Header lines about the platform's own spillover, for clients that may see them."""
        head = self.head_ or read_head(self.headers)
        return b"" if head.spillover is None else head.spillover.lines

    def passed(self) -> int | None:
        """Output tokens that came, about; None before there is an answer of a model, and of refusals."""
        if self.meter is not None:
            passed = self.meter.delivered
        elif self.mode != WAITING and self.mode != REFUSAL:
            passed = self.size // self.a_token()
        else:
            return None
        return 0 if self.drive.facts.max_output == 0 else passed

    def a_token(self) -> int:
        """Bytes of the answer that are about a token."""
        special = self.drive.facts.special
        return 4 if special is None else special.a_token

    def keep_tail(self) -> None:
        """Keep the last TAIL_BYTES of a large answer, join seldom."""
        if sum(map(len, self.held)) > 4 * TAIL_BYTES:
            self.held = [b"".join(self.held)[-TAIL_BYTES:]]

    def fail(self, cause: str, now: float) -> None:
        """Not an answer: give the attempt up and say so. Before anything was committed."""
        self.over = GIVEN_UP
        self.drive.give_up()
        self.drive.event(self.ticket, Failed(now, cause, "all", self.passed()))

    def refused(self, error: bytes, code: str, now: float) -> None:
        """The request itself is wrong, which was said behind a status 200: as if it had been a 400."""
        head = self.head_
        facts = AnswerFacts(code=code, region="" if head is None else head.region)
        if not self.over:  # of a stream, more may come
            self.over = GIVEN_UP
            self.drive.give_up()
        self.mode = REFUSAL
        self.status = 400
        self.head_ = self.meter = None
        self.headers = JSON_LINES
        self.held = [error]
        self.drive.event(self.ticket, Responded(now, 400, facts, True))

    def broke_off(self, reason: str, now: float) -> None:
        """The upstream's answer cannot go on. Committed: the client gets an error frame; else a failure."""
        drive = self.drive
        self.over = GIVEN_UP
        drive.give_up()
        if drive.relaying:
            drive.event(self.ticket, self.interrupted(now, "cut", reason))
        else:
            cause = "answer.endless" if reason == "stream.endless" else "answer.json"
            drive.event(self.ticket, Failed(now, cause, "all", self.passed()))

    def finished(self, out: bytes, now: float) -> None:
        """The stream said its last word. The client need not wait for the HTTP message to end; the connection may."""
        drive = self.drive
        drive.pending = out
        assert self.meter is not None
        e = self.counted(now, "cut" if self.meter.error else drive.gone_how if drive.gone else "done")
        self.mode = DRAINING
        self.size = 0
        drive.event(self.ticket, e)

    def ended(self, now: float) -> Ended:
        """The HTTP message is over while we relay: is the answer?"""
        drive = self.drive
        if self.mode == FLOW:
            if self.over == "done":
                return self.counted(now, drive.gone_how if drive.gone else "done")
            drive.broken = True
            return self.counted(now, "cut")
        if self.mode == LARGE:
            if self.over in ("done", "eof") and self.nesting is not None and self.nesting.whole:
                try:
                    self.usage = drive.api.tail(b"".join(self.held)[-TAIL_BYTES:])
                    return self.counted(now, drive.gone_how if drive.gone else "done")
                except Malformed:
                    pass
            drive.broken = True
            return self.counted(now, "cut")
        assert self.meter is not None
        terminal = self.meter.end()
        if terminal == Terminal.DONE and (self.over in ("done", "eof") or self.meter.finished):
            return self.counted(now, drive.gone_how if drive.gone else "done")
        if terminal == Terminal.ERROR:  # the upstream's own error event went down already: nothing to add
            return self.counted(now, "cut")
        return self.interrupted(now, "cut", "stream.interrupted")

    def interrupted(self, now: float, how: How, reason: str) -> Ended:
        """The answer broke off after it was committed: an error frame if that is still possible, else a reset."""
        drive = self.drive
        frame = None if self.meter is None else self.meter.cut(reason, CUT_MESSAGES[reason])
        if frame is None:
            drive.broken = True
        else:
            drive.pending = frame
        return self.counted(now, how)

    def counted(self, now: float, how: How) -> Ended:
        """Ended, with the upstream's usage or, where it never said, ours from what passed, flagged."""
        meter = self.meter
        if meter is None:
            usage, first = self.usage, None
            passed = self.size // self.a_token()
        else:
            usage, first = meter.usage, meter.first_token_at
            passed = meter.delivered
        tier = "" if meter is None else meter.tier
        if usage is not None:
            if tier:
                usage.tier = tier
            special = self.drive.facts.special
            if special is not None and special.units:
                usage.media = {**special.units, **(usage.media or {})}
            return Ended(now, usage, how, False, first)
        if how == "done" and self.drive.api.unmetered:
            return Ended(now, None, how, False, first)
        if self.drive.facts.max_output == 0:  # nothing is written, whatever its size in bytes
            passed = 0
        said = None if meter is None else meter.prompt
        if said is not None:  # only the answer is a guess
            said.output = max(passed, said.output)
            return Ended(now, said, how, True, first)
        special = self.drive.facts.special
        if special is not None and special.expected is not None and how == "done":
            passed = special.expected
        usage = estimated(self.drive.facts, passed)
        usage.tier = tier
        return Ended(now, usage, how, True, first)
