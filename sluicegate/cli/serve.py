"""`sluicegate serve`: carry traffic until told to stop."""

from __future__ import annotations

import click

from sluicegate.cli.configuration import config_option, load


@click.command()
@config_option
@click.pass_context
def command(ctx: click.Context, config: tuple[str, ...]) -> None:
    """Carry traffic until SIGTERM, then let running requests finish."""
    loaded = load(config, start=True, end="nothing was started")
    ctx.obj.start(loaded.snapshot, loaded.directory)
