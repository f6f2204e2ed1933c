"""Profiles of the gateway under load, where perf or py-spy is on PATH. A profiled turn does not count."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator

from bench import proc
from bench.measure import Bench, Running


@contextlib.contextmanager
def perf(bench: Bench, running: Running) -> Iterator[None]:
    """Sample the gateway with perf while the block lasts; its figures do not count."""
    data = bench.folder / f"{bench.name('perf')}.data"
    pids = ",".join(map(str, proc.tree(running.process.pid)))
    record = ["perf", "record", "-q", "-F", "499", "-p", pids, "-o", str(data)]
    recorder = subprocess.Popen(record, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        recorder.send_signal(signal.SIGINT)
        recorder.wait(20)
    report = ["perf", "report", "-i", str(data), "--stdio", "--no-children", "--percent-limit", "0.7"]
    done = subprocess.run(report, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    kept = [text for text in done.stdout.splitlines() if text.strip() and not text.startswith("#")]
    bench.profiles[bench.samples[-1].row] = "\n".join(kept[:60])


@contextlib.contextmanager
def py_spy(bench: Bench, running: Running) -> Iterator[None]:
    """The same with py-spy: Python functions, by the samples in which they were on top."""
    data = bench.folder / f"{bench.name('py-spy')}.txt"
    record = ["py-spy", "record", "-q", "-r", "200", "-f", "raw", "-p", str(running.process.pid), "-o", str(data)]
    recorder = subprocess.Popen(record, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        recorder.send_signal(signal.SIGINT)
        recorder.wait(20)
    counts: dict[str, int] = {}
    for text in data.read_text().splitlines() if data.exists() else []:
        stack, _, count = text.rpartition(" ")
        top = stack.rpartition(";")[2]
        counts[top] = counts.get(top, 0) + int(count)
    total = sum(counts.values()) or 1
    top_first = sorted(counts.items(), key=lambda item: -item[1])[:60]
    bench.profiles[bench.samples[-1].row] = "\n".join(f"{count / total:6.1%}  {name}" for name, count in top_first)


def profiler() -> Callable[[Bench, Running], contextlib.AbstractContextManager[None]] | None:
    """The one that is here."""
    return perf if shutil.which("perf") else py_spy if shutil.which("py-spy") else None
