"""G1: one of three upstreams is killed and comes back.

Passed when nobody who had no byte yet fails, streams that were flowing end with an error frame, the dead one is asked
five times by each worker and then once every few seconds, and serves again within five seconds of its return.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.goals.calling import Answered, percentile, request, steadily
from tests.goals.processes import ROOT
from tests.goals.test_G8_leaving import Kept
from tests.keeper.running import ENV, KEY, Gateway, until

RATE = 150
WORKERS = 2
NAMES = ("a", "b", "c")


class Simulated:
    """An instance as a process of its own, that can be killed and started again on its port."""

    def __init__(self, folder: Path, name: str) -> None:
        self.file = folder / f"{name}.yaml"
        with socket.socket() as s:  # a port that nobody had a moment ago
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        deployment = "gpt-4o: {latency: {first_token_s: 0.05, per_token_s: 0.01}, tokens: [20, 40]}"
        instance = f"{name}: {{port: {self.port}, key: {ENV['UPSTREAM_KEY']}, deployments: {{{deployment}}}}}"
        self.file.write_text(f"instances: {{{instance}}}\n")
        self.start()

    def start(self) -> None:
        environ = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        command = ["simulate", "-i", str(self.file), "--json"]
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "sluicegate.main", *command], env={**environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert self.process.stdout
        assert f":{self.port}" in self.process.stdout.readline(), "it did not start"

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()


@contextlib.contextmanager
def three(folder: Path) -> Iterator[dict[str, Simulated]]:
    simulated = {name: Simulated(folder, name) for name in NAMES}
    try:
        yield simulated
    finally:
        for one in simulated.values():
            if one.process.poll() is None:
                one.kill()


def written(folder: Path, simulated: dict[str, Simulated]) -> str:
    lines = [
        "version: 1",
        f"gateway: {{data: {folder}/data, drain: 10s, workers: {WORKERS}, admin: {{address: '127.0.0.1:0'}},",
        "          secrets: ['${env:SECRET}'], listen: {address: '127.0.0.1:0'}}",
        f"telemetry: {{access_log: {folder}/access.log}}",
        "instances:",
    ]
    for name, one in simulated.items():
        lines.append(
            f"  {name}: {{endpoint: 'http://127.0.0.1:{one.port}', auth: {{key: '${{env:UPSTREAM_KEY}}'}}, "
            "deployments: {gpt-4o: {model: gpt-4o, version: 2024-11-20}}}"
        )
    lines += ["models: {chat: {use: gpt-4o@2024-11-20}}", "consumers: {app: {key: '${env:APP_KEY}', models: [chat]}}"]
    return "\n".join(lines) + "\n"


def logged(file: Path, name: str) -> list[tuple[float, str]]:
    """Calls of that instance: the wall time of the request, and why it did not serve (empty: it did)."""
    found = []
    for line in file.read_text().splitlines():
        entry: dict[str, Any] = json.loads(line)
        at = datetime.fromisoformat(entry["time"]).timestamp()
        found += [(at, t.get("cause", "")) for t in entry.get("attempts", ()) if t["deployment"].startswith(f"{name}/")]
    return sorted(found)


@pytest.mark.timeout(240)
def test_goal_G1_one_of_three_dies_and_comes_back(short: bool, tmp_path: Path):
    seconds, dies, returns = (16, 4, 9) if short else (60, 15, 35)
    plain, stream = (request("hello", stream=s, key=KEY) for s in (False, True))
    with three(tmp_path) as simulated, Gateway(tmp_path, written(tmp_path, simulated)) as gateway:

        async def run() -> tuple[list[Answered], float, float]:
            kept = Kept(gateway.port)

            async def fate() -> tuple[float, float]:
                await asyncio.sleep(dies)
                await asyncio.to_thread(simulated["b"].kill)
                killed = time.time()
                await asyncio.sleep(returns - dies)
                await asyncio.to_thread(simulated["b"].start)
                return killed, time.time()

            fated = asyncio.ensure_future(fate())
            answers = await steadily(RATE, seconds, lambda n: kept.ask(stream if n % 2 else plain))
            killed, back = await fated
            await kept.close()
            return answers, killed, back

        answers, killed, back = asyncio.run(run())
        offset = time.time() - time.monotonic()
        totals, status = gateway.end()
        assert status == 0 and totals["records"] == len(answers)
        log = tmp_path / "access.log"
        until(lambda: len(log.read_text().splitlines()) == len(answers))
        calls = logged(log, "b")

    refused = [a for a in answers if a.status != 200 or not a.whole]
    framed = [a for a in answers if a.framed_error]
    silent = [n for n, a in enumerate(answers) if n % 2 and not a.framed_error and b"data: [DONE]" not in a.body]
    first = [at for at, _ in calls if killed < at <= killed + 1.0]
    looks = [at for at, _ in calls if killed + 1.0 < at < back - 0.5]
    again = [at for at, cause in calls if at >= back and not cause]
    print(
        f"\nG1 dead upstream, {len(answers)} requests: {len(refused)} failed, {len(framed)} streams ended by a frame; asked "
        f"{len(first)} times in the first second ({WORKERS} workers), then {len(looks)} in {back - killed - 1:.0f} s; served "
        f"again {again[0] - back:.1f} s after it was back; p99 {percentile([a.took for a in answers], 0.99) * 1000:.0f} ms"
    )
    assert not refused and not silent
    assert all(a.framed_error == "upstream_interrupted" and a.head_at + offset <= killed + 0.5 for a in framed)
    assert len(first) <= 5 * WORKERS
    assert len(looks) <= back - killed
    assert again[0] - back <= 5.0
    served = sum(at >= back + 5.0 for at in again)
    assert served > 0.15 * RATE * (seconds - returns - 6), "a third of all, again"
