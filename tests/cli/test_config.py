"""`sluicegate config upgrade`."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from sluicegate.main import program
from sluicegate.spec import upgrade


def test_the_newest_version_has_nothing_to_upgrade(tmp_path: Path):
    file = tmp_path / "g.yaml"
    file.write_text("version: 1  # comment\n")
    result = CliRunner().invoke(program, ["config", "upgrade", str(file)])
    assert (result.exit_code, result.stdout) == (0, f"{file} is written in version 1, the newest: nothing to do\n")


@pytest.mark.parametrize("text", ["version: 7\n", "gateway: {}\n", "{", ""])
def test_what_is_no_version_is_said(text: str, tmp_path: Path):
    file = tmp_path / "g.yaml"
    file.write_text(text)
    result = CliRunner().invoke(program, ["config", "upgrade", str(file)])
    assert result.exit_code == 2 and str(file) in result.stderr


def test_an_older_file_is_rewritten_step_by_step_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    steps = {
        "a": ("b", lambda t: t.replace("version: a", "version: b")),
        "b": ("1", lambda t: t.replace("version: b", "version: 1")),
    }
    monkeypatch.setattr(upgrade, "UPGRADES", steps)
    file = tmp_path / "g.yaml"
    file.write_text("# why\nversion: a\n")
    assert CliRunner().invoke(program, ["config", "upgrade", str(file)]).exit_code == 0
    assert file.read_text() == "# why\nversion: 1\n"
    assert Path(f"{file}.old").read_text() == "# why\nversion: a\n"
