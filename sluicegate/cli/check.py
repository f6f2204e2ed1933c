"""`sluicegate check`: everything that is wrong with a configuration, and what it comes to."""

from __future__ import annotations

import json
import os

import click

from sluicegate.cli.configuration import DEFAULT, again, config_option, load, summary
from sluicegate.cli.running import json_option
from sluicegate.spec.problems import plain


@click.command()
@config_option
@json_option
@click.option("--resolve", is_flag=True, help="Ask key vaults, too, as the identity that the gateway has here.")
@click.pass_context
def command(ctx: click.Context, config: tuple[str, ...], as_json: bool, resolve: bool) -> None:
    """Say everything that is wrong with a configuration, and what it comes to. Starts nothing, changes nothing.

    Exit status: 0 it can take effect, whatever warnings and notes say; 2 it cannot.
    """
    vault = ctx.obj.vault if resolve else None
    if not as_json or (not config and not os.path.exists(DEFAULT)):
        click.echo(summary(load(config, start=False, end="", made=ctx.obj.made, vault=vault)))
        return
    loaded = again(config, False, ctx.obj.made, vault)
    valid = not loaded.problems.fatal
    click.echo(json.dumps({"valid": valid, "problems": plain(loaded.problems)}))
    if not valid:
        raise SystemExit(2)
