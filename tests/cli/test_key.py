"""`sluicegate key new`: what it prints is a key that the gateway knows by its digest."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from sluicegate.core.caller import Callers, Consumer
from sluicegate.main import program
from sluicegate.spec.load import load_file
from tests.spec.reading import ENV, SMALLEST


@pytest.mark.parametrize("secrets", ['  secrets: ["${env:SECRET}"]\n', "  name: x\n"])
def test_a_new_keys_digest_lets_the_key_in(secrets: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for name, value in ENV.items():
        monkeypatch.setenv(name, value)
    file = tmp_path / "gateway.yaml"
    text = SMALLEST.replace('  secrets: ["${env:SECRET}"]\n', secrets)
    file.write_text(text)
    result = CliRunner().invoke(program, ["key", "new", "web-shop"])
    assert result.exit_code == 0, result.output
    key = next(line.strip() for line in result.stdout.splitlines() if line.startswith("  sgk_"))
    digest = result.stdout.split("key: ")[1].strip()
    file.write_text(text + f"  web-shop: {{key: '{digest}', models: [chat]}}\n")
    loaded = load_file(str(file), ENV, ("chat_completions",), start=False)
    assert loaded.directory, loaded.errors
    who = Callers(loaded.directory).who([key.encode()])
    assert isinstance(who, Consumer) and who.name == "web-shop"
    assert key not in file.read_text()
