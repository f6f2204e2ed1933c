"""A request body on its way in: bounded, one buffer, on disk above a mebibyte."""

from __future__ import annotations

from mmap import ACCESS_READ, mmap
from tempfile import TemporaryFile
from typing import IO

SPILL_BYTES = 1024 * 1024
"""Above this a body lives in an unlinked temporary file: 100 callers with 30 MB each must not be 3 GB of us."""


class BodyBuffer:
    """Collects chunks. A body of one chunk is that chunk, not a copy."""

    __slots__ = ("_file", "_first", "_more", "size")

    def __init__(self) -> None:
        self._first = b""
        self._more: bytearray | None = None
        self._file: IO[bytes] | None = None
        self.size = 0

    def add(self, chunk: bytes) -> None:
        """One more piece. Raises OSError when the disk is full."""
        if not self.size:
            self._first = chunk
        elif self._file is not None:
            self._file.write(chunk)
        else:
            if self._more is None:
                self._more = bytearray(self._first)
                self._first = b""
            self._more += chunk
            if len(self._more) > SPILL_BYTES:
                self._file = TemporaryFile(prefix="sluicegate-body-")  # noqa: SIM115 - lives as long as the request
                self._file.write(self._more)
                self._more = None
        self.size += len(chunk)

    def take(self) -> bytes | bytearray | memoryview:
        """The whole body; the buffer is empty afterwards."""
        if self._file is not None:
            self._file.flush()
            view = memoryview(mmap(self._file.fileno(), self.size, access=ACCESS_READ))
            self._file.close()  # the mapping keeps the data until the last view is gone
            self._file = None
            return view
        body: bytes | bytearray = self._first if self._more is None else self._more
        self._first, self._more = b"", None
        return body

    def close(self) -> None:
        """Forget everything."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._first, self._more = b"", None
