"""What a stage costs: the whole is the sum of its parts, what is off costs nothing and says so, nobody is asked."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sluicegate.main import program
from sluicegate.sim.profile import KEY, Profile, Refused, profile
from sluicegate.stores.memory.journal import Journal
from tests.spec.reading import ENV, SMALLEST, compiled

BODY = b'{"messages":[{"role":"user","content":"hello"}],"max_tokens":50,"user":"u-1"}'
EVERY = (
    "    limits: [100k tokens/minute, 20 concurrent]\n    params: {max_tokens: {max: 20}}\n    end_user: field:user\n"
)


def measured(text: str, body: bytes = BODY, requests: int = 120, step: int = 1000) -> tuple[Profile, Journal]:
    """With a clock that goes on by so many nanoseconds whenever it is read."""
    snapshot, directory = compiled(text)
    journal = Journal(strict=True)
    clock = itertools.count(0, step)
    found = profile(
        snapshot, directory, journal, "my-app", "chat", body, 10, lambda: next(clock), requests, lambda done: None
    )
    return found, journal


def test_K6_what_is_off_costs_nothing_and_says_so():
    found, _ = measured(SMALLEST)
    off = {stage.name: stage.us for stage in found.stages if stage.off}
    assert off == {"end user": 0.0, "rules": 0.0, "limits": 0.0}
    found, _ = measured(SMALLEST + EVERY)
    assert not [stage for stage in found.stages if stage.off]


def test_stages_are_in_the_order_of_a_request():
    found, _ = measured(SMALLEST + EVERY)
    assert [stage.name for stage in found.stages] == [
        "identity", "grants", "parse", "end user", "rules", "limits", "pick", "admit", "body", "answer", "settle",
    ]  # fmt: skip
    assert found.deployment == "weu/gpt-4o" and found.requests == 120


def test_time_that_a_stage_takes_is_found_in_it_and_in_the_whole_and_nowhere_else():
    class Slow(Journal):
        now = 0

        def admit(self, record: Any) -> None:
            super().admit(record)
            self.now += 7000

        def settle(self, record: Any) -> None:
            super().settle(record)
            self.now += 11_000

    snapshot, directory = compiled(SMALLEST)
    journal = Slow()

    def clock() -> int:
        journal.now += 100
        return journal.now

    found = profile(snapshot, directory, journal, "my-app", "chat", BODY, 10, clock, 120)
    took = {stage.name: stage.us for stage in found.stages if stage.us}
    assert took == {"admit": 7.0, "settle": 11.0}
    assert found.whole_us == 18.0 and found.rest_us == 0.0


def test_what_reading_the_clock_costs_is_taken_off():
    """Where nothing but reading it takes time, nothing is left."""
    found, _ = measured(SMALLEST)
    assert found.clock_us == 1.0
    assert {stage.us for stage in found.stages} == {0.0} and found.whole_us == 0.0


@pytest.mark.parametrize("stream", [False, True])
def test_it_is_the_exchange_that_runs_and_every_request_is_settled(stream: bool):
    body = BODY[:-1] + b',"stream":true}' if stream else BODY
    found, journal = measured(SMALLEST + EVERY, body)
    totals = journal.totals()
    assert totals["open"] == 0 and totals["settled"] >= 120 + 200
    assert found.events == (13 if stream else 1)


def test_limits_see_a_pace_with_which_they_let_it_through():
    assert measured(SMALLEST)[0].every_s == 0.05
    assert measured(SMALLEST + "    limits: [2 requests/minute]\n")[0].every_s == 60.0
    with pytest.raises(Refused) as e:
        measured(SMALLEST + "    limits: [10 tokens/minute]\n")
    assert e.value.reason.startswith("limit.token_rate")


def test_who_may_not_ask_is_not_measured():
    snapshot, directory = compiled(SMALLEST)
    with pytest.raises(Refused) as e:
        profile(snapshot, directory, Journal(), "my-app", "other", BODY, 10, iter(range(10**9)).__next__, 100)
    assert e.value.reason == "route.model"


def test_the_key_of_nobody_opens_nothing_else():
    snapshot, directory = compiled(SMALLEST)
    profile(snapshot, directory, Journal(), "my-app", "chat", BODY, 10, iter(range(10**9)).__next__, 100)
    assert len(directory.consumers[0].digests) == 1, "what was loaded is as it was"
    assert b"profiled" in KEY


# ---------------------------------------------------------------- the verb


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, value in ENV.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "gateway.yaml").write_text(SMALLEST)
    return tmp_path


def run(*args: str) -> Result:
    return CliRunner().invoke(program, ["profile", "--requests", "100", *args])


def test_the_verb_measures_with_a_journal_in_files_and_leaves_nothing(there: Path, monkeypatch: pytest.MonkeyPatch):
    (there / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(there / "tmp"))
    said = run("--consumer", "my-app", "--model", "chat", "--json")
    assert said.exit_code == 0, said.output
    found = json.loads(said.stdout)
    assert found["whole_us"] > 0 and {s["name"] for s in found["stages"]} >= {"admit", "settle", "pick"}
    admit = next(s for s in found["stages"] if s["name"] == "admit")
    assert admit["us"] > 0
    table = run("--consumer", "my-app", "--model", "chat", "--stream", "--answer", "5")
    assert (
        "off: no limits apply" in table.stdout and "8 events" in table.stdout and "Not in it: sockets" in table.stdout
    )
    assert not list((there / "tmp").iterdir()) and not (there / "data").exists()


def test_the_verb_says_what_is_wrong(there: Path):
    nobody = run("--consumer", "my-ap", "--model", "chat")
    assert nobody.exit_code == 2 and 'did you mean "my-app"' in nobody.stderr
    none = run("--consumer", "my-app", "--model", "talk")
    assert none.exit_code == 1 and "route.model" in none.stderr
    (there / "body.json").write_text('{"max_tokens": "x"}')
    broken = run("--consumer", "my-app", "--model", "chat", "--body", "body.json")
    assert broken.exit_code == 2 and "request.invalid_field" in broken.stderr
    missing = run("--consumer", "my-app", "--model", "chat", "--body", "nowhere.json")
    assert missing.exit_code == 2 and "cannot be read" in missing.stderr
