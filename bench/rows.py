"""The rows: what is measured, and what it may cost. Add a measurement here and nowhere else.

A bound is a promise about medians of interleaved rounds: `must` is broken when something is wrong, `aim` is where we
want to be. Bounds are shown beside the figures; they never decide an exit status, as machines differ and are noisy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.setups import BOTH, MIXED, PLAIN, TLS, TOKENS, Setup
from bench.traffic import SIZES_KB

Against = Literal["nginx", "envoy"]


@dataclass(frozen=True)
class Times:
    """At most so many times what a reference needs."""

    must: float
    aim: float
    against: Against

    def of(self, value: float, reference: float | None) -> float | None:
        return value / reference if reference else None

    def show(self, bound: float) -> str:
        return f"{bound:g} x {self.against}"


@dataclass(frozen=True)
class Over:
    """At most so much more than a reference."""

    must: float
    aim: float
    against: Against

    def of(self, value: float, reference: float | None) -> float | None:
        return None if reference is None else value - reference

    def show(self, bound: float) -> str:
        return f"{self.against} + {bound:g}"


@dataclass(frozen=True)
class Within:
    """At most so much."""

    must: float
    aim: float
    against: None = None

    def of(self, value: float, reference: float | None) -> float | None:
        return value

    def show(self, bound: float) -> str:
        return f"{bound:g}"


Bound = Times | Over | Within


@dataclass(frozen=True)
class Line:
    """One figure of a row: a line of the table."""

    metric: str
    title: str
    unit: str
    bound: Bound | None = None
    digits: int = 1


@dataclass(frozen=True)
class Row:
    """One measurement, repeated in rounds."""

    name: str
    how: Literal["closed", "open", "stream", "memory"]
    setup: Setup
    lines: tuple[Line, ...]
    size_kb: int = 1
    ask_usage: bool = True
    ask: Literal["chat", "embedding", "picture"] = "chat"
    connections: int = 32
    together: int = 1  # streams that get their chunks at the same moment


def _request(kb: int, setup: Setup, bound: Bound | None) -> Row:
    over = ", TLS upstream" if setup is TLS else ""
    name = f"request-{kb}k" + ("-tls" if setup is TLS else "")
    lines = [Line("cpu_us", f"CPU per request, {kb} KB{over}", "us", bound)]
    if kb == SIZES_KB[0]:
        lines.append(Line("above_us", f"beside it, in the process above (ledger, access log){over}", "us"))
    return Row(name, "closed", setup, tuple(lines), kb)


def _chunk(setup: Setup, bound: Bound) -> Row:
    over = ", TLS upstream" if setup is TLS else ""
    name = "chunk" + ("-tls" if setup is TLS else "")
    return Row(name, "stream", setup, (Line("cpu_us", f"CPU per streamed chunk{over}", "us", bound, 2),))


def _memory(name: str, setup: Setup, bound: Within, *more: Line) -> Row:
    return Row(name, "memory", setup, (*more, Line("stream_kb", f"memory per open stream, {setup.title}", "KB", bound)))


ROWS = {
    row.name: row
    for row in (
        _request(SIZES_KB[0], PLAIN, Times(1.0, 0.8, "envoy")),
        _request(SIZES_KB[1], PLAIN, None),
        _request(SIZES_KB[2], PLAIN, Times(3.0, 1.5, "nginx")),
        Row(
            "embedding", "closed", PLAIN,
            (Line("cpu_us", "CPU per embedding: 200 bytes in, 1,536 numbers in base64 out", "us"),),
            ask="embedding",
        ),
        Row(
            "picture", "closed", PLAIN,
            (Line("cpu_us", "CPU per request with an image of 20 MB", "us"),),
            size_kb=20 * 1024, ask="picture", connections=4,
        ),
        _chunk(PLAIN, Times(1.5, 1.15, "nginx")),
        Row(
            "chunk-bursts", "stream", PLAIN,
            (Line("cpu_us", "CPU per streamed chunk, ten streams at a time", "us", Times(1.5, 1.15, "nginx"), 2),),
            together=10,
        ),
        Row(
            "chunk-injected", "stream", PLAIN,
            (Line("cpu_us", "CPU per streamed chunk, not asking for usage (the gateway does)", "us", None, 2),),
            ask_usage=False,
        ),
        Row(
            "latency", "open", PLAIN,
            (
                Line("p50_ms", "latency p50 at 400/s", "ms", Over(0.2, 0.1, "nginx"), 3),
                Line("p99_ms", "latency p99 at 400/s", "ms", Over(1.0, 0.5, "nginx"), 3),
                Line("cpu_us", "CPU per request at 400/s", "us"),
            ),
        ),
        Row(
            "request-1k-jwt", "closed", TOKENS,
            (Line("cpu_us", "CPU per request, 1 KB, tokens instead of a key", "us", Times(1.2, 1.0, "envoy")),),
        ),
        Row(
            "request-1k-jwt-mixed", "closed", MIXED,
            (Line("cpu_us", "CPU per request, 1 KB, tokens of 100 callers in turn", "us"),),
        ),
        _request(SIZES_KB[0], TLS, Times(2.5, 1.8, "nginx")),
        _chunk(TLS, Times(1.6, 1.25, "nginx")),
        _memory(
            "memory", PLAIN, Within(25, 12),
            Line("idle_mb", "resident memory idle, its largest worker", "MB", Within(45, 35)),
            Line("keeper_mb", "resident memory idle, the process above it", "MB", Within(80, 60)),
        ),
        _memory("memory-tls", TLS, Within(70, 55)),
        _memory("memory-both", BOTH, Within(120, 105)),
    )
}  # fmt: skip
