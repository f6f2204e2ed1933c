"""`sluicegate top`: what a running gateway does, second by second.

Everything is the difference of two looks at the gateway's counters, which workers publish once a second: nobody is
asked, nothing waits. Only the view on a terminal needs rich, which no other verb loads.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from sluicegate.cli.running import COLOURS, At, ask, json_option, running, state, table

MOST = 10
"""Consumers that are shown."""
WORST = ("barred", "open", "half_open", "shut", "paced", "closed")
THROTTLED = "upstream.throttled"
MODELS = ("model", "req/s", "tok/s", "429/s", "refused/s", "answer s", "spilled")
DEPLOYMENTS = ("deployment", "tier", "state", "in flight", "served/s", "429/s", "failed/s")
CONSUMERS = ("consumer", "tenant", "req/s", "tok/s")


@click.command()
@running
@click.option("--once", is_flag=True, help="Look twice, say what happened in between, and end.")
@click.option("--every", type=click.FloatRange(0.5, 60), default=1.0, show_default=True, help="Seconds between looks.")
@json_option
def command(at: At, once: bool, every: float, as_json: bool) -> None:
    """Watch the running gateway: models with rates and the share that spilled over, deployments with their state, the
    consumers that ask most. Until Ctrl-C.

    Rates are those of the seconds between two looks. `spilled` is the share of a model's requests that deployments
    beyond its first tier served. Where stdout is no terminal, tables follow one another; with --json a line each.
    """
    views = watched(at, every)
    try:
        if once or as_json or not sys.stdout.isatty():
            for seen in views:
                click.echo(json.dumps(seen) if as_json else text(seen) + ("" if once else "\n"))
                if once:
                    return
        _live(views)
    except KeyboardInterrupt:
        pass


def watched(at: At, every: float) -> Iterator[dict[str, Any]]:
    """View after view."""
    before = ask("GET", "/v1/live", at)
    due = time.monotonic()
    while True:
        due = max(due + every, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))
        after = ask("GET", "/v1/live", at)
        yield view(before, after)
        before = after


# ---------------------------------------------------------------- what happened in between


def view(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Rates, from two looks. What is new since, or counts less than before (another keeper), began at nothing."""
    again = after["up_s"] < before["up_s"]
    seconds = max(after["at_s"] - before["at_s"], 0.001) if not again else max(after["up_s"], 0.001)
    models = {m["model"]: m for m in before["models"]} if not again else {}
    deployments = {d["deployment"]: d for d in before["deployments"]} if not again else {}
    consumers = {(c["tenant"], c["consumer"]): c for c in before["consumers"]} if not again else {}
    members = [_deployment(deployments.get(d["deployment"], {}), d, seconds) for d in after["deployments"]]
    by_label = {d["deployment"]: d for d in members}
    shown = [_model(models.get(m["model"], {}), m, by_label, seconds) for m in after["models"]]
    asking = [_consumer(consumers.get((c["tenant"], c["consumer"]), {}), c, seconds) for c in after["consumers"]]
    asking.sort(key=lambda c: (-c["tokens_per_s"], -c["rps"], c["consumer"]))
    return {
        "name": after["name"], "config": after["config"], "up_s": after["up_s"], "seconds": round(seconds, 3),
        "workers": after["workers"], "in_flight": after["in_flight"], "clients": after["clients"],
        "rps": round(sum(m["rps"] for m in shown), 2), "tokens_per_s": round(sum(m["tokens_per_s"] for m in shown), 1),
        "models": [m for m in shown if m["model"]], "deployments": members,
        "consumers": [c for c in asking if c["rps"] or c["tokens_per_s"]][:MOST],
    }  # fmt: skip


def _rate(before: int | None, after: int, seconds: float, digits: int = 2) -> float:
    return round(max(0, after - (before or 0)) / seconds, digits)


def _model(
    before: Mapping[str, Any], after: Mapping[str, Any], members: Mapping[str, Any], seconds: float
) -> dict[str, Any]:
    old = before.get("status", {})
    answers = after["answers"] - before.get("answers", 0)
    spent = after["seconds"] - before.get("seconds", 0.0)
    pool = [members[label] for label in after["deployments"] if label in members]
    first = min((d["tier"] for d in pool), default=0)
    served = sum(d["served_per_s"] for d in pool)
    spilled = sum(d["served_per_s"] for d in pool if d["tier"] > first)
    return {
        "model": after["model"],
        "rps": _rate(before.get("requests"), after["requests"], seconds),
        "tokens_per_s": _rate(sum(before.get("tokens", {}).values()), sum(after["tokens"].values()), seconds, 1),
        "status_429_per_s": _rate(old.get("429"), after["status"].get("429", 0), seconds),
        "refused_per_s": _rate(sum(before.get("refused", {}).values()), sum(after["refused"].values()), seconds),
        "answer_s": round(spent / answers, 3) if answers > 0 else None,
        "spill_share": round(spilled / served, 4) if served else None,
    }


