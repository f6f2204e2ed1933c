"""The directory as a SQLite file in `gateway.data`. A change is on the disk when it is said to be made."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing

from sluicegate.core.booked import Unusable
from sluicegate.core.kept import Kept, KeptKey, Stale
from sluicegate.stores.sqlite.file import File

DIRECTORY = "directory.sqlite"
"""The file, in `gateway.data`."""

TABLES = (
    """CREATE TABLE consumers (
        name TEXT PRIMARY KEY, tenant TEXT NOT NULL, fields TEXT NOT NULL, disabled INTEGER NOT NULL,
        version INTEGER NOT NULL, made TEXT NOT NULL, made_by TEXT NOT NULL, changed TEXT NOT NULL,
        changed_by TEXT NOT NULL
    ) WITHOUT ROWID""",
    """CREATE TABLE keys (
        consumer TEXT NOT NULL, place INTEGER NOT NULL, id TEXT NOT NULL, digest BLOB NOT NULL UNIQUE,
        made TEXT NOT NULL, by TEXT NOT NULL, expires REAL NOT NULL, disabled INTEGER NOT NULL,
        PRIMARY KEY (consumer, place)
    ) WITHOUT ROWID""",
)
FILE = File("directory", 0x51C39A7F, 1, TABLES, "Restore it from a backup")

_CONSUMER = "name, tenant, fields, disabled, version, made, made_by, changed, changed_by"
_KEY = "consumer, id, digest, made, by, expires, disabled"


class Directory:
    """One file, one writer. Raises Unusable where the file cannot be used."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._db = FILE.connect(path)
        try:
            FILE.prepare(self._db, path, synchronous="FULL")
        except BaseException:
            self._db.close()
            raise

    def all(self) -> Sequence[Kept]:
        """Everybody, by name."""
        with self._lock:
            return self._read()

    def get(self, name: str) -> Kept | None:
        """One of them."""
        with self._lock:
            found = self._read(" WHERE name = ?", (name,))
        return found[0] if found else None

    def put(self, kept: Kept, expect: int) -> None:
        """Keep this one, in the place of version `expect` of it. Raises Stale."""
        with self._lock, self._change() as db:
            _expect(db, kept.name, expect)
            db.execute("DELETE FROM keys WHERE consumer = ?", (kept.name,))
            db.execute(
                f"INSERT OR REPLACE INTO consumers ({_CONSUMER}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (kept.name, kept.tenant, kept.fields, kept.disabled, kept.version, kept.made, kept.made_by,
                 kept.changed, kept.changed_by),
            )  # fmt: skip
            db.executemany(
                f"INSERT INTO keys (place, {_KEY}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [(n, kept.name, k.id, k.digest, k.made, k.by, k.expires, k.disabled) for n, k in enumerate(kept.keys)],
            )

    def remove(self, name: str, expect: int) -> None:
        """Forget it. Raises Stale."""
        with self._lock, self._change() as db:
            _expect(db, name, expect)
            db.execute("DELETE FROM keys WHERE consumer = ?", (name,))
            db.execute("DELETE FROM consumers WHERE name = ?", (name,))

    def close(self) -> None:
        """No more."""
        with self._lock:
            self._db.close()

    def _change(self) -> _Change:
        return _Change(self._db, self._path)

    def _read(self, where: str = "", values: tuple[str, ...] = ()) -> list[Kept]:
        try:
            return everybody(self._db, where, values)
        except sqlite3.Error as e:
            raise Unusable(f"{self._path} cannot be read: {e}") from None


class _Change:
    """One transaction."""

    def __init__(self, db: sqlite3.Connection, path: str) -> None:
        self._db = db
        self._path = path

    def __enter__(self) -> sqlite3.Connection:
        try:
            self._db.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as e:
            raise Unusable(f"{self._path} cannot be written: {e}") from None
        return self._db

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: object) -> None:
        try:
            self._db.execute("ROLLBACK" if e is not None else "COMMIT")
        except sqlite3.Error as failed:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise Unusable(f"{self._path} cannot be written: {failed}") from None
        if isinstance(e, sqlite3.Error):
            raise Unusable(f"{self._path} cannot be written: {e}") from None


def kept_in(path: str) -> list[Kept]:
    """Everybody in the file at `path`, read beside whoever writes it; nobody where there is none. Raises Unusable."""
    if not os.path.exists(path):
        return []
    try:
        with closing(FILE.look(path)) as db:
            return everybody(db) if FILE.check(db, path) else []
    except sqlite3.Error as e:
        raise Unusable(f"{path} cannot be read: {e}") from None


def everybody(db: sqlite3.Connection, where: str = "", values: tuple[str, ...] = ()) -> list[Kept]:
    """Consumers with their keys, by name."""
    keys: dict[str, list[KeptKey]] = defaultdict(list)
    of = where.replace("name", "consumer")
    for consumer, *key in db.execute(f"SELECT {_KEY} FROM keys{of} ORDER BY consumer, place", values):
        called, digest, made, by, expires, disabled = key
        keys[consumer].append(KeptKey(called, bytes(digest), made, by, expires, bool(disabled)))
    return [
        Kept(name, tenant, fields, tuple(keys.get(name, ())), bool(disabled), version, made, made_by, changed, by)
        for name, tenant, fields, disabled, version, made, made_by, changed, by in db.execute(
            f"SELECT {_CONSUMER} FROM consumers{where} ORDER BY name", values
        )
    ]


def _expect(db: sqlite3.Connection, name: str, version: int) -> None:
    found = db.execute("SELECT version FROM consumers WHERE name = ?", (name,)).fetchone()
    if (found[0] if found else 0) != version:
        raise Stale(name)
