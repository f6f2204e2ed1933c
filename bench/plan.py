"""What a load generator is told, and what it reports: the two sides of a pipe, as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Plan:
    """One run of load against one program."""

    mode: Literal["closed", "open", "stream"]
    port: int
    key: str
    seconds: float  # the window that is measured
    warm_s: float = 1.0  # before it
    ca: str = ""  # speak TLS and trust this
    size: int = 1024  # of a request's body
    ask: Literal["chat", "embedding", "picture"] = "chat"
    tokens: str = ""  # a file with a token a line, shown instead of the key: to each connection its own
    in_turn: bool = False  # another one with each request
    connections: int = 32  # or streams at the same time
    rate: int = 400  # requests a second, mode open
    ramp_s: float = 1.0  # streams begin spread over this
    chunks: int = 0  # events that a stream must have, [DONE] aside
    ask_usage: bool = True
    watch: int = 0  # process id of the measured program; 0 measures none
    watch_core: int = 0
    own_core: int = 0
    patience_s: float = 30.0  # after the window, for what is under way


@dataclass(frozen=True)
class Report:
    """What came of it. Totals are of the whole run, the rest of the window."""

    answered: int  # requests answered in full, in all
    input_tokens: int  # seen by the client, in all
    output_tokens: int
    errors: dict[str, int]  # what went wrong -> how often
    unlike: int  # answers whose bytes are not the upstream's, though they are right
    window_s: float
    units: int  # requests or chunks in the window
    cpu_s: float  # of the watched program
    core_busy: float  # share of the window in which its core did anything
    own_busy: float  # the same of the core of load and mock
    rss_kb: int  # of the watched program at the end of the window
    latencies_us: list[float] = field(default_factory=list)
    above_s: float = 0.0  # of cpu_s, in the process above those that carry traffic
    early: int = 0  # streams that were over before the window was: it measured fewer than it says

    @property
    def cpu_us(self) -> float:
        """CPU time per request or chunk, of the processes that carry traffic."""
        return (self.cpu_s - self.above_s) / self.units * 1e6 if self.units else 0.0

    @property
    def above_us(self) -> float:
        """The same of the process above them: what it does beside the traffic, as writing the ledger."""
        return self.above_s / self.units * 1e6 if self.units else 0.0

    @property
    def share(self) -> float:
        """How much of its core the watched program used; less than `core_busy` when it had to share."""
        return self.cpu_s / self.window_s if self.window_s else 0.0


def dump(value: Plan | Report) -> str:
    return json.dumps(asdict(value))


def read_plan(text: str) -> Plan:
    return Plan(**json.loads(text))


def read_report(text: str) -> Report:
    return Report(**json.loads(text))
