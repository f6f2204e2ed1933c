"""The demo's callers: requests to the gateway at the rate of the story, and orders to the simulator. In its own thread.

HTTP by hand over asyncio's streams, since no client library belongs to the program: a few requests a second, on
connections that are kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import threading
import time
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

from sluicegate.cli.demo_story import Answer, Story

LOOK_S: Final = 0.05
PATIENCE_S: Final = 30.0
KEPT: Final = 16
"""Idle connections."""
HEAD: Final = 64 * 1024
QUESTIONS: Final = (
    "How high is the water above the gate today, and when is it expected to fall again?",
    "Summarise the report of the night shift in three sentences, for the mayor.",
    "Which of the two sluices should be opened first if the river rises by forty centimetres?",
    "Write a short notice for the boats that wait below the lock.",
)
Wire = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Traffic(threading.Thread):
    """Runs until `stop`. `say` is called with each line of the story."""

    def __init__(self, gateway: str, control: str, key: str, pace: float, say: Callable[[str], None]) -> None:
        super().__init__(name="traffic", daemon=True)
        self.gateway = gateway
        self.control = control
        self.key = key
        self.say = say
        self.story = Story(pace)
        self.stopping = threading.Event()
        self._idle: list[Wire] = []
        self._chance = random.Random(7)

    def stop(self) -> None:
        """Ask for the end, and wait for it."""
        self.stopping.set()
        if self.is_alive():
            self.join(5.0)

    def run(self) -> None:
        """The thread."""
        asyncio.run(self._play())

    async def _play(self) -> None:
        story, under_way = self.story, set[asyncio.Task[None]]()
        due = time.monotonic()
        while not self.stopping.is_set():
            now = time.monotonic()
            if lines := story.turn(now):
                for line in lines:
                    self.say(line)
                for order in story.orders():
                    await self._order(*order)
                due = now
            if now >= due:
                task = asyncio.create_task(self._ask())
                under_way.add(task)
                task.add_done_callback(under_way.discard)
                due += self._chance.uniform(0.5, 1.5) / story.phase.rate
            await asyncio.sleep(min(LOOK_S, max(0.0, due - now)))
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        for _, writer in self._idle:
            writer.close()

    async def _order(self, method: str, path: str, document: Any) -> None:
        with contextlib.suppress(OSError, ValueError, asyncio.IncompleteReadError):
            wire = await dial(self.control)
            await exchange(wire, method, path, [], document)
            wire[1].close()

    async def _ask(self) -> None:
        """One request, counted."""
        asked = self.story.number
        streamed = self._chance.random() < 0.5
        body = {
            "model": "chat",
            "max_tokens": 80,
            "stream": streamed,
            "messages": [{"role": "user", "content": self._chance.choice(QUESTIONS)}],
        }
        answer = Answer(0, "", 0, False)
        try:
            async with asyncio.timeout(PATIENCE_S):
                wire = self._idle.pop() if self._idle else await dial(self.gateway)
                status, headers, said = await exchange(
                    wire, "POST", "/v1/chat/completions", [("authorization", f"Bearer {self.key}")], body
                )
            whole = not streamed or said.endswith(b"data: [DONE]\n\n")
            answer = Answer(
                status, headers.get("x-sluicegate-deployment", ""), int(headers.get("x-sluicegate-attempts", 0)), whole
            )
            if len(self._idle) < KEPT and headers.get("connection") != "close":
                self._idle.append(wire)
            else:
                wire[1].close()
        except (OSError, ValueError, asyncio.IncompleteReadError):
            pass
        line = self.story.saw(answer, asked, time.monotonic())
        if line:
            self.say(line)


async def dial(address: str) -> Wire:
    """A connection to http://host:port."""
    parts = urlsplit(address)
    return await asyncio.open_connection(parts.hostname, parts.port, limit=HEAD)


async def exchange(
    wire: Wire, method: str, path: str, headers: list[tuple[str, str]], document: Any
) -> tuple[int, dict[str, str], bytes]:
    """One request and its whole answer. Raises OSError, ValueError, IncompleteReadError, and the connection is lost."""
    reader, writer = wire
    done = False
    try:
        body = json.dumps(document).encode()
        lines = [f"{method} {path} HTTP/1.1", "host: demo", "content-type: application/json"]
        lines += [*(f"{name}: {value}" for name, value in headers), f"content-length: {len(body)}", "", ""]
        writer.write("\r\n".join(lines).encode() + body)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        found = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        if found.get("transfer-encoding") == "chunked":
            said = b""
            while size := int(await reader.readuntil(b"\r\n"), 16):
                said += (await reader.readexactly(size + 2))[:-2]
            await reader.readuntil(b"\r\n")
        else:
            said = await reader.readexactly(int(found.get("content-length", 0)))
        done = True
        return int(head[0].split(" ", 2)[1]), found, said
    finally:
        if not done:
            writer.close()
