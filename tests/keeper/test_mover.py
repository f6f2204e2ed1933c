import os
import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluicegate.core.booked import FEW
from sluicegate.core.settings import Price, Prices
from sluicegate.keeper.mover import Mover
from sluicegate.link import segments
from sluicegate.stores.sqlite.ledger import SUMS, Ledger, _gently
from tests.link.booking import WALL, finish, journal, record

PRICES = Prices("USD", ((1, (Price("p", (("input", 2_000_003, 1), ("output", 8_000_000, 1))),)),))


def rows(ledger):
    return dict(ledger._all("SELECT id, state FROM records"))


def sums_are_those_of_the_rows(ledger):
    for span in (60, 3600, 86400):
        said = ledger._all(
            f"SELECT start, consumer, tenant, model, deployment, currency, {', '.join(SUMS)} FROM sums WHERE span = {span} ORDER BY 1, 2, 3, 4, 5, 6"
        )
        truth = ledger._all(
            f"SELECT wall_us / 1000000 / {span} * {span} AS start, consumer, tenant, model, deployment, currency, count(*), sum(reason != ''),"
            " sum(state = 'interrupted'), sum(usage_source = 'estimated'), sum(cost IS NULL AND input IS NOT NULL), sum(coalesce(input, 0)),"
            " sum(coalesce(cached, 0)), sum(coalesce(cache_write, 0)), sum(coalesce(output, 0)), sum(coalesce(reasoning, 0)), sum(coalesce(cost, 0)), sum(overhead)"
            " FROM records GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3, 4, 5, 6"
        )
        assert said == truth


@pytest.fixture
def folder(tmp_path):
    return tmp_path


def test_what_a_dead_worker_left_open_is_interrupted_with_its_prompt_estimated(folder):
    written = journal(folder / "j", prices=PRICES)
    for n in range(4):
        written.admit(record(n))
    written.settle(finish(record(2)))
    ledger = Ledger(str(folder / "ledger.sqlite"))
    mover = Mover(str(folder / "j"), ledger)
    mover.run()
    assert rows(ledger) == {record(2).id: "settled"}, "its writer lives: the others may settle yet"
    os.close(written._lock)  # as a kill does
    mover.run()
    assert sorted(rows(ledger).values()) == ["interrupted"] * 3 + ["settled"]
    assert ledger._all(
        "SELECT input, output, usage_source, cost, node, spec FROM records WHERE id = ?", record(3).id
    ) == [(13, 0, "estimated", None, "node-1", "cafe")]
    assert mover.interrupted == 3
    sums_are_those_of_the_rows(ledger)
    assert [e for e in os.listdir(folder / "j") if e.startswith("w-")] == []
    assert ledger._all("SELECT * FROM open") == [] == ledger._all("SELECT * FROM places")
    ledger.close()


def test_what_is_open_of_a_journal_that_is_gone_is_interrupted_at_the_next_start(folder):
    """Somebody removed the folder, or brought the ledger back from a backup: it was open for ever."""
    ledger = Ledger(str(folder / "ledger.sqlite"))
    written, lives = journal(folder / "j"), journal(folder / "j")
    written.admit(record(1))
    lives.admit(record(2))
    Mover(str(folder / "j"), ledger).run()
    os.rename(folder / "j" / written.writer, folder / "elsewhere")
    mover = Mover(str(folder / "j"), ledger)
    mover.run()
    assert rows(ledger) == {record(1).id: "interrupted"} and mover.interrupted == 1
    assert ledger.openers() == {lives.writer}
    sums_are_those_of_the_rows(ledger)
    written.close()
    lives.close()
    ledger.close()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_spoilt_segment_costs_the_records_that_are_spoilt_and_is_told(tmp_path_factory, data):
    """In the middle, at the end of what a killed worker left, over the head of the file: what is whole is found."""
    folder = tmp_path_factory.mktemp("spoilt")
    written = journal(folder / "j", segment=4096)
    places = {}
    for n in range(30):
        written.admit(record(n))
        at = (written._serial, written._at)
        written.settle(finish(record(n)))
        places[record(n).id] = (*at, written._at) if written._serial == at[0] else (0, 0, 0)
    serial = data.draw(st.integers(1, written._serial))
    last = serial == written._serial
    path = folder / "j" / written.writer / segments.name(serial)
    image = bytearray(path.read_bytes())
    begin = data.draw(st.integers(0, (written._at if last else len(image)) - 1))
    garbage = data.draw(st.binary(min_size=1, max_size=300))[: len(image) - begin]
    changed = [begin + n for n, byte in enumerate(garbage) if image[begin + n] != byte]
    image[begin : begin + len(garbage)] = garbage
    if data.draw(st.booleans()):
        written.close()  # before: what is mapped is what is in the file
        image = bytearray(path.read_bytes())
        changed = [begin + n for n, byte in enumerate(garbage) if image[begin + n] != byte]
        image[begin : begin + len(garbage)] = garbage
    elif written._lock >= 0:
        os.close(written._lock)
    path.write_bytes(image)
    ledger = Ledger(str(folder / "ledger.sqlite"))
    mover = Mover(str(folder / "j"), ledger)
    mover.run()
    found = rows(ledger)
    headless = any(n < segments.FIRST for n in changed)
    for id, (of, start, end) in places.items():
        if of and not (of == serial and (headless or any(start <= n < end for n in changed))):
            assert found.get(id) == "settled", (id, of, start, end)
    assert set(mover.damaged) <= {f"{written.writer}/{segments.name(serial)}"}
    if list(found.values()).count("settled") < 30 and not last:
        assert mover.damaged
    sums_are_those_of_the_rows(ledger)
    assert not ledger.openers()
    ledger.close()


