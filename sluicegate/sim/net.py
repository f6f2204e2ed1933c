"""The virtual form: the same instances without sockets, in virtual time, behind the ports that the driver knows.

`SimUpstream` is core.ports.Upstream. Answers that no fault touched in their bytes are handed over as they are, several
events of one moment in one piece; the others are written by sim/wire.py and read back as a real client would.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from email.utils import formatdate
from typing import Any

import httptools

from sluicegate.core.events import Sent
from sluicegate.core.ports import Call, Sink
from sluicegate.sim.answer import Answer, Headers, Piece, bursts
from sluicegate.sim.azure.instance import Instance
from sluicegate.sim.azure.request import Request
from sluicegate.sim.clock import Timer, VirtualClock
from sluicegate.sim.instances import Given, Instances
from sluicegate.sim.ledger import Entry
from sluicegate.sim.spec import InstanceSpec
from sluicegate.sim.wire import Wire

HEADS = 4096
"""Request heads that are kept parsed: they differ by plan and by what clients add."""
INTERIM = 16
"""1xx answers that a client puts up with."""


class SimUpstream(Instances):
    """A fleet in virtual time. Instances are found by the name that the gateway's snapshot gives them."""

    def __init__(
        self, clock: VirtualClock, given: Given = 1, *, seed: int | None = None, keep_bodies: bool = False
    ) -> None:
        self.clock = clock
        self.live: dict[SimAttempt, None] = {}
        "Under way, in the order in which they began."
        super().__init__(given, seed, keep_bodies)
        self._dated = (0, b"")
        self.heads: dict[bytes, tuple[str, Headers]] = {}
        "Parsed heads, by what stands before their content-length."

    def __getitem__(self, name: str) -> Instance:
        return self.behind[name]

    def now(self) -> float:
        return self.clock.now()

    def take_keys(self, keys: Mapping[str, str]) -> None:
        """Let instances accept these keys, by name: those that a gateway's configuration has for them."""
        for name, key in keys.items():
            if name in self.behind:
                self.behind[name].patch({"key": key})

    def applied(self, name: str, spec: InstanceSpec) -> None:
        """An instance that goes down takes its connections with it."""
        if spec.mode == "down":
            for attempt in [a for a in self.live if a.instance is self.behind[name]]:
                attempt.ended("reset", "stopped")

    def start(self, call: Call, sink: Sink) -> SimAttempt:
        """Begin a call. The sink hears of it when the clock goes on, never before this returns."""
        attempt = SimAttempt(self, call, sink, self.behind.get(call.instance.name))
        self.live[attempt] = None
        attempt.connect()
        return attempt

    def date(self) -> bytes:
        now = int(self.clock.wall())
        if self._dated[0] != now:
            self._dated = (now, formatdate(now, usegmt=True).encode())
        return self._dated[1]


