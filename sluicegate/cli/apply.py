"""`sluicegate apply`: put a configuration in force on a running gateway, on all its workers or on none."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from sluicegate.cli.configuration import DEFAULT
from sluicegate.cli.running import At, ask, json_option, running

LASTS = """\
It holds until the gateway loads its own files again: at its next start, on `sluicegate reload` or SIGHUP, or when one
of them changes. To keep it, put it into those files."""


@click.command()
@running
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@json_option
def command(at: At, yes: bool, as_json: bool) -> None:
    """Put the configuration in FILE (-c) in force: on all workers, or on none.

    First it says in words what would change, and on a terminal it asks. References such as ${env:NAME} are read where
    the gateway runs. The gateway's own files are loaded as by `reload`. Any other configuration holds until the gateway
    loads its own files again: at its next start, on a reload, or when one of them changes; put it there to keep it.

    Exit status: 0 it is in force, or nothing would change; 1 it is refused, or somebody said no; 2 it is not valid.
    """
    files = _files(at)
    base = "" if at.admin else os.path.dirname(os.path.abspath((at.config or (DEFAULT,))[0]))
    sent = {"files": files, "base": base}
    at = At((), at.data or (None if at.admin else at.folder()), at.admin, at.key_env)
    found = ask("POST", "/v1/config/diff", at, sent)
    if not found["valid"]:
        click.echo(json.dumps(found) if as_json else found["report"], err=not as_json)
        raise SystemExit(2)
    if not as_json:
        click.echo(found["words"])
    if found["changes"] and not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("nobody is there to say yes: write --yes")
        if not click.confirm("Put it in force?", err=True):
            raise SystemExit(1)
    done = ask("POST", "/v1/config/apply", at, {**sent, "expect": found["before"]})
    if as_json:
        click.echo(json.dumps({**done, "changes": found["changes"]}))
    else:
        _say(done, at)
    if done["state"] == "refused":
        raise SystemExit(1)


def _say(done: dict[str, Any], at: At) -> None:
    if done["report"]:
        click.echo(done["report"], err=True)
    if done["state"] == "refused":
        return
    click.echo(f"in force on all workers: {done['config']}")
    if done["restart"]:
        click.echo(f"waits for the next start: {', '.join(done['restart'])}")
    if ask("GET", "/v1/status", at)["source"]["kind"] == "applied":
        click.echo(LASTS)


def _files(at: At) -> list[dict[str, str]]:
    """What is sent, or exit status 2."""
    if not at.config and not os.path.exists(DEFAULT):
        raise click.UsageError(f"there is no {DEFAULT} here. Name the configuration: -c FILE")
    found = []
    for path in at.config or (DEFAULT,):
        try:
            found.append({"name": os.path.basename(path), "text": Path(path).read_bytes().decode()})
        except OSError as e:
            raise click.UsageError(f"{path} cannot be read: {(e.strerror or 'error').lower()}") from None
        except UnicodeDecodeError:
            raise click.UsageError(f"{path} is not UTF-8 text") from None
    if len({file["name"] for file in found}) < len(found):
        raise click.UsageError("two of the files have one name: rename one")
    return found
