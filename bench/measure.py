"""Running it: the mock, the programs, rounds that take turns, and the books at the end of each gateway process.

Programs stand side by side while a row is measured and take turns, so that what else the machine does falls on all of
them. The mock's counts are read before and after each run: tokens sent must be the tokens that the client saw, and
at its end the gateway must have booked exactly those.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import os
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench import gateway, proc
from bench.certificates import Certificates, make
from bench.figures import BUSY, GATEWAY, Sample, percentile
from bench.plan import Plan, Report, dump, read_report
from bench.processes import Process, Processes, Stop
from bench.references import REFERENCES, ROOT
from bench.rows import Row
from bench.setups import Place, Setup

POOL = 3
REPEATS = 2  # of a round whose core was not busy


@dataclass(frozen=True)
class Scale:
    """How long and how much."""

    rounds: int = 4
    seconds: float = 5.0
    warm_s: float = 1.0
    streams: int = 200
    memory_streams: int = 2000
    memory_rounds: int = 2
    memory_slack_s: float = 6.0
    repeats: int = REPEATS


SHORT = Scale(1, 1.0, 0.3, 200, 200, 1, 2.0, 0)


@dataclass
class Running:
    """A program under measurement, and what it was asked."""

    name: str
    process: Process
    place: Place
    config: str
    client: gateway.Totals = gateway.Totals(0, 0, 0)
    upstream: gateway.Totals = gateway.Totals(0, 0, 0)
    asked_all: bool = True


@dataclass
class Bench:
    """Everything a run has. `programs` maps names to paths; `log` takes lines for people who wait."""

    folder: Path
    processes: Processes
    programs: dict[str, str]
    scale: Scale
    core: int
    own_core: int
    log: Callable[[str], None]
    profiler: Callable[[Bench, Running], contextlib.AbstractContextManager[None]] | None = None
    samples: list[Sample] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    configs: dict[str, str] = field(default_factory=dict)  # title -> text
    profiles: dict[str, str] = field(default_factory=dict)
    records: int = 0
    processes_at_rest: dict[str, list[float]] = field(default_factory=dict)  # MB of each, idle
    keys: dict[str, str] = field(default_factory=gateway.keys)
    certificates: Certificates = field(init=False)
    mock: Process = field(init=False)
    mock_ports: tuple[int, ...] = ()
    mock_tls: bool = False
    _number: int = 0

    def __post_init__(self) -> None:
        self.certificates = make(self.folder)

    # ------------------------------------------------------------ programs

    def name(self, what: str) -> str:
        self._number += 1
        return f"{what}-{self._number}"

    @contextlib.contextmanager
    def upstream(self, setup: Setup) -> Iterator[None]:
        """The mock, for as long as the block lasts."""
        command = [sys.executable, "-m", "bench.mock", "--ports", str(POOL)]
        if setup.upstream_tls:
            command += ["--certificate", str(self.certificates.certificate), "--key", str(self.certificates.key)]
        self.mock = self.processes.start(self.name("mock"), command, self.own_core, os.environ, ROOT)
        try:
            self.mock_ports = tuple(json.loads(line(self.mock, 20.0)))
            self.mock_tls = setup.upstream_tls
            yield
        finally:
            self.processes.stop(self.mock)

    def control(self, path: str) -> dict[str, int]:
        """Ask the mock."""
        status, body = get(self.mock_ports[0], path, self.certificates.ca if self.mock_tls else None)
        if status != 200:
            raise Stop(f"the mock upstream answered {status} to {path}")
        found: dict[str, int] = json.loads(body)
        return found

    def start(self, name: str, setup: Setup) -> Running:
        """Start a program in front of the mock, and wait until it answers."""
        folder = self.folder / self.name(name)
        folder.mkdir()
        port, stream_port = free_ports(2)
        place = Place(setup, folder, port, stream_port if name == "nginx" else port, self.mock_ports, self.certificates)
        if name == GATEWAY:
            text, file = gateway.config(place), folder / gateway.FILE
            command = [self.programs[name], "serve", "-c", str(file)]
            env = gateway.environment(os.environ, self.keys)
        else:
            reference = REFERENCES[name]
            text, file = reference.config(place), folder / reference.file
            command = reference.command(self.programs[name], file)
            env = {"PATH": os.environ.get("PATH", os.defpath)}
        file.write_text(text)
        self.configs.setdefault(f"{name}: {setup.title}", text.replace(str(self.folder), "DIR"))
        process = self.processes.start(folder.name, command, self.core, env, folder)
        running = Running(name, process, place, text)
        self.wait_until_ready(running)
        return running

    def wait_until_ready(self, running: Running) -> None:
        """The gateway says when it is; a reference is when it passes anything on."""
        ca = self.certificates.ca if running.place.setup.client_tls else None
        until = time.monotonic() + 20.0
        while time.monotonic() < until:
            running.process.check()
            with contextlib.suppress(OSError, http.client.HTTPException):
                status, _ = get(running.place.port, "/health/ready", ca, 2.0)
                if status == (200 if running.name == GATEWAY else 404):
                    return
            time.sleep(0.05)
        raise Stop(f"{running.name} was not ready within 20 s. It said:\n{running.process.said()[-2000:]}")

    def stop(self, running: Running) -> None:
        """End a program; a gateway's books are checked."""
        running.process.check()
        status = self.processes.stop(running.process)
        if running.name != GATEWAY:
            return
        printed = gateway.printed_totals(running.process.said())
        wrong = gateway.wrong_totals(printed, running.client, running.upstream, running.asked_all)
        if status:
            wrong.append(f"exit status {status}, not 0")
        where = running.place.setup.title
        self.failures += [f"{GATEWAY}, {where}: {complaint}" for complaint in wrong]
        if printed:
            self.records += int(printed.get("records", 0))
        if wrong:
            self.log(f"its last words:\n{running.process.said()[-2000:]}")

    # ------------------------------------------------------------ load

    def load(self, running: Running, plan: Plan, what: str) -> Report:
        """One run of the load generator, and its sums against the mock's."""
        before = self.control("/_stats")
        command = [sys.executable, "-m", "bench.load"]
        process = self.processes.start(self.name("load"), command, self.own_core, os.environ, ROOT)
        try:
            assert process.popen.stdin is not None
            process.popen.stdin.write(dump(plan) + "\n")
            process.popen.stdin.flush()
            patience = plan.ramp_s * 3 + plan.warm_s + plan.seconds + plan.patience_s + 20.0
            report = read_report(line(process, patience))
        finally:
            self.processes.stop(process)
        running.process.check()
        after = self.control("/_stats")
        if after["open"]:  # a client that gave up: the proxy may take a moment to say so
            time.sleep(1.0)
            after = self.control("/_stats")
        sent = {name: after[name] - before[name] for name in after}
        asked = plan.mode != "stream" or plan.ask_usage
        self.failures += [f"{what}: {error} ({count} times)" for error, count in report.errors.items()]
        if sent["cut"]:
            self.failures.append(f"{what}: {sent['cut']} streams were cut before the mock had ended them")
        seen = (report.input_tokens, report.output_tokens)
        if asked and seen != (sent["input_tokens"], sent["output_tokens"]):
            tokens = f"{sent['input_tokens']} and {sent['output_tokens']}"
            self.failures.append(f"{what}: clients saw {seen[0]} and {seen[1]} tokens, the upstream sent {tokens}")
        if report.early:
            self.failures.append(f"{what}: {report.early} streams ended before the window did, so it measured nothing")
        running.client = _plus(running.client, report.answered, *seen)
        running.upstream = _plus(running.upstream, sent["requests"], sent["input_tokens"], sent["output_tokens"])
        running.asked_all &= asked
        return report

    def plan(self, running: Running, **more: object) -> Plan:
        """What all plans share."""
        place = running.place
        values: dict[str, object] = {
            "port": place.port, "key": self.keys[gateway.CLIENT_KEY], "seconds": self.scale.seconds,
            "warm_s": self.scale.warm_s, "ca": str(place.certificates.ca) if place.setup.client_tls else "",
            "watch": running.process.pid, "watch_core": self.core, "own_core": self.own_core, **more,
        }  # fmt: skip
        return Plan(**values)  # type: ignore[arg-type]

    def stream_plan(self, running: Running, count: int, every_ms: int, slack_s: float, **more: object) -> Plan:
        """Streams that all live longer than the window: the pace is set at the mock."""
        plan = self.plan(running, mode="stream", port=running.place.stream_port, connections=count, **more)
        chunks = math.ceil((plan.ramp_s + plan.warm_s + plan.seconds + slack_s) * 1000 / every_ms)
        self.control(f"/_pace?every={every_ms}&chunks={chunks}")
        patience = chunks * every_ms / 1000 + 30.0
        events = chunks + (3 if plan.ask_usage else 2)
        return Plan(**{**plan.__dict__, "chunks": events, "patience_s": patience})

    # ------------------------------------------------------------ rows

    def group(self, setup: Setup, rows: list[Row]) -> None:
        """Rows that share their programs; memory is measured in programs that did nothing before."""
        with self.upstream(setup):
            together = [row for row in rows if row.how != "memory"]
            if together:
                started = [self.start(name, setup) for name in self.programs]
                for running in started:
                    self.warm(running)
                for row in together:
                    self.rounds(row, started)
                for running in started:
                    self.stop(running)
            for row in rows:
                if row.how == "memory":
                    for number in range(self.scale.memory_rounds):
                        for name in self.programs:
                            running = self.start(name, setup)
                            self.add(MEASURES[row.how](self, row, running, number))
                            self.stop(running)

    def warm(self, running: Running) -> None:
        """A few requests, so that all that is done once is done."""
        plan = self.plan(running, mode="closed", connections=8, warm_s=0.1, seconds=0.3)
        self.load(running, plan, f"{running.name}, warming up")

    def rounds(self, row: Row, started: list[Running]) -> None:
        """All programs in turn, again and again; a round with an idle core is repeated a few times."""
        for number in range(self.scale.rounds):
            for running in started:
                for _ in range(1 + (self.scale.repeats if row.how == "closed" else 0)):
                    sample = MEASURES[row.how](self, row, running, number)
                    self.add(sample)
                    if not sample.idle:
                        break
        if self.profiler:
            for running in started:
                if running.name == GATEWAY:
                    with self.profiler(self, running):
                        MEASURES[row.how](self, row, running, -1)

    def add(self, sample: Sample) -> None:
        self.samples.append(sample)
        values = ", ".join(f"{name} {value:.4g}" for name, value in sample.metrics.items())
        cores = (
            f"core {sample.core_busy:.0%}, of it {sample.share:.0%} the program; load and mock {sample.own_busy:.0%}"
        )
        marked = " - not busy enough" if sample.idle else ""
        self.log(f"{sample.row} round {sample.round + 1} {sample.program}: {values} ({cores}){marked}")

    def sample(self, row: Row, running: Running, number: int, report: Report, metrics: dict[str, float]) -> Sample:
        idle = row.how == "closed" and report.core_busy < BUSY
        return Sample(row.name, running.name, number, metrics, report.core_busy, report.share, report.own_busy, idle)


