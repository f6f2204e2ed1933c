"""The reference page of the command line: made from the verbs, current, complete."""

import re
from pathlib import Path

import click
import pytest

from sluicegate import main
from sluicegate.cli.pages import page

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"


def verbs(group: click.Group, context: click.Context) -> list[tuple[str, click.Command]]:
    found = []
    for name in group.list_commands(context):
        verb = group.get_command(context, name)
        assert verb is not None
        inner = click.Context(verb, parent=context, info_name=name)
        found.append((inner.command_path, verb))
        if isinstance(verb, click.Group):
            found += verbs(verb, inner)
    return found


EVERY = verbs(main.program, click.Context(main.program, info_name="sluicegate"))


def test_the_committed_page_is_what_the_program_prints():
    assert PAGE.read_text() == page(main.program), "sluicegate schema --cli-page > docs/reference/cli.md"


@pytest.mark.parametrize(("path", "verb"), EVERY, ids=[path for path, _ in EVERY])
def test_every_verb_and_every_option_says_what_it_does(path: str, verb: click.Command):
    assert f"\n## {path}\n" in PAGE.read_text()
    assert verb.help and verb.help.strip(), path
    for option in verb.params:
        if isinstance(option, click.Option):
            assert option.help, f"{path} {option.opts}"
            assert re.search(rf"`[^`]*{re.escape(option.opts[-1])}", PAGE.read_text())


def test_verbs_that_ask_a_gateway_take_the_same_options():
    asks = {
        path: {o.name for o in verb.params}
        for path, verb in EVERY
        if any(o.name == "admin_key_env" for o in verb.params)
    }
    assert len(asks) >= 12
    for path, options in asks.items():
        assert {"config", "data", "admin", "admin_key_env"} <= options, path
