"""The directory in memory: for tests, and for gateways that keep nothing."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from sluicegate.core.kept import Kept, Stale


class Directory:
    """Consumers by name."""

    def __init__(self) -> None:
        self._held: dict[str, Kept] = {}
        self._lock = threading.Lock()

    def all(self) -> Sequence[Kept]:
        """Everybody, by name."""
        with self._lock:
            return [self._held[name] for name in sorted(self._held)]

    def get(self, name: str) -> Kept | None:
        """One of them."""
        return self._held.get(name)

    def put(self, kept: Kept, expect: int) -> None:
        """Keep this one, in the place of version `expect` of it. Raises Stale."""
        with self._lock:
            self._expect(kept.name, expect)
            self._held[kept.name] = kept

    def remove(self, name: str, expect: int) -> None:
        """Forget it. Raises Stale."""
        with self._lock:
            self._expect(name, expect)
            self._held.pop(name, None)

    def close(self) -> None:
        """Nothing is kept."""

    def _expect(self, name: str, version: int) -> None:
        held = self._held.get(name)
        if (held.version if held is not None else 0) != version:
            raise Stale(name)
