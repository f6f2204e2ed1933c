"""`sluicegate reload`: put the changed configuration in force, on all workers or on none."""

from __future__ import annotations

import click

from sluicegate.cli.running import At, ask, running


@click.command()
@running
def command(at: At) -> None:
    """Let the running gateway load its configuration again."""
    found = ask("POST", "/v1/reload", at)
    if found["report"]:
        click.echo(found["report"], err=True)
    if found["state"] == "refused":
        raise SystemExit(1)
    click.echo(f"in force on all workers: {found['config']}")
