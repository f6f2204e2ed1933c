"""`sluicegate version`: which program this is."""

from __future__ import annotations

import platform

import click

from sluicegate import __version__


@click.command()
def command() -> None:
    """Print the version."""
    click.echo(f"sluicegate {__version__} (Python {platform.python_version()})")
