"""`python -m bench`: find the programs, measure the rows, print the report. See rows.py for what is measured."""

from __future__ import annotations

import argparse
import dataclasses
import os
import resource
import sys
import tempfile
from pathlib import Path

from bench import gateway, report, rounds
from bench.figures import GATEWAY, PLAIN
from bench.measure import SHORT, Bench, Scale
from bench.processes import Processes, Stop, terminable
from bench.profilers import profiler
from bench.references import FLOOR, REFERENCES
from bench.rows import ROWS
from bench.setups import Setup

PROGRAMS = (GATEWAY, PLAIN, *REFERENCES)
USUAL = tuple(name for name in PROGRAMS if name != FLOOR)


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--short", action="store_true", help="about a minute: errors and totals, nothing judged")
    parser.add_argument("--rows", default=",".join(ROWS), help="which, with commas: %(default)s")
    parser.add_argument("--programs", default="", help=f"which, with commas: {','.join(PROGRAMS)}")
    parser.add_argument("--gateway", metavar="PROGRAM", help="the `sluicegate` to measure (the one beside this Python)")
    parser.add_argument("--bare", action="store_true", help="without limits, rules and access log in the gateway")
    parser.add_argument("--rounds", type=int, help="how often each program has its turn in each row (4)")
    parser.add_argument("--seconds", type=float, help="measured in each turn (5)")
    parser.add_argument("--streams", type=int, help="open at the same time where memory is measured (2000)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the report as Markdown too")
    parser.add_argument("--profile", action="store_true", help="one more turn of the gateway under perf or py-spy")
    said = parser.parse_args(argv)
    said.rows = said.rows.split(",")
    said.named = [name for name in said.programs.split(",") if name]
    for what, names, known in (("row", said.rows, ROWS), ("program", said.named, PROGRAMS)):
        for name in names:
            if name not in known:
                parser.error(f"there is no {what} '{name}'; there are {', '.join(known)}")
    for name in ("rounds", "seconds", "streams"):
        value = getattr(said, name)
        if value is not None and not 0 < value <= 10_000:
            parser.error(f"--{name} must be between 1 and 10000")
    return said


def scale(said: argparse.Namespace) -> Scale:
    made = SHORT if said.short else Scale()
    changes: dict[str, object] = {"bare": said.bare}
    if said.rounds:
        changes |= {"rounds": said.rounds, "memory_rounds": min(said.rounds, made.memory_rounds)}
    if said.seconds:
        changes["seconds"] = said.seconds
    if said.streams:
        changes["memory_streams"] = said.streams
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def find(said: argparse.Namespace) -> dict[str, str]:
    """Paths of the programs. A short run fetches nothing that is not asked for by name."""
    found: dict[str, str] = {}
    wanted = said.named or USUAL
    beside = gateway.program()
    for name, program in ((GATEWAY, said.gateway or beside), (PLAIN, beside)):
        if name not in wanted or (name == PLAIN and not said.named and (said.short or said.gateway is None)):
            continue
        if program is None:
            raise Stop("there is no `sluicegate` beside this Python. Start the bench as ./dev bench")
        found[name] = program
    for name, reference in REFERENCES.items():
        if name not in wanted:
            continue
        path = reference.find(bool(said.named) or not said.short)
        if path:
            found[name] = path
        elif said.named:
            raise Stop(f"{name} is not on PATH and could not be fetched. Leave it out, or put it on PATH")
        else:
            say(f"{name} is not here" + (" (a short run fetches nothing)" if said.short else " and was not to be had"))
    return found


def cores() -> tuple[int, int]:
    """Of the program that is measured, and of load and mock."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        say("only one core: everything shares it, and no timing means anything")
    return usable[0], usable[min(1, len(usable) - 1)]


def open_files() -> None:
    """As many as the system lets us have: thousands of streams are two sockets each in the programs under test."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 16384 and (hard == resource.RLIM_INFINITY or hard > soft):
        top = 16384 if hard == resource.RLIM_INFINITY else min(16384, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (top, hard))


def measure(said: argparse.Namespace, folder: Path, processes: Processes) -> Bench:
    """All rows, in groups of those that share their programs."""
    core, own_core = cores()
    chosen = profiler() if said.profile else None
    if said.profile and chosen is None:
        say("neither perf nor py-spy is here: no profile")
    bench = Bench(folder, processes, find(said), scale(said), core, own_core, say, chosen)
    shape = bench.scale
    what = {
        "on in the gateway": gateway.BARE if shape.bare else gateway.ON,
        "load": f"{shape.rounds} rounds of {shape.seconds:g} s, programs in turn; the measured one on core {core}, "
        f"load and mock on core {own_core}",
        "streams": f"{shape.streams}, a chunk of about 300 bytes every 20 ms; memory: {shape.memory_streams}",
    }
    print(report.about(bench.programs, what), flush=True)
    os.sched_setaffinity(0, {own_core})
    setups: dict[Setup, list[str]] = {}
    for name in said.rows:
        setups.setdefault(ROWS[name].setup, []).append(name)
    for setup, names in setups.items():
        try:
            rounds.group(bench, setup, [ROWS[name] for name in names])
        except Stop as stop:
            bench.failures.append(f"{setup.title}: {stop}")
            say(str(stop))
            for process in processes.running():
                processes.stop(process, 2.0)
    head = report.about(bench.programs, what)
    text = "\n\n".join([report.configurations(bench), report.results(bench, said.rows, judging=not said.short)])
    print("\n" + text, flush=True)
    if said.write:
        said.write.write_text(head + "\n\n" + text + "\n")
        say(f"written: {said.write}")
    return bench


def main(argv: list[str]) -> int:
    said = arguments(argv)
    if sys.platform != "linux":
        say("the bench reads /proc and pins programs to cores: it needs Linux")
        return 2
    open_files()
    try:
        with terminable(), tempfile.TemporaryDirectory(prefix="sluicegate-bench-") as folder:
            with Processes(Path(folder)) as processes:
                bench = measure(said, Path(folder), processes)
    except Stop as stop:
        say(str(stop))
        return 1
    except KeyboardInterrupt as stop:
        say(f"stopped ({stop})" if str(stop) else "stopped")
        return 130
    if bench.failures:
        say(f"{len(bench.failures)} things are wrong, see above")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
