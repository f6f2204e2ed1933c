"""`sluicegate check`: everything that is wrong with a configuration, and what it comes to."""

from __future__ import annotations

import json
import os
from dataclasses import asdict

import click

from sluicegate.cli.asked import ask, lines
from sluicegate.cli.configuration import DEFAULT, again, config_option, load, summary
from sluicegate.cli.running import json_option
from sluicegate.spec.problems import plain


@click.command()
@config_option
@json_option
@click.option("--resolve", is_flag=True, help="Ask key vaults, too, as the identity that the gateway has here.")
@click.option("--ask", "asking", is_flag=True, help="Ask every deployment whether it is there. Costs nothing.")
@click.option("--timeout", type=click.FloatRange(0.1, 60), default=5.0, show_default=True, help="Seconds for each.")
@click.pass_context
def command(
    ctx: click.Context, config: tuple[str, ...], as_json: bool, resolve: bool, asking: bool, timeout: float
) -> None:
    """Say everything that is wrong with a configuration, and what it comes to. Starts nothing, changes nothing.

    With --ask every deployment is sent an empty request, from here, by the path and with the credential that the
    gateway would use, key vaults included. One that is there refuses it for want of messages, and charges nothing; a
    wrong key, a wrong name, and an address that cannot be reached show.

    Exit status: 0 it can take effect, whatever warnings and notes say; 1 a deployment that was asked is not there, or
    refuses; 2 it cannot take effect.
    """
    vault = ctx.obj.vault if resolve or asking else None
    if as_json and (config or os.path.exists(DEFAULT)):
        loaded = again(config, False, ctx.obj.made, vault)
    else:
        loaded = load(config, start=False, end="", made=ctx.obj.made, vault=vault)
        click.echo(summary(loaded))
    found = ask(loaded.snapshot, ctx.obj.sources.fetch, timeout) if asking and loaded.snapshot is not None else []
    if as_json:
        said = {"valid": not loaded.problems.fatal, "problems": plain(loaded.problems)}
        click.echo(json.dumps({**said, "asked": [asdict(one) for one in found]} if asking else said))
        if loaded.problems.fatal:
            raise SystemExit(2)
    elif found:
        click.echo("asked:\n" + "\n".join(lines(found)))
    if not all(one.good for one in found):
        raise SystemExit(1)
