"""The trampoline: it carries events and actions between the shores and one exchange.

One `Drive` per client request. No task and no future: shores call it back, it sends the event into the generator and
performs what comes out, until an action has to wait. Three things a naive "callback calls send" gets wrong are
settled here once: an answer that comes while we are still asking goes through the inbox, the late answer of an action
we gave up is recognised by its ticket, and a generator is only ever finished by events.

Nothing of an answer's end leaves for the client before the generator has returned, which is when its record is
settled: see `finish`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from math import inf
from typing import Any

from sluicegate.apis.base import Api, BadRequest, Malformed
from sluicegate.core.actions import ABORT, Ask, Defer, Mirror, Read, Relay, Reply, Send, Wait
from sluicegate.core.events import (
    AnswerFacts,
    Body,
    Ended,
    Event,
    Facts,
    Failed,
    Gone,
    Head,
    How,
    Refused,
    Responded,
    Sent,
    Usage,
)
from sluicegate.core.exchange import Exchange, exchange
from sluicegate.core.pool import Member
from sluicegate.core.ports import Attempt, Call, Chunk, Downstream, Headers, Meter, Terminal, Upstream
from sluicegate.core.settings import Timeouts
from sluicegate.core.state import World
from sluicegate.core.wheel import Wheel
from sluicegate.providers.base import Plan, Provider
from sluicegate.wire.headers import AnswerHead
from sluicegate.wire.headers import answer as read_head
from sluicegate.wire.refusal import CONTENT_TYPE, error_body, refusal
from sluicegate.wire.sse import Endless

WHOLE_BYTES = 1024 * 1024
"""An unstreamed answer up to this is held until it is complete and well formed; beyond, it is committed and relayed."""

REFUSAL_BYTES = 64 * 1024
"""What is kept of an error answer. More than that is no error message of an API."""

TAIL_BYTES = 64 * 1024
"""What is kept of the end of a relayed large answer, to find its usage."""

DRAIN_S = 1.0
"""After the last event of a stream: how long its HTTP message may take to end, so that the connection is reusable."""

PLANS = 4096
"""Cached plans; a client can only vary the api-version, by a strict grammar, so this is never reached in earnest."""

FINE = AnswerFacts()
_GIVEN_UP = "given up"
_NO_FIELDS: Mapping[str, Any] = {}

_CAUSES = {
    "eof": "answer.truncated",
    "cut": "answer.truncated",
    "reset": "connection.reset",
    "malformed": "answer.http",
}
"""How an attempt ended, from the upstream port, as causes of records; `connect.*` are causes as they are."""

_CUT_MESSAGES = {
    "stream.interrupted": "The model's answer broke off. What was received so far is incomplete.",
    "stream.idle": "The model stopped sending. What was received so far is incomplete.",
    "stream.total": "The answer took longer than the gateway allows. What was received so far is incomplete.",
    "stream.drained": "The gateway is shutting down. What was received so far is incomplete.",
    "stream.endless": "The model's answer exceeded what the gateway accepts. What was received so far is incomplete.",
}


class Bound:
    """The rows and shores that all exchanges of one worker share, bound once."""

    __slots__ = ("_plans", "live", "now", "providers", "report", "upstream", "wall", "wheel", "world")

    def __init__(
        self,
        world: World,
        upstream: Upstream,
        providers: Mapping[str, Provider],
        wheel: Wheel,
        now: Callable[[], float],
        wall: Callable[[], float],
        report: Callable[[BaseException], None],
    ) -> None:
        self.world = world
        self.upstream = upstream
        self.providers = providers
        self.wheel = wheel
        self.now = now
        self.wall = wall
        self.report = report
        "Told of bugs: an exception that nobody expected. Must not raise."
        self.live: set[Drive] = set()
        self._plans: dict[tuple[int, str, str | None], Plan] = {}

    def plan(self, member: Member, api: Api, api_version: str | None) -> Plan:
        """How requests of this operation reach this deployment."""
        key = (member.deployment.number, api.name, api_version)
        plan = self._plans.get(key)
        if plan is None:
            instance = member.instance
            plan = self.providers[instance.provider].plan(api, member.deployment, instance, api_version)
            if len(self._plans) >= PLANS:
                self._plans.clear()
            self._plans[key] = plan
        return plan

    def adopted(self) -> None:
        """A new snapshot is in force in the World: what was compiled from the old one is forgotten."""
        self._plans.clear()


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
        "over",
        "size",
        "status",
        "ticket",
        "usage",
    )

    # modes, in the order of a life
    WAITING, WHOLE, LARGE, STREAM, REFUSAL, DRAINING = range(6)

    def __init__(self, drive: Drive, ticket: int, asked: bool) -> None:
        self.drive = drive
        self.ticket = ticket
        self.asked = asked
        "We injected include_usage."
        self.mode = Answer.WAITING
        self.over: str = ""
        "How the HTTP message ended, empty while it has not."
        self.status = 0
        self.size = 0
        self.held: list[bytes] = []
        self.headers: Headers = ()
        self.head_: AnswerHead | None = None
        self.meter: Meter | None = None
        self.usage: Usage | None = None

    def head(self, status: int, headers: Headers | dict[bytes, bytes], now: float) -> None:
        drive = self.drive
        drive.last = now
        self.status = status
        if drive.timeouts.idle < drive.timeouts.first_byte:
            drive.watch_idle()
        if status != 200:
            self.mode = Answer.REFUSAL
            self.headers = tuple(headers.items()) if isinstance(headers, dict) else headers
            return
        self.head_ = head = read_head(headers)
        if head.encoding:  # we asked for identity and unpack nothing: there is no bomb to bound
            self.fail("answer.encoding", now)
        elif drive.facts.stream:
            if head.content_type == b"text/event-stream":
                self.mode = Answer.STREAM
                self.meter = drive.api.meter(drive.facts, self.asked)
            else:
                self.fail("answer.content_type", now)
        elif head.content_type == b"application/json":
            self.mode = Answer.WHOLE
        else:
            self.fail("answer.content_type", now)

    def data(self, chunk: bytes, now: float) -> None:
        drive = self.drive
        drive.last = now
        mode = self.mode
        if mode == Answer.STREAM:
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
                elif meter.error:
                    self.fail("answer.error_event", now)
                else:
                    self.held.append(out)
                    if len(self.held) == 1:
                        drive.event(self.ticket, Responded(now, 200, FINE, False))
            elif meter.finished and drive.relaying:
                self.finished(b"", now)
            if meter.broken and not self.over and not drive.done:
                self.broke_off("stream.interrupted", now)
        elif mode == Answer.WHOLE:
            self.held.append(chunk)
            self.size += len(chunk)
            if self.size > WHOLE_BYTES:
                self.mode = Answer.LARGE
                drive.event(self.ticket, Responded(now, 200, FINE, False))
        elif mode == Answer.LARGE:
            self.held.append(chunk)
            if drive.relaying:
                self.keep_tail()
                if not drive.gone and not drive.down.data(chunk):
                    drive.pause(now)
        elif mode == Answer.REFUSAL:
            if self.size < REFUSAL_BYTES:
                self.held.append(chunk)
            self.size += len(chunk)
            if self.size > WHOLE_BYTES:
                self.fail("answer.too_large", now)
        elif mode == Answer.DRAINING:
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
        if mode == Answer.DRAINING:
            drive.bound.wheel.drop(drive)
            drive.answer = None
        elif mode == Answer.WHOLE:
            if how != "done" and how != "eof":
                drive.event(self.ticket, Failed(now, _CAUSES.get(how, how), "all"))
                return
            try:
                self.usage = drive.api.answer(self.whole())
            except Malformed as m:
                drive.event(self.ticket, Failed(now, m.cause, "all"))
                return
            drive.event(self.ticket, Responded(now, 200, FINE, True))
        elif mode == Answer.STREAM:
            if drive.relaying:
                drive.event(self.ticket, self.ended(now))
            elif not self.held:
                drive.event(self.ticket, Failed(now, _CAUSES.get(how, "answer.truncated"), "all"))
            # else: responded, not relayed yet; perform_relay asks again
        elif mode == Answer.LARGE:
            if drive.relaying:
                drive.event(self.ticket, self.ended(now))
        elif mode == Answer.REFUSAL:
            bound = drive.bound
            assert drive.member is not None
            provider = bound.providers[drive.member.instance.provider]
            facts = provider.refusal(self.status, self.headers, self.whole()[:REFUSAL_BYTES], bound.wall())
            if not facts.cause and how not in ("done", "eof"):
                drive.event(self.ticket, Failed(now, "answer.truncated", "all"))
            else:
                drive.event(self.ticket, Responded(now, self.status, facts, True))
        else:
            drive.event(self.ticket, Failed(now, _CAUSES.get(how, "answer.http" if how == "done" else how), sent))

    # ------------------------------------------------------------------ helpers

    def whole(self) -> bytes:
        """The body held so far, in one piece."""
        if len(self.held) != 1:
            self.held = [b"".join(self.held)]
        return self.held[0]

    def keep_tail(self) -> None:
        """Keep the last TAIL_BYTES of a large answer, join seldom."""
        if sum(map(len, self.held)) > 4 * TAIL_BYTES:
            self.held = [b"".join(self.held)[-TAIL_BYTES:]]

    def fail(self, cause: str, now: float) -> None:
        """Not an answer: give the attempt up and say so. Before anything was committed."""
        self.over = _GIVEN_UP
        self.drive.give_up()
        self.drive.event(self.ticket, Failed(now, cause, "all"))

    def broke_off(self, reason: str, now: float) -> None:
        """The upstream's answer cannot go on. Committed: the client gets an error frame; else a failure."""
        drive = self.drive
        self.over = _GIVEN_UP
        drive.give_up()
        if drive.relaying:
            drive.event(self.ticket, self.interrupted(now, "cut", reason))
        else:
            drive.event(
                self.ticket, Failed(now, "answer.endless" if reason == "stream.endless" else "answer.json", "all")
            )

    def finished(self, out: bytes, now: float) -> None:
        """The stream said its last word. The client need not wait for the HTTP message to end; the connection may."""
        drive = self.drive
        drive.pending = out
        assert self.meter is not None
        e = self.counted(now, "cut" if self.meter.error else drive.gone_how if drive.gone else "done")
        self.mode = Answer.DRAINING
        self.size = 0
        drive.event(self.ticket, e)

    def ended(self, now: float) -> Ended:
        """The HTTP message is over while we relay: is the answer?"""
        drive = self.drive
        if self.mode == Answer.LARGE:
            if self.over in ("done", "eof"):
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
        frame = None if self.meter is None else self.meter.cut(reason, _CUT_MESSAGES[reason])
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
            passed = self.size // 4
        else:
            usage, first = meter.usage, meter.first_token_at
            passed = meter.delivered
        if usage is not None:
            return Ended(now, usage, how, False, first)
        return Ended(now, Usage(input=self.drive.facts.estimate, output=passed), how, True, first)


