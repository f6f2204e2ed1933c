"""What stands outside the gateway: a client that says any bytes, an upstream that keeps them and answers any bytes.

Both are blocking sockets and nothing else, so that no library tidies up what a test wants to say or to see.
"""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

from sluicegate.core.refusals import REFUSALS
from tests.gateway import KEY

PATH = b"/openai/v1/chat/completions"
CHAT = b'{"model":"chat","messages":[{"role":"user","content":"hi"}]}'
STREAMED = b'{"model":"chat","stream":true,"messages":[{"role":"user","content":"hi"}]}'
USAGE = b'"usage":{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18}'
ANSWER = (
    b'{"id":"c","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"hello"},'
    b'"finish_reason":"stop"}],' + USAGE + b"}"
)
EVENTS = (
    b'data: {"choices":[{"delta":{"content":"hel\xc3\xa9"},"finish_reason":null,"index":0}],"id":"c"}\n\n',
    b'data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"t","type":"function","function":{"name":"f",'
    b'"arguments":"{"}}]},"finish_reason":null,"index":0}],"id":"c"}\n\n',
    b'data: {"choices":[{"delta":{},"finish_reason":"stop","index":0}],"id":"c"}\n\n',
    b'data: {"choices":[],"id":"c",' + USAGE + b"}\n\n",
    b"data: [DONE]\n\n",
)
JSON = (b"content-type", b"application/json")
SSE = (b"content-type", b"text/event-stream")


def request(
    *headers: bytes,
    body: bytes = CHAT,
    path: bytes = PATH,
    key: str | None = KEY,
    host: bytes | None = b"gateway",
    method: bytes = b"POST",
    length: bool = True,
    version: bytes = b"1.1",
) -> bytes:
    """A good request, or one that is wrong in one thing."""
    lines = [method + b" " + path + b" HTTP/" + version]
    lines += [b"Host: " + host] if host is not None else []
    lines += [b"api-key: " + key.encode()] if key is not None else []
    lines += [b"Content-Type: application/json", *headers]
    lines += [b"Content-Length: %d" % len(body)] if length else []
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def chunked(*pieces: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    """A body in chunks."""
    return b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces) + end


