"""`sluicegate config upgrade`: a file of an older version of the language, rewritten."""

from __future__ import annotations

import os

import click

from sluicegate.spec import nodes
from sluicegate.spec.problems import Problems, render
from sluicegate.spec.upgrade import NEWEST, upgrade


@click.group()
def command() -> None:
    """What can be done to a configuration file."""


@command.command("upgrade")
@click.argument("file")
def upgrade_command(file: str) -> None:
    """Rewrite FILE in the newest version of the language, comments kept. The old text stays beside it as FILE.old."""
    problems = Problems()
    try:
        with open(file, "rb") as f:
            raw = f.read(nodes.LARGEST + 1)
    except OSError as e:
        raise click.UsageError(f"{file} cannot be read: {(e.strerror or 'error').lower()}") from None
    root = nodes.read(raw, file, problems)
    version = root.items.get("version") if root else None
    if not isinstance(version, nodes.Scalar):
        click.echo(render(problems) or f"{file}: says no version", err=True)
        raise SystemExit(2)
    try:
        text = upgrade(raw.decode(), version.text)
    except KeyError:
        what = f'{version.place}: there was no version "{version.text}" of the language; the newest is {NEWEST}'
        click.echo(what, err=True)
        raise SystemExit(2) from None
    if text is None:
        click.echo(f"{file} is written in version {NEWEST}, the newest: nothing to do")
        return
    os.replace(file, f"{file}.old")
    with open(file, "w") as out:
        out.write(text)
    click.echo(f"{file} is written in version {NEWEST} now; what it was is {file}.old")
