"""Work that may take its time: a configuration is loaded, compared and packed in a thread that lets others go first.

100,000 consumers are seconds of work for a core that workers need as well: with the priority of everybody else it made
requests wait (p99 1.5 to 1.7 times that of a quiet gateway on two cores, docs/decisions/0036). Linux gives each thread
a priority of its own, and takes none back: hence a thread that does nothing else.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import ParamSpec, TypeVar

NICE = 5
"""Of what a busy core gives to a thread like all others, such a one gets a third. It holds the interpreter's lock for
some of that, and all of the keeper waits then: with 10 on a machine of five times the work that it could do for 3.2 s
at worst, with 5 for 1 s."""

P = ParamSpec("P")
T = TypeVar("T")


class Aside:
    """One thread, started when it is first needed. One thing at a time, in order."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "aside", initializer=_step_back)

    async def do(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `work` returns or raises."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: work(*args, **kwargs))

    def close(self) -> None:
        """What waits is not done any more."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _step_back() -> None:
    with suppress(OSError):  # it is a courtesy: without it the work is done all the same
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
