"""`sluicegate check`: everything that is wrong with a configuration, and what it comes to."""

from __future__ import annotations

import click

from sluicegate.cli.configuration import config_option, load, summary


@click.command()
@config_option
def command(config: tuple[str, ...]) -> None:
    """Say everything that is wrong with a configuration, and what it comes to. Starts nothing, changes nothing.

    Exit status: 0 it can take effect, whatever warnings and notes say; 2 it cannot.
    """
    click.echo(summary(load(config, start=False, end="")))