def test_a_journal_that_cannot_be_read_holds_up_no_other(folder):
    """Somebody once ran the gateway as another user: its folder was the first, and nothing was moved any more."""
    first = journal(folder / "j")
    first.close()
    path = folder / "j" / first.writer / segments.name(1)
    path.unlink()
    path.mkdir()
    written = journal(folder / "j")
    written.admit(record(1))
    written.settle(finish(record(1)))
    ledger = Ledger(str(folder / "ledger.sqlite"))
    mover = Mover(str(folder / "j"), ledger)
    with pytest.raises(OSError, match=first.writer):
        mover.run()
    assert rows(ledger) == {record(1).id: "settled"}
    path.rmdir()
    mover.run()
    assert not (folder / "j" / first.writer).exists()
    written.close()
    ledger.close()


def test_garbage_in_the_last_segment_of_a_killed_worker_is_told_and_a_torn_end_is_not(folder):
    for spoil in (True, False):
        written = journal(folder / "j")
        for n in range(10):
            written.admit(record(100 * spoil + n))
            middle = written._at
            written.settle(finish(record(100 * spoil + n)))
        torn = written._at - 1 if not spoil else middle - 300
        path = folder / "j" / written.writer / segments.name(1)
        image = bytearray(path.read_bytes())
        image[torn] ^= 0x55
        path.write_bytes(image)
        os.close(written._lock)
        ledger = Ledger(str(folder / "ledger.sqlite"))
        mover = Mover(str(folder / "j"), ledger)
        mover.run()
        assert mover.damaged == ([f"{written.writer}/{segments.name(1)}"] if spoil else [])
        assert record(100 * spoil + 9).id in rows(ledger)
        ledger.close()


def test_moved_segments_are_kept_then_recycled_and_bounded(folder, monkeypatch):
    now = [0.0]
    for _ in range(6):
        written = journal(folder / "j")
        written.admit(record(1))
        written.close()
    ledger = Ledger(str(folder / "ledger.sqlite"))
    mover = Mover(str(folder / "j"), ledger, keep_s=100.0, wall=lambda: now[0])
    mover.run()
    done, spare = folder / "j" / segments.DONE, folder / "j" / segments.SPARE
    at = max(f.stat().st_mtime for f in done.iterdir())
    now[0] = at + 50
    mover.tidy()
    assert len(list(done.iterdir())) == 6 and not list(spare.iterdir())
    now[0] = at + 101
    mover.tidy()
    assert not list(done.iterdir()) and len(list(spare.iterdir())) == 4
    ledger.close()


class Killed(Exception):
    pass


