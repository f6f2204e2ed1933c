"""`sluicegate pools`: which deployments serve which model, in the order in which they are tried, and how they are."""

from __future__ import annotations

import json

import click

from sluicegate.cli.running import ask, running, table


@click.command()
@running
@click.option("--json", "as_json", is_flag=True, help="As JSON, each worker apart.")
def command(config: tuple[str, ...], data: str | None, as_json: bool) -> None:
    """Pools of the running gateway, as its workers see them now."""
    found = ask("GET", "/v1/pools", config, data)
    if as_json:
        click.echo(json.dumps(found))
        return
    rows = []
    for pool in found["pools"]:
        for d in pool["deployments"]:
            flying = sum(w["in_flight"] for w in d["workers"])
            states = sorted({str(w["state"]) for w in d["workers"] if w.get("state")})
            state = "drained" if d["drained"] else ", ".join(states) or "-"
            rows.append((pool["model"], d["tier"], d["deployment"], d["model"], state, flying))
    click.echo(table(rows, ("model", "tier", "deployment", "serves", "state", "in flight")))
