"""`sluicegate status`: whether a gateway runs, with which configuration, and how its workers are."""

from __future__ import annotations

import json

import click

from sluicegate.cli.running import At, ask, running, table
from sluicegate.spec.problems import counted


@click.command()
@running
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(at: At, as_json: bool) -> None:
    """How the running gateway is."""
    found = ask("GET", "/v1/status", at)
    if as_json:
        click.echo(json.dumps(found))
        return
    click.echo(
        f"{found['name']} {found['version']}, up {found['up_s']:.0f} s, pid {found['pid']}, on {found['listen']}"
    )
    click.echo(
        f"configuration {found['config']}: {counted(found['models'], 'model')}, "
        f"{counted(found['deployments'], 'deployment')}, {counted(found['consumers'], 'consumer')}"
    )
    source = found["source"]
    if source["kind"] == "applied":
        files = ", ".join(source["files"])
        click.echo(f"applied from {files} by {source['by']}, {source['at']}: until its own files are loaded again")
    if found["revoked"]:
        click.echo(f"revoked keys: {found['revoked']}")
    if found["drained"]:
        click.echo(f"drained: {', '.join(found['drained'])}")
    if found["alerts"]:
        for matter in ask("GET", "/v1/alerts", at)["open"]:
            click.echo(f"alert since {matter['since']}: {matter['kind']} {matter['subject']}: {matter['detail']}")
    rows = [(w["seat"], w["pid"], w["state"], w["config"], w["restarts"], f"{w['up_s']:.0f}") for w in found["workers"]]
    click.echo(table(rows, ("worker", "pid", "state", "configuration", "restarts", "up s")))
