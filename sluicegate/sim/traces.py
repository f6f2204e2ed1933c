"""Recorded workloads: when requests came, how long they were, how long the answers. No text is in them, nor needed.

Three forms are read, plain or gzipped: `t_s,input_tokens,output_tokens[,prefix_block_ids]`; the public Azure traces
(`TIMESTAMP,ContextTokens,GeneratedTokens`); JSON lines with `timestamp` in ms, `input_length`, `output_length`,
`hash_ids` (Mooncake's).
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import IO, NamedTuple

import msgspec

BLOCK_TOKENS = 512
"""Tokens of prompt that one prefix id stands for."""


class Arrival(NamedTuple):
    """One request of a workload."""

    at_s: float
    "Seconds from the first."
    prompt: int
    output: int
    prefix: tuple[int, ...] = ()
    "Ids of the blocks of BLOCK_TOKENS that its prompt begins with: equal ids, equal text."


def read(path: str) -> list[Arrival]:
    """A trace in the order of arrival. Raises ValueError naming the line, OSError."""
    try:
        opened = gzip.open if path.endswith(".gz") else open
        with opened(path, "rt", encoding="utf-8", newline="") as f:
            arrivals = list(_arrivals(f))
    except (UnicodeDecodeError, EOFError, csv.Error) as e:
        raise ValueError(f"{path}: {e}") from None
    except ValueError as e:
        raise ValueError(f"{path}: {e}") from None
    if not arrivals:
        raise ValueError(f"{path}: holds no requests")
    arrivals.sort(key=lambda a: a.at_s)
    first = arrivals[0].at_s
    return [a._replace(at_s=a.at_s - first) for a in arrivals] if first else arrivals


def _arrivals(f: IO[str]) -> Iterator[Arrival]:
    start = f.readline()
    if start.startswith("{"):
        yield from _lines([start], 1)
        yield from _lines(f, 2)
        return
    columns = [name.strip().lower() for name in start.split(",")]
    timed: Callable[[str], float]
    if columns[:3] == ["t_s", "input_tokens", "output_tokens"]:
        timed = float
    elif columns[:3] == ["timestamp", "contexttokens", "generatedtokens"]:
        timed = _timestamp
    else:
        raise ValueError("line 1: write t_s,input_tokens,output_tokens")
    for number, row in enumerate(csv.reader(f), 2):
        if row:
            try:
                prefix = tuple(int(block) for block in row[3].split()) if len(row) > 3 else ()
                yield _sane(Arrival(timed(row[0]), int(row[1]), int(row[2]), prefix))
            except (ValueError, IndexError):
                raise ValueError(f"line {number}: no time and two counts of tokens: {','.join(row)[:80]}") from None


def _lines(lines: Iterable[str], number: int) -> Iterator[Arrival]:
    for at, line in enumerate(lines, number):
        if line.strip():
            try:
                d = msgspec.json.decode(line)
                prefix = tuple(int(block) for block in d.get("hash_ids", ()))
                yield _sane(Arrival(d["timestamp"] / 1000, int(d["input_length"]), int(d["output_length"]), prefix))
            except (msgspec.DecodeError, ValueError, KeyError, TypeError, AttributeError):
                raise ValueError(f"line {at}: no timestamp, input_length and output_length: {line[:80]}") from None


def _sane(arrival: Arrival) -> Arrival:
    if not (0 <= arrival.at_s < float("inf")) or arrival.prompt < 0 or arrival.output < 0:
        raise ValueError
    return arrival


def _timestamp(text: str) -> float:
    """Of the public traces: `2023-11-16 18:01:51.1234567`, more digits than Python reads."""
    day, _, fraction = text.partition(".")
    return datetime.fromisoformat(day + "+00:00").timestamp() + float("0." + (fraction or "0"))
