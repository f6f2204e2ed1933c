"""`sluicegate drain`: take a deployment out of its pools."""

from __future__ import annotations

import json

import click

from sluicegate.cli.running import At, ask, deployment_path, deployments, json_option, running


@click.command()
@click.argument("deployment")
@running
@json_option
def command(deployment: str, at: At, as_json: bool) -> None:
    """Give a deployment (INSTANCE/DEPLOYMENT), or all of an INSTANCE, no new calls; those under way end. It stays so
    across restarts."""
    for one in deployments(deployment, at):
        done = ask("POST", deployment_path(one) + "/drain", at)
        click.echo(json.dumps(done) if as_json else f"no new calls go to {one}")
