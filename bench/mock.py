"""The mock upstream: an Azure OpenAI that answers at once, and writes streams at a steady pace.

It shares a core with the load generator and must not be what is measured: answers are bytes made once, heads are
looked at only for their length, and one timer drives every stream. Counts of what it sent are on `GET /_stats`.
`POST /_pace?every=20&chunks=250&together=1` sets the milliseconds between chunks, the content chunks of a stream, and
how many streams have their turn at the same moment.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import ssl
import sys
import urllib.parse
from itertools import cycle
from random import Random

import uvloop

from bench.answers import PLAIN, STREAM_HEAD, STREAMS, USAGES, VECTORS
from bench.answers import Stream as Pieces
from bench.ticks import PER_MS, Ticks

HEAD_END = b"\r\n\r\n"
STREAMED = (b'"stream":true', b'"stream": true')
ASKED = (b'"include_usage":true', b'"include_usage": true')


class Mock:
    """All that was sent, and the clock of the streams."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.every_ms = 20
        self.chunks = 50
        self.together = 1
        self.counts = dict.fromkeys(("requests", "cut", "chunks", "input_tokens", "output_tokens"), 0)
        self.plain = cycle(PLAIN)
        self.vectors = cycle(VECTORS)
        self.usages = cycle(range(len(USAGES)))
        self._slots: list[list[Stream]] = [[]]
        self._begun = 0
        self._slot = 0
        self._lots = Random(20)  # the same in every run
        self._open = 0
        self._tick = 0
        self._ticks = Ticks(loop, self._turn)

    def pace(self, every_ms: int, chunks: int, together: int = 1) -> None:
        """Of the streams that begin from now on; there must be none under way."""
        self.every_ms, self.chunks, self.together = every_ms, chunks, together

    def add(self, stream: Stream) -> None:
        """Streams have their turn at any moment of the interval, or `together` at one: who waits for many at a time
        finds a batch at each waking, which makes each of them cheap."""
        if not self._open:
            self._slots = [[] for _ in range(self.every_ms * PER_MS)]
            self._ticks.start()
        if self._begun % self.together == 0 or self._slot >= len(self._slots):
            self._slot = self._lots.randrange(len(self._slots))
        self._begun += 1
        self._open += 1
        self._slots[self._slot].append(stream)

    def _turn(self, passed: int) -> None:
        """Every slot that is due. A timer that comes late makes up for it, so that the rate holds."""
        slots = self._slots
        for tick in range(self._tick + 1, self._tick + passed + 1):
            due = slots[tick % len(slots)]
            ended = False
            for stream in due:
                ended |= stream.step()
            if ended:
                slots[tick % len(slots)] = still = [stream for stream in due if not stream.ended]
                self._open -= len(due) - len(still)
        self._tick += passed
        if not self._open:
            self._ticks.stop()

    def stats(self) -> dict[str, int]:
        return {**self.counts, "open": self._open}


class Stream:
    """One streamed answer under way."""

    __slots__ = ("_counts", "_left", "_mock", "_number", "_pieces", "_transport", "_usage", "asked", "ended")

    def __init__(self, mock: Mock, transport: asyncio.WriteTransport, asked: bool) -> None:
        self._mock = mock
        self._counts = mock.counts
        self._transport = transport
        self._pieces: Pieces = STREAMS[asked]
        self._number = 0
        self._left = mock.chunks
        self._usage = next(mock.usages)
        self.asked = asked
        self.ended = False

    def step(self) -> bool:
        """Write the next piece; True when that was the last one. After `cut` there is none."""
        if self.ended:
            return True
        pieces, number = self._pieces, self._number
        self._number = number + 1
        self._counts["chunks"] += 1
        if number == 0:
            self._transport.write(STREAM_HEAD + pieces.first)
        elif number <= self._left:
            self._transport.write(pieces.content[number % len(pieces.content)])
        elif number == self._left + 1:
            self._transport.write(pieces.finish)
        else:
            self._transport.write(pieces.last[self._usage])
            self.ended = True
            if self.asked:
                self._counts["input_tokens"] += USAGES[self._usage].input
                self._counts["output_tokens"] += USAGES[self._usage].output
            else:  # [DONE] alone is no chunk
                self._counts["chunks"] -= 1
        return self.ended

    def cut(self) -> None:
        if not self.ended:
            self.ended = True
            self._counts["cut"] += 1


