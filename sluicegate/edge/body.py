"""A request body on its way in: bounded, one buffer, on disk above a mebibyte."""

from __future__ import annotations

import os
from collections import deque
from mmap import ACCESS_READ, MADV_DONTNEED, mmap
from tempfile import TemporaryFile
from typing import IO

SPILL_BYTES = 1024 * 1024
"""Above this a body lives in an unlinked temporary file: 100 callers with 30 MB each must not be 3 GB of us."""

MANY = 256
"""So many chunks become one: each is an object of some 40 bytes, and a client may send a byte in each."""


class BodyBuffer:
    """Collects chunks. A body of one chunk is that chunk, not a copy; of several they are copied once."""

    __slots__ = ("_chunks", "_file", "_new", "size")

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._new = 0
        "At the end of them, that were not joined yet."
        self._file: IO[bytes] | None = None
        self.size = 0

    def add(self, chunk: bytes) -> None:
        """One more piece. Raises OSError when the disk is full."""
        self.size += len(chunk)
        if self._file is not None:
            self._file.write(chunk)
            return
        self._chunks.append(chunk)
        if self.size > SPILL_BYTES:
            self._file = TemporaryFile(prefix="sluicegate-body-")  # noqa: SIM115 - lives as long as the request
            self._file.writelines(self._chunks)
            self._chunks = []
        else:
            self._new += 1
            if self._new == MANY:
                self._new = 0
                self._chunks[-MANY:] = [b"".join(self._chunks[-MANY:])]

    def take(self) -> bytes | memoryview:
        """The whole body; the buffer is empty afterwards."""
        if self._file is not None:
            self._file.flush()
            view = memoryview(mmap(self._file.fileno(), self.size, access=ACCESS_READ))
            self._file.close()  # the mapping keeps the data until the last view is gone
            self._file = None
            return view
        chunks, self._chunks = self._chunks, []
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def close(self) -> None:
        """Forget everything."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._chunks = []


def unload(view: memoryview) -> None:
    """What was read of a body on disk need not stay in memory: who reads it again finds it there. A body of 20 MB is
    in memory while it is looked through, and while it is sent a mebibyte of it."""
    if type(view.obj) is mmap:
        view.obj.madvise(MADV_DONTNEED)


class Spool:
    """A form on its way through (core/ports.py): all of it can be read again, from memory or a file without a name,
    until something is forgotten; then it is a queue."""

    __slots__ = ("_begin", "_file", "_memory", "_queue", "size")

    def __init__(self) -> None:
        self.size = 0
        self._memory = bytearray()
        self._file: IO[bytes] | None = None
        self._queue: deque[bytes] | None = None
        self._begin = 0
        "Of the form, the offset of what is queued."

    def add(self, chunk: bytes) -> None:
        """One more piece. Raises OSError when the disk is full."""
        self.size += len(chunk)
        if self._queue is not None:
            self._queue.append(chunk)
        elif self._file is not None:
            _write(self._file.fileno(), chunk)
        elif self.size > SPILL_BYTES:
            self._file = TemporaryFile(prefix="sluicegate-form-", buffering=0)  # noqa: SIM115 - lives as it does
            _write(self._file.fileno(), self._memory)
            _write(self._file.fileno(), chunk)
            self._memory = bytearray()
        else:
            self._memory += chunk

    def read(self, at: int, most: int) -> bytes:
        """Of what is there; less than `most` where a piece ends."""
        queue = self._queue
        if queue is not None:
            while queue and self._begin + len(queue[0]) <= at:
                self._begin += len(queue.popleft())
            if not queue:
                return b""
            skip = at - self._begin
            return queue[0][skip : skip + most]
        if self._file is not None:
            return os.pread(self._file.fileno(), most, at)
        return bytes(self._memory[at : at + most])

    def forget(self, before: int) -> None:
        """From here on each byte is read once."""
        if self._queue is None:
            queue: deque[bytes] = deque()
            at = before
            while at < self.size:
                piece = self.read(at, SPILL_BYTES)
                queue.append(piece)
                at += len(piece)
            self.close()
            self._queue = queue
            self._begin = before

    def close(self) -> None:
        """Forget everything."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._memory = bytearray()
        self._queue = None


def _write(fd: int, data: bytes | bytearray) -> None:
    """All of it: a disk that is nearly full takes a part, and refuses the rest only when it is asked again."""
    done = os.write(fd, data)
    while done < len(data):
        done += os.write(fd, data[done:])
