"""The reference page of the command line, as Markdown, made from the verbs themselves.

docs/reference/cli.md is this page: `sluicegate schema --cli-page > docs/reference/cli.md`; a test compares them.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import click

from sluicegate.cli.examples import lines

_HEAD = """# Command line

Every verb, made from the code by `sluicegate schema --cli-page`.

Verbs that ask a running gateway find it by the configuration (`-c`, or `gateway.yaml` here) or by `--data DIR`, and \
speak over the Unix socket in its `gateway.data`, as its own user and without a key. A gateway elsewhere is asked with \
`--admin URL`, or `SLUICEGATE_ADMIN`, and an operator's key in the variable `SLUICEGATE_ADMIN_KEY`, or the one that \
`--admin-key-env` names: a key never stands on a command line. The management API is described [here](admin-api.md).

`--json` prints what the management API answers, whose fields are [described](admin-api.md#shapes) and stay. Colours \
are used on terminals only, and not where `NO_COLOR` is set. Exit status: 0 well, 1 it could not be done, 2 the \
command was not understood or the configuration is not valid; where a verb says otherwise, that holds.

`sluicegate completion bash` (or `zsh`, `fish`) prints what a shell needs to complete verbs and options.

"""


def page(program: click.Command) -> str:
    """The whole page."""
    assert isinstance(program, click.Group)
    context = click.Context(program, info_name="sluicegate", **program.context_settings)
    verbs = [(name, program.get_command(context, name)) for name in program.list_commands(context)]
    said = ["| verb | |", "|---|---|"]
    for name, verb in verbs:
        assert verb is not None
        said.append(f"| [`{name}`](#sluicegate-{name}) | {_first(verb)} |")
    for name, verb in verbs:
        assert verb is not None
        said += _verb(verb, click.Context(verb, parent=context, info_name=name))
    return _HEAD + "\n".join(said).rstrip() + "\n"


def _verb(verb: click.Command, context: click.Context) -> Iterator[str]:
    """A verb, and those below it."""
    yield f"\n## {context.command_path}\n"
    usage = " ".join([context.command_path, *verb.collect_usage_pieces(context)])
    yield f"```\n{usage}\n```\n"
    yield from (f"{part}\n" for part in _paragraphs(verb))
    rows = [row for option in verb.params if (row := _option(option, context))]
    if rows:
        yield "| option | |\n|---|---|"
        yield from rows
    typed = lines(context.command_path.removeprefix("sluicegate "))
    if typed:
        yield "\n```\n" + "\n".join(typed) + "\n```"
    if isinstance(verb, click.Group):
        for name in verb.list_commands(context):
            below = verb.get_command(context, name)
            assert below is not None
            yield from _verb(below, click.Context(below, parent=context, info_name=name))


def _option(option: click.Parameter, context: click.Context) -> str:
    record: Any = option.get_help_record(context)
    if record is None:
        return ""
    names, what = record
    return f"| `{names}` | {what} |".replace("<", "\\<") if "|" not in names else f"| `{_bars(names)}` | {what} |"


def _bars(text: str) -> str:
    return text.replace("|", "\\|")


def _first(verb: click.Command) -> str:
    return _paragraphs(verb)[0].split(". ")[0].rstrip(".") + "."


def _paragraphs(verb: click.Command) -> list[str]:
    text = inspect.cleandoc(verb.help or "").partition("\f")[0]
    return [" ".join(part.split()).replace("<", "\\<") for part in text.split("\n\n")]
