"""`sluicegate key new`: a key for a consumer, shown once, and the digest of it for the configuration."""

from __future__ import annotations

import secrets

import click

from sluicegate.cli.configuration import config_option, load
from sluicegate.core.caller import digest
from sluicegate.spec import installation
from sluicegate.spec.references import Wrong
from sluicegate.spec.values import Digest, write_digest


@click.group()
def command() -> None:
    """Keys of consumers."""


@command.command("new")
@click.argument("consumer")
@config_option
def new(consumer: str, config: tuple[str, ...]) -> None:
    """Make a key for CONSUMER. It is shown once and kept nowhere: the configuration gets its digest."""
    loaded = load(config, start=False, end="no key was made", quiet=True)
    assert loaded.snapshot is not None and loaded.document is not None
    try:
        secret = (loaded.document.gateway.secrets or (installation.made(loaded.snapshot.gateway.data),))[0]
    except Wrong as e:
        raise click.ClickException(f"{e.what}. {e.hint}") from None
    name = secrets.token_hex(4)
    key = f"sgk_{name}_{secrets.token_urlsafe(32)}"
    click.echo(f"The key, for {consumer} alone; it is not shown again:\n\n  {key}\n")
    click.echo(f"Its digest, for the configuration:\n\n  consumers:\n    {consumer}:")
    click.echo(f"      key: {write_digest(Digest(name, digest(key.encode(), secret)))}")
