"""Files that are looked at for changes: once a second, and only when they have come to rest."""

from __future__ import annotations

import os
from collections.abc import Sequence

Signature = tuple[tuple[int, int, int], ...]


class Watched:
    """By modification time, size and inode, so that an editor's rename and a swapped symlink are seen too."""

    def __init__(self, files: Sequence[str]) -> None:
        self._files = tuple(files)
        self._seen = self._last = self._signature()

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

    def watch(self, files: Sequence[str]) -> None:
        """Look at these from now on."""
        if tuple(files) != self._files:
            self._files = tuple(files)
            self._seen = self._last = self._signature()

    def look(self) -> Signature:
        """How the files are now; for `known`."""
        return self._signature()

    def known(self, signature: Signature) -> None:
        """Somebody read the files after they were so: that is no change any more."""
        if len(signature) == len(self._files):
            self._seen = signature

    def _signature(self) -> Signature:
        return tuple(_signature(path) for path in self._files)


def _signature(path: str) -> tuple[int, int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return (0, 0, 0)
    return (found.st_mtime_ns, found.st_size, found.st_ino)
