"""`sluicegate restart`: replace the workers one at a time, without resetting anybody."""

from __future__ import annotations

import click

from sluicegate.cli.running import At, ask, running, table


@click.command()
@running
def command(at: At) -> None:
    """Replace the workers of the running gateway, one at a time. The old ones end with their last request."""
    found = ask("POST", "/v1/restart", at)
    rows = [(w["seat"], w["pid"], w["state"]) for w in found["workers"]]
    click.echo(table(rows, ("worker", "pid", "state")))