def closed(bench: Bench, row: Row, running: Running, number: int) -> Sample:
    """CPU per request, the program's core saturated."""
    plan = bench.plan(running, mode="closed", size=row.size_kb * 1024)
    report = bench.load(running, plan, f"{row.name}, {running.name}")
    per_s = report.units / report.window_s if report.window_s else 0.0
    return bench.sample(row, running, number, report, {"cpu_us": report.cpu_us, "per_s": per_s})


def open_loop(bench: Bench, row: Row, running: Running, number: int) -> Sample:
    """Latency at a fixed rate."""
    report = bench.load(running, bench.plan(running, mode="open"), f"{row.name}, {running.name}")
    metrics = {f"p{p}_ms": percentile(report.latencies_us, p / 100) / 1000 for p in (50, 99)}
    return bench.sample(row, running, number, report, {**metrics, "cpu_us": report.cpu_us})


def streamed(bench: Bench, row: Row, running: Running, number: int) -> Sample:
    """CPU per chunk, paced streams."""
    plan = bench.stream_plan(running, bench.scale.streams, 20, 2.0, ask_usage=row.ask_usage)
    report = bench.load(running, plan, f"{row.name}, {running.name}")
    per_s = report.units / report.window_s if report.window_s else 0.0
    return bench.sample(row, running, number, report, {"cpu_us": report.cpu_us, "per_s": per_s})


