"""Commands that pages only mention: the verb exists, and so does every option, also where nothing executes them."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from sluicegate.main import VERBS

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        *(ROOT / "docs").rglob("*.md"),
        *ROOT.glob("*.md"),
        *(ROOT / "examples").rglob("*.yaml"),
        *(ROOT / "deploy").glob("*.*"),
    ]
)
CODE = re.compile(r"^ *```.*?^ *```|`[^`\n]+`", re.MULTILINE | re.DOTALL)
MENTION = re.compile(r"(?:^|[\s`(/$])sluicegate +([a-z][a-z-]*)((?: +(?!#)[^\s`|;&)]+)*)", re.MULTILINE)


def mentions(page: Path) -> list[tuple[str, list[str]]]:
    """Verb and words after it."""
    text = page.read_text("utf-8").replace("\\\n", " ")
    if page.suffix == ".md":
        text = "\n".join(CODE.findall(text))
    return [(verb, words.split()) for verb, words in MENTION.findall(text)]


def wrong(verb: str, words: list[str]) -> str:
    """What does not exist; empty if all does."""
    if verb not in VERBS:
        return f"there is no verb {verb}"
    command: click.Command = importlib.import_module(f"sluicegate.cli.{verb.replace('-', '_')}").command
    if isinstance(command, click.Group):
        for word in [word for word in words[:1] if not word.startswith("-")]:
            for name in word.split("/"):
                if name not in command.commands and not name.isupper():
                    return f"there is no {verb} {name}"
            command = command.commands.get(word, command)
    known = {opt for param in command.params for opt in (*param.opts, *param.secondary_opts)} | {"-h", "--help"}
    for word in words:
        option = word.strip("[].,:").partition("=")[0]
        if re.fullmatch(r"--[a-z][a-z-]*|-[a-z]", option) and option not in known:
            return f"{verb} has no {option}"
    return ""


def test_every_verb_and_option_that_a_page_names_exists():
    found = [(page, verb, words) for page in PAGES for verb, words in mentions(page)]
    assert len(found) > 100
    bad = [f"{page.relative_to(ROOT)}: {said}" for page, verb, words in found if (said := wrong(verb, words))]
    assert not bad, "\n".join(bad)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("`sluicegate srve`", "no verb srve"),
        ("```\n$ sluicegate check --confg x\n```", "check has no --confg"),
        ("`sluicegate key make web`", "no key make"),
        ("`sluicegate check -c gateway.yaml`", ""),
        ("sluicegate is a gateway", None),
    ],
)
def test_what_is_wrong_is_found(tmp_path: Path, text: str, said: str | None):
    page = tmp_path / "page.md"
    page.write_text(text + "\n")
    found = mentions(page)
    assert bool(found) is (said is not None)
    for verb, words in found:
        assert said is not None and (said in wrong(verb, words) if said else not wrong(verb, words))


def test_every_word_of_dev_that_a_page_names_exists():
    listed = subprocess.run([sys.executable, ROOT / "dev"], capture_output=True, text=True, check=True).stdout
    words = set(re.findall(r"^  (\w+) +\S", listed, re.MULTILINE))
    named = {
        w for page in PAGES for code in CODE.findall(page.read_text("utf-8")) for w in re.findall(r"\./dev (\w+)", code)
    }
    planned = {"console"}  # the letter about ./dev names what will come
    assert named and not named - words - planned - {"WORD"}, sorted(named - words)
