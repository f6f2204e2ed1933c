"""`sluicegate undrain`: bring a drained deployment back."""

from __future__ import annotations

import click

from sluicegate.cli.running import At, ask, deployment_path, running


@click.command()
@click.argument("deployment")
@running
def command(deployment: str, at: At) -> None:
    """Bring a drained deployment (INSTANCE/DEPLOYMENT) back into its pools."""
    ask("POST", deployment_path(deployment) + "/undrain", at)
    click.echo(f"in its pools again: {deployment}")