class SimAttempt:
    """One call under way."""

    __slots__ = (
        "answer", "call", "entry", "instance", "over", "paused", "pieces", "reader", "sent", "sink", "step", "timer",
        "upstream", "wire",
    )  # fmt: skip

    def __init__(self, upstream: SimUpstream, call: Call, sink: Sink, instance: Instance | None) -> None:
        self.upstream = upstream
        self.call = call
        self.sink = sink
        self.instance = instance
        self.sent: Sent = "nothing"
        self.over = False
        self.paused = False
        self.entry: Entry | None = None
        self.answer: Answer | None = None
        self.pieces: Iterator[Piece] | None = None
        self.step: Piece | None = None
        "The next piece, and the time from the one before it."
        self.reader: _Reader | None = None
        self.wire: Wire | None = None
        self.timer: Timer | None = None

    # ------------------------------------------------------------------ core.ports.Attempt

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        if self.paused:
            self.paused = False
            if self.timer is None and not self.over:
                self.timer = self.upstream.clock.after(0.0, self._go_on if self.step is not None else self._said)

    def cancel(self) -> None:
        if not self.over:
            self._account()
            entry = self.entry
            if entry is not None:
                entry.left_at = self.upstream.now()
            hung = self.answer is not None and self.answer.ending == "hang" and self.step is None
            self._leave("hang" if hung else "client")

    # ------------------------------------------------------------------ connecting

    def connect(self) -> None:
        clock = self.upstream.clock
        if self.instance is None:
            self.timer = clock.after(0.0, lambda: self.ended("connect.dns", ""))
            return
        spec = self.instance.spec
        if spec.mode == "up":
            if spec.connect_s >= self.call.connect_s > 0:
                self.timer = clock.after(self.call.connect_s, lambda: self.ended("connect.timeout", ""))
            elif spec.connect_s:
                self.timer = clock.after(spec.connect_s, self._connected)
            else:
                self._connected()
        elif spec.mode == "stall":
            self.timer = clock.after(self.call.connect_s, lambda: self.ended("connect.timeout", ""))
        else:
            self.timer = clock.after(spec.connect_s, lambda: self.ended("connect.refused", ""))

    def _connected(self) -> None:
        instance, upstream = self.instance, self.upstream
        assert instance is not None
        self.timer = None
        now, wall = upstream.clock.now(), upstream.clock.wall()
        self.sent = "all"
        how = instance.faults.accepting(instance.name, now)
        if how:
            self.sent = "some"
            if how == "reset":
                self.timer = upstream.clock.after(0.0, lambda: self.ended("reset", "reset"))
            return
        request, entry = self._received(now, wall)
        self.entry = entry
        instance.ledger.add(entry)
        answer = instance.early(request, entry, now, wall)
        if answer is None:
            answer = instance.answer(request, entry, now, wall)
        self.answer = answer
        if answer.as_pieces:
            self.pieces = iter(bursts(answer.pieces, answer.burst))
        else:
            self.wire = Wire(answer, upstream.date())
            self.reader = _Reader(self)
            self.pieces = iter(self.wire)
        self.step = next(self.pieces, None)
        self._wait()

    def _received(self, now: float, wall: float) -> tuple[Request, Entry]:
        """The call as it would have arrived."""
        call = self.call
        heads = self.upstream.heads
        length_at = call.head.rfind(b"content-length:")
        known = heads.get(call.head[:length_at])
        if known is None:
            if len(heads) >= HEADS:
                heads.clear()
            known = heads[call.head[:length_at]] = _parsed(call.head)
        target, headers = known
        source = call.source
        if source is not None:  # all of it is here: virtual clients send nothing bit by bit
            call.body = b"".join(iter(lambda: source.take(HEADS), None))
        body = call.body if isinstance(call.body, bytes) else bytes(call.body)
        request = Request(call.method, target, headers, call.head, body)
        request.complete = True
        entry = Entry(self.instance.name if self.instance else "", now, wall)
        entry.head_at = entry.body_at = now
        entry.method, entry.target, entry.path = call.method, target, request.path
        entry.head, entry.head_bytes = call.head, len(call.head)
        entry.body, entry.body_bytes, entry.complete = body, len(body), True
        entry.api_version = request.api_version
        return request, entry

    # ------------------------------------------------------------------ answering

    def _wait(self) -> None:
        step = self.step
        if step is not None:
            self.timer = self.upstream.clock.after(max(0.0, step[0]), self._go_on)
        else:  # not at once: `start` may not have returned yet
            self.timer = self.upstream.clock.after(0.0, self._said)

    def _go_on(self) -> None:
        """What is due now, in one piece; then wait for the next."""
        self.timer = None
        if self.paused or self.over:
            return
        step, pieces = self.step, self.pieces
        assert step is not None and pieces is not None
        data = step[1]
        step = next(pieces, None)
        if step is not None and step[0] == 0:
            held = [data]
            while step is not None and step[0] == 0 and len(held) < 1000:
                held.append(step[1])
                step = next(pieces, None)
            data = b"".join(held)
        self.step = step
        if self.reader is None:
            self._hand_over(data)
        else:
            self._read(data)
        if not self.over:
            if self.step is None and self.reader is None and not self.paused:
                self._said()
            else:
                self._wait()

    def _hand_over(self, data: bytes) -> None:
        answer, entry, now = self.answer, self.entry, self.upstream.clock.now()
        assert answer is not None and entry is not None
        entry.sent_at = now
        if entry.answer_at is None:
            entry.answer_at = now
            entry.status = answer.status
            self.sink.head(answer.status, self._head(answer), now)
            if self.over:
                return
        entry.sent_body += len(data)
        entry.sent = entry.sent_body
        if data:
            self.sink.data(data, now)

    def _head(self, answer: Answer) -> Headers:
        if answer.framing == "chunked":
            framing = (b"Transfer-Encoding", b"chunked")
        else:
            framing = (b"Content-Length", b"%d" % len(answer.body()))
        return [framing, *answer.headers, (b"Date", self.upstream.date())]

    def _read(self, data: bytes) -> None:
        entry, reader, answer, wire = self.entry, self.reader, self.answer, self.wire
        assert entry is not None and reader is not None and answer is not None and wire is not None
        entry.sent_at = self.upstream.now()
        if entry.answer_at is None and data:
            entry.answer_at = entry.sent_at
            entry.status = answer.status
        entry.sent += len(data)
        entry.sent_body = wire.body_in(entry.sent)
        reader.feed(data)

    def _said(self) -> None:
        """Everything was said: end as the answer says."""
        self.timer = None
        if self.paused:
            return  # the end is read like everything else
        answer, entry, reader = self.answer, self.entry, self.reader
        assert answer is not None and entry is not None
        if answer.ending == "hang":
            return  # until the caller has enough
        if reader is None:
            entry.whole = True
            self.ended("done", "done")
        elif answer.ending == "rst":
            self.ended("reset", "reset")
        elif answer.ending in ("fin", "bare"):
            whole = self.wire is not None and self.wire.complete
            self.ended("eof" if reader.unframed else "cut", "done" if whole else "cut")
        # else: the connection stays open and the answer is not complete: nothing more comes

    def ended(self, how: str, entry_how: str) -> None:
        """The last word to the sink."""
        if not self.over:
            self._account()
            self._leave(entry_how)
            self.sink.end(how, self.upstream.clock.now())

    def _leave(self, how: str) -> None:
        self.over = True
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        self.upstream.live.pop(self, None)
        if self.entry is not None and self.instance is not None:
            self.instance.ledger.end(self.entry, how, self.upstream.clock.now())
        self.pieces = None

    def _account(self) -> None:
        """What the ledger wants to know, worked out once, at the end."""
        entry, answer, wire = self.entry, self.answer, self.wire
        if entry is None or answer is None:
            return
        if wire is not None:
            entry.usage_sent = wire.usage_raw is not None and entry.sent >= wire.usage_raw
            entry.whole = wire.complete and wire.raw_end is not None and entry.sent >= wire.raw_end
        elif entry.whole:
            entry.usage_sent = answer.usage_piece >= 0
        elif answer.usage_piece >= 0 and isinstance(answer.pieces, list):
            said = sum(len(data) for _, data in answer.pieces[: answer.usage_piece + 1])
            entry.usage_sent = entry.sent_body >= said


