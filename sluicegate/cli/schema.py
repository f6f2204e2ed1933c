"""`sluicegate schema`: the language, the management API and the verbs, for editors, programs or people."""

from __future__ import annotations

import json

import click

from sluicegate.spec.page import page
from sluicegate.spec.schema import schema


@click.command()
@click.option("--page", "what", flag_value="page", help="The reference page instead, as Markdown.")
@click.option("--openapi", "what", flag_value="openapi", help="The management API, as OpenAPI 3.1.")
@click.option("--admin-page", "what", flag_value="admin", help="The reference page of the management API.")
@click.option("--cli-page", "what", flag_value="cli", help="The reference page of the command line.")
@click.pass_context
def command(ctx: click.Context, what: str | None) -> None:
    """Print the JSON schema of a configuration.

    Save it, and let the first line of your file name it:
    # yaml-language-server: $schema=gateway.schema.json
    """
    if what == "page":
        click.echo(page(), nl=False)
    elif what == "admin":
        click.echo(ctx.obj.admin_page(), nl=False)
    elif what == "cli":
        from sluicegate.cli.pages import page as of_verbs

        click.echo(of_verbs(ctx.find_root().command), nl=False)
    else:
        click.echo(json.dumps(ctx.obj.openapi() if what == "openapi" else schema(), indent=2))
