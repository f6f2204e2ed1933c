"""Large bodies over real sockets: an upstream that digests what it is sent, a client that draws what it sends, and what
Linux says of the memory of a process. Threads of the test's own: what is measured is the gateway's worker alone."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterable, Iterator
from hashlib import sha256, shake_256
from pathlib import Path
from typing import Any

from bench import proc
from tests.goals.processes import Process

PIECE = 64 * 1024
MB = 1024 * 1024
BLOCK = shake_256(b"noise").digest(MB)
"""Repeated, with its number before each: compressible by nobody who matters here, and quickly drawn."""


def noise(size: int) -> Iterator[bytes]:
    """So many bytes, the same each time."""
    for number in range(size // MB):
        yield b"%8d" % number + BLOCK[8:]
    if size % MB:
        yield BLOCK[: size % MB]


def digest(pieces: Iterable[bytes]) -> str:
    """Of all of it."""
    summed = sha256()
    for piece in pieces:
        summed.update(piece)
    return summed.hexdigest()


def worker_of(process: Process) -> int:
    """The worker of a gateway: its keeper's child."""
    [worker] = [pid for pid in proc.tree(process.pid) if pid != process.pid]
    return worker


def memory_kb(pid: int, of: str) -> int:
    """`VmRSS`, `VmHWM` ..."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(of + ":"):
            return int(line.split()[1])
    raise AssertionError(of)


class Peak:
    """`with Peak(pid) as peak`: by how much its resident memory grew at most, in KB."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.kb = 0

    def __enter__(self) -> Peak:
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")  # the high-water mark begins anew
        self.before = memory_kb(self.pid, "VmRSS")
        return self

    def __exit__(self, *exc: object) -> None:
        self.kb = memory_kb(self.pid, "VmHWM") - self.before


class Upstream:
    """Digests bodies, and answers as it was told: by path, `(content type, size)` of noise, in chunks or with a length."""

    def __init__(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        self.digests: list[str] = []
        "Of the bodies that came whole."
        self.sizes: list[int] = []
        self.taken = 0
        "Bytes of bodies."
        self.go = threading.Event()
        "Bodies are read while it is set."
        self.go.set()
        self.answers: dict[str, tuple[str, bytes, int, bytes]] = {}
        "By the end of a path: content type, what the body begins with, how much noise follows, what it ends with."
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                s, _ = self.listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(s,), daemon=True).start()

    def _serve(self, s: socket.socket) -> None:
        with s, s.makefile("rb", PIECE) as lines:
            while (line := lines.readline()) not in (b"", b"\r\n"):
                path = line.split(b" ")[1].partition(b"?")[0].decode()
                fields: dict[bytes, bytes] = {}
                while (line := lines.readline()) not in (b"", b"\r\n"):
                    name, _, value = line.partition(b":")
                    fields[name.lower()] = value.strip()
                summed = sha256()
                size = 0
                for piece in self._body(lines, fields):
                    summed.update(piece)
                    size += len(piece)
                    self.taken += len(piece)
                    self.go.wait()
                self.digests.append(summed.hexdigest())
                self.sizes.append(size)
                self._answer(s, path)

    def _body(self, lines: Any, fields: dict[bytes, bytes]) -> Iterator[bytes]:
        if b"content-length" in fields:
            left = int(fields[b"content-length"])
            while left:
                piece = lines.read(min(left, PIECE))
                if not piece:
                    return
                left -= len(piece)
                yield piece
            return
        while size := int(lines.readline(), 16):
            yield lines.read(size)
            lines.readline()
        lines.readline()

    def _answer(self, s: socket.socket, path: str) -> None:
        kind, begin, size, end = next(a for p, a in self.answers.items() if path.endswith(p))
        whole = len(begin) + size + len(end)
        audio = kind.startswith("audio")
        framing = "Transfer-Encoding: chunked" if audio else f"Content-Length: {whole}"
        s.sendall(f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n{framing}\r\n\r\n".encode())
        for piece in (begin, *noise(size), end):
            if piece:
                s.sendall(b"%x\r\n%b\r\n" % (len(piece), piece) if audio else piece)
        if audio:
            s.sendall(b"0\r\n\r\n")

    def close(self) -> None:
        self.go.set()
        self.listening.close()


def ask(port: int, path: str, key: str, kind: str, size: int, body: Iterable[bytes]) -> tuple[int, int, str]:
    """Send it; status, size and digest of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"api-key": key, "Content-Type": kind, "Content-Length": str(size)}
    connection.request("POST", path, body=body, headers=headers)
    answer = connection.getresponse()
    summed, got = sha256(), 0
    while piece := answer.read(PIECE):
        summed.update(piece)
        got += len(piece)
    connection.close()
    return answer.status, got, summed.hexdigest()
