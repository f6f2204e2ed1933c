"""The program: its verbs, its exit statuses, and what it says when something is missing."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from sluicegate import __version__, main
from sluicegate.cli.running import state, table
from tests.spec.reading import ENV, SMALLEST


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with gateway.yaml, current, with its secrets in the environment."""
    (tmp_path / "gateway.yaml").write_text(SMALLEST)
    monkeypatch.chdir(tmp_path)
    for name, value in ENV.items():
        monkeypatch.setenv(name, value)
    return tmp_path


def run(*args: str) -> Result:
    return CliRunner().invoke(main.program, args)


def test_help_lists_the_verbs_without_loading_them():
    before = set(sys.modules)
    result = run("--help")
    assert result.exit_code == 0
    for verb, what in main.VERBS.items():
        assert verb in result.output and what.split()[0] in result.output
    assert not [m for m in set(sys.modules) - before if m.startswith("sluicegate.cli.")]


def test_version_says_which_program_this_is():
    assert run("version").output.startswith(f"sluicegate {__version__} ")


def test_the_usual_words_for_help_and_version_are_understood():
    assert run("-h").output == run("--help").output
    assert run("check", "-h").output == run("check", "--help").output
    assert run("--version").output == f"sluicegate {__version__}\n"


def test_a_file_named_the_way_of_other_programs_is_answered_with_ours():
    result = run("check", "gateway.yaml")
    assert result.exit_code == 2
    assert "(gateway.yaml). A configuration is named with -c: program check -c FILE" in result.output
    assert "-c" not in run("version", "x").output


def test_an_unknown_verb_names_the_known_ones():
    result = run("sevre")
    assert result.exit_code == 2
    assert 'there is no verb "sevre". Did you mean serve? The verbs: serve, check' in result.output
    assert "Did you mean" not in run("xyzzy").output


def test_an_unknown_option_names_one_that_is_like_it():
    result = run("status", "--jsno")
    assert result.exit_code == 2 and "--json" in result.output


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_learn_verbs_and_options(shell: str):
    script = run("completion", shell)
    assert script.exit_code == 0 and "_SLUICEGATE_COMPLETE" in script.output
    if bash := shutil.which(shell):
        assert subprocess.run([bash, "-n"], input=script.output, text=True, capture_output=True).returncode == 0


@pytest.mark.parametrize(
    ("words", "last", "offered"),
    [("sluicegate ", "1", set(main.VERBS)), ("sluicegate re", "1", {"requests", "residency", "reload", "restart"}),
     ("sluicegate key ", "2", {"new", "list", "revoke"}), ("sluicegate requests --st", "2", {"--state", "--status"}),
     ("sluicegate schema --op", "2", {"--openapi"})],
)  # fmt: skip
def test_what_a_shell_is_offered(words: str, last: str, offered: set[str]):
    env = {"_SLUICEGATE_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": last}
    result = CliRunner().invoke(main.program, [], env=env, prog_name="sluicegate")
    assert {line.partition(",")[2] for line in result.output.splitlines()} == offered


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch):
    text = table([("a", "shut for 3 s")], ("model", "state"), paint={1: state})
    assert "\x1b[33mshut for 3 s" in text and "\x1b[1m" in text
    shown = click.Command("x", callback=lambda: click.echo(text))
    assert "\x1b" not in CliRunner().invoke(shown).output
    assert "\x1b" in CliRunner().invoke(shown, color=True).output
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "argv", ["sluicegate"])
    group = click.Group("g", callback=main.program.callback, commands={"x": shown})
    assert "\x1b" not in CliRunner().invoke(group, ["x"], color=True).output


def test_check_of_a_good_file_says_what_it_comes_to(there: Path):
    result = run("check")
    assert result.exit_code == 0
    assert (
        result.stdout
        == "ok: 1 instance, 1 deployment, 1 model, 1 consumer\n  chat: weu/gpt-4o (tier 1)\n  weu: a key\n"
    )
    assert "gateway.yaml:13:10 " in result.stderr and result.stderr.endswith("1 warning\n")


def test_check_as_json_says_where_and_what(there: Path):
    good = run("check", "--json")
    assert good.exit_code == 0 and json.loads(good.stdout)["valid"] and good.stderr == ""
    Path("other.yaml").write_text(SMALLEST.replace("[chat]", "[caht]"))
    bad = run("check", "-c", "other.yaml", "--json")
    (error,) = [p for p in json.loads(bad.stdout)["problems"] if p["severity"] == "error"]
    assert bad.exit_code == 2 and (error["file"], error["line"], error["column"]) == ("other.yaml", 17, 14)
    assert error["path"] == "consumers.my-app.models" and 'did you mean "chat"' in error["what"]


def test_check_of_a_bad_file_says_everything_and_exits_2(there: Path):
    Path("other.yaml").write_text(SMALLEST.replace("[chat]", "[caht]").replace("key: ${env:APP_KEY}", "key: x"))
    result = run("check", "-c", "other.yaml")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == (
        "other.yaml:16:10    consumers.my-app.key: must be a reference, and nothing else: secrets do not stand in the file\n"
        "                    write ${env:NAME} or ${file:/run/secrets/name}, and put the secret there\n"
        'other.yaml:17:14    consumers.my-app.models: no model is called "caht"; did you mean "chat"?\n'
        "2 errors\n"
    )


def test_serve_of_a_bad_file_starts_nothing_and_exits_2(there: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(main.Live, "serve", lambda *_: pytest.fail("started"))
    monkeypatch.delenv("APP_KEY")
    result = run("serve")
    assert result.exit_code == 2
    assert result.stderr.endswith("1 error; nothing was started\n")


def test_a_file_that_is_not_there_is_said_with_what_to_type(there: Path):
    result = run("check", "-c", "nowhere.yaml")
    assert result.exit_code == 2
    assert "nowhere.yaml:1:1    cannot be read: no such file or directory" in result.stderr
    os.remove("gateway.yaml")
    result = run("serve")
    assert result.exit_code == 2
    assert "there is no gateway.yaml here. Name your configuration: -c FILE" in result.stderr


def test_check_lists_what_a_later_file_overrides_with_both_places(there: Path):
    (there / "prod.yaml").write_text("models: {chat: {use: [weu/gpt-4o]}}\n")
    result = run("check", "-c", "gateway.yaml", "-c", "prod.yaml")
    assert result.exit_code == 0, result.stderr
    assert "\n  prod.yaml:1:22: overrides models.chat.use of gateway.yaml:" in result.stdout


def test_the_schema_is_json_and_the_page_is_markdown():
    assert json.loads(run("schema").output)["title"] == "Sluicegate configuration"
    assert run("schema", "--page").output.startswith("# Configuration reference\n")
