"""`sluicegate key`: keys of consumers and operators: made and shown once, listed, revoked."""

from __future__ import annotations

import json

import click

from sluicegate.cli.configuration import config_option, load
from sluicegate.cli.running import At, ask, json_option, running, table
from sluicegate.core.caller import digest
from sluicegate.core.operators import ROLES, operator_digest
from sluicegate.spec import installation
from sluicegate.spec.keys import CONSUMER, OPERATOR, new_key
from sluicegate.spec.references import Wrong
from sluicegate.spec.secret import ADMIN_PREFIX, Digest, write_digest


@click.group()
def command() -> None:
    """Keys of consumers, and of operators."""


@command.command("new")
@click.argument("name")
@click.option("--admin", "admin", is_flag=True, help="For an operator: it opens the management API, and nothing else.")
@click.option("--role", type=click.Choice(ROLES), help="Of the operator. Default: viewer.")
@config_option
def new(name: str, admin: bool, role: str | None, config: tuple[str, ...]) -> None:
    """Make a key for the consumer NAME, or the operator NAME. It is shown once and kept nowhere: the configuration
    gets its digest."""
    if role and not admin:
        raise click.UsageError("--role is for operators: write --admin, too")
    loaded = load(config, start=False, end="no key was made", quiet=True)
    assert loaded.snapshot is not None and loaded.document is not None
    try:
        secret = (loaded.document.gateway.secrets or (installation.made(loaded.snapshot.gateway.data),))[0]
    except Wrong as e:
        raise click.ClickException(f"{e.what}. {e.hint}") from None
    called, key = new_key(OPERATOR if admin else CONSUMER)
    click.echo(f"The key, for {name} alone; it is not shown again:\n\n  {key}\n")
    if admin:
        written = write_digest(Digest(called, operator_digest(key.encode(), secret)), ADMIN_PREFIX)
        click.echo("Its digest, for the configuration:\n\n  gateway:\n    admin:\n      keys:")
        click.echo(f'        {name}: {{role: {role or "viewer"}, key: "{written}"}}')
    else:
        click.echo(f"Its digest, for the configuration:\n\n  consumers:\n    {name}:")
        click.echo(f"      key: {write_digest(Digest(called, digest(key.encode(), secret)))}")


@command.command("list")
@running
@click.argument("consumer", required=False)
@json_option
def list_(at: At, consumer: str | None, as_json: bool) -> None:
    """Keys of CONSUMER, or of all: what they are called, never what they are."""
    found: list[dict[str, object]] = []
    after = ""
    while True:
        page = ask("GET", "/v1/keys", at, query={"consumer": consumer, "after": after, "most": 1000})
        found += page["keys"]
        if not page["more"]:
            break
        after = page["keys"][-1]["consumer"]
    if as_json:
        click.echo(json.dumps(found))
        return
    rows = []
    for key in found:
        state = "in force" if not key["revoked"] else f"revoked {key['at']} by {key['by']}"
        rows.append((key["consumer"], key["key"], state if key["declared"] else f"{state}, not declared any more"))
    click.echo(table(rows, ("consumer", "key", "state")) if rows else "no keys")


@command.command("revoke")
@running
@click.argument("consumer")
@click.argument("key")
@json_option
def revoke(at: At, consumer: str, key: str, as_json: bool) -> None:
    """Let nobody in with a key of CONSUMER any more. KEY is what `sluicegate key list` calls it: the eight digits in
    the middle of sgk_5f2a9c10_...

    All workers refuse it within a second, and so does every later start with the same gateway.data, whatever the
    configuration says; a revoked key cannot be brought back. Streams under way end with an error event; what does not
    stream is answered.
    """
    parts = key.split("_")
    if key.startswith("sgk_") and len(parts) > 2:
        raise click.UsageError("this is the key itself, which is now in your shell's history: name it by its digits")
    found = ask("POST", "/v1/keys/revoke", at, {"consumer": consumer, "key": parts[1] if parts[0] == "sgk" else key})
    if as_json:
        click.echo(json.dumps(found))
    else:
        click.echo(f"nobody gets in with key {found['key']} of {consumer} any more")
    if found["silent"]:
        click.echo(
            f"not confirmed by worker {', '.join(map(str, found['silent']))}: look at `sluicegate status`", err=True
        )
    if not found["kept"]:
        click.echo("not written down: the next start forgets it. Is gateway.data writable?", err=True)
    if found["silent"] or not found["kept"]:
        raise SystemExit(1)
