"""The programs in front of the mock, one run of load against one of them, and the books when a gateway ends.

Which runs there are, and in what order, is in rounds.py. The mock's counts are read before and after each run: tokens
sent must be the tokens that the client saw, and at its end the gateway must have booked exactly those.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench import gateway, tokens
from bench.certificates import Certificates, make
from bench.figures import OURS, Sample
from bench.loopback import free_ports, get, line
from bench.plan import Plan, Report, dump, read_report
from bench.processes import Process, Processes, Stop
from bench.references import REFERENCES, ROOT
from bench.setups import Place, Setup
from bench.tokens import Tokens

POOL = 3


@dataclass(frozen=True)
class Scale:
    """How long and how much."""

    rounds: int = 4
    seconds: float = 5.0
    warm_s: float = 1.0
    ramp_s: float = 1.0  # streams begin spread over this
    streams: int = 200
    memory_streams: int = 2000
    memory_rounds: int = 2
    slack_s: float = 2.0  # streams live so much longer than their window
    memory_slack_s: float = 6.0
    repeats: int = 2  # of a round that does not count
    memory_of_all: bool = True  # or of the gateway alone
    bare: bool = False  # the gateway without what is optional


# Errors and totals need no windows that mean anything.
SHORT = Scale(
    rounds=1, seconds=0.8, warm_s=0.2, ramp_s=0.4, memory_streams=200, memory_rounds=1, slack_s=0.8, memory_slack_s=1.0,
    repeats=0, memory_of_all=False,
)  # fmt: skip


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
    tokens: Tokens | None = None
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

    def made_tokens(self) -> Tokens:
        """What clients show where there are tokens."""
        if self.tokens is None:
            self.tokens = tokens.make(self.folder)
        return self.tokens

    def start(self, name: str, setup: Setup) -> Running:
        """Start a program in front of the mock, and wait until it answers."""
        folder = self.folder / self.name(name)
        folder.mkdir()
        port, stream_port = free_ports(2)
        place = Place(
            setup, folder, port, stream_port if name == "nginx" else port, self.mock_ports, self.certificates,
            self.made_tokens() if setup.tokens else None,
        )  # fmt: skip
        if name in OURS:
            text, file = gateway.config(place, self.scale.bare), folder / gateway.FILE
            command = [self.programs[name], "serve", "-c", str(file)]
            env = gateway.environment(os.environ, self.keys)
        else:
            reference = REFERENCES[name]
            text, file = reference.config(place), folder / reference.file
            command = reference.command(self.programs[name], file)
            env = {"PATH": os.environ.get("PATH", os.defpath)}
        file.write_text(text)
        self.configs.setdefault(f"{name}: {setup.title}", text.replace(str(self.folder), "DIR"))
        if name in OURS:
            shown = gateway.effective(text, folder, env).replace(str(self.folder), "DIR")
            self.configs.setdefault(f"{name}, effective: {setup.title}", shown)
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
                if status == (200 if running.name in OURS else 404):
                    return
            time.sleep(0.05)
        raise Stop(f"{running.name} was not ready within 20 s. It said:\n{running.process.said()[-2000:]}")

    def stop(self, running: Running) -> None:
        """End a program; a gateway's books are checked."""
        running.process.check()
        status = self.processes.stop(running.process)
        if running.name not in OURS:
            return
        printed = gateway.printed_totals(running.process.said())
        wrong = gateway.wrong_totals(printed, running.client, running.upstream, running.asked_all)
        if status:
            wrong.append(f"exit status {status}, not 0")
        where = running.place.setup.title
        self.failures += [f"{running.name}, {where}: {complaint}" for complaint in wrong]
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
            "tokens": str(place.tokens.shown) if place.tokens else "", "in_turn": place.setup.in_turn,
            "watch": running.process.pid, "watch_core": self.core, "own_core": self.own_core, **more,
        }  # fmt: skip
        return Plan(**values)  # type: ignore[arg-type]

    def stream_plan(
        self, running: Running, count: int, every_ms: int, slack_s: float, together: int = 1, **more: object
    ) -> Plan:
        """Streams that all live longer than the window: the pace is set at the mock."""
        plan = self.plan(running, mode="stream", port=running.place.stream_port, connections=count, **more)
        chunks = math.ceil((plan.ramp_s + plan.warm_s + plan.seconds + slack_s) * 1000 / every_ms)
        self.control(f"/_pace?every={every_ms}&chunks={chunks}&together={together}")
        patience = chunks * every_ms / 1000 + 30.0
        events = chunks + (3 if plan.ask_usage else 2)
        return Plan(**{**plan.__dict__, "chunks": events, "patience_s": patience})


def _plus(totals: gateway.Totals, requests: int, input_tokens: int, output_tokens: int) -> gateway.Totals:
    return gateway.Totals(
        totals.requests + requests, totals.input_tokens + input_tokens, totals.output_tokens + output_tokens
    )