def _parsed(head: bytes) -> tuple[str, Headers]:
    """Target and headers of a request head. Its length, the one thing that differs from call to call, nobody reads."""
    line, _, rest = head.partition(b"\r\n")
    headers = []
    for header in rest[:-4].split(b"\r\n"):
        name, _, value = header.partition(b":")
        headers.append((name.lower(), value.strip()))
    return line.split(b" ", 2)[1].decode("latin-1"), headers


class _Reader:
    """Reads raw bytes as a client of HTTP does, and tells the sink."""

    __slots__ = ("_attempt", "_parser", "_parts", "bad", "complete", "headed", "headers", "interim", "status")

    def __init__(self, attempt: SimAttempt) -> None:
        self._attempt = attempt
        self._parts: list[bytes] = []
        self.headers: Headers = []
        self.status = 0
        self.headed = False
        self.complete = False
        self.interim = 0
        self.bad = False
        self._parser = httptools.HttpResponseParser(self)

    @property
    def unframed(self) -> bool:
        """The head said neither length nor chunks: the end of the connection is the end of the answer."""
        names = {name.lower() for name, _ in self.headers}
        return bool(self.status) and not names & {b"content-length", b"transfer-encoding"}

    def feed(self, data: bytes) -> None:
        attempt = self._attempt
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.bad = not self.complete
        now = attempt.upstream.clock.now()
        if self.status and not self.headed:
            self.headed = True
            attempt.sink.head(self.status, self.headers, now)
        if self._parts and not attempt.over:
            parts, self._parts = b"".join(self._parts), []
            if parts:
                attempt.sink.data(parts, now)
        if attempt.over:
            return
        if self.complete:
            attempt.ended("done", "done")
        elif self.bad:
            attempt.ended("malformed", "client")

    # httptools

    def on_message_begin(self) -> None:
        if not self.status:
            self.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.status:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        status: Any = self._parser.get_status_code()
        if self.status:
            return
        if status >= 200:
            self.status = status
        else:
            self.interim += 1
            if self.interim > INTERIM or status == 101:
                raise ValueError

    def on_body(self, data: bytes) -> None:
        if not self.complete:
            self._parts.append(data)

    def on_message_complete(self) -> None:
        if self.status:
            self.complete = True
