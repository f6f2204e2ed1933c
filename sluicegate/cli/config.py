"""`sluicegate config`: what is in force in a running gateway; a file of an older version of the language, rewritten."""

from __future__ import annotations

import json
import os

import click

from sluicegate.cli.running import At, ask, json_option, running
from sluicegate.spec import nodes
from sluicegate.spec.problems import Problems, render
from sluicegate.spec.upgrade import NEWEST, upgrade


@click.group()
def command() -> None:
    """What is in force, and what can be done to a configuration file."""


@command.command("show")
@running
@json_option
def show(at: At, as_json: bool) -> None:
    """What the running gateway has in force, every field, defaults too; secrets as ***. Consumers are in `key list`
    and in the management API."""
    found = ask("GET", "/v1/config", at)
    if as_json:
        click.echo(json.dumps(found))
        return
    source = found["source"]
    whose = "its own files" if source["kind"] == "files" else f"applied by {source['by']}"
    click.echo(f"configuration {found['config']}, {whose} ({', '.join(source['files'])}), since {source['at']}")
    for path, fields in found["objects"].items():
        click.echo("\n" + click.style(path, bold=True))
        for name, value in fields.items():
            click.echo(f"  {name}: {value}")


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
