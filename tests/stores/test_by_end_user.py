"""Sums by end user: from the records themselves, equal to those that are kept for good, bounded, and honest about how far
back they reach."""

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from sluicegate import main
from sluicegate.admin.ledger import OfTenant
from sluicegate.core.record import Context
from sluicegate.core.settings import Price, Prices
from sluicegate.keeper.mover import Mover
from sluicegate.spec.numbers import Numbers
from sluicegate.stores.sqlite import reader as reader_module
from sluicegate.stores.sqlite.ledger import Ledger
from sluicegate.stores.sqlite.reader import KEYS, Reader, Sum
from tests.link.booking import WALL, finish, journal, record

PRICES = Prices("EUR", ((1, (Price("p", (("input", 2_000_000, 1), ("output", 8_000_000, 1))),)),))
USERS = ("ann", "bob", "=cmd()", "")
DAY = 86400
WHOLE = (int(WALL) - 10 * DAY) // DAY * DAY, (int(WALL) + 10 * DAY) // DAY * DAY


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two consumers, four users, five days; some were refused, some have no price."""
    numbers = Numbers()
    for name in ("web-shop", "batch"):
        numbers.of("consumer", name)
    numbers.of("deployment", "weu/gpt-4o")
    numbers.write(str(tmp_path))
    written = journal(tmp_path / "journal", prices=PRICES)
    for n in range(100):
        one = record(n, at=100.0 + n // 20 * DAY, consumer=n % 2 + 1)
        one.context = Context(end_user=USERS[n % 4])
        written.admit(one)
        if n % 10 == 9:
            one.state, one.status, one.reason, one.ended_at = "settled", 429, "pool.throttled", one.at
            written.settle(one)
        else:
            written.settle(finish(one, deployment=2 if n % 7 == 0 else 1))
    ledger = Ledger(str(tmp_path / "ledger.sqlite"))
    Mover(str(tmp_path / "journal"), ledger).run()
    ledger.close()
    written.close()
    return tmp_path


def without(sums: list[Sum], at: int) -> dict[tuple[object, ...], tuple[dict[str, int], dict[str, tuple[int, int]]]]:
    """Added up over one part of the key."""
    found: dict[tuple[object, ...], tuple[dict[str, int], dict[str, tuple[int, int]]]] = {}
    for s in sums:
        counts, money = found.setdefault((*s.key[:at], *s.key[at + 1 :]), ({}, {}))
        for name, value in s.counts.items():
            counts[name] = counts.get(name, 0) + value
        for currency, (cost, overhead) in s.money.items():
            held = money.get(currency, (0, 0))
            money[currency] = (held[0] + cost, held[1] + overhead)
    return found


@pytest.mark.parametrize("by", [(), ("consumer",), ("day", "consumer"), KEYS, (*KEYS, "day")])
def test_they_add_up_to_the_sums_that_are_kept_for_good(data: Path, by: tuple[str, ...]):
    reader = Reader(str(data / "ledger.sqlite"))
    apart = reader.usage(*WHOLE, ("end_user", *by))
    assert {s.key[0] for s in apart} == set(USERS)
    assert without(apart, 0) == {s.key: (s.counts, s.money) for s in reader.usage(*WHOLE, by)}
    assert reader.usage(*WHOLE, by)[0].counts["unpriced"] or len(by) > 1, "what has no price is among them"
    reader.close()


def test_a_part_of_the_time_is_that_part(data: Path):
    reader = Reader(str(data / "ledger.sqlite"))
    middle = int(WALL) // 60 * 60 + DAY, int(WALL) // 60 * 60 + 3 * DAY
    [all_] = reader.usage(*middle, ())
    assert sum(s.counts["requests"] for s in reader.usage(*middle, ("end_user",))) == all_.counts["requests"] == 40
    reader.close()


def test_there_may_be_any_number_of_them(data: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reader_module, "GROUPS", 2)
    reader = Reader(str(data / "ledger.sqlite"))
    found = reader.usage(*WHOLE, ("end_user", "consumer"))
    [all_] = reader.usage(*WHOLE, ())
    assert len(found) == 3 and found[-1].key == (None, None)
    assert sum(s.counts["requests"] for s in found) == 100
    assert sum(s.money["EUR"][0] for s in found) == all_.money["EUR"][0]
    reader.close()
    told = run(data, "--by", "end_user")
    assert told.splitlines()[3].split()[0] == "(others)"


def test_a_tenants_own_are_whole_however_many_others_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Its people, its sums and its rest: nothing of it is lost in the rest of all tenants."""
    monkeypatch.setattr(reader_module, "GROUPS", 2)
    written = journal(tmp_path / "journal", prices=PRICES)
    for n in range(40):
        one = record(n, at=100.0 + n)
        one.tenant = "small" if n % 10 == 0 else "large"
        one.context = Context(end_user=f"user-{n % 20}")
        written.admit(one)
        written.settle(finish(one))
    ledger = Ledger(str(tmp_path / "ledger.sqlite"))
    Mover(str(tmp_path / "journal"), ledger).run()
    ledger.close()
    written.close()
    reader = Reader(str(tmp_path / "ledger.sqlite"))
    for whose in ("small", "large"):
        mine = OfTenant(reader, whose)
        [all_] = mine.usage(*WHOLE, ())
        assert all_.counts["requests"] == {"small": 4, "large": 36}[whose]
        for by in (("end_user",), ("end_user", "tenant"), ("consumer", "end_user"), ("day", "end_user"), ("day",)):
            found = mine.usage(*WHOLE, by)
            assert sum(s.counts["requests"] for s in found) == all_.counts["requests"]
            assert sum(s.money["EUR"][0] for s in found) == all_.money["EUR"][0]
    assert {s.key for s in OfTenant(reader, "small").usage(*WHOLE, ("end_user",))} == {("user-0",), ("user-10",)}
    assert OfTenant(reader, "nobody").usage(*WHOLE, ("end_user",)) == []
    reader.close()


