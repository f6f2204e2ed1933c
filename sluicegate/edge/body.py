"""A request body on its way in: bounded, one buffer, on disk above a mebibyte."""

from __future__ import annotations

from mmap import ACCESS_READ, mmap
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