class Dying:
    """A connection that dies at its nth statement, as a process does: what was not committed is gone."""

    def __init__(self, db: sqlite3.Connection, left: int) -> None:
        self.db = db
        self.left = left

    def _one(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Killed

    def execute(self, *args):
        self._one()
        return self.db.execute(*args)

    def executemany(self, *args):
        self._one()
        return self.db.executemany(*args)

    def __enter__(self):
        return self.db.__enter__()

    def __exit__(self, *exc):
        if not exc[0]:
            try:
                self._one()
            except Killed:
                self.db.rollback()
                raise
        return self.db.__exit__(*exc)

    def close(self):
        self.db.close()


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_whatever_the_interleaving_and_wherever_it_is_killed_each_record_is_there_once(tmp_path_factory, data):
    """Writers, deaths of writers, and a mover that dies at any statement or between any two files."""
    folder = tmp_path_factory.mktemp("m")
    path, home = str(folder / "ledger.sqlite"), str(folder / "j")
    live, opened, expected, number = [], {}, {}, 0
    ledger = Ledger(path)
    for _ in range(data.draw(st.integers(1, 25))):
        step = data.draw(st.sampled_from(("start", "admit", "settle", "die", "move", "kill", "kill", "tear", "tidy")))
        if step == "start" or not live:
            written = journal(home, prices=PRICES, segment=data.draw(st.sampled_from((4096, 8192))))
            live.append(written)
            opened[written] = []
        written = data.draw(st.sampled_from(live))
        if step == "admit":
            for _ in range(data.draw(st.integers(1, 15))):
                number += 1
                one = record(number, at=100.0 + number * 37, consumer=number % 3)
                written.admit(one)
                opened[written].append(one)
        elif step == "settle":
            for one in opened[written][: data.draw(st.integers(0, 15))]:
                opened[written].remove(one)
                written.settle(finish(one))
                expected[one.id] = "settled"
        elif step in ("die", "tear"):
            live.remove(written)
            if step == "tear" and written._at + 30 < written._end:
                written._map[written._at : written._at + 20] = b"\x64\0\0\0\1\2\3\4half a frame"
            os.close(written._lock)
            expected.update((one.id, "interrupted") for one in opened.pop(written))
        elif step == "move":
            Mover(home, ledger).run()
        elif step == "tidy":
            Mover(home, ledger, keep_s=-1).tidy()
        else:
            ledger._db = Dying(ledger._db, data.draw(st.integers(0, 25)))
            try:
                Mover(home, ledger).run()
            except Killed:
                pass
            ledger._db.close()
            ledger = Ledger(path)
        sums_are_those_of_the_rows(ledger)
    for written in live:
        written.close()
        expected.update((one.id, "interrupted") for one in opened.pop(written))
    Mover(home, ledger).run()
    assert rows(ledger) == expected
    assert ledger._all("SELECT count(*) FROM open") == [(0,)]
    sums_are_those_of_the_rows(ledger)
    ledger.close()


def test_the_same_record_again_changes_nothing(folder):
    ledger = Ledger(str(folder / "ledger.sqlite"))
    for _ in range(2):
        written = journal(folder / "j", prices=PRICES)
        one = record(5)
        written.admit(one)
        written.settle(finish(one))
        written.close()
        Mover(str(folder / "j"), ledger).run()
    assert ledger.repeated == 1 and len(rows(ledger)) == 1
    assert ledger._all("SELECT requests FROM sums") == [(1,)] * 3
    assert ledger._all("SELECT * FROM open") == []
    ledger.close()


def test_records_are_spread_over_time_as_they_were_made(folder):
    written = journal(folder / "j")
    one = record(1, at=100.0 + 7200)
    written.admit(one)
    written.settle(finish(one))
    written.close()
    ledger = Ledger(str(folder / "ledger.sqlite"))
    Mover(str(folder / "j"), ledger).run()
    assert ledger._all("SELECT wall_us FROM records") == [(int((WALL + 7200) * 1e6),)]
    ledger.close()


def test_a_writer_that_has_made_its_folder_and_no_segment_yet_stops_nobody(folder, monkeypatch):
    """It is seen between two system calls. Found by kills: the mover ended, and what came after it was not moved."""
    first = journal(folder / "j")
    first.admit(record(1))
    first.settle(finish(record(1)))
    monkeypatch.setattr(os, "posix_fallocate", fails)
    early = journal(folder / "j")
    assert segments.serials(str(folder / "j" / early.writer)) == []
    ledger = Ledger(str(folder / "ledger.sqlite"))
    Mover(str(folder / "j"), ledger).run()
    assert rows(ledger) == {record(1).id: "settled"}
    early.close()
    Mover(str(folder / "j"), ledger).run()
    assert not (folder / "j" / early.writer).exists()
    first.close()
    ledger.close()


def fails(*_):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(("count", "lets"), [(1, 1), (FEW, FEW), (FEW + 1, 0)])
def test_while_it_keeps_up_others_go_first_and_once_it_does_not_it_goes_on(monkeypatch, count, lets):
    """With a worker always busy on its core, who lets it go first after each record would be behind for ever."""
    yields = []
    monkeypatch.setattr("sluicegate.stores.sqlite.ledger.sched_yield", lambda: yields.append(1))
    assert list(_gently(range(count))) == list(range(count))
    assert len(yields) == lets
