"""`sluicegate serve`: carry traffic until told to stop."""

from __future__ import annotations

from functools import partial

import click

from sluicegate.cli.configuration import Sent, again, config_option, load


@click.command()
@config_option
@click.pass_context
def command(ctx: click.Context, config: tuple[str, ...]) -> None:
    """Carry traffic until SIGTERM, then let running requests finish. SIGHUP, or a change of the file, loads the
    configuration again; SIGUSR2 replaces the workers one at a time."""
    made = ctx.obj.made
    vault = ctx.obj.vault
    loaded = load(config, start=True, end="nothing was started", made=made, vault=vault)
    ctx.exit(ctx.obj.serve(loaded, partial(again, config, True, made, vault), loaded.files, Sent(config, made, vault)))
