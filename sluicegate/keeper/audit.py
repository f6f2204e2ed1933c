"""The audit log: who changed what, when, from where, and what came of it, in `gateway.data/audit.jsonl`.

One line of JSON an entry, appended and on the disk before the change it speaks of takes effect: what cannot be written
down is not done. Every entry holds the hash of the one before, so that one that is removed, changed or moved breaks the
chain; how far the chain goes is kept beside it and said on stderr from time to time (`audit.anchor`), so that an end
that is cut off is missed, too. Hashes are plain SHA-256 over the text of the line: whoever has a copy can check it
with no secret of ours (docs/decisions/0035).
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

FILE = "audit.jsonl"
HEAD = "audit.head"
SHORTER = "audit.shorter"
"""What the first entry after an end that is missing is called: from then on the chain alone would not show it."""

FIRST = "0" * 64
"""What stands for the entry before the first."""

ANCHOR = 64
"""Entries between two anchors on stderr."""

LONGEST = 1 << 20

_MARK = b',"hash":"'


class Unwritable(Exception):
    """An entry cannot be written: what it speaks of must not happen."""


@dataclass(frozen=True, slots=True)
class Head:
    """How far the chain goes."""

    seq: int = 0
    hash: str = FIRST


@dataclass(frozen=True, slots=True)
class Flaw:
    """What is wrong with a chain, and from which line on."""

    line: int
    what: str


class Audit:
    """The log of one gateway, open to write. Raises OSError or ValueError when it cannot be."""

    def __init__(
        self, data: str, anchor: Callable[[Head], None] = lambda head: None, now: Callable[[], float] = time.time
    ):
        os.makedirs(data, mode=0o700, exist_ok=True)
        self._data = data
        self.path = os.path.join(data, FILE)
        self._anchor = anchor
        self._now = now
        self._lock = threading.Lock()
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            self.head, torn = self._end()
            if torn:
                os.ftruncate(self._fd, os.fstat(self._fd).st_size - torn)
        except BaseException:
            os.close(self._fd)
            raise
        behind = kept_head(data)
        if behind is not None and behind.seq > self.head.seq:
            self.append(SHORTER, {"expected": {"seq": behind.seq, "hash": behind.hash}})
        elif torn:
            self.append("audit.torn", {"bytes": torn})
        self._anchored = 0
        self._say()

    def append(self, what: str, facts: dict[str, Any] | None = None) -> int:
        """An entry, on the disk when this returns; its number. Raises Unwritable."""
        with self._lock:
            seq = self.head.seq + 1
            moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now := self._now()))
            entry = {"seq": seq, "at": f"{moment}.{int(now % 1 * 1000):03d}Z", "what": what, **(facts or {})}
            line, digest = sealed(entry, self.head.hash)
            if len(line) > LONGEST:
                short = {"cut": "what was changed is longer than an entry may be"}
                kept = {k: v for k, v in entry.items() if k not in ("before", "after", "changes")}
                line, digest = sealed({**kept, **short}, self.head.hash)
            size = os.fstat(self._fd).st_size
            try:
                if os.write(self._fd, line) != len(line):
                    raise OSError(28, "No space left on device")
                os.fsync(self._fd)
            except OSError as e:
                try:
                    os.ftruncate(self._fd, size)
                except OSError:
                    pass  # the next start finds half a line, and says so
                raise Unwritable((e.strerror or "error").lower()) from None
            self.head = Head(seq, digest)
            self._keep()
        if seq % ANCHOR == 0:
            self._say()
        return seq

    def close(self) -> None:
        """No more entries; says how far it went."""
        self._say()
        with self._lock:
            os.close(self._fd)

    def _say(self) -> None:
        if self.head.seq != self._anchored:
            self._anchored = self.head.seq
            self._anchor(self.head)

    def _keep(self) -> None:
        """How far the chain goes. Behind by an entry or more is no fault: those after it hang on the chain."""
        path = os.path.join(self._data, HEAD)
        try:
            with open(os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as f:
                f.write(json.dumps({"seq": self.head.seq, "hash": self.head.hash}) + "\n")
            os.replace(f"{path}.new", path)
        except OSError:
            pass

    def _end(self) -> tuple[Head, int]:
        """The last entry, and how many bytes of half a line follow it: a machine that went down while it was written.
        Raises ValueError."""
        size = os.fstat(self._fd).st_size
        tail = os.pread(self._fd, 2 * LONGEST, max(0, size - 2 * LONGEST))
        whole = tail.rfind(b"\n") + 1
        if not whole:
            return Head(), size
        line = tail[tail.rfind(b"\n", 0, whole - 1) + 1 : whole]
        try:
            entry = json.loads(line)
            return Head(int(entry["seq"]), str(entry["hash"])), len(tail) - whole
        except (ValueError, TypeError, KeyError):
            raise ValueError(
                f"{self.path} is damaged at its end: `sluicegate audit verify` says where. Move it away to begin anew"
            ) from None

    def page(self, after: int, most: int) -> tuple[list[dict[str, Any]], bool]:
        """Entries after this number, so many at most; and whether there are more. Raises OSError."""
        found: list[dict[str, Any]] = []
        for entry in entries(self.path, after):
            if len(found) == most:
                return found, True
            found.append(entry)
        return found, False

    def verified(self) -> tuple[Head, list[Flaw]]:
        """Whether the file still holds all that was written. Raises OSError."""
        with self._lock:
            size, head = os.fstat(self._fd).st_size, self.head
        with open(self.path, "rb") as f:
            return verify(limited(f, size), [head])


def limited(lines: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Those of the first `size` bytes: more may be written meanwhile."""
    for line in lines:
        if size <= 0:
            return
        size -= len(line)
        yield line


