"""Programs that the bench starts: each on its core, in a session of its own, and none of them outlives it.

A program is ended by SIGTERM and, if it does not go, its session by SIGKILL. Should the bench itself be killed, Linux
tells its children (PR_SET_PDEATHSIG). What a program says on stderr goes to a file beside its configuration.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


class Stop(Exception):
    """What went wrong, and what to do about it: shown as it is, without a traceback."""


@dataclass
class Process:
    """One started program."""

    name: str
    popen: subprocess.Popen[str]
    log: Path

    @property
    def pid(self) -> int:
        return self.popen.pid

    def said(self) -> str:
        """What it wrote to stderr."""
        return self.log.read_text("utf-8", "replace") if self.log.exists() else ""

    def check(self) -> None:
        """Raise if it has ended."""
        if (code := self.popen.poll()) is not None:
            raise Stop(f"{self.name} ended with status {code}. Its last words:\n{_tail(self.said())}")


class Processes:
    """All that were started; leaving the block ends them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._running: list[Process] = []

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for process in self.running():
            self.stop(process, 2.0)

    def running(self) -> list[Process]:
        """Those that were not stopped, the last one first."""
        return self._running[::-1]

    def start(self, name: str, command: list[str], core: int, env: Mapping[str, str], cwd: Path) -> Process:
        """Start a program; its standard input and output are pipes."""
        parent = os.getpid()

        def before_exec() -> None:
            os.sched_setaffinity(0, {core})
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:
                os._exit(1)

        log = self.folder / f"{name}.log"
        with log.open("w") as stderr:
            popen = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True, env=dict(env),
                cwd=cwd, start_new_session=True, preexec_fn=before_exec,
            )  # fmt: skip
        process = Process(name, popen, log)
        self._running.append(process)
        return process

    def stop(self, process: Process, within_s: float = 15.0) -> int:
        """End it; its exit status."""
        popen = process.popen
        try:
            if popen.poll() is None:
                popen.send_signal(signal.SIGTERM)
                try:
                    popen.wait(within_s)
                except subprocess.TimeoutExpired:
                    pass
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(popen.pid, signal.SIGKILL)  # what is left of its session
            popen.wait()
            for pipe in (popen.stdin, popen.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
            if process in self._running:
                self._running.remove(process)
        return popen.returncode


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block as Ctrl-C does, so that it cleans up."""

    def leave(number: int, _: object) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tail(text: str, lines: int = 15) -> str:
    return "\n".join("    " + line for line in text.strip().splitlines()[-lines:]) or "    (none)"
