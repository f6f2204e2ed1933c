import sqlite3

import pytest

from sluicegate.core.booked import Circumstances, Unusable
from sluicegate.core.record import Context
from sluicegate.core.settings import Price, Prices
from sluicegate.keeper.mover import Mover
from sluicegate.stores.sqlite import directory, schema
from sluicegate.stores.sqlite.ledger import Ledger
from sluicegate.stores.sqlite.reader import Reader
from tests.link.booking import WALL, finish, journal, record


def test_a_damaged_file_is_a_clear_error(tmp_path):
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"this is not a database, though it is long enough to be taken for one" * 20)
    with pytest.raises(Unusable, match=r"ledger.sqlite is damaged, or no ledger: .*Restore it from a backup"):
        Ledger(str(path))


def test_a_ledger_of_a_newer_version_is_left_alone(tmp_path):
    path = str(tmp_path / "ledger.sqlite")
    Ledger(path).close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 7")
    db.close()
    with pytest.raises(Unusable, match="is a ledger of version 7; this gateway reads up to 1: use a newer one"):
        Ledger(path)


def test_somebody_elses_database_is_not_written(tmp_path):
    path = str(tmp_path / "ledger.sqlite")
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE mine (x)")
    db.commit()
    db.close()
    with pytest.raises(Unusable, match="a database of something else; move it away"):
        Ledger(path)


def test_a_folder_without_rights_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Unusable, match="cannot be opened: file exists"):
        Ledger(str(tmp_path / "file" / "ledger.sqlite"))


def test_the_file_is_ours_alone_and_says_what_it_is(tmp_path):
    path = tmp_path / "ledger.sqlite"
    ledger = Ledger(str(path))
    assert path.stat().st_mode & 0o777 == 0o600
    assert ledger._all("PRAGMA application_id") == [(schema.FILE.application,)]
    assert ledger._all("PRAGMA journal_mode") == [("wal",)]
    ledger.close()


def test_old_records_leave_in_small_steps_and_their_hours_stay(tmp_path):
    written = journal(tmp_path / "j", segment=1 << 20)
    for n in range(50):
        one = record(n, at=100.0 + n * 3600)
        written.admit(one)
        written.settle(finish(one))
    written.close()
    ledger = Ledger(str(tmp_path / "ledger.sqlite"))
    Mover(str(tmp_path / "j"), ledger).run()
    before = int((WALL + 20 * 3600) * 1e6)
    assert [ledger.expire(before, 8) for _ in range(4)] == [8, 8, 4, 0]
    assert ledger._all("SELECT count(*) FROM records") == [(30,)]
    assert ledger._all("SELECT span, sum(requests) FROM sums GROUP BY span") == [(60, 30), (3600, 50), (86400, 50)]
    ledger.close()


def test_readers_never_wait_for_the_writer(tmp_path):
    path = str(tmp_path / "ledger.sqlite")
    ledger = Ledger(path)
    ledger._db.execute("BEGIN IMMEDIATE")
    ledger._db.execute("INSERT INTO places VALUES ('w', 1, 2, 'n', 's')")
    reader = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=0)
    assert reader.execute("SELECT count(*) FROM places").fetchone() == (0,)
    ledger._db.commit()
    assert reader.execute("SELECT count(*) FROM places").fetchone() == (1,)
    reader.close()
    ledger.close()


def test_what_is_open_comes_back_as_it_was_admitted(tmp_path):
    written = journal(tmp_path / "j")
    one = record(1)
    one.context = Context(boundary="eu", end_user="ann", labels=(("cost_centre", "4711"),), region="westeurope")
    one.first = 7
    written.admit(one)
    written.admit(record(2))
    ledger = Ledger(str(tmp_path / "ledger.sqlite"))
    Mover(str(tmp_path / "j"), ledger).run()
    found = {a.id: a for a, _, _ in ledger.open(written.writer, 10)}
    context = Circumstances(boundary="eu", end_user="ann", labels=(("cost_centre", "4711"),), region="westeurope")
    assert (found[one.id].context, found[one.id].deployment) == (context, 7)
    assert isinstance(found[one.id].context, Circumstances) and found[record(2).id].context is None
    ledger.close()
    written.close()


@pytest.mark.parametrize("check", [schema.FILE.check, directory.FILE.check])
def test_a_full_disk_is_no_reason_to_bring_back_a_backup(check):
    class Full:
        def execute(self, sql):
            raise sqlite3.OperationalError("database or disk is full")

    with pytest.raises(Unusable, match=r"cannot be read: database or disk is full$"):
        check(Full(), "ledger.sqlite")


def test_a_year_in_a_currency_of_large_numbers_is_summed_exactly(tmp_path):
    """More nano-units than 64 bits hold; and a price that was mistyped stops nobody's records."""
    prices = Prices("IDR", ((1, (Price("p", (("input", 10**15, 1), ("output", 0, 1))),)),))
    mad = Prices("IDR", ((1, (Price("mad", (("input", 10**24, 1), ("output", 0, 1))),)),))
    written = journal(tmp_path / "j", prices=prices)
    for n in range(40):
        if n == 39:
            written.adopt("cafe", mad, "node-1")
        one = finish(record(n, at=100.0 + n * 86400.0))
        one.usage.input, one.usage.cached = 600_001, 0
        written.admit(one)
        written.settle(one)
    written.close()
    ledger = Ledger(str(tmp_path / "ledger.sqlite"))
    Mover(str(tmp_path / "j"), ledger).run()
    reader = Reader(str(tmp_path / "ledger.sqlite"))
    exact = 39 * 600_001 * 10**12
    assert exact > 2**63
    for by in ((), ("end_user",)):
        whole = [s for s in reader.usage(0, 2 * 10**9, by) if s.money.get("IDR", (0, 0))[0]]
        assert [s.money for s in whole] == [{"IDR": (exact, 0)}]
        assert sum(s.counts["unpriced"] for s in reader.usage(0, 2 * 10**9, by)) == 1
    reader.close()
    ledger.close()
