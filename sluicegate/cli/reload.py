"""`sluicegate reload`: put the changed configuration in force, on all workers or on none."""

from __future__ import annotations

import json

import click

from sluicegate.cli.running import At, ask, json_option, running


@click.command()
@running
@json_option
def command(at: At, as_json: bool) -> None:
    """Let the running gateway load its configuration again."""
    found = ask("POST", "/v1/reload", at)
    if as_json:
        click.echo(json.dumps(found))
    elif found["report"]:
        click.echo(found["report"], err=True)
    if found["state"] == "refused":
        raise SystemExit(1)
    if not as_json:
        click.echo(f"in force on all workers: {found['config']}")