def run(data: Path, *more: str) -> str:
    said = CliRunner().invoke(
        main.program, ["usage", "--data", str(data), "--since", "2026-09-01", "--until", "2026-11-01", *more]
    )
    assert said.exit_code == 0, said.output
    return said.stdout


def test_the_command_line_shows_them_and_no_formula(data: Path):
    found = json.loads(run(data, "--by", "end_user", "--json"))
    assert {u["end_user"]: u["requests"] for u in found["usage"]} == dict.fromkeys(USERS, 25)
    assert found["kept_since"] == ""
    rows = list(csv.DictReader(run(data, "--by", "consumer", "--by", "end_user", "--csv").splitlines()))
    assert {r["end_user"] for r in rows} == {"ann", "bob", "'=cmd()", ""}
    assert {(r["consumer"], r["end_user"]) for r in rows if r["end_user"] == "ann"} == {("web-shop", "ann")}
    assert "(" not in run(data, "--by", "end_user").split("total")[0].replace("=cmd()", "")


def test_what_is_not_kept_any_more_is_said(data: Path):
    ledger = Ledger(str(data / "ledger.sqlite"))
    ledger.expire(int((WALL + 2.5 * DAY) * 1e6), 1000)
    ledger.close()
    found = json.loads(run(data, "--by", "end_user", "--json"))
    assert sum(u["requests"] for u in found["usage"]) == 40
    assert sum(u["requests"] for u in json.loads(run(data, "--json"))["usage"]) == 100
    assert found["kept_since"] == "2026-09-24T00:00Z"
    said = CliRunner().invoke(main.program, ["usage", "--data", str(data), "--since", "2026-09-01", "--by", "end_user"])
    assert "records reach back to 2026-09-24T00:00Z: these sums begin there" in said.stderr
