"""`serve` as a process: it keeps the worker it starts, and ends with its totals."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.proc import tree
from tests.spec.reading import ENV, SMALLEST

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A gateway on a port that the kernel picks, started from another directory than the project's."""
    text = SMALLEST.replace("gateway:\n", "gateway:\n  drain: 1s\n  listen: {address: '127.0.0.1:0'}\n")
    (tmp_path / "gateway.yaml").write_text(text)
    (tmp_path / "json.py").write_text("raise SystemExit('a file of the current directory was loaded')\n")
    environ = {**os.environ, **ENV, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-P", "-m", "sluicegate.main", "serve"]
    started = subprocess.Popen(command, cwd=tmp_path, env=environ, stderr=subprocess.PIPE, text=True)
    guard = threading.Timer(30, started.kill)
    guard.start()
    try:
        yield started
    finally:
        guard.cancel()
        for pid in tree(started.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        started.communicate()


def event(process: subprocess.Popen[str], name: str) -> dict[str, object]:
    """The next event of this name on stderr."""
    assert process.stderr
    for line in process.stderr:
        if line.startswith("{") and json.loads(line)["event"] == name:
            found: dict[str, object] = json.loads(line)
            return found
    raise AssertionError(f"ended without {name}")


def test_serve_keeps_a_worker_and_ends_with_its_totals(process: subprocess.Popen[str]):
    ready = event(process, "ready")
    keeper, worker = tree(process.pid)
    assert ready["workers"] == [worker]
    command = Path(f"/proc/{worker}/cmdline").read_bytes().split(b"\0")
    assert b"sluicegate.worker" in command
    assert not any(value.encode() in word for word in command for value in ENV.values())

    client = http.client.HTTPConnection("127.0.0.1", int(str(ready["port"])), timeout=10)
    body = json.dumps({"model": "chat", "messages": []})
    client.request(
        "POST", "/openai/v1/chat/completions", body, {"api-key": "nobody", "content-type": "application/json"}
    )
    assert client.getresponse().status == 401
    client.close()

    process.send_signal(signal.SIGTERM)
    totals = event(process, "totals")
    assert process.wait(10) == 0
    assert (totals["records"], totals["refused"], totals["open"]) == (0, 1, 0)
