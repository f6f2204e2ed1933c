"""`gateway.data` as a keeper holds it: one keeper at a time, and what one that was killed left running.

The lock ends with its process, however it ended. The list of workers does not: the next keeper finds in it those that
go on without theirs, starts its own beside them on the same address, and then tells them to drain.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
from collections.abc import Iterable

LOCK = "keeper.lock"


class Taken(Exception):
    """Another keeper has this folder."""


class Home:
    """The folder, locked. Raises Taken, or OSError when it cannot be had."""

    def __init__(self, data: str) -> None:
        os.makedirs(data, mode=0o700, exist_ok=True)
        path = os.path.join(data, LOCK)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            raise Taken(f"another gateway runs with {data}: stop it, or write another gateway.data") from None
        self.orphans = self._left()

    def _left(self) -> list[int]:
        """Workers of the keeper before that still run."""
        try:
            # Killed between two calls of `remember`, it left the end of an older list behind this one.
            found, _ = json.JSONDecoder().raw_decode((os.pread(self._fd, 1 << 20, 0) or b"[]").decode())
            return [pid for pid, since in found if since and began(pid) == since]
        except (ValueError, TypeError):
            return []

    def remember(self, workers: Iterable[int]) -> None:
        """These run now."""
        data = json.dumps([(pid, began(pid)) for pid in workers]).encode()
        os.pwrite(self._fd, data, 0)
        os.ftruncate(self._fd, len(data))

    def dismiss(self) -> None:
        """Tell the orphans to drain: ours have begun."""
        for pid in self.orphans:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGTERM)
        self.orphans = []

    def close(self) -> None:
        """Let the next keeper in."""
        os.close(self._fd)


def began(pid: int) -> int:
    """When a process began, in clock ticks since the machine did; 0 when there is none. With the pid it is one process
    and no other."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:
            fields = f.read().rpartition(b")")[2].split()
    except OSError:
        return 0
    return int(fields[19]) if fields[0] != b"Z" else 0
