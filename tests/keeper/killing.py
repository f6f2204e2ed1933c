"""Kills of a worker within 2 ms of an arrival at its upstream, and what must be true of the ledger afterwards.

The upstream is the truth: each call that arrives gets a number of its own, which stands in its answer as the count of
prompt tokens; so a row of the ledger says which call it is of.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socketserver
import sqlite3
import threading
import time
from pathlib import Path

from tests.keeper.running import KEY, Gateway, config, until

PATH = "/openai/deployments/chat/chat/completions?api-version=2024-10-21"
BODY = json.dumps({"messages": [{"role": "user", "content": "hello"}]})
ANSWER_S = 0.004


class Truth(socketserver.ThreadingTCPServer):
    """An upstream that numbers what arrives."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 256

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Call)
        self.arrived = 0
        self.lock = threading.Lock()
        self.armed: list[int] = []
        "Who is killed at the next arrival."
        self.dice = random.Random(7)
        self.killed = 0
        self.thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Truth:
        self.thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.shutdown()
        self.server_close()
        self.thread.join()

    def arrive(self) -> int:
        with self.lock:
            self.arrived += 1
            number, victims = self.arrived, self.armed
            if victims:
                self.armed = []
        if victims:
            end = time.perf_counter() + self.dice.uniform(0, 0.002)
            while time.perf_counter() < end:
                pass
            for pid in victims:
                os.kill(pid, signal.SIGKILL)
            self.killed += 1
        return number


class Call(socketserver.StreamRequestHandler):
    server: Truth

    def handle(self) -> None:
        try:
            while line := self.rfile.readline():
                length = 0
                while line.strip():
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                    line = self.rfile.readline()
                self.rfile.read(length)
                number = self.server.arrive()
                time.sleep(ANSWER_S)
                usage = {"prompt_tokens": number, "completion_tokens": number % 7, "total_tokens": number + number % 7}
                message = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
                body = json.dumps(
                    {"id": "c", "object": "chat.completion", "choices": [message], "usage": usage}
                ).encode()
                self.wfile.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
                    + body
                )
        except OSError:
            pass  # the gateway was killed


class Callers:
    """Clients at a steady rate; what each of them got whole."""

    def __init__(self, port: int, per_s: float = 200.0, callers: int = 16) -> None:
        self.port = port
        self.whole: list[int] = []
        self.broken = 0
        self.lock = threading.Lock()
        self._stop = threading.Event()
        self._gap = callers / per_s
        self._threads = [threading.Thread(target=self._call, daemon=True) for _ in range(callers)]

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _call(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        while not self._stop.wait(self._gap):
            try:
                connection.request("POST", PATH, BODY, {"api-key": KEY, "content-type": "application/json"})
                answer = connection.getresponse()
                body = answer.read()
                assert answer.status == 200, body
                with self.lock:
                    self.whole.append(json.loads(body)["usage"]["prompt_tokens"])
            except (OSError, http.client.HTTPException):
                connection.close()
                with self.lock:
                    self.broken += 1
        connection.close()


def kill_and_compare(folder: Path, kills: int) -> dict[str, int]:
    """The counts, after everything that must be true was found true."""
    with Truth() as truth:
        with Gateway(folder, config(folder, f"http://127.0.0.1:{truth.server_address[1]}")) as gateway:
            with Callers(gateway.port) as callers:
                for n in range(kills):
                    (worker,) = until(lambda: gateway.workers)
                    goal = len(callers.whole) + 20
                    until(lambda goal=goal: len(callers.whole) >= goal)
                    truth.armed = [worker]
                    until(lambda n=n: truth.killed == n + 1)
                    until(lambda worker=worker: gateway.workers and gateway.workers != [worker])
                goal = len(callers.whole) + 20
                until(lambda: len(callers.whole) >= goal)
            assert gateway.end()[1] == 0
        arrived = truth.arrived
    db = sqlite3.connect(folder / "data" / "ledger.sqlite")
    rows = db.execute("SELECT state, usage_source, input, output FROM records").fetchall()
    summed = db.execute(
        "SELECT sum(requests), sum(input), sum(output), sum(interrupted) FROM sums WHERE span = 60"
    ).fetchone()
    still = db.execute("SELECT count(*) FROM open").fetchone()[0]
    db.close()
    settled = [(i, o) for state, source, i, o in rows if (state, source) == ("settled", "upstream")]
    lost = [(source, i) for state, source, i, _ in rows if state == "interrupted"]
    numbers = [i for i, _ in settled]
    assert still == 0, "something is open for ever"
    assert len(numbers) == len(set(numbers)), "doubled"
    unbooked = sorted(set(callers.whole) - set(numbers))
    assert not unbooked, f"a client has an answer that nobody booked: {unbooked} of {arrived}; {''.join(gateway.said)}"
    assert all(o == i % 7 and 0 < i <= arrived for i, o in settled), "a number that the upstream never said"
    assert {source for source, _ in lost} <= {"estimated"} and all(i > 0 for _, i in lost), (
        "interrupted, and not flagged"
    )
    # Every call that arrived has its record: settled, or interrupted. More records than calls: killed before sending.
    assert arrived <= len(settled) + len(lost)
    assert summed[:3] == (len(rows), sum(r[2] or 0 for r in rows), sum(r[3] or 0 for r in rows)), (
        "sums differ from rows"
    )
    assert summed[3] == len(lost) > 0, "no kill found an open record: they came at the wrong moment"
    assert sum(i for i, _ in settled) == sum(sorted(set(numbers))), "to the token"
    return {
        "kills": kills, "arrived": arrived, "settled": len(settled), "interrupted": len(lost),
        "whole": len(callers.whole), "broken": callers.broken,
    }  # fmt: skip
