"""The metrics page: Prometheus' text format, written by hand.

Rendered in the keeper, from sums of shared counters: the client library takes 50 to 100 ms for 300 histograms, and in
a worker every stream would stand still for that long. Here 1,000 label sets take about 3 ms.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sluicegate.core.families import FAMILIES, OTHER, Family

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Samples = Mapping[tuple[str, tuple[str, ...]], Sequence[int]]
"""Cells by family and labels, as link/counters.py sums them."""

Fact = tuple[str, str, str, Sequence[tuple[Mapping[str, str], float]]]
"""Name, kind, help, values by labels: what the keeper itself knows."""


def render(samples: Samples, facts: Iterable[Fact] = ()) -> str:
    """The page."""
    lines: list[str] = []
    by_family: dict[str, list[tuple[tuple[str, ...], Sequence[int]]]] = {}
    for (name, labels), cells in sorted(samples.items()):
        by_family.setdefault(name, []).append((labels, cells))
    for family in FAMILIES.values():
        found = by_family.get(family.name, ())
        _head(lines, family.name, "gauge" if family.kind == "max" else family.kind, family.help)
        for labels, cells in found:
            if labels and not any(cells) and set(labels) == {OTHER}:
                continue  # kept free for what is too much, and nothing was
            (_histogram if family.buckets else _value)(lines, family, labels, cells)
    for name, kind, help_, values in facts:
        _head(lines, name, kind, help_)
        lines += [f"{name}{_braces(labels)} {_number(value)}" for labels, value in values]
    lines.append("")
    return "\n".join(lines)


def _head(lines: list[str], name: str, kind: str, help_: str) -> None:
    lines += [f"# HELP {name} {help_}", f"# TYPE {name} {kind}"]


def _value(lines: list[str], family: Family, labels: tuple[str, ...], cells: Sequence[int]) -> None:
    named = dict(zip(family.labels, labels, strict=True))
    lines.append(f"{family.name}{_braces(named)} {_number(cells[0] * family.per)}")


def _histogram(lines: list[str], family: Family, labels: tuple[str, ...], cells: Sequence[int]) -> None:
    named = dict(zip(family.labels, labels, strict=True))
    so_far = 0
    for bound, count in zip((*family.buckets, None), cells, strict=False):
        so_far += count
        le = "+Inf" if bound is None else f"{bound:g}"
        lines.append(f"{family.name}_bucket{_braces({**named, 'le': le})} {so_far}")
    lines.append(f"{family.name}_sum{_braces(named)} {_number(cells[-1] * family.per)}")
    lines.append(f"{family.name}_count{_braces(named)} {so_far}")


def _braces(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:.6f}".rstrip("0")
