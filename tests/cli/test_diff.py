"""`sluicegate diff`: exit status and what is on which stream."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sluicegate.main import program
from tests.spec.reading import ENV, SMALLEST


def run(*args: str) -> Result:
    return CliRunner().invoke(program, ["diff", *args])


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, value in ENV.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "gateway.yaml").write_text(SMALLEST)
    (tmp_path / "new.yaml").write_text(SMALLEST + "    limits: [5 concurrent]\n")
    return tmp_path


def test_two_files_are_compared_and_the_status_says_whether_they_differ(there: Path):
    same = run("-c", "gateway.yaml", "--from", "gateway.yaml")
    assert (same.exit_code, same.stdout) == (0, "no change\n")
    other = run("-c", "new.yaml", "--from", "gateway.yaml")
    assert (other.exit_code, other.stderr) == (1, "")
    assert other.stdout == "consumers.my-app: limits: 5 concurrent added\n1 change: 1 live\n"


def test_the_differences_as_json(there: Path):
    other = run("-c", "new.yaml", "--from", "gateway.yaml", "--json")
    found = json.loads(other.stdout)
    assert other.exit_code == 1 and found["before"] != found["after"]
    assert found["changes"] == [{"names": ["consumers.my-app"], "what": "limits: 5 concurrent added", "effect": "live"}]


def test_a_file_that_is_not_valid_is_not_compared(there: Path):
    (there / "new.yaml").write_text(SMALLEST.replace("models: [chat]", "models: [caht]"))
    result = run("-c", "new.yaml", "--from", "gateway.yaml")
    assert result.exit_code == 2
    assert result.stderr.endswith("1 error; nothing was compared\n")


def test_without_a_gateway_it_says_how_to_start_one(there: Path):
    result = run()
    assert result.exit_code == 2
    assert "no gateway runs with" in result.stderr
