"""`sluicegate completion`: what a shell needs to complete verbs and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

PROGRAM = "sluicegate"
VARIABLE = "_SLUICEGATE_COMPLETE"
HINT = {
    "bash": 'eval "$(sluicegate completion bash)", in ~/.bashrc',
    "zsh": 'eval "$(sluicegate completion zsh)", in ~/.zshrc',
    "fish": "sluicegate completion fish > ~/.config/fish/completions/sluicegate.fish",
}


@click.command()
@click.argument("shell", type=click.Choice(tuple(HINT)))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print a script that teaches a SHELL our verbs and options.

    bash: eval "$(sluicegate completion bash)", in ~/.bashrc. zsh: the same with zsh, in ~/.zshrc. fish: put it into
    ~/.config/fish/completions/sluicegate.fish.
    """
    found = get_completion_class(shell)
    assert found is not None
    made = found(ctx.find_root().command, {}, PROGRAM, VARIABLE)
    # Not made.source(): for bash it starts one to see how old it is, and here may be none.
    click.echo(f"# {HINT[shell]}")
    click.echo(made.source_template % made.source_vars())
