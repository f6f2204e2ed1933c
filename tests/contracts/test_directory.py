"""What every engine of the directory store does alike."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sluicegate.core.booked import Unusable
from sluicegate.core.kept import Kept, KeptKey, Stale
from sluicegate.core.ports import Directory
from sluicegate.stores.memory.directory import Directory as Memory
from sluicegate.stores.sqlite.directory import Directory as Sqlite
from sluicegate.stores.sqlite.directory import kept_in

SHOP = Kept(
    "web-shop", "retail", '{"models":["chat"]}',
    (KeptKey("5f2a9c10", b"d" * 16, "2026-11-21T00:00:00Z", "ops", 1e9, True), KeptKey("77b0e3d4", b"e" * 16, "", "")),
    True, 1, "2026-11-21T00:00:00Z", "ops", "2026-11-21T00:00:01Z", "uid 0",
)  # fmt: skip


@pytest.fixture(params=["memory", "sqlite"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Directory]:
    if request.param == "sqlite":
        return lambda: Sqlite(str(tmp_path / "directory.sqlite"))
    one = Memory()
    return lambda: one


@pytest.fixture
def store(opened: Callable[[], Directory]) -> Iterator[Directory]:
    found = opened()
    yield found
    found.close()


def test_what_is_put_is_there_whole(store: Directory):
    assert store.all() == [] and store.get("web-shop") is None
    store.put(SHOP, 0)
    assert store.get("web-shop") == SHOP and list(store.all()) == [SHOP]


def test_everybody_stands_by_name(store: Directory):
    for name in ("b", "a", "c"):
        store.put(Kept(name, "t", "{}"), 0)
    assert [k.name for k in store.all()] == ["a", "b", "c"]


def test_a_change_replaces_all_of_it(store: Directory):
    store.put(SHOP, 0)
    other = replace(SHOP, keys=SHOP.keys[1:], disabled=False, version=2)
    store.put(other, 1)
    assert store.get("web-shop") == other
    store.put(replace(other, keys=(), version=3), 2)
    assert store.get("web-shop") == replace(other, keys=(), version=3)


def test_whoever_expects_another_version_changes_nothing(store: Directory):
    store.put(SHOP, 0)
    for expect in (0, 2):
        with pytest.raises(Stale):
            store.put(replace(SHOP, tenant="other"), expect)
        with pytest.raises(Stale):
            store.remove("web-shop", expect)
    with pytest.raises(Stale):
        store.put(Kept("new", "t", "{}"), 1)
    assert list(store.all()) == [SHOP]


def test_what_is_removed_is_gone_with_its_keys(store: Directory):
    store.put(SHOP, 0)
    store.remove("web-shop", 1)
    assert store.all() == [] and store.get("web-shop") is None
    store.put(replace(SHOP, keys=()), 0)
    assert store.get("web-shop") == replace(SHOP, keys=())


def test_of_many_who_expect_one_version_one_wins(store: Directory):
    store.put(SHOP, 0)
    won: list[str] = []

    def change(n: int) -> None:
        try:
            store.put(replace(SHOP, version=2, changed_by=str(n)), 1)
            won.append(str(n))
        except Stale:
            pass

    threads = [threading.Thread(target=change, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = store.get("web-shop")
    assert len(won) == 1 and found is not None and found.changed_by == won[0]


def test_sqlite_keeps_it_across_restarts_for_its_user_alone(tmp_path: Path):
    path = tmp_path / "directory.sqlite"
    assert kept_in(str(path)) == []
    store = Sqlite(str(path))
    store.put(SHOP, 0)
    assert kept_in(str(path)) == [SHOP], "beside its writer"
    store.close()
    again = Sqlite(str(path))
    assert list(again.all()) == [SHOP]
    again.close()
    assert path.stat().st_mode & 0o777 == 0o600


def test_sqlite_refuses_what_is_no_directory_of_ours(tmp_path: Path):
    path = tmp_path / "directory.sqlite"
    path.write_bytes(b"this is not a database, though it is long enough to be taken for one" * 20)
    for opens in (Sqlite, kept_in):
        with pytest.raises(Unusable, match="damaged, or no directory"):
            opens(str(path))
    path.unlink()
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE mine (x)")
    db.commit()
    db.close()
    with pytest.raises(Unusable, match="something else"):
        Sqlite(str(path))


def test_sqlite_that_cannot_write_changes_nothing(tmp_path: Path):
    path = tmp_path / "directory.sqlite"
    store = Sqlite(str(path))
    store.put(SHOP, 0)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    store._db.execute("PRAGMA busy_timeout = 0")
    with pytest.raises(Unusable, match="cannot be written"):
        store.put(replace(SHOP, version=2), 1)
    other.execute("ROLLBACK")
    other.close()
    store.put(replace(SHOP, version=2), 1)
    store.close()
