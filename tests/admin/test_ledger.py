"""Reading the ledger takes nobody else's threads."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

from sluicegate.admin.base import Asked, Who
from sluicegate.admin.ledger import AT_ONCE, Tail, routes
from sluicegate.admin.shapes import ledger as shapes


class Slow:
    """A reader that goes on when it is told to."""

    def __init__(self) -> None:
        self.go, self.full = threading.Event(), threading.Event()
        self.lock = threading.Lock()
        self.now = self.most = 0

    def usage(self, since: int, until: int, by: Any) -> list[Any]:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
            if self.now == AT_ONCE:
                self.full.set()
        assert self.go.wait(20)
        with self.lock:
            self.now -= 1
        return []

    def told_apart(self, since: int, until: int) -> tuple[int, int]:
        return since, until

    def close(self) -> None:
        """Done."""


def test_many_who_ask_for_usage_leave_threads_to_the_audit_log(tmp_path: Path):
    slow = Slow()
    (usage,) = [r for r in routes(lambda: slow, lambda: str(tmp_path), Tail()) if r.id == "usage"]

    async def all_of_them() -> list[Any]:
        asked = Asked(Who("ann", "viewer"), (), shapes.UsageAsked())
        tasks = [asyncio.ensure_future(usage.handler(asked)) for _ in range(40)]
        try:  # all threads there are would be taken, had all been let in: this runs in one of them
            assert await asyncio.wait_for(asyncio.to_thread(slow.full.wait, 4), 5)
        finally:
            slow.go.set()
        return await asyncio.gather(*tasks)

    assert len(asyncio.run(all_of_them())) == 40
    assert slow.most == AT_ONCE
