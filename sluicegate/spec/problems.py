"""What is wrong with a configuration: where, what, and what to write instead. All of it in one pass.

An error keeps a configuration from taking effect. A warning says that it will not do what people hope, a note says
what follows from it; neither changes the exit status.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

Path = tuple[str | int, ...]
"""Keys and indices from the root of the document: ("models", "chat", "use", 0)."""

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")

MOST = 100
"""Problems shown; a file with more has one cause, and it is among the first."""


class Place(NamedTuple):
    """A position as editors count: line and column from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding. `hint` says what to write instead; each of its lines is shown below `what`."""

    place: Place
    path: str
    what: str
    hint: str = ""
    severity: Severity = "error"


class Problems:
    """The findings of one load, from the first byte to the compiled snapshot."""

    def __init__(self) -> None:
        self._found: dict[Problem, None] = {}
        self._damaged: set[Path] = set()

    def add(self, place: Place, path: Path, what: str, hint: str = "", severity: Severity = "error") -> None:
        """Write it down; the same finding twice is one."""
        problem = Problem(place, printable(dotted(path)), printable(what), printable(hint, "\n"), severity)
        self._found[problem] = None
        if severity == "error":
            self.damage(path)

    def damage(self, path: Path) -> None:
        """What is wrong there was said elsewhere."""
        self._damaged.update(path[:n] for n in range(len(path) + 1))

    def damaged(self, path: Path) -> bool:
        """Whether an error stands at or below `path`: what is missing there may only be unreadable."""
        return path in self._damaged

    def __len__(self) -> int:
        return len(self._found)

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[Problem]:
        return iter(sorted(self._found, key=lambda p: (p.place.file, p.place.line, p.place.column)))

    def of(self, severity: Severity) -> list[Problem]:
        """Those of one severity, by position."""
        return [p for p in self if p.severity == severity]

    @property
    def fatal(self) -> bool:
        """Whether there is an error."""
        return bool(self._damaged)


def dotted(path: Path) -> str:
    """A path for people: names joined by dots, places in lists left to the position."""
    return ".".join(part for part in path if isinstance(part, str))


def printable(text: str, but: str = "") -> str:
    """Without what could move a cursor: names and words of a file stand in what is said of it."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in but else "?" for c in text)


def counted(number: int, noun: str) -> str:
    """`1 error`, `2 errors`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def plain(problems: Problems) -> list[dict[str, str | int]]:
    """Every finding, plain data."""
    return [
        {"severity": p.severity, "file": p.place.file, "line": p.place.line, "column": p.place.column, "path": p.path,
         "what": p.what, "hint": p.hint}
        for p in problems
    ]  # fmt: skip


def render(problems: Problems, end: str = "") -> str:
    """The report: one finding after the other, and a closing line that counts them and says what `end` says."""
    found = list(problems)
    lines = []
    for p in found[:MOST]:
        sign = "" if p.severity == "error" else f"{p.severity}: "
        where = f"{p.path}: " if p.path else ""
        head = f"{p.place!s} "
        head += " " * (-len(head) % 4)
        lines.append(f"{head}{sign}{where}{p.what}")
        lines += [" " * len(head) + line for line in p.hint.splitlines()]
    if len(found) > MOST:
        lines.append(f"... and {len(found) - MOST} more")
    counts = [counted(len(problems.of(s)), s) for s in SEVERITIES if problems.of(s)]
    closing = "; ".join(part for part in (", ".join(counts), end) if part)
    return "\n".join([*lines, closing] if closing else lines)
