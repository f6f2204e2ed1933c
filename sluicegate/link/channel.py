"""The channel between the keeper and one worker: a socket pair that carries typed messages, each with its length.

Both ends are of one installation and trust each other, but a rolling restart may pair two versions: what cannot be
read closes the channel, and the keeper replaces that worker. What is bulky (records, counters) goes elsewhere.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import msgspec

from sluicegate.core.entry import Entry
from sluicegate.core.keyset import KeySet
from sluicegate.core.limits.lender import Holds, Lend, Recall, Rest, Returned, Want

LARGEST = 1 << 30
"""Bytes of one message: a directory of a million consumers is about 200 MB."""

_LENGTH = 4


class Unreadable(Exception):
    """These bytes are no message of this channel. Never quotes them: a parcel holds secrets."""


# ---------------------------------------------------------------- down: keeper to worker


class Offer(msgspec.Struct, tag=True, array_like=True):
    """Prepare this configuration; nothing changes yet. Answered by Taken with state `prepared`, or with an error."""

    version: int
    parcel: bytes
    "As link/parcel.py packs it. Empty directory: the one you have still applies."


class Adopt(msgspec.Struct, tag=True, array_like=True):
    """Put what you prepared in force, now. Answered by Taken with state `in force`."""

    version: int


class Forget(msgspec.Struct, tag=True, array_like=True):
    """Not every worker could prepare this version: drop it."""

    version: int


class Drain(msgspec.Struct, tag=True, array_like=True):
    """Leave: let what is running end within `limit_s`, then exit."""

    limit_s: float
    still_listen_s: float
    "So long new connections are served, or idle ones kept, before the rest closes."
    replaced: bool
    "Another worker has your listening socket already: stop accepting at once."


class Query(msgspec.Struct, tag=True, array_like=True):
    """Say something of your live state; answered by Answer with the same id."""

    id: int
    what: str
    value: Any = None
    "What is asked about, plain data."


class Lends(msgspec.Struct, tag=True, array_like=True):
    """Shares of limits: so much more is yours; give back what you do not use; so much nobody holds
    (core/limits/lender.py)."""

    lends: list[Lend] = []
    recalls: list[Recall] = []
    rests: list[Rest] = []


class Keys(msgspec.Struct, tag=True, array_like=True):
    """Public keys of issuers, as they are published now. Put in force at once; of sources that are not named nothing
    changes."""

    sets: list[KeySet]


class Belongs(msgspec.Struct, tag=True, array_like=True):
    """What the directory says of somebody whose token leaves groups out: the answer to Wanted."""

    issuer: str
    tenant: str
    kind: str
    oid: str
    how: str
    "known; unknown: there is nobody, or there are too many groups; unavailable: it does not say."
    until: float
    "Monotonic: so long that holds, or before that nobody is asked again."
    groups: list[str] = []

    def __repr__(self) -> str:
        return f"Belongs({self.issuer}, {self.how}, {len(self.groups)} groups)"


class Token(msgspec.Struct, tag=True, array_like=True):
    """Show this upstream for an identity, until it ends or another one comes; empty: show nothing."""

    number: int
    "Of the identity."
    version: int
    text: str
    ends: float
    "Monotonic: the clock of all processes of this machine."

    def __repr__(self) -> str:
        return f"Token({self.number}, version={self.version})"


# ---------------------------------------------------------------- up: worker to keeper


class Taken(msgspec.Struct, tag=True, array_like=True):
    """Where a version stands with this worker. Version 0 is the one it was started with."""

    version: int
    config: str
    "The hash of what is in force."
    state: str
    "prepared, in force, or refused."
    error: str = ""


class Answer(msgspec.Struct, tag=True, array_like=True):
    """The answer to a Query; `value` is plain data, None when the question is not known."""

    id: int
    value: Any


class Entries(msgspec.Struct, tag=True, array_like=True):
    """Requests that were refused, for the access log; `dropped`: how many more there were no room for."""

    entries: list[Entry]
    dropped: int = 0


class Needs(msgspec.Struct, tag=True, array_like=True):
    """Shares of limits: what is held and was not lent, what goes back, what is wanted; it is read in this order."""

    holds: list[Holds] = []
    returned: list[Returned] = []
    wants: list[Want] = []


class Alarm(msgspec.Struct, tag=True, array_like=True):
    """Somebody should be told (core/alerts.py); `over`: that is no more."""

    kind: str
    subject: str
    detail: str
    over: bool = False
    drain: bool = False
    "The subject is a deployment that is to be taken out of all pools."


class Lacks(msgspec.Struct, tag=True, array_like=True):
    """A token names a key that is not among those of this source (Issuer.source)."""

    source: str


class Wanted(msgspec.Struct, tag=True, array_like=True):
    """Somebody's groups, which a genuine token leaves to the directory. Answered by Belongs."""

    issuer: str
    tenant: str
    kind: str
    "users or servicePrincipals."
    oid: str

    def __repr__(self) -> str:
        return f"Wanted({self.issuer})"


