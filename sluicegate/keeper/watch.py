"""Files that are looked at for changes: once a second, and only when they have come to rest.

What stands for several files (`models/*.yaml`) is looked at, too: one that comes or goes is a change.
"""

from __future__ import annotations

import glob
import os
import zlib
from collections.abc import Sequence

Seen = tuple[int, int, int]
Looked = dict[str, Seen]
"""How files were, by path."""

_NONE: Seen = (0, 0, 0)
_UNKNOWN: Seen = (-1, -1, -1)

GRAIN_NS = 50_000_000
"""Clocks of file systems go by ticks: what was written a moment ago may look older than it is."""


class Watched:
    """By modification time, size and inode, so that an editor's rename and a swapped symlink are seen too. `began`:
    when they began to be read, wall time; what changed since may not be what was read."""

    def __init__(self, files: Sequence[str], began: float = 0.0) -> None:
        self._files: tuple[str, ...] = ()
        self._seen: tuple[Seen, ...] = ()
        self._last: tuple[Seen, ...] = ()
        self.known({}, files, began)

    def changed(self) -> bool:
        """Whether something is other than at the last True, and was already so when asked before: a file that is
        being written is left alone."""
        now = self._signature()
        still = now == self._last
        self._last = now
        if now == self._seen or not still:
            return False
        self._seen = now
        return True

    def stirred(self) -> bool:
        """Whether something is other than at the last True, at rest or not: for who cannot wait. That is still to be
        `changed`."""
        return self._signature() != self._seen

    def look(self) -> Looked:
        """How the files are now; for `known`."""
        return dict(zip(self._files, self._signature(), strict=True))

    def known(self, looked: Looked, files: Sequence[str], began: float = 0.0) -> None:
        """Look at these from now on. Somebody read them after they were as `looked` says: that is no change any more.
        Of others it is not known how they were; who was written to since `began` is read again."""
        others, self._files = tuple(files) != self._files, tuple(files)
        since = int(began * 1e9) - GRAIN_NS if began else 0
        self._seen = tuple(
            looked[path] if path in looked else _UNKNOWN if since and _written(path) >= since else _look(path)
            for path in self._files
        )
        if others:
            self._last = ()

    def _signature(self) -> tuple[Seen, ...]:
        return tuple(_look(path) for path in self._files)


def _look(path: str) -> Seen:
    try:
        found = os.stat(path)
    except OSError:
        if glob.has_magic(path):
            names = sorted(glob.glob(path))
            return (zlib.crc32("\0".join(names).encode(errors="surrogateescape")), len(names), 0)
        return _NONE
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def _written(path: str) -> int:
    """When it was last touched in any way: a file that is moved here keeps the time of its text."""
    try:
        found = os.stat(path)
    except OSError:
        return 0
    return max(found.st_mtime_ns, found.st_ctime_ns)
