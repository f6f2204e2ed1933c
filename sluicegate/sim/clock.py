"""Virtual time: a clock that moves only when everything due before has happened. No sockets, no asyncio, no sleeping.

What is due at the same moment happens in the order in which it was asked for, so a run is the same every time.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

START_S = 1000.0
"""Monotonic time at which a virtual clock begins: not 0, which some code reads as "never"."""

WALL_S = 1_767_225_600.0
"""Wall time at START_S: 2026-01-01 00:00 UTC."""


class Timer:
    """Something asked for; `cancel` forgets it."""

    __slots__ = ("callback", "when")

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class VirtualClock:
    """Monotonic and wall time in seconds, and what is due when."""

    __slots__ = ("_count", "_due", "_now", "_wall_offset")

    def __init__(self, start: float = START_S, wall: float = WALL_S) -> None:
        self._now = start
        self._wall_offset = wall - start
        self._due: list[tuple[float, int, Timer]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._due)

    def now(self) -> float:
        return self._now

    def wall(self) -> float:
        return self._now + self._wall_offset

    def step_wall(self, seconds: float) -> None:
        """Somebody sets the machine's clock: wall time jumps, monotonic time does not notice."""
        self._wall_offset += seconds

    def at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call back at `when`; a time that has passed means as soon as possible, after what is due already."""
        timer = Timer(max(when, self._now), callback)
        self._count += 1
        heappush(self._due, (timer.when, self._count, timer))
        return timer

    def after(self, seconds: float, callback: Callable[[], None]) -> Timer:
        return self.at(self._now + seconds, callback)

    def every(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call back again and again, first in `seconds`. Cancel the timer to stop."""
        repeating = Timer(self._now + seconds, callback)

        def again() -> None:
            if repeating.callback is None:
                return
            repeating.callback()
            repeating.when += seconds
            self.at(repeating.when, again)

        self.at(repeating.when, again)
        return repeating

    def step(self) -> bool:
        """Let the next thing happen. False: nothing is due any more."""
        while self._due:
            when, _, timer = heappop(self._due)
            if timer.callback is not None:
                self._now = when
                timer.callback()
                return True
        return False

    def run_until(self, when: float) -> None:
        """Let everything happen that is due up to `when`, then be there."""
        due = self._due
        while due and due[0][0] <= when:
            at, _, timer = heappop(due)
            if timer.callback is not None:
                self._now = at
                timer.callback()
        self._now = max(self._now, when)

    def run_for(self, seconds: float) -> None:
        self.run_until(self._now + seconds)

    def run(self, limit: int = 10_000_000) -> None:
        """Let everything happen until nothing is due. Raises RuntimeError after `limit` steps: somebody repeats."""
        for _ in range(limit):
            if not self.step():
                return
        raise RuntimeError(f"still something due after {limit} steps: use run_until")
