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
from mmap import mmap
from typing import Any, Final

from sluicegate.apis.base import Api, BadRequest
from sluicegate.core.actions import ABORT, Action, Ask, Cut, Defer, Mirror, Read, Relay, Reply, Send, Wait
from sluicegate.core.events import Answered, Body, Ended, Event, Facts, Failed, Gone, Head, How, Refused, Turn
from sluicegate.core.exchange import Exchange, exchange
from sluicegate.core.pool import Member
from sluicegate.core.ports import Attempt, Call, Chunk, Downstream, Groups, Lender, Upstream
from sluicegate.core.settings import Timeouts
from sluicegate.core.state import World
from sluicegate.core.wheel import Wheel
from sluicegate.drive.answer import (
    BLOB,
    DRAINING,
    FLOW,
    GIVEN_UP,
    LARGE,
    REFUSAL,
    STREAM,
    WAITING,
    WHOLE,
    Answer,
)
from sluicegate.drive.large import PiecesSource, pieces
from sluicegate.drive.upload import Upload, text_of
from sluicegate.providers.base import Plan, Provider
from sluicegate.wire.headers import SPILLOVER_TARGET, AnswerHead
from sluicegate.wire.headers import answer as read_head
from sluicegate.wire.multipart import content_type
from sluicegate.wire.refusal import CONTENT_TYPE, refusal, refused_upstream

DRAIN_S: Final = 1.0
"""After the last event of a stream: how long its HTTP message may take to end, so that the connection is reusable."""

PLANS: Final = 4096
"""Cached plans; a client can only vary the api-version, by a strict grammar, so this is never reached in earnest."""

_JSON_LINE: Final = b"content-type: application/json\r\n"
_NO_FIELDS: Final[Mapping[str, Any]] = {}
_ERROR: Final = AnswerHead()
"""Of an error that we say for an upstream whose own is none of an API."""
_ERROR.lines = CONTENT_TYPE


class Bound:
    """The rows and shores that all exchanges of one worker share, bound once."""

    __slots__ = (
        "_plans",
        "added",
        "groups",
        "lender",
        "live",
        "now",
        "providers",
        "report",
        "upstream",
        "wall",
        "wheel",
        "world",
    )

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
        self.lender: Lender | None = None
        "Where limits are shared with other workers."
        self.groups: Groups | None = None
        "Where there is a keeper that can ask directories."
        self.added: Callable[[float], None] | None = None
        "Told of each answer that goes down how many seconds of it were ours."
        self.report = report
        "Told of bugs: an exception that nobody expected. Must not raise."
        self.live: set[Drive] = set()
        self._plans: dict[tuple[int, str, str | None], Plan] = {}

    def plan(self, member: Member, api: Api, api_version: str | None) -> Plan:
        """How requests of this operation reach this deployment."""
        key = (member.deployment.number, api.name, api_version)
        plan = self._plans.get(key)
        instance = member.instance
        if plan is None or plan.instance is not instance:
            auth = instance.auth
            token = self.world.tokens.get(auth.identity) if auth.identity else None
            plan = self.providers[instance.provider].plan(
                api, member.deployment, instance, api_version, None if token is None else token.secret
            )
            plan.passes = auth.kind == "passthrough"
            plan.instance = instance
            if len(self._plans) >= PLANS:
                self._plans.clear()
            self._plans[key] = plan
        return plan

    def adopted(self) -> None:
        """A new snapshot is in force in the World, or another token: what was made from the old one is forgotten."""
        self._plans.clear()


