"""The report: on the terminal and, with --write, as a file of Markdown. Holds no path and no key of this machine."""

from __future__ import annotations

import importlib.metadata
import platform
import ssl
from collections.abc import Iterable
from pathlib import Path

from bench import gateway
from bench.figures import GATEWAY, OURS, Figure, Judged, Sample, judge
from bench.measure import Bench
from bench.references import REFERENCES
from bench.rows import ROWS


def versions(programs: dict[str, str]) -> list[tuple[str, str]]:
    """What was measured on what."""
    found = []
    for name, program in programs.items():
        found.append((name, gateway.version(program) if name in OURS else REFERENCES[name].version(program)))
    found.append(("Python", f"{platform.python_version()}, {ssl.OPENSSL_VERSION}"))
    for package in ("uvloop", "httptools", "msgspec"):
        found.append((package, importlib.metadata.version(package)))
    found.append(("machine", f"{cpu_model()}, {platform.system()} {platform.release()}"))
    return found


def cpu_model() -> str:
    for text in Path("/proc/cpuinfo").read_text().splitlines():
        if text.startswith("model name"):
            return text.partition(":")[2].strip()
    return platform.machine()


def about(programs: dict[str, str], what: dict[str, str]) -> str:
    """The first part, known before anything is measured."""
    rows = [*versions(programs), *what.items()]
    return "\n".join(["# Bench", "", *table(["", ""], rows)])


def configurations(bench: Bench) -> str:
    """What every program was told."""
    lines = ["## Configurations", ""]
    for title, text in bench.configs.items():
        lines += [f"<details><summary>{title}</summary>", "", "```", text.rstrip(), "```", "", "</details>", ""]
    return "\n".join(lines).rstrip()


def results(bench: Bench, names: Iterable[str], judging: bool) -> str:
    """The table, and what there is to say about it."""
    references = [name for name in bench.programs if name not in OURS]
    header = ["", "unit", *bench.programs, *(f"/ {name}" for name in references), "must", "aim", "kept"]
    rows: list[list[str]] = []
    for name in names:
        of_row = [sample for sample in bench.samples if sample.row == name]
        for line in ROWS[name].lines:
            rows.append(_cells(judge(line, of_row), list(bench.programs), references, judging))
    lines = ["## Results", "", *table(header, rows), ""]
    lines += ["Medians of the rounds, and their range. " + ("" if judging else "A short run: nothing is judged. ")]
    lines += _remarks(bench)
    for row, text in bench.profiles.items():
        lines += ["", f"<details><summary>profile: {row}</summary>", "", "```", text, "```", "", "</details>"]
    return "\n".join(lines)


def _cells(judged: Judged, programs: list[str], references: list[str], judging: bool) -> list[str]:
    line = judged.line
    cells = [line.title, line.unit]
    cells += [shown(judged.by_program.get(program), line.digits) for program in programs]
    cells += [f"{judged.ratios[name]:.2f}" if name in judged.ratios else "" for name in references]
    bound = line.bound
    kept = judged.kept if judging else ""
    return [*cells, bound.show(bound.must) if bound else "", bound.show(bound.aim) if bound else "", kept]


def shown(figure: Figure | None, digits: int) -> str:
    """`55.9 (54.1-58.0)`."""
    if figure is None:
        return ""
    text = f"{figure.median:.{digits}f}"
    if figure.low != figure.high:
        text += f" ({figure.low:.{digits}f}-{figure.high:.{digits}f})"
    return text


def _remarks(bench: Bench) -> list[str]:
    """Records, memory by process, rounds that do not count, errors."""
    lines = [""]
    if GATEWAY in bench.programs:
        lines.append(f"- records written by the gateway: {bench.records}")
    for name, sizes in bench.processes_at_rest.items():
        if len(sizes) > 1:
            lines.append(f"- {name} at rest, MB by process: " + ", ".join(f"{size:.1f}" for size in sizes))
    lines += [f"- {remark}" for remark in (*spoilt(bench.samples), *shared(bench.samples))]
    if bench.failures:
        lines += ["", "**Wrong:**", "", *(f"- {failure}" for failure in bench.failures)]
    else:
        lines.append("- errors: 0; tokens: equal to what the upstream sent")
    return lines


def spoilt(samples: list[Sample]) -> list[str]:
    """Rounds that do not count: a remark for each row and program that had some."""
    remarks = []
    for row, program in dict.fromkeys((s.row, s.program) for s in samples if s.spoilt):
        of = [s for s in samples if (s.row, s.program) == (row, program)]
        bad = [s for s in of if s.spoilt]
        end = "they are not counted" if len(bad) < len(of) else "there were no others, so they stand here"
        why = ", ".join(dict.fromkeys(s.spoilt for s in bad))
        remarks.append(f"{row}, {program}: {len(bad)} of {len(of)} rounds spoilt ({why}); {end}")
    return remarks


def shared(samples: list[Sample]) -> list[str]:
    """Rounds in which others used a tenth of the core or more: they count, but caches were not the program's alone."""
    alien = [s for s in samples if s.core_busy - s.share >= 0.1]
    if not alien:
        return []
    rows = ", ".join(dict.fromkeys(s.row for s in alien))
    return [f"in {len(alien)} of {len(samples)} rounds others used 10 % of the measured core or more: {rows}"]


def table(header: list[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """A table that reads as well in a terminal as in Markdown."""
    cells = [header, *map(list, rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(header))]

    def line(row: list[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"

    return [line(header), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *map(line, cells[1:])]
