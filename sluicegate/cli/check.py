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
@click.pass_context
def command(ctx: click.Context, config: tuple[str, ...], as_json: bool) -> None:
    """Say everything that is wrong with a configuration, and what it comes to. Starts nothing, changes nothing.

    Exit status: 0 it can take effect, whatever warnings and notes say; 2 it cannot.
    """
    if not as_json or (not config and not os.path.exists(DEFAULT)):
        click.echo(summary(load(config, start=False, end="", made=ctx.obj.made)))
        return
    loaded = again(config, False, ctx.obj.made)
    valid = not loaded.problems.fatal
    click.echo(json.dumps({"valid": valid, "problems": plain(loaded.problems)}))
    if not valid:
        raise SystemExit(2)