def memory(bench: Bench, row: Row, running: Running, number: int) -> Sample:
    """What it holds at rest, and what each open stream adds."""
    time.sleep(0.5)
    at_rest = proc.rss_kb(running.process.pid)
    bench.processes_at_rest.setdefault(running.name, [kb / 1024 for kb in at_rest.values()])
    bench.warm(running)
    base = sum(proc.rss_kb(running.process.pid).values())
    count = bench.scale.memory_streams
    # A handshake costs every side about a millisecond: so many streams need their time.
    ramp_s = max(1.0, count / 250)
    plan = bench.stream_plan(running, count, 1000, bench.scale.memory_slack_s, ramp_s=ramp_s, warm_s=1.5, seconds=0.5)
    report = bench.load(running, plan, f"{row.name}, {running.name}")
    metrics = {"idle_mb": sum(at_rest.values()) / 1024, "stream_kb": (report.rss_kb - base) / count}
    return bench.sample(row, running, number, report, metrics)


MEASURES = {"closed": closed, "open": open_loop, "stream": streamed, "memory": memory}


# ---------------------------------------------------------------- small things


def line(process: Process, within_s: float) -> str:
    """The next line that a program prints."""
    assert process.popen.stdout is not None
    ready, _, _ = select.select([process.popen.stdout], [], [], within_s)
    text = process.popen.stdout.readline() if ready else ""
    if not text:
        said = process.said().strip()[-2000:]
        raise Stop(f"{process.name} said nothing within {within_s:.0f} s. On stderr: {said or '(nothing)'}")
    return text


def get(port: int, path: str, ca: Path | None, timeout: float = 5.0) -> tuple[int, bytes]:
    """A GET over a connection of its own."""
    if ca:
        context = ssl.create_default_context(cafile=str(ca))
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            "localhost", port, timeout=timeout, context=context
        )
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    with contextlib.closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on just now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _plus(totals: gateway.Totals, requests: int, input_tokens: int, output_tokens: int) -> gateway.Totals:
    return gateway.Totals(
        totals.requests + requests, totals.input_tokens + input_tokens, totals.output_tokens + output_tokens
    )


# ---------------------------------------------------------------- profiles, where there is a profiler


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
