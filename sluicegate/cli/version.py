"""`sluicegate version`: which program this is."""

from __future__ import annotations

import platform

import click

from sluicegate import __version__
from sluicegate.core import exchange


@click.command()
def command() -> None:
    """Print the version, the Python it runs on, and whether its road is compiled."""
    form = "plain" if exchange.__file__.endswith(".py") else "compiled"
    click.echo(f"sluicegate {__version__} (Python {platform.python_version()}, {form})")
