"""Clients that hold on to connections: headers, bodies or reading, a few bytes a second, by the thousand.

    python -m tests.goals.slow PORT KIND COUNT        prints {"open"}, then counts for each line it is sent

KIND: `head` (a head that never ends), `body` (a body that hardly comes), `read` (a large answer that is hardly read).
A connection that the gateway closes is opened again at once: the pressure stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import sys
from collections import Counter

import uvloop

from tests.goals.calling import request
from tests.goals.streams import answering

EVERY_S = 1.0
HEAD = request("plain 0")
BEGIN = {
    "head": HEAD[: HEAD.index(b"content-length")],
    "body": HEAD[: HEAD.index(b"content-length")] + b"content-length: 100000\r\n\r\n{",
    "read": request("flood 4", stream=True, model="other"),
}
MORE = {"head": b"x-filler: y\r\n", "body": b" " * 10, "read": b""}


async def hold(port: int, kind: str, counts: Counter[str]) -> None:
    """One connection after another, each for as long as it is let."""
    loop = asyncio.get_running_loop()
    while True:
        s = socket.socket()
        s.setblocking(False)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        try:
            await loop.sock_connect(s, ("127.0.0.1", port))
            counts["opened"] += 1
            counts["open"] += 1
            await loop.sock_sendall(s, BEGIN[kind])
            await drip(s, kind, counts)
        except OSError:
            counts["reset"] += 1
        finally:
            counts["open"] -= 1
            s.close()
        await asyncio.sleep(0.1)


async def drip(s: socket.socket, kind: str, counts: Counter[str]) -> None:
    """A few bytes a second, until the other side closes."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(EVERY_S)
        if MORE[kind]:
            await loop.sock_sendall(s, MORE[kind])
            with contextlib.suppress(BlockingIOError):
                if answer := s.recv(4096):
                    counts[f"answered {answer[9:12].decode()}"] += 1
                return
        elif not await loop.sock_recv(s, 64):
            counts["closed"] += 1
            return


async def main(port: str, kind: str, count: str) -> None:
    counts: Counter[str] = Counter()
    tasks = []
    for number in range(int(count)):
        tasks.append(asyncio.create_task(hold(int(port), kind, counts)))
        if number % 50 == 49:
            await asyncio.sleep(0.05)
    gc.freeze()
    await answering(dict(counts), lambda line: dict(counts))
    for task in tasks:
        task.cancel()


if __name__ == "__main__":
    os.nice(10)  # attackers have machines of their own: they do not take the gateway's CPU
    uvloop.run(main(*sys.argv[1:]))
