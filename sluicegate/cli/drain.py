"""`sluicegate drain`: take a deployment out of its pools."""

from __future__ import annotations

import click

from sluicegate.cli.running import At, ask, deployment_path, running


@click.command()
@click.argument("deployment")
@running
def command(deployment: str, at: At) -> None:
    """Give a deployment (INSTANCE/DEPLOYMENT) no new calls; those under way end. It stays so across restarts."""
    ask("POST", deployment_path(deployment) + "/drain", at)
    click.echo(f"no new calls go to {deployment}")
