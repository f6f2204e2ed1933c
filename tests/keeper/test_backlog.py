"""What the metrics page says of journal and ledger: behind, failing, and back again."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sluicegate.core.booked import Unusable
from sluicegate.core.settings import Retention
from sluicegate.keeper.backlog import backlog
from sluicegate.keeper.mover import Moving
from sluicegate.link.counters import Counters
from sluicegate.stores.sqlite.ledger import Ledger
from sluicegate.worker import Worker
from tests.gateway import directory, instance, snapshot
from tests.link.booking import WALL, finish, journal, record

SEGMENT = 16 * 1024


class Watched:
    """A mover without a thread, on a clock of ours, over a ledger that may be out of reach."""

    def __init__(self, folder: Path) -> None:
        self.clock = 1000.0
        self.wall = time.time() - self.clock
        self.path = str(folder / "ledger.sqlite")
        self.broken = False
        self.said: list[str] = []
        self.retention = Retention()
        self.moving = Moving(
            str(folder / "j"), self.open, (Unusable,), lambda: self.retention, lambda event, **_: self.said.append(event),
            now=lambda: self.clock, wall=lambda: self.wall + self.clock,
        )  # fmt: skip

    def open(self) -> Ledger:
        if self.broken:
            raise Unusable("the disk is gone")
        return Ledger(self.path)

    def after(self, seconds: float) -> None:
        self.clock += seconds
        self.moving.turn()

    def told(self, wall: float = WALL) -> dict[tuple[str, str], float]:
        def only(labels: Mapping[str, str]) -> str:
            return "".join(labels.values())

        return {
            (name, only(labels)): v for name, _, _, all_ in backlog(self.moving, self.clock, wall) for labels, v in all_
        }


def test_G10_the_ledgers_lag_grows_while_it_cannot_be_written_and_falls_when_it_can(tmp_path: Path):
    written = journal(tmp_path / "j")
    watched = Watched(tmp_path)
    watched.broken = True
    for n in range(10):
        written.admit(record(n))
        written.settle(finish(record(n)))
    for _ in range(3):
        watched.after(20.0)
    found = watched.told()
    assert found["sluicegate_ledger_lag_seconds", ""] == 60.0 and found["sluicegate_ledger_failing", ""] == 1
    assert watched.said == ["ledger.failing"]
    watched.broken = False
    watched.after(1.0)
    watched.clock += 0.25
    found = watched.told()
    assert found["sluicegate_ledger_lag_seconds", ""] == 0.25 and found["sluicegate_ledger_failing", ""] == 0
    written.close()


def test_G10_the_oldest_request_that_is_open_is_told_with_its_age(tmp_path: Path):
    written = journal(tmp_path / "j")
    watched = Watched(tmp_path)
    watched.after(1.0)
    assert watched.told()["sluicegate_journal_oldest_open_seconds", ""] == 0
    for n in (7, 8):
        written.admit(record(n, at=100.0 + 10 * n))
    watched.after(1.0)
    assert watched.told(WALL + 100)["sluicegate_journal_oldest_open_seconds", ""] == 30.0
    written.settle(finish(record(7, at=170.0)))
    watched.after(1.0)
    assert watched.told(WALL + 100)["sluicegate_journal_oldest_open_seconds", ""] == 20.0
    os.close(written._lock)  # as a kill does: what was open is interrupted
    watched.after(1.0)
    assert watched.told(WALL + 100)["sluicegate_journal_oldest_open_seconds", ""] == 0


def test_G10_the_bytes_of_the_journal_are_those_on_the_disk(tmp_path: Path):
    watched = Watched(tmp_path)
    assert {watched.told()["sluicegate_journal_bytes", s] for s in ("open", "moved", "spare")} == {0}
    written = journal(tmp_path / "j")
    for n in range(200):
        written.admit(record(n))
        written.settle(finish(record(n)))
    before = watched.told()["sluicegate_journal_bytes", "open"]
    assert before >= 3 * SEGMENT and before % SEGMENT == 0
    watched.after(1.0)
    found = watched.told()
    assert 0 < found["sluicegate_journal_bytes", "moved"] == before - found["sluicegate_journal_bytes", "open"]
    written.close()


def test_G10_a_worker_counts_what_its_journal_lost_and_whether_it_can_write(tmp_path: Path):
    (tmp_path / "file").write_text("")
    counters = Counters()

    async def run() -> Any:
        worker = Worker(snapshot([instance(1, 1)]), directory(), counters, str(tmp_path / "file" / "journal"))
        assert worker.written is not None and worker.written.failing
        worker.written._most = 300
        for n in range(5):
            worker.written.admit(record(n))
        worker.publish()
        worker.publish()
        worker.written.close()
        worker.upstream.close()

    asyncio.run(run())
    found = {name: counters.cells[counters._rows[name, ()]] for name in (
        "sluicegate_journal_lost_total", "sluicegate_journal_failing", "sluicegate_journal_stalled_seconds_total",
    )}  # fmt: skip
    assert 0 < found["sluicegate_journal_lost_total"] < 5 and found["sluicegate_journal_failing"] == 1


def test_while_there_is_something_to_move_its_turns_are_short_and_many(tmp_path: Path):
    """A hundred records in one turn hold up a worker of the same core for 2.3 ms."""
    written = journal(tmp_path / "j")
    watched = Watched(tmp_path)
    watched.after(1.0)
    assert watched.moving.pause() == 0.25
    written.admit(record(1))
    written.settle(finish(record(1)))
    watched.after(1.0)
    assert watched.moving.pause() == 0.05
    watched.after(0.05)
    assert watched.moving.pause() == 0.25
    watched.broken, watched.moving.mover = True, None
    watched.after(0.25)
    assert watched.moving.pause() == 1.0
    written.close()


def settled_long_ago(folder: Path, number: int) -> None:
    written = journal(folder / "j", wall=lambda: WALL - 500 * 86400.0, segment=256 * 1024)
    for n in range(number):
        written.admit(record(n))
        written.settle(finish(record(n)))
    written.close()


def test_what_is_too_old_is_gone_as_fast_as_it_comes(tmp_path: Path):
    """A thousand rows each ten seconds were a hundred a second: a gateway with more traffic kept all it ever had."""
    watched = Watched(tmp_path)
    settled_long_ago(tmp_path, 2500)
    watched.after(1.0)
    ledger = watched.moving.mover.ledger
    for _ in range(3):
        watched.after(0.25)
    assert ledger._all("SELECT count(*) FROM records") == [(0,)]
    assert ledger._all("SELECT count(*) FROM sums WHERE span = 60") == [(0,)]
    assert ledger._all("SELECT sum(requests) FROM sums WHERE span = 86400") == [(2500,)]


def test_how_long_records_are_kept_changes_with_the_configuration(tmp_path: Path):
    watched = Watched(tmp_path)
    watched.retention = Retention(records=1e9, journal=1e9)
    settled_long_ago(tmp_path, 3)
    watched.after(1.0)
    ledger, done = watched.moving.mover.ledger, tmp_path / "j" / "done"
    assert ledger._all("SELECT count(*) FROM records") == [(3,)] and len(list(done.iterdir())) == 1
    watched.retention = Retention(records=86400.0, journal=0.0)
    watched.after(60.0)
    assert ledger._all("SELECT count(*) FROM records") == [(0,)] and not list(done.iterdir())


def test_a_segment_that_cannot_be_read_is_told_once(tmp_path: Path):
    watched = Watched(tmp_path)
    written = journal(tmp_path / "j")
    spoilt = 0
    for n in range(9):
        written.admit(record(n))
        spoilt = written._at if n == 4 else spoilt
        written.settle(finish(record(n)))
    path = tmp_path / "j" / written.writer / "00000001.journal"
    image = bytearray(path.read_bytes())
    image[spoilt + 50] ^= 1
    path.write_bytes(image)
    os.close(written._lock)
    for _ in range(3):
        watched.after(1.0)
    assert watched.said == ["journal.damaged"]
    ledger = watched.moving.mover.ledger
    assert ledger._all("SELECT state, count(*) FROM records GROUP BY 1") == [("interrupted", 1), ("settled", 8)]


def test_a_ledger_that_was_moved_away_is_begun_anew_with_what_the_journals_hold(tmp_path: Path):
    """It went on being written where nobody could read it, and nobody was told."""
    written = journal(tmp_path / "j")
    watched = Watched(tmp_path)
    for n in range(6):
        if n == 3:
            os.rename(watched.path, tmp_path / "kept")
        written.admit(record(n))
        written.settle(finish(record(n)))
        watched.after(1.0)
    assert watched.said == ["ledger.gone"]
    found = Ledger(watched.path)
    assert found._all("SELECT count(*) FROM records") == [(6,)], "its journal's segment was not put away yet"
    found.close()
    written.close()


def test_a_long_backlog_is_moved_in_turns_beside_all_else(tmp_path: Path):
    """A start after a day without a ledger was not ready for minutes, and nothing was checkpointed meanwhile."""
    written = journal(tmp_path / "j", segment=256 * 1024)
    for n in range(3000):
        written.admit(record(n))
        written.settle(finish(record(n)))
    written.close()
    watched = Watched(tmp_path)
    slow = watched.moving._now

    def later() -> float:  # each look at the clock finds it two seconds later
        watched.clock += 2.0
        return slow()

    watched.moving._now = later
    turns, moved = 0, [0]
    while moved[-1] < 3000:
        turns += 1
        assert turns < 50
        before = watched.clock
        watched.moving.turn()
        assert watched.clock - before <= 8.0
        mover = watched.moving.mover
        assert mover is not None and mover.ledger._all("SELECT count(*) FROM records") == [(mover.moved,)]
        assert watched.moving.caught_up == 1000.0 or mover.moved == 3000
        moved.append(mover.moved)
    assert turns >= 2
    for _ in range(9):
        watched.moving.turn()
    assert watched.moving.caught_up > 1000.0 and watched.moving.pause() == 0.25


def test_beside_a_journal_that_cannot_be_read_the_house_is_kept_in_order(tmp_path: Path):
    broken = journal(tmp_path / "j")
    broken.close()
    path = tmp_path / "j" / broken.writer / "00000001.journal"
    path.unlink()
    path.mkdir()
    settled_long_ago(tmp_path, 3)
    watched = Watched(tmp_path)
    watched.after(1.0)
    watched.after(1.0)
    assert watched.said == ["ledger.failing"] and "is a directory" in watched.moving.failing
    ledger = watched.moving.mover.ledger
    assert ledger._all("SELECT count(*) FROM records") == [(0,)]
    path.rmdir()
    watched.after(1.0)
    assert watched.said == ["ledger.failing", "ledger.well"]


def test_a_clock_that_is_set_far_forward_deletes_nothing_for_an_hour(tmp_path: Path):
    """A year that a machine was ahead for a minute cost all records."""
    watched = Watched(tmp_path)
    watched.wall = WALL - watched.clock
    watched.moving._offset = watched.wall
    written = journal(tmp_path / "j")
    for n in range(3):
        written.admit(record(n))
        written.settle(finish(record(n)))
    watched.after(1.0)
    ledger = watched.moving.mover.ledger

    def kept() -> int:
        return ledger._all("SELECT count(*) FROM records")[0][0]

    watched.wall += 10 * 366 * 86400.0
    for _ in range(300):
        watched.after(11.0)
    assert kept() == 3
    watched.wall -= 10 * 366 * 86400.0
    for _ in range(500):
        watched.after(11.0)
    assert kept() == 3, "it was a mistake"
    watched.wall += 10 * 366 * 86400.0
    for _ in range(400):
        watched.after(11.0)
    assert kept() == 0, "it was none"
    written.close()
