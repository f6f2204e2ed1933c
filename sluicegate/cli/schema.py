"""`sluicegate schema`: the language for editors, or for people."""

from __future__ import annotations

import json

import click

from sluicegate.spec.page import page
from sluicegate.spec.schema import schema


@click.command()
@click.option("--page", "as_page", is_flag=True, help="The reference page instead, as Markdown.")
def command(as_page: bool) -> None:
    """Print the JSON schema of a configuration.

    Save it, and let the first line of your file name it:
    # yaml-language-server: $schema=gateway.schema.json
    """
    click.echo(page() if as_page else json.dumps(schema(), indent=2), nl=not as_page)
