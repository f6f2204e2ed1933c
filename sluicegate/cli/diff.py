"""`sluicegate diff`: what a configuration would change, in words."""

from __future__ import annotations

import json

import click

from sluicegate.cli.configuration import load
from sluicegate.cli.running import At, ask, json_option, running
from sluicegate.spec.diff import Told, compare, told, unpack, words
from sluicegate.spec.load import Loaded


class CannotCompare(click.ClickException):
    """There is nothing to compare with."""

    exit_code = 2


@click.command()
@running
@click.option("--from", "old", metavar="FILE", multiple=True, help="Compare with this instead of the running gateway.")
@json_option
@click.pass_context
def command(ctx: click.Context, at: At, old: tuple[str, ...], as_json: bool) -> None:
    """Say what a configuration would change, and whether that is live, for new connections, or needs a restart.

    Exit status: 0 nothing changes, 1 something does, 2 they cannot be compared.
    """
    new = load(at.config, start=False, end="nothing was compared", quiet=True)
    before = tell(load(old, start=False, end="nothing was compared", quiet=True)) if old else asked(at)
    changes = compare(before, tell(new))
    if as_json:
        shown = [{"names": c.names, "what": c.what, "effect": c.effect} for c in changes]
        click.echo(json.dumps({"before": before.hash, "after": new.hash, "changes": shown}))
    else:
        click.echo(words(changes))
    ctx.exit(1 if changes else 0)


def tell(loaded: Loaded) -> Told:
    """What was loaded, for comparing."""
    assert loaded.document is not None and loaded.directory is not None
    return told(loaded.document, loaded.directory, loaded.hash)


def asked(at: At) -> Told:
    """What the running gateway has in force."""
    try:
        return unpack(json.dumps(ask("GET", "/v1/configuration", at)).encode())
    except click.ClickException as e:
        raise CannotCompare(e.message) from None
