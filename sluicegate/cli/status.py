"""`sluicegate status`: whether a gateway runs, with which configuration, and how its workers are."""

from __future__ import annotations

import json

import click

from sluicegate.cli.running import ask, running, table


@click.command()
@running
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(config: tuple[str, ...], data: str | None, as_json: bool) -> None:
    """How the running gateway is."""
    found = ask("GET", "/v1/status", config, data)
    if as_json:
        click.echo(json.dumps(found))
        return
    click.echo(
        f"{found['name']} {found['version']}, up {found['up_s']:.0f} s, pid {found['pid']}, on {found['listen']}"
    )
    click.echo(
        f"configuration {found['config']}: {found['models']} models, {found['deployments']} deployments, "
        f"{found['consumers']} consumers"
    )
    if found["drained"]:
        click.echo(f"drained: {', '.join(found['drained'])}")
    rows = [(w["seat"], w["pid"], w["state"], w["config"], w["restarts"], f"{w['up_s']:.0f}") for w in found["workers"]]
    click.echo(table(rows, ("worker", "pid", "state", "configuration", "restarts", "up s")))