def answer(
    body: bytes = ANSWER, status: bytes = b"200 OK", *headers: bytes, kind: bytes = b"application/json"
) -> bytes:
    """A good answer of an upstream."""
    head = [b"HTTP/1.1 " + status, b"Content-Type: " + kind, b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def stream(*events: bytes, end: bytes = b"0\r\n\r\n", headers: tuple[bytes, ...] = ()) -> bytes:
    """A streamed answer in chunks, one for each event."""
    head = [b"HTTP/1.1 200 OK", b"Content-Type: text/event-stream", b"Transfer-Encoding: chunked", *headers]
    return b"\r\n".join(head) + b"\r\n\r\n" + chunked(*events, end=end)


class Broken(Exception):
    """The connection ended where an answer, or the rest of one, should have been."""


class Answer:
    """One answer, read by its own framing."""

    def __init__(self, status: int, headers: list[tuple[str, bytes]], raw_head: bytes) -> None:
        self.status = status
        self.headers = headers
        self.raw_head = raw_head
        self.body = b""
        self.whole = False
        "It ended as its framing says."

    def header(self, name: str) -> bytes | None:
        found = [v for n, v in self.headers if n == name]
        assert len(found) <= 1, f"{name} stands {len(found)} times"
        return found[0] if found else None

    @property
    def reason(self) -> str:
        return (self.header("x-sluicegate-reason") or b"").decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def events(self) -> list[bytes]:
        assert self.body.endswith(b"\n\n"), self.body
        return self.body.split(b"\n\n")[:-1]

    def __repr__(self) -> str:
        return f"Answer({self.status}, {self.reason!r}, {self.body[:200]!r})"


class Client:
    """A connection to the gateway."""

    def __init__(self, port: int, timeout: float = 10.0, receive: int | None = None) -> None:
        self.socket = socket.socket()
        if receive is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        self.socket.settimeout(timeout)
        try:
            self.socket.connect(("127.0.0.1", port))
        except OSError:
            self.socket.close()
            raise
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.was_reset = False

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.socket.close()

    def send(self, *pieces: bytes) -> bool:
        """Say this; False when nobody takes it any more."""
        try:
            for piece in pieces:
                self.socket.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def slam(self) -> None:
        """Close with a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def more(self) -> bytes:
        try:
            got = self.socket.recv(65536)
        except ConnectionResetError:
            self.was_reset = True
            return b""
        self.buffer += got
        return got

    def until(self, mark: bytes) -> bytes:
        while mark not in self.buffer:
            if not self.more():
                raise Broken(self.buffer)
        at = self.buffer.index(mark) + len(mark)
        taken, self.buffer = self.buffer[:at], self.buffer[at:]
        return taken

    def exactly(self, size: int) -> bytes:
        while len(self.buffer) < size:
            if not self.more():
                raise Broken(self.buffer)
        taken, self.buffer = self.buffer[:size], self.buffer[size:]
        return taken

    def rest(self) -> bytes:
        """All until the gateway closes."""
        while self.more():
            pass
        taken, self.buffer = self.buffer, b""
        return taken

    def answer(self, method: bytes = b"POST") -> Answer:
        """The next answer, whole; a body that breaks off is in `.body` with `.whole` False."""
        head = self.until(b"\r\n\r\n")
        first, *lines = head[:-4].split(b"\r\n")
        version, status, _ = first.split(b" ", 2)
        assert version == b"HTTP/1.1", first
        pairs = [line.partition(b": ") for line in lines]
        got = Answer(int(status), [(n.decode().lower(), v) for n, _, v in pairs], head)
        if got.status < 200:
            return got
        length = got.header("content-length")
        try:
            if got.header("transfer-encoding") is not None:
                assert length is None and got.header("transfer-encoding") == b"chunked"
                while size := int(self.until(b"\r\n"), 16):
                    got.body += self.exactly(size)
                    assert self.exactly(2) == b"\r\n"
                assert self.exactly(2) == b"\r\n"
            elif length is not None:
                got.body = b"" if method == b"HEAD" else self.exactly(int(length))
            else:
                got.body = self.rest()
        except Broken:
            return got
        got.whole = True
        return got


def ask(port: int, *pieces: bytes, method: bytes = b"POST") -> Answer:
    """One connection, one request, one answer."""
    with Client(port) as client:
        client.send(*pieces)
        return client.answer(method)


def is_refusal(got: Answer, *reasons: str) -> None:
    """The OpenAI error envelope, the reason in header and body, the status that belongs to it."""
    assert got.reason in (reasons or REFUSALS), got
    known = REFUSALS[got.reason]
    assert got.status == known.status, got
    assert got.header("content-type") == b"application/json"
    error = got.json["error"]
    assert set(error) == {"message", "type", "param", "code", "status", "reason"}
    assert (error["reason"], error["status"]) == (got.reason, got.status)
    assert error["type"] == known.type and error["code"] == known.code and error["message"]
    assert got.header("x-should-retry") == (b"true" if known.should_retry else b"false")
    assert got.header("x-sluicegate-request-id")


def refused(port: int, *pieces: bytes, reasons: tuple[str, ...] = (), method: bytes = b"POST") -> Answer | None:
    """Say this: exactly one refusal with a 4xx and a close comes, or (None) a close alone."""
    with Client(port) as client:
        client.send(*pieces)
        try:
            got = client.answer(method)
        except Broken as e:
            assert e.args == (b"",), "half an answer"
            return None
        assert got.whole and 400 <= got.status < 500, (b"".join(pieces)[:300], got)
        is_refusal(got, *reasons)
        assert got.header("connection") == b"close"
        assert client.rest() == b"", "something was answered after the refusal"
        return got


class Seen:
    """A request as it reached the upstream."""

    def __init__(self, head: bytes, body: bytes, connection: int) -> None:
        self.head = head
        self.body = body
        self.connection = connection
        "Number of the connection it came on, from 1."

    @property
    def raw(self) -> bytes:
        return self.head + self.body

    @property
    def target(self) -> bytes:
        return self.head.split(b" ")[1]

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        pairs = (line.partition(b": ") for line in self.head[:-4].split(b"\r\n")[1:])
        return [(n.lower(), v) for n, _, v in pairs]

    def header(self, name: bytes) -> bytes | None:
        return next((v for n, v in self.headers if n == name), None)

    def __repr__(self) -> str:
        return f"Seen({self.raw[:300]!r})"


Script = Callable[[Seen, socket.socket], bool]
"""Answers one request on the socket itself; True: the connection may go on."""


class Upstream:
    """A server on loopback. `answer` is what it says: bytes, a list of them by turns, or a script."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.answer: bytes | list[bytes] | Script = answer()
        self.requests: list[Seen] = []
        self.garbage: list[bytes] = []
        "What came and was no request."
        self.connections = 0
        self.failed_handshakes = 0
        self._tls = tls
        self._changed = threading.Condition()
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._open = True
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def __enter__(self) -> Upstream:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self._open = False
        with socket.socket() as waker:
            waker.connect(("127.0.0.1", self.port))
        self._accepting.join(10)
        self._listener.close()
        self.hang_up()
        for thread in self._threads:
            thread.join(10)

    def hang_up(self) -> None:
        """Close every connection."""
        with self._changed:
            sockets = list(self._sockets)
        for s in sockets:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def forget(self) -> None:
        """As new: nothing seen, the usual answer."""
        with self._changed:
            self.requests.clear()
            self.garbage.clear()
        self.answer = answer()

    def wait(self, count: int, timeout: float = 10.0) -> list[Seen]:
        """The requests, once there are that many."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.requests) >= count, timeout), self.requests
            return list(self.requests)

    def wait_closed(self, timeout: float = 10.0) -> None:
        """Until no connection is open."""
        with self._changed:
            assert self._changed.wait_for(lambda: not self._sockets, timeout), "a connection is still open"

    def _accept(self) -> None:
        while True:
            s, _ = self._listener.accept()
            if not self._open:
                s.close()
                return
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._changed:
                self.connections += 1
                number = self.connections
                self._sockets.add(s)
            thread = threading.Thread(target=self._serve, args=(s, number), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, s: socket.socket, number: int) -> None:
        plain = s
        try:
            if self._tls is not None:
                s.settimeout(10)
                try:
                    s = self._tls.wrap_socket(s, server_side=True)
                except OSError:
                    self.failed_handshakes += 1
                    return
                s.settimeout(None)
            buffer = b""
            while True:
                seen, buffer = self._read(s, buffer, number)
                if seen is None:
                    if buffer:
                        self.garbage.append(buffer)
                    return
                with self._changed:
                    self.requests.append(seen)
                    count = len(self.requests)
                    self._changed.notify_all()
                said = self.answer
                if isinstance(said, bytes | list):
                    s.sendall(said if isinstance(said, bytes) else said[(count - 1) % len(said)])
                elif not said(seen, s):
                    return
        except OSError:
            pass
        finally:
            s.close()
            plain.close()
            with self._changed:
                self._sockets.discard(plain)
                self._changed.notify_all()

    @staticmethod
    def _read(s: socket.socket, buffer: bytes, number: int) -> tuple[Seen | None, bytes]:
        while b"\r\n\r\n" not in buffer:
            got = s.recv(65536)
            if not got:
                return None, buffer
            buffer += got
        head, _, body = buffer.partition(b"\r\n\r\n")
        if b"\r\ntransfer-encoding: chunked" in head.lower():
            return Upstream._read_chunks(s, head + b"\r\n\r\n", body, number)
        said = (line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        length = int(next(said, b"content-length:0")[15:])
        pieces, size = [body], len(body)
        while size < length:
            got = s.recv(262144)
            if not got:
                return None, buffer
            pieces.append(got)
            size += len(got)
        body = b"".join(pieces)
        return Seen(head + b"\r\n\r\n", body[:length], number), body[length:]

    @staticmethod
    def _read_chunks(s: socket.socket, head: bytes, buffer: bytes, number: int) -> tuple[Seen | None, bytes]:
        """A body that came in chunks, without trailers."""
        body = b""
        while True:
            line, found, rest = buffer.partition(b"\r\n")
            size = int(line, 16) if found else 0
            if not found or len(rest) < size + 2:
                got = s.recv(262144)
                if not got:
                    return None, head + buffer
                buffer += got
                continue
            body, buffer = body + rest[:size], rest[size + 2 :]
            if not size:
                return Seen(head, body, number), buffer


def then_close(said: bytes, reset: bool = False) -> Script:
    """Answer this and close, by FIN or RST."""

    def script(seen: Seen, s: socket.socket) -> bool:
        s.sendall(said)
        if reset:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False

    return script


def splits(whole: bytes) -> Iterator[tuple[bytes, bytes]]:
    """In two pieces, at every offset."""
    for at in range(1, len(whole)):
        yield whole[:at], whole[at:]
