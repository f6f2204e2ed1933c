"""The reference page of the command line: made from the verbs, current, complete."""

import re
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from sluicegate import main
from sluicegate.cli.examples import EXAMPLES, lines
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


EVERY = verbs(main.program, click.Context(main.program, info_name="sluicegate", **main.program.context_settings))


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


TYPED = [(path, verb, line) for path, verb in EVERY for line in lines(path.removeprefix("sluicegate "))]


def test_every_verb_shows_how_it_is_typed():
    """Those that only hold other verbs leave it to them."""
    assert {path.removeprefix("sluicegate ") for path, _ in EVERY} == set(EXAMPLES)
    for path, verb in EVERY:
        assert bool(EXAMPLES[path.removeprefix("sluicegate ")]) != isinstance(verb, click.Group), path


@pytest.mark.parametrize(("path", "verb", "line"), TYPED, ids=[line for *_, line in TYPED])
def test_what_help_shows_is_understood(
    path: str, verb: click.Command, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every option and argument of an example, as far as the verb reads them before it does anything."""
    monkeypatch.chdir(tmp_path)
    for name in re.findall(r"\S+\.(?:yaml|jsonl)", line):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text("")
    words = shlex.split(line.removeprefix(path))
    verb.make_context(
        path, words, parent=click.Context(main.program, info_name="sluicegate", **main.program.context_settings)
    )
    said = CliRunner().invoke(main.program, [*path.split()[1:], "-h"])
    assert said.exit_code == 0 and f"\n    {line}\n" in said.output, said.output
    assert max(map(len, said.output.splitlines())) <= 80
