"""`sluicegate check`: everything that is wrong with a configuration, and what it comes to."""

from __future__ import annotations

import click

from sluicegate.cli.configuration import config_option, load, summary


@click.command()
@config_option
def command(config: tuple[str, ...]) -> None:
    """Say everything that is wrong with a configuration. Starts nothing, changes nothing."""
    click.echo(summary(load(config, start=False, end="")))
