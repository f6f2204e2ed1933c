"""Gateway, upstream and clients as processes of their own, so that what is measured of one is of that one alone.

Helpers are programs of tests/goals that print a JSON line when they are ready and one for each line they are sent.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench import certificates, proc
from tests.gateway import KEY

ROOT = Path(__file__).resolve().parents[2]
ENV = {"GATEWAY_KEY": KEY, "UPSTREAM_KEY": "upstream-key-0123456789", "SECRET": "s" * 64}


class Process:
    """A child; lines of JSON come back."""

    def __init__(self, command: Sequence[str], cwd: Path, answers_on_stderr: bool = False) -> None:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        self.child = subprocess.Popen(
            [sys.executable, "-P", *command], cwd=cwd, env={**environ, **ENV, "PYTHONPATH": str(ROOT)}, text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL if answers_on_stderr else subprocess.PIPE,
            stderr=subprocess.PIPE if answers_on_stderr else None,
        )  # fmt: skip
        self.lines: Any = self.child.stderr if answers_on_stderr else self.child.stdout
        self.said: list[str] = []

    @property
    def pid(self) -> int:
        return self.child.pid

    def told(self) -> dict[str, Any]:
        """The next line of JSON."""
        for line in self.lines:
            if line.startswith("{"):
                found: dict[str, Any] = json.loads(line)
                return found
            self.said.append(line)
        raise AssertionError(f"the process ended: {''.join(self.said[-20:])}")

    def ask(self, line: str = "") -> dict[str, Any]:
        """Send a line, get one."""
        assert self.child.stdin
        self.child.stdin.write(line + "\n")
        self.child.stdin.flush()
        return self.told()

    def kill(self) -> None:
        """It and its children: workers go on when their keeper is killed."""
        for pid in proc.tree(self.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def end(self) -> None:
        self.kill()
        for pipe in (self.child.stdin, self.child.stdout, self.child.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self.child.wait()

    # ------------------------------------------------------------------ what Linux says of it

    def rss_kb(self) -> int:
        return sum(proc.rss_kb(self.pid).values())

    def cpu_s(self) -> float:
        return proc.cpu_s(self.pid)

    def descriptors(self) -> int:
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in proc.tree(self.pid))


@contextlib.contextmanager
def helper(module: str, *arguments: str) -> Iterator[tuple[Process, dict[str, Any]]]:
    """A program of tests/goals, and the line it printed when it was ready."""
    process = Process(["-m", f"tests.goals.{module}", *arguments], ROOT)
    try:
        yield process, process.told()
    finally:
        process.end()


@contextlib.contextmanager
def gateway(
    folder: Path,
    upstreams: Sequence[str],
    files: certificates.Certificates | None = None,
    client_tls: bool = False,
    listen: str = "",
    model: str = "",
    other: str = "",
) -> Iterator[tuple[Process, int]]:
    """`sluicegate serve`, as an operator starts it, and its port. Model `chat` over all endpoints; model `other` over
    the endpoint of this name alone."""
    tls = f", tls: {{certificate: {files.certificate}, key: {files.key}}}" if files and client_tls else ""
    lines = [
        "version: 1",
        f"gateway: {{data: {folder}/data, drain: 1s, core_dumps: true, secrets: ['${{env:SECRET}}'],",
        f"          listen: {{address: '127.0.0.1:0'{tls}{', ' + listen if listen else ''}}}}}",
        "instances:",
    ]
    for number, endpoint in enumerate([*upstreams, other] if other else upstreams, 1):
        deploys = "gpt-4o-mini" if endpoint == other else "gpt-4o"
        ca = f", tls: {{ca: {files.ca}}}" if files and endpoint.startswith("https") else ""
        lines += [
            f"  i{number}: {{endpoint: '{endpoint}', auth: {{key: '${{env:UPSTREAM_KEY}}'}}{ca},",
            f"       deployments: {{gpt-4o-{number}: {{model: {deploys}, version: 2024-11-20}}}}}}",
        ]
    more = f", {model}" if model else ""
    names = {"chat": "gpt-4o", **({"other": "gpt-4o-mini"} if other else {})}
    lines += ["models:", *(f"  {name}: {{use: {used}@2024-11-20{more}}}" for name, used in names.items())]
    lines += [f"consumers: {{app: {{key: '${{env:GATEWAY_KEY}}', models: [{', '.join(names)}]}}}}"]
    (folder / "gateway.yaml").write_text("\n".join(lines) + "\n")
    process = Process(["-m", "sluicegate.main", "serve", "-c", "gateway.yaml"], folder, answers_on_stderr=True)
    try:
        ready = process.told()
        assert ready["event"] == "ready", ready
        yield process, int(ready["port"])
    finally:
        process.end()


def totals(process: Process, seconds: float = 20.0) -> dict[str, Any]:
    """Ask a gateway to end; the line it leaves."""
    guard = threading.Timer(seconds, process.kill)
    guard.start()
    process.child.send_signal(signal.SIGTERM)
    try:
        while (line := process.told()).get("event") != "totals":
            pass
    finally:
        guard.cancel()
    return line


def watch(process: Process, seconds: float) -> tuple[float, float]:
    """Cores used over this time, and the wall time it was really."""
    began, cpu = time.monotonic(), process.cpu_s()
    threading.Event().wait(seconds)
    wall = time.monotonic() - began
    return (process.cpu_s() - cpu) / wall, wall
