"""`sluicegate undrain`: bring a drained deployment back."""

from __future__ import annotations

import json

import click

from sluicegate.cli.running import At, ask, deployment_path, deployments, json_option, running


@click.command()
@click.argument("deployment")
@running
@json_option
def command(deployment: str, at: At, as_json: bool) -> None:
    """Bring a drained deployment (INSTANCE/DEPLOYMENT), or all of an INSTANCE, back into its pools."""
    for one in deployments(deployment, at):
        done = ask("POST", deployment_path(one) + "/undrain", at)
        click.echo(json.dumps(done) if as_json else f"in its pools again: {one}")