class Rejected(msgspec.Struct, tag=True, array_like=True):
    """An instance does not take the credential that we show it."""

    deployment: str
    identity: int
    "Whose token it was; 0: a key."
    version: int
    "Of that token."
    status: int


class Leaving(msgspec.Struct, tag=True, array_like=True):
    """A signal told this worker to drain: another one should take its place."""


class Left(msgspec.Struct, tag=True, array_like=True):
    """The last message of a worker that drained: what it did."""

    totals: dict[str, Any]


# ---------------------------------------------------------------- both ways


class News(msgspec.Struct, tag=True, array_like=True):
    """Something the others should know; the keeper passes it on to every other worker."""

    topic: str
    value: Any


Down = Offer | Adopt | Forget | Drain | Query | Lends | Keys | Token | Belongs | News
Up = Taken | Answer | Entries | Needs | Alarm | Lacks | Wanted | Rejected | Leaving | Left | News


class Channel(asyncio.Protocol):
    """One end. `take` gets each message, `lost` is called once when the other end is gone or unreadable."""

    def __init__(self, reads: Any, take: Callable[[Any], None], lost: Callable[[], None]) -> None:
        self._decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(reads)
        self._take = take
        self._lost = lost
        self._transport: Any = None
        self._read = bytearray()
        self._wanted = _LENGTH
        self.closed = False

    def send(self, message: Any) -> None:
        """Queue a message; dropped when the other end is gone, which `lost` tells."""
        self.send_packed(packed(message))

    def send_packed(self, data: bytes) -> None:
        """Queue what `packed` made: one message to many workers is packed once."""
        if self._transport is not None and not self.closed:
            self._transport.write(data)

    def waiting(self) -> int:
        """Bytes that the other end has not taken."""
        size: int = self._transport.get_write_buffer_size() if self._transport is not None and not self.closed else 0
        return size

    def close(self) -> None:
        """Let what is queued leave, then close; `lost` is not called."""
        if not self.closed:
            self.closed = True
            if self._transport is not None:
                self._transport.close()

    # ------------------------------------------------------------------ asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        read = self._read
        read += data
        try:
            while len(read) >= self._wanted and not self.closed:
                self._next()
        except Unreadable:
            if self._transport is not None:
                self._transport.abort()
            self.connection_lost(None)

    def _next(self) -> None:
        """Take one message off the buffer, or wait for the rest of it."""
        read = self._read
        length = int.from_bytes(read[:_LENGTH], "big")
        if length > LARGEST:
            raise Unreadable
        end = _LENGTH + length
        if len(read) < end:
            self._wanted = end
            return
        with memoryview(read) as view, view[_LENGTH:end] as body:
            try:
                message = self._decoder.decode(body)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                raise Unreadable from None
        del read[:end]
        self._wanted = _LENGTH
        self._take(message)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed:
            self.closed = True
            self._lost()


def packed(message: Any) -> bytes:
    """One message with its length."""
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(_LENGTH, "big") + body


async def open_channel(
    end: socket.socket, reads: Any, take: Callable[[Any], None], lost: Callable[[], None]
) -> Channel:
    """Speak over this end of a socket pair, in the running loop. `reads`: the union of messages that come in."""
    end.setblocking(False)
    loop = asyncio.get_running_loop()
    _, channel = await loop.create_unix_connection(lambda: Channel(reads, take, lost), sock=end)
    return channel
