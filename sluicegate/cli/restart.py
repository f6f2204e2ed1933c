"""`sluicegate restart`: replace the workers one at a time, without resetting anybody."""

from __future__ import annotations

import json

import click

from sluicegate.cli.running import At, ask, json_option, running, table


@click.command()
@running
@json_option
def command(at: At, as_json: bool) -> None:
    """Replace the workers of the running gateway, one at a time. The old ones end with their last request."""
    found = ask("POST", "/v1/restart", at)
    if as_json:
        click.echo(json.dumps(found))
        return
    rows = [(w["seat"], w["pid"], w["state"]) for w in found["workers"]]
    click.echo(table(rows, ("worker", "pid", "state")))
