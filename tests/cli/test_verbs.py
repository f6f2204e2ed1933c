"""The program: its verbs, its exit statuses, and what it says when something is missing."""

import json
import os
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sluicegate import __version__, main
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


def test_an_unknown_verb_names_the_known_ones():
    result = run("sevre")
    assert result.exit_code == 2
    assert 'there is no verb "sevre". The verbs: serve, check' in result.output


def test_check_of_a_good_file_says_what_it_comes_to(there: Path):
    result = run("check")
    assert result.exit_code == 0
    assert result.stdout == "ok: 1 instance, 1 deployment, 1 model, 1 consumer\n  chat: weu/gpt-4o (tier 1)\n"
    assert "gateway.yaml:13:10 " in result.stderr and result.stderr.endswith("1 warning\n")


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
