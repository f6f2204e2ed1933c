"""`sluicegate audit`: who changed what; whether the log of it is whole; all of it, to keep elsewhere."""

from __future__ import annotations

import csv
import json
import os
import re
import sys
from collections.abc import Iterator
from typing import Any

import click

from sluicegate.cli.running import At, ask, json_option, running, table
from sluicegate.cli.usage import cell

COLUMNS = ("seq", "at", "who", "role", "from", "what", "path", "outcome", "status", "of", "before", "after", "hash")


@click.group()
def command() -> None:
    """Who changed what, and what came of it."""


@command.command("list")
@running
@click.option("--last", type=click.IntRange(1, 1000), default=20, help="How many. Default: 20.")
@json_option
def list_(at: At, last: int, as_json: bool) -> None:
    """The last entries: changes, attempts that were refused, logins."""
    found = list(_all(at))[-last:]
    if as_json:
        click.echo(json.dumps(found))
        return
    rows = []
    for e in found:
        who = e.get("who", {}).get("name", "")
        outcome = e.get("outcome", "") + (f" (of {e['of']})" if e.get("of") else "")
        rows.append((e["seq"], e["at"], who, e["what"], e.get("path", ""), outcome, e.get("error", "")[:60]))
    click.echo(table(rows, ("", "when", "who", "what", "where", "outcome", ""), right={0}) if rows else "no entries")


@command.command("verify")
@running
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--anchor",
    "anchors",
    metavar="SEQ:HASH",
    multiple=True,
    help="An entry as `audit.anchor` on stderr, or an earlier verification, said it. May be repeated.",
)
@json_option
@click.pass_context
def verify(ctx: click.Context, at: At, file: str | None, anchors: tuple[str, ...], as_json: bool) -> None:
    """Whether the log, or a copy of it in FILE, is whole: no entry was removed, changed, moved or cut off.

    Whoever can write the log can write all of it anew; that shows by an anchor which was kept elsewhere, such as where
    stderr of the gateway goes.

    Exit status: 0 it is whole; 1 it is not.
    """  # fmt: skip
    heads = []
    for text in anchors:
        parts = re.fullmatch(r"([0-9]+):([0-9a-f]{64})", text)
        if parts is None:
            raise click.UsageError(f'"{text}" is no anchor: write SEQ:HASH')
        heads.append((int(parts[1]), parts[2]))
    if at.admin and file is None:
        if heads:
            raise click.UsageError("--anchor is for a log of this machine: sluicegate audit export > FILE, and name it")
        found = ask("GET", "/v1/audit/verify", at)
    else:
        try:
            found = ctx.obj.audit_verify(file, None if file else at.folder(), heads)
        except OSError as e:
            where = file or os.path.join(at.folder(), "audit.jsonl")
            raise click.ClickException(f"{where} cannot be read: {(e.strerror or 'error').lower()}") from None
    if as_json:
        click.echo(json.dumps(found))
    elif found["whole"]:
        click.echo(f"whole: {found['seq']} entries, up to {found['seq']}:{found['hash']}")
    else:
        for flaw in found["flaws"]:
            click.echo(f"line {flaw['line']} {flaw['what']}")
        click.echo(f"whole up to {found['seq']}:{found['hash']}")
    if not found["whole"]:
        raise SystemExit(1)


@command.command("export")
@running
@click.option("--csv", "as_csv", is_flag=True, help="For a spreadsheet: some columns, not to be verified.")
def export(at: At, as_csv: bool) -> None:
    """All entries, a line each, exactly as they stand there: `audit verify FILE` reads them."""
    if not as_csv:
        for entry in _all(at):
            sys.stdout.write(json.dumps(entry, separators=(",", ":")) + "\n")
        return
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(COLUMNS)
    for e in _all(at):
        who = e.get("who", {})
        flat = {**e, "who": who.get("name", ""), "role": who.get("role", "")}
        out.writerow([cell(_text(flat.get(column, ""))) for column in COLUMNS])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value)


def _all(at: At) -> Iterator[dict[str, Any]]:
    after = 0
    while True:
        page = ask("GET", "/v1/audit", at, query={"after": after, "most": 1000})
        yield from page["entries"]
        if not page["more"]:
            return
        after = page["entries"][-1]["seq"]