def sealed(entry: dict[str, Any], last: str) -> tuple[bytes, str]:
    """The line of an entry, and its hash: of all of the line before its last member, `hash`."""
    text = json.dumps({**entry, "last": last}, separators=(",", ":")).encode()
    digest = hashlib.sha256(text).hexdigest()
    return text[:-1] + _MARK + digest.encode() + b'"}\n', digest


def kept_head(data: str) -> Head | None:
    """How far the chain went when the last entry was written; None where nobody kept it."""
    try:
        with open(os.path.join(data, HEAD), encoding="utf-8") as f:
            found = json.load(f)
        return Head(int(found["seq"]), str(found["hash"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def verify(lines: Iterable[bytes], heads: Iterable[Head] = ()) -> tuple[Head, list[Flaw]]:
    """Where a chain ends, and what is wrong with it: nothing when every entry stands where it stood, unchanged, up to
    each of `heads` at least."""
    wanted = {head.seq: head.hash for head in heads if head.seq}
    head, flaws = Head(), []
    number = 0
    for number, line in enumerate(lines, 1):
        wrong, entry, digest = _read(line)
        if not wrong and entry.get("last") != head.hash:
            wrong = "does not follow the entry before it: one was removed, added or moved here"
        if not wrong and entry.get("seq") != head.seq + 1:
            wrong = f"is number {entry.get('seq')!s:.20}, not {head.seq + 1}"
        if wrong:
            flaws.append(Flaw(number, wrong))
            return head, flaws
        head = Head(head.seq + 1, digest)
        if entry.get("what") == SHORTER:
            flaws.append(Flaw(number, f"says that the end was cut off here: there were {_expected(entry)} entries"))
        if head.seq in wanted and wanted.pop(head.seq) != digest:
            flaws.append(Flaw(number, "is not the entry that was anchored under this number"))
            return head, flaws
    if wanted:
        flaws.append(
            Flaw(number + 1, f"ends after {head.seq} entries, there were {max(wanted)} at least: the rest was cut off")
        )
    return head, flaws


def _expected(entry: dict[str, Any]) -> str:
    expected = entry.get("expected")
    return str(expected.get("seq") if isinstance(expected, dict) else "more")[:20]


def _read(line: bytes) -> tuple[str, dict[str, Any], str]:
    """What is wrong with a line, its entry, its hash."""
    body, mark, rest = line.rpartition(_MARK)
    if not mark or len(rest) != 67 or not rest.endswith(b'"}\n'):
        return "is no entry, or half of one", {}, ""
    digest = hashlib.sha256(body + b"}").hexdigest()
    if rest[:64] != digest.encode():
        return "was changed: its hash is another one", {}, ""
    try:
        entry = json.loads(body + b"}")
    except (ValueError, RecursionError):
        return "is no entry", {}, ""
    return "", entry if isinstance(entry, dict) else {}, digest


def entries(path: str, after: int = 0) -> Iterator[dict[str, Any]]:
    """Entries after this number, in order, as they stand there. Lines that are none are left out. Raises OSError."""
    with open(path, "rb") as f:
        for line in f:
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict) and isinstance(entry.get("seq"), int) and entry["seq"] > after:
                yield entry
