"""Usage by subscription and by tier: of what was declared at the time, and nothing is lost or counted twice."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from sluicegate import main
from sluicegate.core.settings import Price, Prices
from sluicegate.keeper.mover import Mover
from sluicegate.spec.numbers import Numbers
from sluicegate.spec.places import FILE, Place, Places, known, now
from sluicegate.spec.references import Wrong
from sluicegate.stores.sqlite.ledger import Ledger
from tests.link.booking import WALL, finish, journal, record
from tests.spec.reading import SMALLEST, loaded

PRICES = Prices("EUR", ((1, (Price("p", (("input", 2_000_000, 1), ("output", 8_000_000, 1))),)),))
DAY = 86400
PTU, STANDARD = Place(0, "ai-1"), Place(1, "ai-1")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Forty requests in four days, the first three of four served by weu/ptu, the others by weu/std, some by nobody.
    After two days weu/std moves to another subscription."""
    numbers = Numbers()
    numbers.of("consumer", "web-shop")
    for name in ("weu/ptu", "weu/std"):
        numbers.of("deployment", name)
    numbers.write(str(tmp_path))
    places = Places()
    assert places.note({1: PTU, 2: STANDARD}, WALL + 3 * DAY / 4)
    assert not places.note({1: PTU, 2: STANDARD}, WALL + DAY)
    assert places.note({1: PTU, 2: Place(1, "ai-2")}, WALL + 1.5 * DAY)
    places.write(str(tmp_path))
    written = journal(tmp_path / "journal", prices=PRICES)
    for n in range(40):
        one = record(n, at=100.0 + n // 10 * DAY)
        written.admit(one)
        if n % 10 == 9:
            one.state, one.status, one.reason, one.ended_at = "settled", 429, "pool.throttled", one.at
            written.settle(one)
        else:
            written.settle(finish(one, deployment=2 if n % 4 == 3 else 1))
    ledger = Ledger(str(tmp_path / "ledger.sqlite"))
    Mover(str(tmp_path / "journal"), ledger).run()
    ledger.close()
    written.close()
    return tmp_path


def run(data: Path, *more: str) -> str:
    said = CliRunner().invoke(
        main.program, ["usage", "--data", str(data), "--since", "2026-09-01", "--until", "2026-11-01", *more]
    )
    assert said.exit_code == 0, said.output
    return said.stdout


def used(data: Path, *by: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(run(data, *(f"--by={key}" for key in by), "--json"))["usage"]
    return found


def test_A10_the_bill_by_subscription_is_that_of_the_time(data: Path):
    assert {u["subscription"]: u["requests"] for u in used(data, "subscription")} == {"ai-1": 32, "ai-2": 4, "": 4}
    moved = {(u["day"], u["subscription"]): u["requests"] for u in used(data, "day", "subscription")}
    days = sorted({day for day, _ in moved})
    assert [moved.get((day, "ai-2"), 0) for day in days] == [0, 0, 2, 2]
    whole = used(data, "consumer")[0]
    for by in (("subscription",), ("tier",), ("subscription", "tier", "day"), ("model", "subscription", "deployment")):
        parts = used(data, *by)
        assert sum(u["requests"] for u in parts) == whole["requests"] == 40
        assert sum(u["tokens"]["output"] for u in parts) == whole["tokens"]["output"]
        assert sum(u["cost"].get("EUR", {"nano": 0})["nano"] for u in parts) == whole["cost"]["EUR"]["nano"]


def test_C1_how_much_spilled_is_told_by_tier_with_its_share(data: Path):
    first, second, nobody = sorted(used(data, "tier"), key=lambda u: u["tier"] or "9")
    assert (first["tier"], first["requests"], first["share"]["requests"]) == ("0", 28, 0.7778)
    assert (second["tier"], second["requests"], second["share"]["requests"]) == ("1", 8, 0.2222)
    assert nobody["share"] == {"requests": None, "tokens": None}
    assert first["share"]["tokens"] + second["share"]["tokens"] == pytest.approx(1.0, abs=1e-4)
    table = run(data, "--by", "model", "--by", "tier")
    assert "of requests  of tokens" in table.splitlines()[0] and "77.8%" in table and "22.2%" in table
    rows = list(csv.DictReader(run(data, "--by=tier", "--csv").splitlines()))
    assert {r["tier"]: r["share_of_requests"] for r in rows} == {"0": "0.7778", "1": "0.2222", "": ""}


def test_where_minutes_are_kept_no_more_a_change_falls_on_its_hour_and_nothing_is_lost(data: Path):
    ledger = Ledger(str(data / "ledger.sqlite"))
    ledger.expire(int((WALL + 300 * DAY) * 1e6), 1000)
    ledger.close()
    assert {u["subscription"]: u["requests"] for u in used(data, "subscription")} == {"ai-1": 32, "ai-2": 4, "": 4}
    places = known(str(data))
    for n in range(5):  # one after the other within an hour, while nothing was asked
        places.note({2: Place(1, f"ai-{n + 5}")}, WALL + 2.3 * DAY + n * 120)
    places.write(str(data))
    assert {u["subscription"]: u["requests"] for u in used(data, "subscription")} == {
        "ai-1": 32, "ai-2": 2, "ai-9": 2, "": 4
    }  # fmt: skip


def test_what_is_first_known_holds_for_the_time_before_and_without_anything_it_says_nothing(data: Path):
    (data / FILE).unlink()
    assert [(u["tier"], u["requests"]) for u in used(data, "tier")] == [("", 40)]
    places = Places()
    places.note({1: PTU}, WALL + 300 * DAY)
    places.write(str(data))
    assert {u["tier"]: u["requests"] for u in used(data, "tier")} == {"0": 28, "": 12}


@pytest.mark.parametrize("text", ["", "sluicegate places 1\n", "sluicegate places 1\n0 1 x ai\nend\n",
                                  "sluicegate places 1\n60 1 0 a\n60 1 1 a\nend\n", "sluicegate places 2\nend\n"])  # fmt: skip
def test_a_file_that_is_damaged_is_said_to_be(data: Path, text: str):
    (data / FILE).write_text(text)
    with pytest.raises(Wrong, match="places that are damaged"):
        known(str(data))
    said = CliRunner().invoke(main.program, ["usage", "--data", str(data), "--by", "tier"])
    assert said.exit_code == 2 and "remove it: sums by subscription and tier then begin" in said.output
    assert CliRunner().invoke(main.program, ["usage", "--data", str(data)]).exit_code == 0


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 2), st.sampled_from(["", "a", "b"]), st.integers(0, 200))))
def test_what_was_noted_last_before_a_minute_is_what_holds_in_it(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int, str, int]]
):
    folder = tmp_path_factory.mktemp("places")
    places, told, at = Places(), dict[int, list[tuple[int, Place]]](), 0.0
    for number, tier, subscription, gap in steps:
        at += gap
        places.note({number: Place(tier, subscription)}, at)
        told.setdefault(number, []).append((int(at) // 60 * 60, Place(tier, subscription)))
    places.write(str(folder))
    read = known(str(folder))
    for number, changes in told.items():
        for minute in range(0, int(at) + 120, 60):
            before = [place for since, place in changes if since <= minute]
            first = [place for since, place in changes if since == changes[0][0]]
            assert read.of(number, minute) == (before or first)[-1]
    edges = [0, *read.moments(0, int(at) + 60), int(at) + 60]
    for number in told:
        for begin, end in zip(edges, edges[1:], strict=False):
            assert {read.of(number, m) for m in range(begin, end, 60)} <= {read.of(number, begin)}


def test_it_follows_from_what_is_declared():
    found = loaded(SMALLEST.replace("    auth:\n", "    subscription: ai-prod-1\n    auth:\n", 1))
    assert found.document is not None and found.snapshot is not None
    assert now(found.document, found.snapshot) == {1: Place(1, "ai-prod-1")}