def _deployment(before: Mapping[str, Any], after: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    rates = {"served_per_s": 0.0, "throttled_per_s": 0.0, "failed_per_s": 0.0}
    for cause, count in after["calls"].items():
        kind = "served" if cause == "none" else "throttled" if cause.startswith(THROTTLED) else "failed"
        rates[f"{kind}_per_s"] += _rate(before.get("calls", {}).get(cause), count, seconds)
    return {
        "deployment": after["deployment"], "tier": after["tier"], "state": state_of(after),
        "in_flight": after["in_flight"], **{name: round(rate, 2) for name, rate in rates.items()},
    }  # fmt: skip


def _consumer(before: Mapping[str, Any], after: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    return {
        "tenant": after["tenant"], "consumer": after["consumer"],
        "rps": _rate(before.get("requests"), after["requests"], seconds),
        "tokens_per_s": _rate(before.get("tokens"), after["tokens"], seconds, 1),
    }  # fmt: skip


def state_of(deployment: Mapping[str, Any]) -> str:
    """The worst that some worker sees; where not all do, of how many."""
    if deployment["drained"]:
        return "drained"
    states = deployment["states"]
    worst = next((name for name in WORST if states.get(name)), "-")
    workers = sum(states.values())
    return worst if states.get(worst, 0) == workers else f"{worst} {states[worst]}/{workers}"


# ---------------------------------------------------------------- how it looks


Rows = list[tuple[str, ...]]


def _rows(seen: Mapping[str, Any]) -> tuple[Rows, Rows, Rows]:
    models: Rows = [
        (
            m["model"], _number(m["rps"]), _number(m["tokens_per_s"]), _number(m["status_429_per_s"]),
            _number(m["refused_per_s"]), "-" if m["answer_s"] is None else f"{m['answer_s']:.2f}",
            "-" if m["spill_share"] is None else f"{m['spill_share']:.0%}",
        )
        for m in seen["models"]
    ]  # fmt: skip
    deployments: Rows = [
        (
            d["deployment"], str(d["tier"]), d["state"], str(d["in_flight"]), _number(d["served_per_s"]),
            _number(d["throttled_per_s"]), _number(d["failed_per_s"]),
        )
        for d in seen["deployments"]
    ]  # fmt: skip
    consumers: Rows = [
        (c["consumer"], c["tenant"], _number(c["rps"]), _number(c["tokens_per_s"])) for c in seen["consumers"]
    ]
    return models, deployments, consumers


def _number(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}"


def _title(seen: Mapping[str, Any]) -> str:
    workers = f"{seen['workers']} worker" + ("s" if seen["workers"] != 1 else "")
    return (
        f"{seen['name']}, configuration {seen['config']}, up {seen['up_s']:,.0f} s, {workers}: "
        f"{_number(seen['rps'])} requests/s, {_number(seen['tokens_per_s'])} tokens/s, {seen['in_flight']} in flight, "
        f"{seen['clients']} connections"
    )


def text(seen: Mapping[str, Any]) -> str:
    """As plain tables."""
    models, deployments, consumers = _rows(seen)
    parts = [
        _title(seen),
        table(models, MODELS, range(1, 7)),
        table(deployments, DEPLOYMENTS, (1, *range(3, 7)), {2: state}),
    ]
    if consumers:
        parts.append(table(consumers, CONSUMERS, (2, 3)))
    return "\n\n".join(parts)


def _live(views: Iterator[dict[str, Any]]) -> None:
    """On a terminal, in place; the screen is as it was when it ends."""
    from rich.console import Console, Group
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

    def drawn(head: Sequence[str], rows: Sequence[Sequence[str]], left: int, painted: int = -1) -> Table:
        made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        for n, name in enumerate(head):
            made.add_column(name, justify="left" if n < left or n == painted else "right", no_wrap=True)
        for row in rows:
            cells = [Text(cell) for cell in row]  # names are no markup
            if painted >= 0:
                cells[painted].stylize(COLOURS.get(row[painted].partition(" ")[0], ""))
            made.add_row(*cells)
        return made

    console = Console()
    with Live(console=console, screen=True, auto_refresh=False) as live:
        live.update(Text("looking ..."), refresh=True)
        for seen in views:
            models, deployments, consumers = _rows(seen)
            live.update(
                Group(
                    Text(_title(seen)), "", drawn(MODELS, models, 1), "", drawn(DEPLOYMENTS, deployments, 1, 2), "",
                    drawn(CONSUMERS, consumers, 2), "", Text("Ctrl-C ends", style="dim"),
                ),
                refresh=True,
            )  # fmt: skip
