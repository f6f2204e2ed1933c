"""G11, the load side: slow headers, slow bodies and slow reading by the thousand, while others are served.

Passed when the others notice nothing: no failure, and a p99 that is what it was. (What must not be let through at all
is in tests/abuse.)
"""

import asyncio
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.clients.members import run
from tests.goals.calling import Answered, Caller, percentile, request, steadily
from tests.goals.processes import Process, gateway, helper, totals

RATE = 50
KINDS = ("head", "body", "read")
LISTEN = "timeouts: {head: 3s, body: 3s, body_total: 4s, write: 2s}"


class Victim:
    """Somebody's ordinary traffic: RATE plain requests a second, and a ping every 10 ms that shows stalls."""

    def __init__(self, port: int, seconds: float) -> None:
        self.port = port
        self.seconds = seconds
        self.answers: list[Answered] = []
        self.pings: list[float] = []

    async def go(self) -> None:
        idle: list[Caller] = []

        async def one(number: int) -> None:
            caller = idle.pop() if idle else Caller(self.port)
            self.answers.append(await caller.ask(request("plain 0")))
            idle.append(caller)

        pinging = asyncio.create_task(self.ping())
        await steadily(RATE, self.seconds, one)
        pinging.cancel()
        await asyncio.wait([pinging])
        for caller in idle:
            await caller.close()

    async def ping(self) -> None:
        caller = Caller(self.port)
        try:
            while True:
                answered = await caller.ask(b"GET /health/live HTTP/1.1\r\nhost: gateway\r\n\r\n")
                self.pings.append(answered.took)
                await asyncio.sleep(0.01)
        finally:
            await caller.close()

    @property
    def failed(self) -> int:
        return sum(a.status != 200 or not a.whole for a in self.answers)

    @property
    def p99(self) -> float:
        return percentile([a.took for a in self.answers], 0.99)


def served(port: int, seconds: float) -> Victim:
    victim = Victim(port, seconds)
    run(victim.go())
    return victim


@contextmanager
def under_test(folder: Path) -> Iterator[tuple[Process, int]]:
    """Gateway, upstream, and the gateway's port. The slow readers' model has an upstream of its own: it is the gateway
    that is tested, not how much one Python process can say."""
    with helper("streams", "upstream") as (_, ours), helper("streams", "upstream") as (flooding, theirs):
        endpoint, other = (f"http://127.0.0.1:{ready['port']}" for ready in (ours, theirs))
        with gateway(folder, [endpoint], listen=LISTEN, other=other) as (process, port):
            served(port, 1)  # warm
            flooding.ask("go nicely")
            yield process, port


@pytest.mark.timeout(240)
def test_goal_G11_slow_clients_slow_nobody_else(short: bool, tmp_path: Path):
    count, seconds = (1000, 5) if short else (2000, 20)
    with under_test(tmp_path) as (process, port):
        alone = served(port, 3 if short else 10)
        rss, found = process.rss_kb(), {}
        for kind in KINDS:
            with helper("slow", str(port), kind, str(count)) as (slow, _):
                victim = served(port, seconds)
                found[kind] = victim, slow.ask(), process.rss_kb() - rss
        again = served(port, 1)
        booked = totals(process)
    said = "; ".join(
        f"{kind}: {v.failed} of {len(v.answers)} failed, p99 {v.p99 * 1000:.1f} ms, longest ping {max(v.pings) * 1000:.0f} ms, "
        f"{s['opened']} opened, {s['open']} open, {(more / 1024):+.0f} MB"
        for kind, (v, s, more) in found.items()
    )
    print(
        f"\nG11 slow clients, {count} connections each, victim {RATE} rps: alone p99 {alone.p99 * 1000:.1f} ms, longest "
        f"ping {max(alone.pings) * 1000:.0f} ms; {said}"
    )
    for kind, (victim, slow, _) in found.items():
        assert victim.failed == 0, kind
        assert slow["open"] > count * 0.5, "the attack was one"
        assert victim.p99 < max(20 * alone.p99, 1.0), kind  # a machine may be busy; the figures are printed
        # Who sends too slowly is sent away and comes again; who takes a little now and then may stay until `total`.
        assert kind == "read" or slow["opened"] > count, kind
    assert again.failed == alone.failed == 0
    assert booked["open"] == 0


@pytest.mark.timeout(120)
@pytest.mark.parametrize("flag", ["-H", "-B", "-X"])
def test_goal_G11_slowhttptest(flag: str, short: bool, tmp_path: Path):
    program = shutil.which("slowhttptest")
    if program is None:
        pytest.skip("slowhttptest is not installed; tests/goals/slow.py does the same")
    count, seconds = (500, 5) if short else (2000, 20)
    with under_test(tmp_path) as (_, port):
        target = f"http://127.0.0.1:{port}/openai/v1/chat/completions"
        command = [program, flag, "-c", f"{count}", "-r", "500", "-i", "1", "-l", f"{seconds}", "-u", target, "-p", "3"]
        attack = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        guard = threading.Timer(seconds + 30, attack.kill)
        guard.start()
        began = time.monotonic()
        try:
            victim = served(port, seconds)
        finally:
            attack.kill()
            attack.wait()
            guard.cancel()
    print(
        f"\nG11 slowhttptest {flag} -c {count}, {time.monotonic() - began:.0f} s: victim {victim.failed} of "
        f"{len(victim.answers)} failed, p99 {victim.p99 * 1000:.1f} ms"
    )
    assert victim.failed == 0
