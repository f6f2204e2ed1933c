"""The directory as a SQLite file in `gateway.data`. A change is on the disk when it is said to be made."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from urllib.parse import quote

from sluicegate.core.booked import Unusable
from sluicegate.core.kept import Kept, KeptKey, Stale

DIRECTORY = "directory.sqlite"
"""The file, in `gateway.data`."""

VERSION = 1
APPLICATION = 0x51C39A7F
"""Marks a file as a directory of ours."""

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
_CONSUMER = "name, tenant, fields, disabled, version, made, made_by, changed, changed_by"
_KEY = "consumer, id, digest, made, by, expires, disabled"


class Directory:
    """One file, one writer. Raises Unusable where the file cannot be used."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        try:
            os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # for this user's eyes only
            self._db = sqlite3.connect(path, timeout=5.0, check_same_thread=False, isolation_level=None)
        except (sqlite3.Error, OSError) as e:
            raise Unusable(f"{path} cannot be opened: {str(getattr(e, 'strerror', None) or e).lower()}") from None
        try:
            if _check(self._db, path) == 0:
                with self._change() as db:
                    for table in TABLES:
                        db.execute(table)
                    db.execute(f"PRAGMA application_id = {APPLICATION}")
                    db.execute(f"PRAGMA user_version = {VERSION}")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
        except sqlite3.Error as e:
            self._db.close()
            raise Unusable(f"{path} cannot be used: {e}") from None
        except Unusable:
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
        with closing(sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, timeout=5.0)) as db:
            return everybody(db) if _check(db, path) else []
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


def _check(db: sqlite3.Connection, path: str) -> int:
    """The version of the file, 0 for an empty one. Raises Unusable."""
    try:
        version = int(db.execute("PRAGMA user_version").fetchone()[0])
        owner = int(db.execute("PRAGMA application_id").fetchone()[0])
        empty = not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    except sqlite3.OperationalError as e:  # a full disk, a lock: no reason to bring back a backup
        raise Unusable(f"{path} cannot be read: {e}") from None
    except sqlite3.DatabaseError as e:
        raise Unusable(f"{path} is damaged, or no directory: {e}. Restore it from a backup") from None
    if empty and not version:
        return 0
    if owner != APPLICATION:
        raise Unusable(f"{path} is a database of something else; move it away")
    if version > VERSION:
        raise Unusable(f"{path} is a directory of version {version}; this gateway reads up to {VERSION}")
    return version
