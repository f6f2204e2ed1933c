"""Contracts the shores fulfil, so that the pure rooms and the driver know none of them by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar, Protocol

from sluicegate.core.events import Sent, Usage
from sluicegate.core.kept import Kept
from sluicegate.core.keyset import KeySet
from sluicegate.core.limits.lender import Want
from sluicegate.core.principal import Presented, Principal, Whose
from sluicegate.core.record import UsageRecord
from sluicegate.core.settings import Issuer
from sluicegate.core.snapshot import Instance

Headers = Sequence[tuple[bytes, bytes]]
"""Names as they came on the wire (compare with .lower()); values may have blanks at their end."""

Chunk = bytes | bytearray | memoryview


class Alike:
    """Headers whose names are those of an answer before: the same tuple of names each time, and this one's values,
    which hold no CR, LF or NUL."""

    __slots__ = ("names", "shape", "values")

    def __init__(self, names: tuple[bytes, ...], values: tuple[bytes, ...], shape: object) -> None:
        self.names = names
        self.values = values
        self.shape = shape
        "What the names come to, for whoever made this."


class Taker(Protocol):
    """Who writes what a Source gives."""

    def pump(self) -> None:
        """There may be more to take."""


class Source(Protocol):
    """A request body that is not all here yet, framed as the head of its call says."""

    taker: Taker | None
    "Told when there is more, or the end; None: nobody takes."

    def take(self, most: int) -> Chunk | None:
        """What can be written now, about so much; empty: nothing yet. None: that was all."""

    def rewind(self) -> bool:
        """Begin anew. False: what it gave first is not there any more."""


class Spool(Protocol):
    """Where a body is kept on its way, in memory or on disk."""

    size: int
    "Bytes that came."

    def add(self, chunk: bytes) -> None:
        """Raises OSError when the disk is full."""

    def read(self, at: int, most: int) -> bytes:
        """What stands there: once something was forgotten, in order and once only."""

    def forget(self, before: int) -> None:
        """What stands before it is not asked for again, and of the rest each byte once."""

    def close(self) -> None: ...


class Flow(Protocol):
    """Who sends a body, and can be told to wait."""

    def hold(self) -> None: ...
    def go_on(self) -> None: ...


class Call:
    """One upstream request, ready to be written: the driver and the provider row made it, upstream/ only carries it."""

    __slots__ = ("body", "connect_s", "head", "instance", "method", "repeatable", "source")

    def __init__(
        self, instance: Instance, method: str, head: bytes, body: Chunk, connect_s: float, repeatable: bool
    ) -> None:
        self.instance = instance
        self.method = method
        self.head = head
        "Request line and headers, content-length included, up to and including the empty line."
        self.body = body
        self.connect_s = connect_s
        "Seconds for resolving, connecting and the TLS handshake, waiting for a handshake slot included."
        self.repeatable = repeatable
        "The API row allows a repeat: after a reused connection was reset before any response byte, once."
        self.source: Source | None = None
        "Where the body comes from, instead of `body`."


class Sink(Protocol):
    """Where an attempt's answer goes. Calls may come before `Upstream.start` returned. `now` is monotonic.

    `head` once, `data` any number of times with non-empty chunks, `end` once, last, also without head.
    `how` of end: `done` (complete by its framing), `eof` (ended by close, which proves nothing), or a cause:
    `connect.refused connect.timeout connect.dns connect.tls connect.failed reset cut malformed`. (`cut`: the connection
    ended before the framing said so; `reset`: by RST or error.) Timeouts after connecting are the driver's.
    """

    def head(self, status: int, headers: Headers | dict[bytes, bytes] | Alike, now: float) -> None:
        """`headers` as a dictionary is the caller's own, valid during the call only."""

    def data(self, chunk: bytes, now: float) -> None: ...
    def end(self, how: str, now: float) -> None: ...


class Attempt(Protocol):
    """A call under way."""

    @property
    def sent(self) -> Sent:
        """How much of the request may have reached the upstream."""

    def pause(self) -> None:
        """Stop reading the answer; at most what is already buffered arrives after it."""

    def resume(self) -> None: ...

    def cancel(self) -> None:
        """Give up: no callback after it returns; the connection is closed, not pooled."""


class Upstream(Protocol):
    """Carries calls. live: upstream/client.py; virtual: sim."""

    def start(self, call: Call, sink: Sink) -> Attempt:
        """Begin; may call the sink before it returns."""


class Downstream(Protocol):
    """The client's side of one exchange. live: edge; virtual: sim.

    `read`: deliver the body by `Drive.body(chunk-like, now)` or `Drive.refuse_body(reason, message, now)` once,
    after `100 Continue` if the client waits for it; may call back before it returns.
    """

    def read(self, max_bytes: int) -> None: ...

    def head(self, status: int, headers: bytes, length: int | None) -> None:
        """Begin the answer. `headers`: complete lines, each ended by CRLF, framing excluded; `length` None: unknown,
        the edge frames it (chunked). Buffered until the first data or end."""

    def data(self, chunk: Chunk) -> bool:
        """False: the client's buffer is full; pause the upstream until `Drive.writable()`."""

    def end(self) -> None:
        """The answer is complete."""

    def reset(self) -> None:
        """The answer cannot be completed: close so that the client sees a broken message, never a complete one."""


