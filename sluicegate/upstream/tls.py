"""TLS to an instance: verified always, 1.2 at least, sessions resumed; done here, over a plain transport.

Why not the loop's own: uvloop keeps two buffers for each connection and gives no hand on sessions. Here all connections
share them. That works because OpenSSL takes everything out of the incoming buffer before it says that it wants more
(a half record waits inside the connection), and because what it puts out is taken away at once. Should that ever fail,
a record reaches a connection whose keys it does not fit, and that connection breaks: no byte of it is ever readable.

Measured against the loop's own TLS in interleaved runs, client side only: 18 instead of 34 us for 1 KB in and out, 36
instead of 63 for 20 KB in, 117 instead of 141 for 200 KB, 13 instead of 23 for a streamed chunk; resident for each
connection 9 KB instead of 22, and after answers of 100 KB 11 instead of 108. A resumed connection with one call costs
0.77 ms of CPU, one shaken hands anew 1.03.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from sluicegate.core.ports import Chunk
from sluicegate.upstream.connection import IDLE, OPENING, Connection

if TYPE_CHECKING:
    from sluicegate.upstream.pool import Pool

RECORD_BYTES = 16 * 1024
"""The most that one TLS record holds."""

SESSION_S = 600.0
"""How long a session that still resumes is used before the next one is taken: taking one costs 0.17 ms."""


class Contexts:
    """One context for each set of authorities: loading the system's takes 20 ms and half a megabyte.

    A file that changed is read again for the next connection; while it cannot be read, what was read before counts.
    """

    __slots__ = ("_made",)

    def __init__(self) -> None:
        self._made: dict[str | None, tuple[tuple[int, ...], ssl.SSLContext]] = {}

    def get(self, ca: str | None) -> ssl.SSLContext:
        """`ca`: PEM file, None: the system's. Raises ssl.SSLError, also when the file could never be read."""
        version, context = self._made.get(ca, ((), None))
        now = version_of(ca)
        if context is None or now != version:
            try:
                made = client_context(ca)
            except ssl.SSLError:
                if context is None:
                    raise
                return context
            context = made
            self._made[ca] = now, context
        return context


def version_of(ca: str | None) -> tuple[int, ...]:
    """Changes when the file does."""
    if ca is None:
        return ()
    try:
        found = os.stat(ca)
    except OSError:
        return ()
    return found.st_ino, found.st_mtime_ns, found.st_size


def client_context(ca: str | None) -> ssl.SSLContext:
    """Verifies certificate and host name; there is no switch to turn that off."""
    try:
        context = ssl.create_default_context(cafile=ca)
    except ssl.SSLError:
        raise
    except OSError as error:
        raise ssl.SSLError(f"authorities cannot be read: {error.strerror}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    return context


class Session(NamedTuple):
    """What the next connection of an instance resumes."""

    session: ssl.SSLSession
    context: ssl.SSLContext
    "Who vouched for the other side."
    taken: float


class Sealing:
    """The buffers that all TLS connections of a client share."""

    __slots__ = ("incoming", "outgoing", "plain")

    def __init__(self) -> None:
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.plain = memoryview(bytearray(RECORD_BYTES))

    def connection(self, pool: Pool, retire_at: float) -> TlsConnection:
        """A new connection, resuming the pool's latest session. Raises ssl.SSLError when authorities are missing."""
        context = pool.client.contexts.get(pool.instance.ca)
        session = pool.session
        if session is not None and session.context is not context:
            session = pool.session = None  # other authorities vouched for it
        tls = context.wrap_bio(
            self.incoming,
            self.outgoing,
            server_hostname=pool.instance.host.strip("[]"),
            session=session.session if session else None,
        )
        return TlsConnection(pool, retire_at, tls, self)


class TlsConnection(Connection):
    """A connection whose bytes are sealed."""

    __slots__ = ("_done", "_sealing", "_shaken", "_tls")

    piece_bytes: ClassVar[int] = 64 * 1024  # sealed pieces are copies

    def __init__(self, pool: Pool, retire_at: float, tls: ssl.SSLObject, sealing: Sealing) -> None:
        super().__init__(pool, retire_at)
        self._tls = tls
        self._sealing = sealing
        self._done = False
        "The handshake is."
        self._shaken: asyncio.Future[None] | None = pool.client.loop.create_future()

    # ------------------------------------------------------------------ handshake

    async def ready(self) -> None:
        if self._shaken is not None:
            await self._shaken
            self._shaken = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.put = self.seal
        if self.state == OPENING:
            error = self.shake()
            if error is not None:
                self.broken(error)

    def shake(self) -> ssl.SSLError | None:
        """One more step of the handshake."""
        error = None
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as e:
            error = e
        else:
            self._done = True
            if self._tls.session_reused:
                self.pool.resumed += 1
            self.settle(None)
        self.flush()
        return error

    def settle(self, error: ssl.SSLError | None) -> None:
        """Tell the opening how the handshake ended."""
        shaken = self._shaken
        if shaken is None or shaken.done():
            return
        if error is None:
            shaken.set_result(None)
        else:
            shaken.set_exception(error)
            shaken.exception()  # seen, should nobody wait for it any more

    def broken(self, error: ssl.SSLError) -> None:
        """What came cannot be unsealed, or should not be believed."""
        self.settle(error)
        self.ended(error)

    def drop(self) -> None:
        super().drop()
        self.settle(ssl.SSLError("closed during the handshake"))

    # ------------------------------------------------------------------ bytes

    def buffer_updated(self, nbytes: int) -> None:
        sealing = self._sealing
        incoming, plain = sealing.incoming, sealing.plain
        read: Callable[[int, Any], int] = self._tls.read  # type: ignore[assignment]  # its stub forgets this overload
        error: ssl.SSLError | None = None
        ended = came = False
        incoming.write(self.room[:nbytes])
        try:
            if not self._done:
                error = self.shake()
            while self._done and incoming.pending:
                got = read(RECORD_BYTES, plain)
                if not got:
                    ended = True  # the other side said goodbye
                    break
                came = True
                self.feed(plain[:got])
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as e:
            error = e
        finally:
            if incoming.pending:
                incoming.read()
        if sealing.outgoing.pending:
            self.flush()
        if ended or error is not None:
            self.surplus = True
        if came:
            self.deliver()
        if error is not None:
            self.broken(error)
        elif ended:
            self.ended(None)

    def flush(self) -> None:
        """Send what OpenSSL has to say."""
        said = self._sealing.outgoing.read()
        if said:
            self.transport.write(said)

    def seal(self, data: Chunk) -> None:
        """Write, record by record."""
        write = self._tls.write
        try:
            done = write(data)
            if done < len(data):
                view = memoryview(data)
                while done < len(view):
                    done += write(view[done:])
        except ssl.SSLError:  # it broke before; `connection_lost` tells the attempt
            self._sealing.outgoing.read()
            self.transport.abort()
            return
        self.transport.write(self._sealing.outgoing.read())

    def put_large(self, head: bytes, piece: memoryview) -> None:
        self.seal(head + piece)

    def proven(self) -> None:
        kept = self.pool.session
        if kept is not None and self._tls.session_reused and self.now < kept.taken + SESSION_S:
            return
        session = self._tls.session
        if session is not None:
            self.pool.session = Session(session, self._tls.context, self.now)

    def close(self) -> None:
        """With a goodbye, so that the other side need not guess."""
        if self.state == IDLE:
            try:
                self._tls.unwrap()
            except ssl.SSLError:
                pass
            self.flush()
        self.drop()
