"""A gateway of a keeper and workers, as processes, and a steady load on it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench.proc import tree

ROOT = Path(__file__).resolve().parents[2]
KEY = "key-of-my-app-0000000001"
ENV = {"APP_KEY": KEY, "SECRET": "s" * 64, "UPSTREAM_KEY": "u" * 32}

# core_dumps: tests look into these processes, and not all who run them may look into sealed ones.
CONFIG = """\
version: 1
gateway:
  data: {folder}/data
  drain: {drain}
  core_dumps: true
  workers: {workers}
  admin: {{address: '127.0.0.1:0'}}
  secrets: ["${{env:SECRET}}"]
  listen: {{address: '127.0.0.1:{port}'}}
instances:
  weu: {{endpoint: '{endpoint}', auth: {{key: '${{env:{key}}}'}}, deployments: {{gpt-4o: {{model: gpt-4o, version: 2024-11-20}}}}}}
models:
  chat: {{use: gpt-4o@2024-11-20}}
consumers:
  my-app: {{key: "${{env:APP_KEY}}", models: [chat]}}
"""


def config(
    folder: Path, endpoint: str, workers: int = 1, key: str = "UPSTREAM_KEY", drain: str = "5s", port: int = 0
) -> str:
    return CONFIG.format(folder=folder, endpoint=endpoint, key=key, drain=drain, port=port, workers=workers)


class Gateway:
    """`with Gateway(folder, text) as gateway`: ready; killed with all its children at the end."""

    def __init__(
        self, folder: Path, text: str, env: dict[str, str] | None = None, certificate: str = "",
        prefix: tuple[str, ...] = (), program: tuple[str, ...] = ("sluicegate.main",),
    ) -> None:  # fmt: skip
        self.file = folder / "gateway.yaml"
        self.file.write_text(text)
        self.folder = folder
        command = ["-m", *program, "serve", "-c", str(self.file)]
        if certificate:
            command = ["-m", "tests.keeper.program", str(self.file), certificate]
        environ = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-P", *command], cwd=folder,
            env={**environ, **ENV, "PYTHONPATH": str(ROOT), **(env or {})},
            stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self.said: list[str] = []
        self._events: list[dict[str, Any]] = []
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.every: set[int] = {self.pid}
        self.port = self.admin = 0
        self.ready: dict[str, Any] = {}

    def __enter__(self) -> Gateway:
        self.admin = int(self.event("admin.ready")["port"])
        if not self.ready:
            self.event("ready")
        self.port = self.ready["port"]
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()
        self.process.wait()
        self._reader.join(10)
        if self.process.stderr:
            self.process.stderr.close()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):  # else it replaces a worker that is killed before it is
            os.kill(self.pid, signal.SIGSTOP)
        for pid in {*tree(self.pid), *self.every}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def workers(self) -> list[int]:
        found = tree(self.pid)[1:]
        self.every.update(found)
        return found

    def tell(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def hang_up(self) -> None:
        self.tell(signal.SIGHUP)

    def hang_up_until(self, name: str) -> dict[str, Any]:
        """SIGHUP, and what comes of it. A change of the file may have been seen already: that is another event."""
        with self._more:
            self._events.clear()
        self.tell(signal.SIGHUP)
        return self.event(name)

    def event(self, name: str, within_s: float = 20.0) -> dict[str, Any]:
        """The next event of this name; those before it are forgotten."""
        deadline = time.monotonic() + within_s
        with self._more:
            while True:
                while self._events:
                    found = self._events.pop(0)
                    if found["event"] == "ready":
                        self.ready = found
                    if found["event"] == name:
                        return found
                left = deadline - time.monotonic()
                assert left > 0 and self._more.wait(left), f"no {name}: {''.join(self.said[-20:])}"

    def end(self) -> tuple[dict[str, Any], int]:
        """SIGTERM: totals and exit status."""
        self.tell(signal.SIGTERM)
        totals = self.event("totals")
        return totals, self.process.wait(20)

    def get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            with self._more:
                self.said.append(line)
                if line.startswith("{"):
                    self._events.append(json.loads(line))
                self._more.notify_all()


def until(true: Callable[[], Any], within_s: float = 15.0) -> Any:
    """Its value, once it has one."""
    deadline = time.monotonic() + within_s
    while not (value := true()):
        assert time.monotonic() < deadline, "it did not happen"
        threading.Event().wait(0.02)
    return value


class Load:
    """Requests at a steady rate over kept connections; every outcome is counted: a status, or the error's name."""

    def __init__(self, port: int, per_s: float, callers: int = 8, stream: bool = False) -> None:
        self.port = port
        self.outcomes: Counter[str] = Counter()
        self.errors: list[str] = []
        self._gap = callers / per_s
        self._body = json.dumps({"messages": [{"role": "user", "content": "hello"}], "max_tokens": 5, "stream": stream})
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._call, args=(n / per_s,), daemon=True) for n in range(callers)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    @property
    def count(self) -> int:
        with self._lock:
            return self.outcomes.total()

    def _call(self, first: float) -> None:
        path = "/openai/deployments/chat/chat/completions?api-version=2024-10-21"
        headers = {"api-key": KEY, "content-type": "application/json"}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        due = time.monotonic() + first
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due += self._gap
            try:
                connection.request("POST", path, self._body, headers)
                answer = connection.getresponse()
                body = answer.read()
                outcome = str(answer.status)
                detail = "" if answer.status == 200 else f"{body!r} {answer.headers}"
            except Exception as e:
                outcome, detail = type(e).__name__, repr(e)
                connection.close()
            with self._lock:
                self.outcomes[outcome] += 1
                if detail:
                    self.errors.append(detail)
        connection.close()


@contextlib.contextmanager
def killed(pids: list[int]) -> Iterator[None]:
    """These processes are gone at the end, whatever happens."""
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