class Server(asyncio.Protocol):
    """One connection. It takes requests with a content-length, one after the other."""

    __slots__ = ("_answers", "_held", "_mock", "_need", "_plain", "_stream", "_transport")

    def __init__(self, mock: Mock) -> None:
        self._mock = mock
        self._held: list[bytes] = []  # an unfinished request
        self._need = 0  # bytes until it is finished; 0 while its head is not
        self._plain = b""  # the last request that came in one piece and asked for no stream
        self._answers = mock.plain  # what it was answered with
        self._stream: Stream | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        if self._stream is not None:
            self._stream.cut()

    def data_received(self, data: bytes) -> None:
        if data == self._plain and not self._held:  # byte for byte: 2 us less, and a fast program stays busy
            self._answer_plainly()
            return
        if self._need > len(data):
            self._held.append(data)
            self._need -= len(data)
            return
        if self._held:
            self._held.append(data)
            data = b"".join(self._held)
            self._held.clear()
            self._need = 0
        while data:
            end = data.find(HEAD_END)
            if end < 0:
                self._held.append(data)
                return
            whole = end + 4 + length_in(data[:end].lower())
            if whole > len(data):
                self._held.append(data)
                self._need = whole - len(data)
                return
            self._answer(data[:whole], end)
            data = data[whole:]

    def _answer(self, request: bytes, head_end: int) -> None:
        line = request[: request.find(b"\r\n")]
        if line.startswith(b"POST ") and b"/embeddings" in line:
            self._plain = request
            self._answers = self._mock.vectors
            self._answer_plainly()
        elif not line.startswith(b"POST ") or b"/chat/completions" not in line:
            self._transport.write(control(self._mock, line))
        elif any(request.find(word, head_end) > 0 for word in STREAMED):
            self._mock.counts["requests"] += 1
            asked = any(request.find(word, head_end) > 0 for word in ASKED)
            self._stream = Stream(self._mock, self._transport, asked)
            self._mock.add(self._stream)
        else:
            self._plain = request
            self._answers = self._mock.plain
            self._answer_plainly()

    def _answer_plainly(self) -> None:
        mock = self._mock
        counts = mock.counts
        answer, usage = next(self._answers)
        counts["requests"] += 1
        counts["input_tokens"] += usage.input
        counts["output_tokens"] += usage.output
        self._transport.write(answer)


def length_in(head: bytes) -> int:
    """What the content-length of a head in lower case says; 0 without one."""
    at = head.find(b"\r\ncontent-length:")
    if at < 0:
        return 0
    end = head.find(b"\r\n", at + 2)
    return int(head[at + 17 : end if end > 0 else len(head)])


def control(mock: Mock, line: bytes) -> bytes:
    """What is not a chat completion: the counts, the pace, or nothing there."""
    target = urllib.parse.urlsplit(line.split(b" ")[1].decode("ascii", "replace"))
    status, shown = "200 OK", mock.stats()
    if target.path == "/_pace":
        said = dict(urllib.parse.parse_qsl(target.query))
        mock.pace(int(said["every"]), int(said["chunks"]), int(said.get("together", 1)))
    elif target.path != "/_stats":
        status, shown = "404 Not Found", {}
    body = json.dumps(shown).encode()
    return b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
        status.encode(),
        len(body),
        body,
    )


async def serve(ports: int, certificate: str | None, key: str | None) -> None:
    loop = asyncio.get_running_loop()
    mock = Mock(loop)
    context = None
    if certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
    servers = [
        await loop.create_server(lambda: Server(mock), "127.0.0.1", 0, ssl=context, backlog=4096) for _ in range(ports)
    ]
    gc.freeze()
    print(json.dumps([server.sockets[0].getsockname()[1] for server in servers]), flush=True)
    await loop.create_future()


def main(argv: list[str]) -> None:
    options = argparse.ArgumentParser(prog="python -m bench.mock", description=__doc__)
    options.add_argument("--ports", type=int, default=1, help="how many ports to listen on; they are printed")
    options.add_argument("--certificate", help="PEM file: speak TLS")
    options.add_argument("--key", help="PEM file")
    said = options.parse_args(argv)
    uvloop.run(serve(said.ports, said.certificate, said.key))


if __name__ == "__main__":
    main(sys.argv[1:])
