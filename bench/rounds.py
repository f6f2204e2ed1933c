"""What is run in what order: rounds in which the programs take turns, and the four kinds of measurement.

Programs stand side by side while a row is measured, so that what else the machine does falls on all of them. A round
that does not count is repeated a few times, and never silently: the report says how many there were.
"""

from __future__ import annotations

import time

from bench import proc
from bench.figures import ALIEN, BUSY, GATEWAY, OURS, Sample, percentile
from bench.measure import Bench, Running
from bench.plan import Report
from bench.rows import Row
from bench.setups import Setup


def group(bench: Bench, setup: Setup, rows: list[Row]) -> None:
    """Rows that share their programs; memory is measured in programs that did nothing before."""
    with bench.upstream(setup):
        together = [row for row in rows if row.how != "memory"]
        if together:
            started = [bench.start(name, setup) for name in bench.programs]
            for running in started:
                warm(bench, running)
            for row in together:
                rounds(bench, row, started)
            for running in started:
                bench.stop(running)
        for row in rows:
            if row.how == "memory":
                memory_rounds(bench, row, setup)


def warm(bench: Bench, running: Running) -> None:
    """A few requests, so that all that is done once is done."""
    plan = bench.plan(running, mode="closed", connections=8, warm_s=0.1, seconds=0.3)
    bench.load(running, plan, f"{running.name}, warming up")


def rounds(bench: Bench, row: Row, started: list[Running]) -> None:
    """All programs in turn, again and again."""
    for number in range(bench.scale.rounds):
        for running in started:
            for _ in range(1 + bench.scale.repeats):
                sample = MEASURES[row.how](bench, row, running, number)
                add(bench, sample)
                if not sample.spoilt:
                    break
    if bench.profiler:
        for running in started:
            if running.name == GATEWAY:
                with bench.profiler(bench, running):
                    MEASURES[row.how](bench, row, running, -1)


def memory_rounds(bench: Bench, row: Row, setup: Setup) -> None:
    """Each time in a new process: memory that a program once had it may keep."""
    for number in range(bench.scale.memory_rounds):
        for name in bench.programs:
            if name in OURS or bench.scale.memory_of_all:
                running = bench.start(name, setup)
                add(bench, memory(bench, row, running, number))
                bench.stop(running)


def add(bench: Bench, sample: Sample) -> None:
    bench.samples.append(sample)
    values = ", ".join(f"{name} {value:.4g}" for name, value in sample.metrics.items())
    cores = f"core {sample.core_busy:.0%}, of it {sample.share:.0%} the program; load and mock {sample.own_busy:.0%}"
    marked = f" - does not count: {sample.spoilt}" if sample.spoilt else ""
    bench.log(f"{sample.row} round {sample.round + 1} {sample.program}: {values} ({cores}){marked}")


def sample(row: Row, running: Running, number: int, report: Report, metrics: dict[str, float]) -> Sample:
    spoilt = why_spoilt(row, report)
    return Sample(row.name, running.name, number, metrics, report.core_busy, report.share, report.own_busy, spoilt)


def why_spoilt(row: Row, report: Report) -> str:
    """Why a round does not count; empty if it does."""
    if row.how == "closed" and report.core_busy < BUSY:
        return f"core under {BUSY:.0%} busy"
    if row.how in ("stream", "open") and report.core_busy - report.share > ALIEN:
        return f"others used over {ALIEN:.0%} of the core"
    return "streams ended before the window" if report.early else ""


def closed(bench: Bench, row: Row, running: Running, number: int) -> Sample:
    """CPU per request, the program's core saturated."""
    plan = bench.plan(running, mode="closed", size=row.size_kb * 1024, ask=row.ask, connections=row.connections)
    report = bench.load(running, plan, f"{row.name}, {running.name}")
    per_s = report.units / report.window_s if report.window_s else 0.0
    return sample(row, running, number, report, {"cpu_us": report.cpu_us, "above_us": report.above_us, "per_s": per_s})


def open_loop(bench: Bench, row: Row, running: Running, number: int) -> Sample:
    """Latency at a fixed rate."""
    report = bench.load(running, bench.plan(running, mode="open"), f"{row.name}, {running.name}")
    metrics = {f"p{p}_ms": percentile(report.latencies_us, p / 100) / 1000 for p in (50, 99)}
    return sample(row, running, number, report, {**metrics, "cpu_us": report.cpu_us})


def streamed(bench: Bench, row: Row, running: Running, number: int) -> Sample:
    """CPU per chunk, paced streams."""
    scale = bench.scale
    more: dict[str, object] = {"ramp_s": scale.ramp_s, "ask_usage": row.ask_usage}
    plan = bench.stream_plan(running, scale.streams, 20, scale.slack_s, row.together, **more)
    report = bench.load(running, plan, f"{row.name}, {running.name}")
    per_s = report.units / report.window_s if report.window_s else 0.0
    return sample(row, running, number, report, {"cpu_us": report.cpu_us, "above_us": report.above_us, "per_s": per_s})


def memory(bench: Bench, row: Row, running: Running, number: int) -> Sample:
    """What it holds at rest, and what each open stream adds."""
    time.sleep(0.5)
    at_rest = proc.rss_kb(running.process.pid)
    bench.processes_at_rest.setdefault(running.name, [kb / 1024 for kb in at_rest.values()])
    warm(bench, running)
    base = sum(proc.rss_kb(running.process.pid).values())
    count = bench.scale.memory_streams
    # A handshake costs every side about a millisecond: so many streams need their time.
    ramp_s = max(1.0, count / 250)
    plan = bench.stream_plan(running, count, 1000, bench.scale.memory_slack_s, ramp_s=ramp_s, warm_s=1.5, seconds=0.5)
    report = bench.load(running, plan, f"{row.name}, {running.name}")
    above = at_rest.pop(running.process.pid, 0)
    metrics = {
        "idle_mb": max(at_rest.values(), default=above) / 1024,
        "keeper_mb": above / 1024,
        "stream_kb": (report.rss_kb - base) / count,
    }
    return sample(row, running, number, report, metrics)


MEASURES = {"closed": closed, "open": open_loop, "stream": streamed, "memory": memory}