class Drive:
    """The driver of one exchange. The edge calls start, body, refuse_body, left, writable; the wheel due, expire."""

    __slots__ = (
        "__weakref__",
        "answer",
        "api",
        "asking",
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
        "notes",
        "on_gone",
        "own",
        "paused_at",
        "pending",
        "raw",
        "relaying",
        "reply",
        "slot",
        "spent",
        "ticket",
        "timed",
        "timeouts",
        "turning",
        "unreadable",
        "upload",
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
        self.own = b""
        "Header lines of a relayed answer that say what is left of the client's limits."
        self.notes = b""
        self.spent = 0.0
        "Seconds between events and the calls they led to."
        self.asking = False
        "The exchange waits for the keeper."
        self.turning = False
        "Who may ask changed before the answer began."
        self.timed = False
        "The client is told what the gateway added."
        "More lines of ours."
        self.first_due = inf
        self.deadline = inf
        self.last = 0.0
        self.paused_at = 0.0
        self.slot = -1
        self.raw: Chunk = b""
        self.upload: Upload | None = None
        "The body is a form, passed on while it is read."
        self.unreadable: Refused | None = None
        "Of such a form the rest turned out to be none, while the exchange was elsewhere."

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
            self.facts = facts = api.facts(fields, body)
        except BadRequest as bad:
            self.event(self.ticket, Refused(now, bad.reason, bad.message))
            return
        self.raw = body
        self.last = now
        self.event(self.ticket, Body(now, facts, len(body), fields))

    def refuse_body(self, reason: str, message: str, now: float) -> None:
        """The request body cannot be read."""
        refused = Refused(now, reason, message)
        upload = self.upload
        if upload is not None:
            upload.stop()
            if self.relaying and self.answer is not None:
                self.give_up()
                self.event(self.ticket, self.answer.interrupted(now, "cut", "stream.interrupted"))
                return
            if self.asking:  # it will be told when it comes to send
                self.unreadable = refused
                return
            self.give_up()
        self.event(self.ticket, refused)

    def form_read(self, facts: Facts, fields: Mapping[str, Any], size: int, now: float) -> None:
        """What decides of a form is known."""
        self.facts = facts
        self.fields = fields
        self.last = now
        self.event(self.ticket, Body(now, facts, size, fields))

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

    def turn(self, now: float) -> None:
        """Who may ask changed: an answer that streams, or is going to, is looked at again."""
        answer = self.answer
        if self.done:
            return
        if not self.relaying:
            self.turning = True
        elif answer is not None and answer.mode == STREAM:
            self.event(self.ticket, Turn(now, None))

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
                event = self.perform(action)
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
            e.sent = "nothing" if self.answer is None else "all"
            return e
        if self.upload is not None and not self.upload.complete:
            self.on_gone = ABORT  # the rest will not come
        if self.on_gone != ABORT and self.gone_due == inf:
            self.gone_due = e.at + self.on_gone
            if self.paused_at:
                self.writable(e.at)
            self.bound.wheel.watch(self, self.gone_due)
            return None
        e.sent = "all" if self.attempt is None else self.attempt.sent
        if self.upload is not None and not self.upload.complete and e.sent == "all":
            e.sent = "some"
        self.give_up()
        if self.relaying:
            return self.answer.counted(e.at, self.gone_how)
        return e

    def perform(self, action: Action | None) -> Event | None:
        """Do it. What comes back is its answer, None: it will come."""
        if isinstance(action, Read):
            return self.perform_read(action)
        if isinstance(action, Send):
            return self.perform_send(action)
        if isinstance(action, Relay):
            return self.perform_relay(action)
        if isinstance(action, Reply):
            self.reply = action
            return _REPLIED
        return PERFORM[type(action)](self, action)

    def perform_read(self, action: Read) -> Event | None:
        upload = self.upload
        if upload is None:
            self.down.read(action.max_bytes)
        else:
            if self.unreadable is not None:  # found while the exchange waited for the keeper
                return self.unreadable
            self.down.read(action.upload)
            upload.read(action.upload, self.head.path_model is not None, action.whole, self.bound.now())
        return None

    def perform_ask(self, action: Ask) -> Event | None:
        bound = self.bound
        ticket = self.ticket

        def answered() -> None:
            self.asking = False
            self.event(ticket, Answered(bound.now()))

        self.asking = True
        if action.token:
            if bound.groups is None or not bound.groups.ask(action.token, answered):
                self.asking = False
                return Answered(bound.now())
        elif bound.lender is None or not bound.lender.ask(action.wants, answered):
            self.asking = False
            return Answered(bound.now())
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
        if self.upload is not None:
            return self.send_form(action, self.upload, plan)
        if type(self.raw) is memoryview and type(self.raw.obj) is mmap:
            return self.send_large(action, self.raw, plan, asked)
        body = api.body(self.raw, self.fields, facts, plan.model, plan.usage, action.changes)
        head = plan.head
        if plan.passes:
            head += self.bearer()
        for name, value in self.head.headers:
            if name != SPILLOVER_TARGET or action.route.lets_spill(member, value):
                head += b"%b: %b\r\n" % (name, value)
        head += b"content-length: %d\r\n\r\n" % len(body)
        call = Call(member.instance, api.method, head, body, times.connect, api.repeatable)
        return self.start_call(call, asked, action.deadline, now)

    def send_large(self, action: Send, raw: memoryview, plan: Plan, asked: bool) -> Event | None:
        """Send a body that is not copied."""
        now = self.bound.now()
        member, api = action.member, self.api
        source = PiecesSource(pieces(api, raw, self.fields, self.facts, plan.model, plan.usage, action.changes))
        head = plan.head
        if plan.passes:
            head += self.bearer()
        for name, value in self.head.headers:
            if name != SPILLOVER_TARGET or action.route.lets_spill(member, value):
                head += b"%b: %b\r\n" % (name, value)
        head += b"content-length: %d\r\n\r\n" % source.size
        call = Call(member.instance, api.method, head, b"", self.timeouts.connect, api.repeatable)
        call.source = source
        return self.start_call(call, asked, action.deadline, now)

    def send_form(self, action: Send, upload: Upload, plan: Plan) -> Event | None:
        """Send what there is of a form, and the rest as it comes."""
        now = self.bound.now()
        if self.unreadable is not None:
            return self.unreadable
        member, route, api = action.member, action.route, self.api
        values = {} if plan.model is None else {"model": plan.model.encode()}
        for name, value in (action.changes or {}).items():
            values[name] = text_of(value)
        source = upload.begin(route.body_upload, route.body_max, values, now)
        length = source.length()
        head = plan.head.replace(_JSON_LINE, b"content-type: %b\r\n" % content_type(upload.form.boundary))
        if plan.passes:
            head += self.bearer()
        for name_, value_ in self.head.headers:
            if name_ != SPILLOVER_TARGET or route.lets_spill(member, value_):
                head += b"%b: %b\r\n" % (name_, value_)
        head += b"transfer-encoding: chunked\r\n\r\n" if length is None else b"content-length: %d\r\n\r\n" % length
        call = Call(member.instance, api.method, head, b"", self.timeouts.connect, api.repeatable)
        call.source = source
        return self.start_call(call, False, action.deadline, now)

    def bearer(self) -> bytes:
        """The header line with the client's own token, where that is what the deployment is shown. It was proved to be
        a token, so there is nothing in it that could end a line."""
        token = self.head.credentials.bearer()
        return b"authorization: Bearer %b\r\n" % token if token else b""

    def start_call(self, call: Call, asked: bool, deadline: float, now: float) -> Event | None:
        """Put a call on its way."""
        bound = self.bound
        self.answer = answer = Answer(self, self.ticket, asked)
        self.spent += now - self.last
        self.last = now
        self.deadline = deadline
        self.first_due = now + self.timeouts.first_byte
        attempt = bound.upstream.start(call, answer)
        if not answer.over:
            self.attempt = attempt
            bound.wheel.watch(self, min(self.first_due, self.deadline))
        elif answer.over is GIVEN_UP:  # judged before `start` returned
            attempt.cancel()
        return None

    def perform_relay(self, action: Relay) -> Event | None:
        answer = self.answer
        assert answer is not None
        self.on_gone = action.on_gone
        self.own = action.headers
        self.notes = action.notes
        if action.platform:
            self.notes += answer.spillover()
        self.timed = action.timed
        if answer.mode == WHOLE or answer.mode == REFUSAL or answer.mode == BLOB:
            return (
                answer.counted(self.last, self.gone_how if self.gone else "done")
                if answer.status == 200
                else Ended(self.last, None, self.gone_how if self.gone else "done")
            )
        if self.relaying:  # after a Turn
            answer.ticket = self.ticket
            return None
        self.relaying = True
        if self.timeouts.idle < self.timeouts.first_byte:
            self.watch_idle()
        answer.ticket = self.ticket  # what comes now answers the Relay
        head = answer.head_
        assert head is not None
        held = answer.held
        if answer.mode == STREAM:
            out = b"".join(held) if len(held) != 1 else held[0]
            answer.held = []
            length = None
        elif answer.mode == FLOW:
            out = b"".join(held)
            answer.held = []
            length = head.length
        else:
            out = b"".join(held)
            length = head.length
        if not self.gone:
            self.down.head(200, self.lines(head), length)
        meter = answer.meter
        if meter is not None and meter.finished:
            answer.finished(out, self.last)
        else:
            if not self.gone and not self.down.data(out):
                self.pause(self.last)
            if answer.over:
                return answer.ended(self.last)
            if self.turning and answer.mode == STREAM:
                return Turn(self.last, None)
        return None

    def perform_cut(self, action: Cut) -> Event:
        answer = self.answer
        assert answer is not None
        now = self.bound.now()
        self.give_up()
        return answer.interrupted(now, "revoked", action.reason)

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
        if self.upload is not None:
            self.upload.stop()
        if self.attempt is None:
            if self.slot >= 0:
                bound.wheel.drop(self)
            self.answer = None  # they hold each other: left alone, only the garbage collector would free them
        elif answer is not None and answer.mode == DRAINING:
            bound.wheel.watch(self, self.last + DRAIN_S)
        else:
            self.give_up()
        if self.gone:
            return
        down = self.down
        reply = self.reply
        if reply is not None:
            status, lines, body = refusal(
                reply.reason, reply.message, reply.retry_after, self.head.id, self.api.dialect
            )  # fmt: skip
            down.head(status, lines + reply.headers, len(body))
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
            head = answer.head_
            if head is None:
                head = read_head(answer.headers)
                if head.content_type != b"application/json" or body[:1] != b"{" or self.repeats(body):
                    head = _ERROR
                    body = refused_upstream(answer.status, self.head.id, self.api.dialect)
            down.head(answer.status, self.lines(head), len(body))
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

    def repeats(self, body: bytes) -> bool:
        """Whether an error repeats the credential that it was shown."""
        assert self.member is not None
        auth = self.member.instance.auth
        token = self.bound.world.tokens.get(auth.identity) if auth.identity else None
        secret = auth.secret if token is None else token.secret
        return secret is not None and secret.reveal().encode() in body

    def pause(self, now: float) -> None:
        """The client does not keep up: stop reading the upstream. The idle clock rests meanwhile."""
        if not self.paused_at and self.attempt is not None:
            self.paused_at = now
            self.attempt.pause()

    def lines(self, head: AnswerHead) -> bytes:
        """The head of a relayed answer: what passes of the upstream's lines, and our own. Where a client is told of
        its own limits, those of the deployment would only mislead it."""
        ours = self.own or head.limits()
        added = self.bound.added
        if added is not None or self.timed:
            took = self.spent + self.bound.now() - self.last
            if added is not None:
                added(took)
            if self.timed:
                ours += b"x-sluicegate-overhead-ms: %.3f\r\n" % (took * 1000)
        return b"%b%b%bx-sluicegate-request-id: %b\r\n" % (head.lines, ours, self.notes, self.head.id.encode())

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
        if self.relaying or answer.mode in (WHOLE, REFUSAL, LARGE, BLOB, FLOW):
            return min(due, self.last + self.timeouts.idle)
        if self.upload is not None:  # as long as it goes on, or the client is slow, the upstream is not
            waits = not self.upload.unsent() and not self.upload.complete
            return min(due, (now if waits else self.upload.moved_at) + self.timeouts.first_byte)
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
        self.last = now
        sent = self.attempt.sent
        passed = answer.passed()
        if passed is None and answer.mode == WAITING and sent == "all":
            passed = 0  # it may work on it yet
        self.give_up()
        if self.relaying:
            reason = "stream.total" if total else "stream.idle"
            self.event(self.ticket, answer.interrupted(now, "cut" if total else "idle", reason))
        elif answer.mode == WAITING or answer.mode == STREAM:
            self.event(self.ticket, Failed(now, "timeout.total" if total else "timeout.first_byte", sent, passed))
        else:
            self.event(self.ticket, Failed(now, "timeout.total" if total else "timeout.idle", "all", passed))


_REPLIED: Final = Gone(0.0)
"""What performing a Reply gives (compared by identity): the exchange is told nothing more, and ends."""

PERFORM: Final[dict[type, Callable[[Drive, Any], Event | None]]] = {
    Ask: Drive.perform_ask,
    Cut: Drive.perform_cut,
    Wait: Drive.perform_later,
    Defer: Drive.perform_later,
    Mirror: Drive.perform_later,
}
"""Of the actions that are rare."""

LEAKS: list[str] = []
"""Exchanges that were collected unfinished, see `watch_leaks`."""


def watch_leaks() -> None:
    """For test runs: note in LEAKS every driver that is collected before its exchange ended."""

    def __del__(self: Drive) -> None:
        if not self.done and self.ticket:
            LEAKS.append(repr(self))

    setattr(Drive, "__del__", __del__)  # noqa: B010 - a compiled class has none, and refuses here