class Terminal:
    """What a meter knows at the end of a stream."""

    DONE: ClassVar[str] = "done"
    INCOMPLETE: ClassVar[str] = "incomplete"
    ERROR: ClassVar[str] = "error"


class Meter(Protocol):
    """Pure reader of one streamed answer, one per attempt, made by the API row.

    It passes complete events only, edited if asked for, and knows usage and the terminal state.
    """

    usage: Usage | None
    "From the upstream, None until it said."
    first_token_at: float | None
    tier: str
    "Of the service, as its events say it; empty: they did not."
    error: str
    "Code of an error event of the upstream, empty if there was none."
    delivered: int
    "Rough count of output tokens passed so far (events with content), for estimates when usage never came."

    broken: bool
    "An event was no event of this dialect: nothing after it passes, the answer is not whole."
    finished: bool
    "`[DONE]` (or what the dialect ends with) was seen: nothing of worth can follow."

    @property
    def prompt(self) -> Usage | None:
        """What the beginning of the stream said of the prompt, for an answer whose end does not come; None: nothing."""

    def feed(self, chunk: bytes, now: float) -> bytes:
        """Complete events, edited if asked for; b"" while incomplete. Raises wire.sse.Endless on a bound passed."""

    def end(self) -> str:
        """One of Terminal."""

    def cut(self, reason: str, message: str) -> bytes | None:
        """The error frame of this dialect for an answer that broke off; None when bytes of an incomplete event were
        already passed (a held event grew beyond its cap), so that only a reset is honest."""


class Journal(Protocol):
    """Where records go. Synchronous, never waits, never raises for want of space."""

    def admit(self, record: UsageRecord) -> None: ...
    def settle(self, record: UsageRecord) -> None: ...

    def refuse(self, record: UsageRecord) -> None:
        """A request that was refused before admission: counted, sampled, not journalled."""


class Timed(Protocol):
    """Something the wheel looks after (core/wheel.py)."""

    slot: int
    "Owned by the wheel: the tick it is filed under, -1 when it is not."

    def due(self, now: float) -> float:
        """Monotonic time at which `expire` should be called, looked at when its slot comes up; inf: no longer filed."""

    def expire(self, now: float) -> None: ...


class Certificates(Protocol):
    """Client certificates. live: identity/certificates.py."""

    def look(self, der: bytes) -> Presented:
        """At the certificate of a TLS connection, whose chain was checked when it was made."""

    def revoked(self, principal: Principal) -> bool:
        """Whether this certificate, which was good when it was shown, is on a list by now."""

    def overdue(self) -> Sequence[str]:
        """Lists of revoked ones that were to be renewed by now."""

    def forwarded(self, header: str, value: bytes) -> Presented:
        """At what a trusted proxy says of its client's, in a header of this name."""


class Prover(Protocol):
    """Whether tokens are genuine. live: identity/prover.py."""

    def adopt(self, issuers: Sequence[Issuer]) -> None:
        """Tokens of these are proved from now on, of nobody else."""

    def take(self, sets: Iterable[KeySet]) -> None:
        """Keys as they are published now; of sources that are not named nothing changes."""

    def prove(self, token: bytes, mark: bytes = b"") -> Principal | str:
        """Who its bearer is, or the reason to refuse. From memory, in the same call: nobody is asked. `mark`: what it
        had before, so that it need not be digested again."""


class Resolver(Prover, Protocol):
    """One that is told what directories know of those whose tokens do not say it."""

    def whose(self, token: bytes) -> Whose | None:
        """Whose groups have to be known for this token, which was proved; None: they are, or it holds its own."""

    def told(self, whose: Whose, groups: list[str] | None, until: float) -> None:
        """They are these, until then (monotonic). None: nobody may be let in by a token that leaves them out."""


class Groups(Protocol):
    """Who gets the groups of those whose tokens do not hold them. live: link/groups.py."""

    def ask(self, token: bytes, done: Callable[[], None]) -> bool:
        """Of this token's bearer; `done` is called once, later, when the prover knows them or nobody will say. False:
        there is nothing to wait for."""


class Lender(Protocol):
    """Who lends shares of limits that several workers hold together."""

    def ask(self, wants: Sequence[Want], done: Callable[[], None]) -> bool:
        """Ask for these; `done` is called once, later, when all are answered or nobody will. False: there is nobody to
        ask. What was lent is in the limits by then."""


class Directory(Protocol):
    """Keeps consumers that were made while the gateway ran. Any thread may call; every call is whole or not at all.

    Names belong to one consumer, whatever its tenant. Raises Stale, and core.booked.Unusable when the store is.
    """

    def all(self) -> Sequence[Kept]:
        """Everybody, by name."""

    def get(self, name: str) -> Kept | None: ...

    def put(self, kept: Kept, expect: int) -> None:
        """Keep this one, in the place of version `expect` of it; 0: of nothing."""

    def remove(self, name: str, expect: int) -> None:
        """Forget it, if it is in this version."""

    def close(self) -> None: ...
