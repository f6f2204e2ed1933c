"""`sluicegate serve`: carry traffic until told to stop."""

from __future__ import annotations

import os

import click

from sluicegate.apis import APIS
from sluicegate.cli.configuration import DEFAULT, config_option, load
from sluicegate.spec.load import Loaded, load_file


@click.command()
@config_option
@click.pass_context
def command(ctx: click.Context, config: tuple[str, ...]) -> None:
    """Carry traffic until SIGTERM, then let running requests finish. SIGHUP, or a change of the file, loads the
    configuration again; SIGUSR2 replaces the workers one at a time."""
    loaded = load(config, start=True, end="nothing was started")
    files = config or (DEFAULT,)

    def again() -> Loaded:
        return load_file(files[0], os.environ, tuple(APIS), start=True)

    ctx.exit(ctx.obj.serve(loaded, again, files))
