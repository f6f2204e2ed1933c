"""`sluicegate pools`: which deployments serve which model, in the order in which they are tried, and how they are."""

from __future__ import annotations

import json
from typing import Any

import click

from sluicegate.cli.running import At, ask, running, state, table


@click.command()
@running
@click.option("--json", "as_json", is_flag=True, help="As JSON, each worker apart.")
def command(at: At, as_json: bool) -> None:
    """Pools of the running gateway, as its workers see them now."""
    found = ask("GET", "/v1/pools", at)
    shown = ask("GET", "/v1/credentials", at)["credentials"]
    if as_json:
        click.echo(json.dumps({**found, "credentials": shown}))
        return
    rows = []
    tokens: list[tuple[str, ...]] = []
    for pool in found["pools"]:
        for d in pool["deployments"]:
            flying = sum(w["in_flight"] for w in d["workers"])
            how = "drained" if d["drained"] else ", ".join(sorted({_state(w) for w in d["workers"]})) or "-"
            rows.append((pool["model"], d["tier"], d["deployment"], d["model"], how, flying))
    for one in shown:
        how = f"for another {one['ends_in_s'] / 60:.0f} minutes" if one["held"] else "no token"
        if one["error"]:
            how += f" ({one['error']})"
        tokens.append((", ".join(one["instances"]), one["identity"], how))
    click.echo(table(rows, ("model", "tier", "deployment", "serves", "state", "in flight"), (5,), {4: state}))
    if tokens:
        click.echo("\n" + table(tokens, ("instances", "show a token of", "which there is")))


def _state(seen: dict[str, Any]) -> str:
    """As one worker sees it: `shut for 4 s`, `open (upstream.credential)`."""
    told = str(seen["state"])
    if seen["until"]:
        told += f" for {seen['until']:.0f} s"
    return f"{told} ({seen['cause']})" if seen["cause"] and seen["state"] in ("open", "half_open") else told
