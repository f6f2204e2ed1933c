"""What `sluicegate usage` and `sluicegate requests` say of a ledger."""

import csv
import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from sluicegate import main
from sluicegate.cli.requests import fitted
from sluicegate.core.record import Attempt, Context
from sluicegate.core.settings import Price, Prices
from sluicegate.keeper.mover import Mover
from sluicegate.spec.accounts import minute
from sluicegate.spec.numbers import Numbers
from sluicegate.stores.sqlite.ledger import Ledger
from sluicegate.stores.sqlite.reader import spans
from tests.link.booking import WALL, finish, journal, record

PRICES = Prices("EUR", ((1, (Price("p", (("input", 2_000_000, 1), ("output", 8_000_000, 1))),)),))
DAY = 86400


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three consumers over three days; one of them is open, one was throttled everywhere."""
    numbers = Numbers()
    for name in ("web-shop", "batch", "=cmd"):
        numbers.of("consumer", name)
    numbers.of("deployment", "weu/gpt-4o")
    numbers.write(str(tmp_path))
    written = journal(tmp_path / "journal", prices=PRICES)
    for n in range(30):
        one = record(n, at=100.0 + n // 10 * DAY, consumer=n % 3 + 1)
        written.admit(one)
        if n == 29:
            continue
        if n == 28:
            failed = Attempt(1, one.at)
            failed.status, failed.cause = 429, "upstream.throttled.rate"
            one.attempts.append(failed)
            one.trail.append("weu/gpt-4o: upstream.throttled.rate")
            one.state, one.status, one.reason, one.ended_at = "settled", 429, "pool.throttled", one.at
            one.context = Context(end_user="u-1", labels=(("cost_centre", "4711"),))
            written.settle(one)
        else:
            written.settle(finish(one))
    ledger = Ledger(str(tmp_path / "ledger.sqlite"))
    Mover(str(tmp_path / "journal"), ledger).run()
    ledger.close()  # the writer lives: one request stays open
    return tmp_path


def run(verb: str, *args: str, data: Path | None = None) -> Result:
    return CliRunner().invoke(main.program, [verb, *(("--data", str(data)) if data else ()), *args])


SPAN = ("--since", "2026-09-01", "--until", "2026-11-01")


def test_usage_by_consumer_sums_to_the_token_and_to_the_nano(data: Path):
    said = json.loads(run("usage", *SPAN, "--json", data=data).stdout)
    found = {u["consumer"]: u for u in said["usage"]}
    assert {k: u["requests"] for k, u in found.items()} == {"web-shop": 10, "batch": 10, "=cmd": 9}
    for n, name in enumerate(("web-shop", "batch", "=cmd")):
        settled = [10 + i for i in range(28) if i % 3 == n]
        assert found[name]["tokens"] == {
            "input": sum(settled),
            "cached": 3 * len(settled),
            "cache_write": 0,
            "output": 7 * len(settled),
            "reasoning": 2 * len(settled),
        }
        assert found[name]["cost"]["EUR"]["nano"] == sum((i + 3) * 2000 + 9 * 8000 for i in settled)
    assert found["batch"]["refused"] == 1


def test_usage_of_times_whose_records_are_gone_is_told_by_whole_hours(data: Path):
    """Half an hour of a day two years ago: its minutes are deleted, and it was summed as nothing."""
    hour = int(WALL) // 3600 * 3600
    within = ("--since", minute(hour + 60)[:-1], "--until", minute(hour + DAY + 3000)[:-1], "--json")
    ledger = Ledger(str(data / "ledger.sqlite"))
    before = json.loads(run("usage", *within, data=data).stdout)
    assert (before["since"], before["until"]) == (minute(hour + 60), minute(hour + DAY + 3000))
    ledger.expire((hour + 3600) * 1_000_000, 1000)
    result = run("usage", *within, data=data)
    assert f"whole hours, from {minute(hour)} until" in result.stderr
    after = json.loads(result.stdout)
    assert after["usage"] == before["usage"] and sum(s["requests"] for s in after["usage"]) == 20
    assert (after["since"], after["until"]) == (minute(hour), minute(hour + DAY + 3000))
    ledger.expire((hour + 30 * DAY) * 1_000_000, 1000)
    after = json.loads(run("usage", *within, data=data).stdout)
    assert after["usage"] == before["usage"]
    assert (after["since"], after["until"]) == (minute(hour), minute(hour + DAY + 3600))
    ledger.close()


def test_usage_as_a_table_has_totals_and_says_what_costs_are(data: Path):
    lines = run("usage", "--by", "day", "--by", "model", *SPAN, data=data).stdout.splitlines()
    assert lines[0].split() == ["day", "model", "requests", "refused", "input", "cached", "output", "reasoning", "cost"]
    assert len(lines) == 5 and lines[-1].startswith("total")
    cost = sum((10 + i + 3) * 2000 + 9 * 8000 for i in range(28))
    assert lines[-1].split()[1:] == [
        "29",
        "1",
        f"{sum(10 + i for i in range(28)):,}",
        "84",
        "196",
        "56",
        f"0.{cost:09d}".rstrip("0"),
        "EUR",
    ]
    assert [line.split()[0] for line in lines[1:4]] == sorted(line.split()[0] for line in lines[1:4])


@pytest.mark.parametrize(
    "asked",
    [
        ("requests", "--status", "9" * 20),
        ("requests", "--deployment", "#" + "9" * 30),
        ("usage", "--until", "9999-12-31T23:59:59"),
        ("usage", "--by", "end_user", "--since", "9999-12-31", "--until", "9999-12-31T23:59:59"),
    ],
)
def test_numbers_and_times_without_measure_are_said_to_be_so(data: Path, asked: tuple[str, ...]):
    result = run(*asked, data=data)
    assert result.exit_code == 2 and "is out of range: years from 1970 to 9998" in result.output


def test_usage_as_csv_is_no_formula_for_a_spreadsheet(data: Path):
    rows = list(csv.DictReader(run("usage", "--csv", *SPAN, data=data).stdout.splitlines()))
    assert {r["consumer"] for r in rows} == {"web-shop", "batch", "'=cmd"} and sum(
        int(r["requests"]) for r in rows
    ) == 29


@pytest.mark.parametrize(
    "args, said",
    [
        (("--since", "yesterday"), '"yesterday" is no time: write 2026-11-01'),
        (
            ("--since", "2026-02-01", "--until", "2026-01-01"),
            "--until 2026-01-01T00:00Z is not after --since 2026-02-01T00:00Z",
        ),
        (("--json", "--csv"), "write one of them"),
        (("--by", "colour"), "'colour' is not one of"),
    ],
)
def test_what_cannot_be_asked_is_said(data: Path, args: tuple[str, ...], said: str):
    result = run("usage", *args, data=data)
    assert result.exit_code == 2 and said in result.stderr


def test_no_ledger_and_a_damaged_one_are_clear_errors(tmp_path: Path):
    result = run("usage", data=tmp_path)
    assert result.exit_code == 1 and "ledger.sqlite is not there: a gateway makes it when it starts" in result.stderr
    (tmp_path / "ledger.sqlite").write_bytes(b"no database at all, but long enough to be looked at" * 40)
    result = run("requests", data=tmp_path)
    assert result.exit_code == 1 and "damaged, or no ledger" in result.stderr


def test_requests_are_newest_first_and_filtered(data: Path):
    found = json.loads(run("requests", "--json", data=data).stdout)
    assert len(found) == 20 and [r["id"] for r in found] == [record(n).id for n in range(29, 9, -1)]
    assert found[0]["state"] == "open" and found[0]["consumer"] == "=cmd"
    only = json.loads(run("requests", "--json", "--consumer", "batch", "--reason", "pool.throttled", data=data).stdout)
    assert [r["id"] for r in only] == [record(28).id]
    assert {r["state"] for r in json.loads(run("requests", "--json", "--state", "open", data=data).stdout)} == {"open"}
    result = run("requests", "--consumer", "nobody", data=data)
    assert (
        result.exit_code == 2 and 'no consumer was ever called "nobody". Known: =cmd, batch, web-shop' in result.stderr
    )


def test_one_request_is_shown_with_its_attempts_and_decisions(data: Path):
    said = run("requests", record(28).id, data=data).stdout
    for part in (
        "end user      u-1",
        "cost_centre=4711",
        "upstream.throttled.rate, status 429",
        "charged to overhead",
        "decided",
        "reason        pool.throttled",
    ):
        assert part in said
    served = json.loads(run("requests", record(3).id, "--json", data=data).stdout)
    assert served["attempts"][0]["deployment"] == "weu/gpt-4o" and served["attempts"][0]["tokens"]["output"] == 7
    assert served["price"] == "p" and served["spec"] == "cafe"
    result = run("requests", "0" * 31 + "x", data=data)
    assert result.exit_code == 1 and "Refused before admission, too old, or not there yet?" in result.stderr


def test_a_table_of_requests_fits_its_columns(data: Path):
    lines = run("requests", "--last", "3", data=data).stdout.splitlines()
    assert (
        len(lines) == 4
        and lines[1].endswith("open")
        and "settled: pool.throttled" in lines[2]
        and "0.000152 EUR" in lines[3]
    )


@pytest.mark.parametrize(
    "since, until",
    [
        (0, 60),
        (60, 3600 * 50),
        (3600, 7200),
        (DAY - 60, DAY + 60),
        (60, 120),
        (0, DAY * 3),
        (3540, 3660),
        (7260, DAY * 2 + 60),
    ],
)
def test_a_range_is_covered_once_by_whole_spans(since: int, until: int):
    parts = spans(since, until)
    assert sorted(m for _, a, b in parts for m in range(a, b, 60)) == list(range(since, until, 60))
    assert all(a % span == 0 == b % span for span, a, b in parts)


def test_a_range_over_minutes_hours_and_days_finds_what_is_there(data: Path):
    first = int(WALL)
    from sluicegate.stores.sqlite.reader import Reader

    reader = Reader(str(data / "ledger.sqlite"))
    whole = first // 60 * 60
    assert [s.counts["requests"] for s in reader.usage(whole, whole + 60, ())] == [10]
    assert [s.counts["requests"] for s in reader.usage(whole + 60, whole + 60 + 2 * DAY, ())] == [19]
    reader.close()


def test_a_list_of_requests_fits_into_a_narrow_terminal_and_keeps_the_ids():
    row = (
        "2026-11-21T21:23:14.084Z", "01a1fffdeece486fd78d7fb6000001e4", "web-shop", "chat", "weu/gpt-4o-ptu", "200", "1.0",
        "1,234", "567", "0.0012 USD", "settled",
    )  # fmt: skip
    whole = fitted([row, row], 0)
    assert all(cell in whole for cell in row), "no terminal: everything"
    assert fitted([row, row], 200) == whole
    for room in (120, 100, 80):
        said = click.unstyle(fitted([row, row], room)).splitlines()
        assert max(map(len, said)) <= room and said[0].startswith("time      id") and said[0].endswith("state")
        assert all(line.startswith("21:23:14  01a1fffdeece486fd78d7fb6000001e4  web-shop") for line in said[1:])
    assert "weu/gpt-4o-ptu" in fitted([row], 100) and "USD" not in fitted([row], 100)
