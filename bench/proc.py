"""What Linux says about processes and cores: CPU time, resident memory, how busy a core was. Reads /proc only.

Times are in seconds. /proc counts in ticks of 10 ms, so a window has to be seconds long to mean anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def stat_fields(text: str) -> list[str]:
    """The fields of /proc/PID/stat after the name, which may hold spaces and brackets: state is number 0."""
    return text[text.rindex(")") + 2 :].split()


def tree(root: int) -> list[int]:
    """A process and all its descendants: programs of several processes are measured whole."""
    found = [root]
    for pid in found:
        for task in _listed(f"/proc/{pid}/task"):
            found += [int(child) for child in _read(f"/proc/{pid}/task/{task}/children").split()]
    return found


def above_s(root: int) -> float:
    """User and system time of the process above the others: nginx's master, our keeper. 0 where it is alone."""
    pids = tree(root)
    return _cpu_s([root]) if len(pids) > 1 else 0.0


def cpu_s(root: int) -> float:
    """User and system time of a tree of processes."""
    return _cpu_s(tree(root))


def _cpu_s(pids: Iterable[int]) -> float:
    ticks = 0
    for pid in pids:
        if text := _read(f"/proc/{pid}/stat"):
            fields = stat_fields(text)
            ticks += int(fields[11]) + int(fields[12])
    return ticks * TICK_S


@dataclass(frozen=True)
class Core:
    """Seconds that a core was busy, and in all."""

    busy: float
    total: float

    def since(self, before: Core) -> float:
        """The busy share of the time between two readings."""
        passed = self.total - before.total
        return (self.busy - before.busy) / passed if passed > 0 else 0.0


def core(number: int, text: str | None = None) -> Core:
    """The times of one core. What a hypervisor took counts as busy: nobody else could have used it."""
    for line in (text or _read("/proc/stat")).splitlines():
        name, *fields = line.split()
        if name == f"cpu{number}":
            ticks = [int(field) for field in fields[:8]]
            total, idle = sum(ticks), ticks[3] + ticks[4]
            return Core((total - idle) * TICK_S, total * TICK_S)
    raise LookupError(f"/proc/stat knows no core {number}")


def rss_kb(root: int) -> dict[int, int]:
    """Resident memory of every process of a tree, by process id."""
    found = {}
    for pid in tree(root):
        for line in _read(f"/proc/{pid}/status").splitlines():
            if line.startswith("VmRSS:"):
                found[pid] = int(line.split()[1])
    return found


def pss_kb(root: int) -> int:
    """Memory of a tree with shared pages counted once; 0 where the kernel does not say."""
    total = 0
    for pid in tree(root):
        for line in _read(f"/proc/{pid}/smaps_rollup").splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:  # it ended meanwhile
        return ""


def _listed(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []
