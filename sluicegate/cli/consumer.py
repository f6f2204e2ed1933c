"""`sluicegate consumer`: consumers and keys that are made while a gateway runs; those of files are changed in files."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TextIO
from urllib.parse import quote

import click

from sluicegate.cli.running import At, ask, json_option, running, table

Option = Callable[..., Any]


@click.group()
def command() -> None:
    """Consumers that are made while the gateway runs, and their keys.

    They have the fields and rules of consumers in a file, are in force on all workers at once, and are there after a
    restart. Consumers of files are listed, too, and changed in their files.
    """


def fields(f: Option) -> Option:
    """What a consumer says."""
    f = click.option("--file", "file", type=click.File(), help="All its fields, as JSON: as in a configuration.")(f)
    f = click.option("--label", "labels", metavar="NAME=TEXT", multiple=True, help="A word of your own.")(f)
    f = click.option("--limit", "limits", metavar="LIMIT", multiple=True, help="Such as 60k tokens/minute.")(f)
    f = click.option("--plan", help="The plan it has.")(f)
    f = click.option("--tenant", help="Whom it belongs to.")(f)
    what = "A model it may use, or all. May be repeated."
    return click.option("--model", "models", metavar="MODEL", multiple=True, help=what)(f)


@command.command("new")
@running
@click.argument("name")
@fields
@json_option
def new(at: At, name: str, as_json: bool, **said: Any) -> None:
    """Make the consumer NAME. It has no key yet: `sluicegate consumer key NAME` makes one."""
    found = ask("POST", "/v1/consumers", at, {"name": name, **_said({}, **said)})
    click.echo(json.dumps(found) if as_json else f"{name} is a consumer. Make it a key: sluicegate consumer key {name}")


@command.command("list")
@running
@json_option
def list_(at: At, as_json: bool) -> None:
    """All consumers, and where each was declared: file or api."""
    found: list[dict[str, Any]] = []
    while True:
        after = found[-1]["name"] if found else ""
        page = ask("GET", "/v1/consumers", at, query={"after": after, "most": 1000})
        found += page["consumers"]
        if not page["more"]:
            break
    if as_json:
        click.echo(json.dumps(found))
        return
    rows = [
        (c["name"], c["tenant"], c["origin"], "disabled" if c["disabled"] else " ".join(c["models"]),
         " ".join(c["keys"]) or "none") for c in found
    ]  # fmt: skip
    click.echo(table(rows, ("consumer", "tenant", "origin", "models", "keys")) if rows else "no consumers")


@command.command("show")
@running
@click.argument("name")
@json_option
def show(at: At, name: str, as_json: bool) -> None:
    """The consumer NAME: what it says, what it has, its keys."""
    found = ask("GET", _at(name), at)
    if as_json:
        click.echo(json.dumps(found))
        return
    rows = [("origin", found["origin"]), *sorted(found["grant"].items())]
    if found["origin"] == "api":
        rows.append(("made", f"{found['made']} by {found['made_by']}"))
        rows.append(("changed", f"{found['changed']} by {found['changed_by']}, version {found['version']}"))
    if found["disabled"]:
        rows.append(("disabled", "nobody gets in with its keys"))
    click.echo(table(rows, (name, "")))
    if found["keys"]:
        click.echo()
        click.echo(table([_row(k) for k in found["keys"]], ("key", "made", "by", "holds until", "")))


@command.command("set")
@running
@click.argument("name")
@fields
@click.option("--disable/--enable", "disabled", default=None, help="Whether nobody gets in with its keys.")
@json_option
def set_(at: At, name: str, disabled: bool | None, as_json: bool, **said: Any) -> None:
    """Change the consumer NAME: what is written here replaces what was, everything else stays. With --file all of its
    fields are replaced."""
    before = ask("GET", _at(name), at)
    sent = {**_said(before["fields"], **said), "disabled": before["disabled"] if disabled is None else disabled}
    match = {"if-match": f'"{before["version"]}"'} if before["version"] else {}
    found = ask("PUT", _at(name), at, sent, headers=match)
    click.echo(json.dumps(found) if as_json else f"{name} is in version {found['version']}")


@command.command("delete")
@running
@click.argument("name")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@json_option
def delete(at: At, name: str, yes: bool, as_json: bool) -> None:
    """Remove the consumer NAME: nobody gets in with its keys any more."""
    if not yes:
        click.confirm(f"Remove {name} and its keys?", abort=True, err=True)
    found = ask("DELETE", _at(name), at)
    click.echo(json.dumps(found) if as_json else f"{name} is gone")


@command.command("key")
@running
@click.argument("name")
@click.option("--expires", default="", metavar="WHEN", help="A date or a time, UTC: 2026-12-31. Default: never.")
@json_option
def key(at: At, name: str, expires: str, as_json: bool) -> None:
    """Make a key for the consumer NAME, shown once and kept nowhere. It may have two, to change from one to the
    other."""
    found = ask("POST", f"{_at(name)}/keys", at, {"expires": expires})
    if as_json:
        click.echo(json.dumps(found))
        return
    click.echo(f"The key, for {name} alone; it is not shown again:\n\n  {found['text']}\n")
    until = f", until {found['expires']}" if found["expires"] else ""
    click.echo(f"It is called {found['key']}, and in force{until}.")


@command.command("key-set")
@running
@click.argument("name")
@click.argument("key")
@click.option("--disable/--enable", "disabled", default=None, help="Whether nobody gets in with it.")
@click.option("--expires", metavar="WHEN", help="A date or a time, UTC, or never.")
@json_option
def key_set(at: At, name: str, key: str, disabled: bool | None, expires: str | None, as_json: bool) -> None:
    """Let a key of NAME rest, wake it, or say until when it holds. KEY is what `sluicegate consumer show` calls it."""
    if disabled is None and expires is None:
        raise click.UsageError("write --disable, --enable or --expires")
    sent: dict[str, Any] = {} if disabled is None else {"disabled": disabled}
    if expires is not None:
        sent["expires"] = "" if expires == "never" else expires
    found = ask("PATCH", f"{_at(name)}/keys/{quote(key, safe='')}", at, sent)
    click.echo(json.dumps(found) if as_json else table([_row(found)], ("key", "made", "by", "holds until", "")))


@command.command("key-delete")
@running
@click.argument("name")
@click.argument("key")
@json_option
def key_delete(at: At, name: str, key: str, as_json: bool) -> None:
    """Take a key from NAME: nobody gets in with it any more."""
    found = ask("DELETE", f"{_at(name)}/keys/{quote(key, safe='')}", at)
    click.echo(json.dumps(found) if as_json else f"nobody gets in with key {key} of {name} any more")


@command.command("export")
@running
def export(at: At) -> None:
    """Those that no file declares, a line of JSON each, as a `directory` file has them: keys as digests. For a backup,
    or to move them into a file."""
    for line in ask("GET", "/v1/directory", at)["consumers"]:
        click.echo(json.dumps(line))


def _at(name: str) -> str:
    return f"/v1/consumers/{quote(name, safe='')}"


def _row(key: dict[str, Any]) -> Sequence[str]:
    return key["key"], key["made"], key["by"], key["expires"] or "ever", "disabled" if key["disabled"] else ""


def _said(
    before: dict[str, Any], models: Sequence[str], tenant: str | None, plan: str | None, limits: Sequence[str],
    labels: Sequence[str], file: TextIO | None,
) -> dict[str, Any]:  # fmt: skip
    """The fields, or exit status 2."""
    found = dict(before)
    if file is not None:
        try:
            found = json.load(file)
        except ValueError:
            raise click.UsageError(f"{file.name} is not JSON") from None
        if not isinstance(found, dict):
            raise click.UsageError(f"{file.name} holds no object")
        found.pop("name", None)
    if models:
        found["models"] = "all" if tuple(models) == ("all",) else list(models)
    if tenant is not None:
        found["tenant"] = tenant
    if plan is not None:
        found["plan"] = plan
    if limits:
        found["limits"] = list(limits)
    for label in labels:
        name, sign, text = label.partition("=")
        if not sign:
            raise click.UsageError(f'"{label}" is no label: write NAME=TEXT')
        found["labels"] = {**found.get("labels", {}), name: text}
    return found