class Drive:
    """The driver of one exchange. The edge calls start, body, refuse_body, left, writable; the wheel due, expire."""

    __slots__ = (
        "__weakref__",
        "answer",
        "api",
        "attempt",
        "bound",
        "broken",
        "busy",
        "deadline",
        "done",
        "down",
        "facts",
        "fields",
        "first_due",
        "gen",
        "gone",
        "gone_due",
        "gone_how",
        "head",
        "inbox",
        "last",
        "member",
        "on_gone",
        "paused_at",
        "pending",
        "raw",
        "relaying",
        "reply",
        "slot",
        "ticket",
        "timeouts",
    )  # fmt: skip

    gen: Exchange
    fields: Mapping[str, Any]
    facts: Facts
    timeouts: Timeouts

    def __init__(self, bound: Bound, api: Api, down: Downstream) -> None:
        self.bound = bound
        self.api = api
        self.down = down
        self.gen = exchange(bound.world)
        next(self.gen)
        self.ticket = 0
        self.busy = False
        self.done = False
        self.gone = False
        self.gone_how: How = "gone"
        self.gone_due = inf
        self.inbox: deque[tuple[int, Any]] | None = None
        self.attempt: Attempt | None = None
        self.answer: Answer | None = None
        self.member: Member | None = None
        self.relaying = False
        self.broken = False
        "The answer was committed and cannot be completed: only a reset is honest."
        self.pending = b""
        "The last bytes of a stream: they leave when the record is settled."
        self.reply: Reply | None = None
        self.on_gone = ABORT
        self.first_due = inf
        self.deadline = inf
        self.last = 0.0
        self.paused_at = 0.0
        self.slot = -1
        self.raw: Chunk = b""

    def __repr__(self) -> str:
        return f"Drive({self.api.name}, done={self.done}, relaying={self.relaying}, gone={self.gone})"

    # ------------------------------------------------------------------ what the edge says

    def start(self, head: Head) -> None:
        """Begin: the request head is complete and well formed."""
        self.head = head
        self.bound.live.add(self)
        self.event(0, head)

    def body(self, body: Chunk, now: float) -> None:
        """The request body is complete. The buffer belongs to this exchange until it is done."""
        api = self.api
        try:
            self.fields = fields = api.fields(body)
            self.facts = facts = api.facts(fields, len(body))
        except BadRequest as bad:
            self.event(self.ticket, Refused(now, bad.reason, bad.message))
            return
        self.raw = body
        self.event(self.ticket, Body(now, facts, len(body)))

    def refuse_body(self, reason: str, message: str, now: float) -> None:
        """The request body cannot be read."""
        self.event(self.ticket, Refused(now, reason, message))

    def left(self, now: float, how: How = "gone") -> None:
        """The client is gone (or was cut for not reading). Nothing is written to it from now on."""
        if not self.done and not self.gone:
            self.gone = True
            self.gone_how = how
            self.event(self.ticket, Gone(now))

    def writable(self, now: float) -> None:
        """The client took what was waiting: go on reading the upstream."""
        if self.paused_at:
            self.paused_at = 0.0
            self.last = now
            if self.attempt is not None:
                self.watch_idle()
                self.attempt.resume()

    def cut(self, now: float) -> None:
        """The gateway must stop: end the exchange, with an error frame where an answer is on its way."""
        if self.done:
            return
        if self.relaying and self.answer is not None:
            self.give_up()
            self.event(self.ticket, self.answer.interrupted(now, "drained", "stream.drained"))
        else:
            self.left(now)
            self.on_gone = ABORT
            self.event(self.ticket, Gone(now))
            self.down.reset()

    # ------------------------------------------------------------------ the trampoline

    def event(self, ticket: int, e: Event) -> None:
        """Carry one event into the exchange and perform what it asks, until an action has to wait."""
        if self.done or (ticket != self.ticket and type(e) is not Gone):
            return  # the answer to an action we gave up
        if self.busy:
            if self.inbox is None:
                self.inbox = deque()
            self.inbox.append((ticket, e))  # answered while we were asking
            return
        self.busy = True
        event: Event | None = e
        send = self.gen.send
        try:
            while True:
                if type(event) is Gone:
                    event = self.client_gone(event)
                if event is None:
                    if not self.inbox:
                        return
                    ticket, event = self.inbox.popleft()
                    if ticket != self.ticket and type(event) is not Gone:
                        event = None  # stale by now
                    continue
                action = send(event)
                self.ticket += 1
                event = PERFORM[type(action)](self, action)
                if event is _REPLIED:
                    send(None)
        except StopIteration:
            self.finish()
        except Exception as bug:
            self.broke(bug)
        finally:
            self.busy = False

    def client_gone(self, e: Gone) -> Event | None:
        """What `Gone` means for the action that is pending: its end, or nothing yet (`on_gone`)."""
        if self.answer is None or (self.answer.over and not self.relaying):
            return e
        if self.on_gone != ABORT and self.gone_due == inf:
            self.gone_due = e.at + self.on_gone
            if self.paused_at:
                self.writable(e.at)
            self.bound.wheel.watch(self, self.gone_due)
            return None
        self.give_up()
        if self.relaying:
            return self.answer.counted(e.at, self.gone_how)
        return e

    def perform_read(self, action: Read) -> Event | None:
        self.down.read(action.max_bytes)
        return None

    def perform_send(self, action: Send) -> Event | None:
        bound = self.bound
        now = bound.now()
        if self.gone:
            return Gone(now)
        self.member = member = action.member
        self.on_gone = action.on_gone
        self.timeouts = times = action.route.timeouts
        api = self.api
        facts = self.facts
        plan = bound.plan(member, api, self.head.api_version)
        asked = facts.stream and plan.usage and not facts.asked_usage
        body = api.body(self.raw, self.fields, facts, plan.model, plan.usage)
        head = plan.head
        for name, value in self.head.headers:
            head += b"%b: %b\r\n" % (name, value)
        head += b"content-length: %d\r\n\r\n" % len(body)
        call = Call(member.instance, api.method, head, body, times.connect, api.repeatable)
        self.answer = answer = Answer(self, self.ticket, asked)
        self.last = now
        self.deadline = action.deadline
        self.first_due = now + times.first_byte
        attempt = bound.upstream.start(call, answer)
        if not answer.over:
            self.attempt = attempt
            bound.wheel.watch(self, min(self.first_due, self.deadline))
        elif answer.over is _GIVEN_UP:  # judged before `start` returned
            attempt.cancel()
        return None

    def perform_relay(self, action: Relay) -> Event | None:
        answer = self.answer
        assert answer is not None
        self.on_gone = action.on_gone
        if answer.mode == Answer.WHOLE or answer.mode == Answer.REFUSAL:
            return (
                answer.counted(self.last, self.gone_how if self.gone else "done")
                if answer.status == 200
                else Ended(self.last, None, self.gone_how if self.gone else "done")
            )
        self.relaying = True
        if self.timeouts.idle < self.timeouts.first_byte:
            self.watch_idle()
        answer.ticket = self.ticket  # what comes now answers the Relay
        head = answer.head_
        assert head is not None
        held = answer.held
        if answer.mode == Answer.STREAM:
            out = b"".join(held) if len(held) != 1 else held[0]
            answer.held = []
            length = None
        else:
            out = b"".join(held)
            length = head.length
        if not self.gone:
            self.down.head(200, head.lines + self.request_id(), length)
        meter = answer.meter
        if meter is not None and meter.finished:
            answer.finished(out, self.last)
        else:
            if not self.gone and not self.down.data(out):
                self.pause(self.last)
            if answer.over:
                return answer.ended(self.last)
        return None

    def perform_reply(self, action: Reply) -> Event | None:
        self.reply = action
        return _REPLIED

    def perform_later(self, action: object) -> Event | None:
        raise NotImplementedError(f"{type(action).__name__} is not performed yet")

    # ------------------------------------------------------------------ the end

    def finish(self) -> None:
        """The generator returned, its record is settled: now the last bytes may leave."""
        self.done = True
        bound = self.bound
        bound.live.discard(self)
        answer = self.answer
        self.raw = b""
        self.fields = _NO_FIELDS
        if self.attempt is None:
            if self.slot >= 0:
                bound.wheel.drop(self)
            self.answer = None  # they hold each other: left alone, only the garbage collector would free them
        elif answer is not None and answer.mode == Answer.DRAINING:
            bound.wheel.watch(self, self.last + DRAIN_S)
        else:
            self.give_up()
        if self.gone:
            return
        down = self.down
        reply = self.reply
        if reply is not None:
            status, lines, body = refusal(reply.reason, reply.message, reply.retry_after, self.head.id)
            down.head(status, lines, len(body))
            down.data(body)
            down.end()
        elif self.relaying:
            if self.broken:
                down.reset()
                return
            if self.pending:
                down.data(self.pending)
            down.end()
        else:
            assert answer is not None
            body = answer.whole()
            if answer.head_ is not None:
                lines = answer.head_.lines
            else:
                head = read_head(answer.headers)
                lines = head.lines
                if head.content_type != b"application/json" or body[:1] != b"{":
                    lines = CONTENT_TYPE
                    body = error_body("The model's server refused the request.", "invalid_request_error",
                                      str(answer.status), "upstream.refused", answer.status)  # fmt: skip
            down.head(answer.status, lines + self.request_id(), len(body))
            down.data(body)
            down.end()

    def broke(self, bug: Exception) -> None:
        """A bug: the client gets a 500 or a reset, the record is settled by the generator's own finally."""
        self.bound.report(bug)
        self.gen.close()
        self.give_up()
        if self.relaying:
            self.broken = True
        else:
            self.reply = Reply("gateway.error", "The gateway failed. This is a bug; its operators see the details.")
        self.finish()

    def give_up(self) -> None:
        """Cancel the attempt under way, if any: no callback of it comes after this."""
        attempt = self.attempt
        if attempt is not None:
            self.attempt = None
            attempt.cancel()

    def pause(self, now: float) -> None:
        """The client does not keep up: stop reading the upstream. The idle clock rests meanwhile."""
        if not self.paused_at and self.attempt is not None:
            self.paused_at = now
            self.attempt.pause()

    def request_id(self) -> bytes:
        return b"x-sluicegate-request-id: %b\r\n" % self.head.id.encode()

    # ------------------------------------------------------------------ times (core/wheel.py)

    def due(self, now: float) -> float:
        """When `expire` is due; looked at by the wheel only."""
        answer = self.answer
        if self.attempt is None or answer is None:
            return inf
        if self.done:
            return self.last + DRAIN_S
        due = min(self.deadline, self.gone_due)
        if self.paused_at:
            return due
        if self.relaying or answer.mode in (Answer.WHOLE, Answer.REFUSAL, Answer.LARGE):
            return min(due, self.last + self.timeouts.idle)
        return min(due, self.first_due)

    def watch_idle(self) -> None:
        """The idle time runs, and may be up before the wheel would look: it was filed for a later time."""
        self.bound.wheel.watch(self, self.last + self.timeouts.idle)

    def expire(self, now: float) -> None:
        """A time is up."""
        answer = self.answer
        if self.done or answer is None or self.attempt is None:
            self.give_up()
            self.answer = None
            return
        if now >= self.gone_due:
            self.on_gone = ABORT
            self.event(self.ticket, Gone(now))
            return
        total = now >= self.deadline
        sent = self.attempt.sent
        self.give_up()
        if self.relaying:
            reason = "stream.total" if total else "stream.idle"
            self.event(self.ticket, answer.interrupted(now, "cut" if total else "idle", reason))
        elif answer.mode == Answer.WAITING or answer.mode == Answer.STREAM:
            self.event(self.ticket, Failed(now, "timeout.total" if total else "timeout.first_byte", sent))
        else:
            self.event(self.ticket, Failed(now, "timeout.total" if total else "timeout.idle", "all"))


_REPLIED: Event = Gone(0.0)
"""What performing a Reply gives (compared by identity): the exchange is told nothing more, and ends."""

PERFORM: dict[type, Callable[[Drive, Any], Event | None]] = {
    Read: Drive.perform_read,
    Send: Drive.perform_send,
    Relay: Drive.perform_relay,
    Reply: Drive.perform_reply,
    Ask: Drive.perform_later,
    Wait: Drive.perform_later,
    Defer: Drive.perform_later,
    Mirror: Drive.perform_later,
}

LEAKS: list[str] = []
"""Exchanges that were collected unfinished, see `watch_leaks`."""


def watch_leaks() -> None:
    """For test runs: note in LEAKS every driver that is collected before its exchange ended."""

    def __del__(self: Drive) -> None:
        if not self.done and self.ticket:
            LEAKS.append(repr(self))

    Drive.__del__ = __del__  # type: ignore[attr-defined]
