"""A SQLite file of ours in `gateway.data`: for this user's eyes only, marked as what it is, with the version of its
tables."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass
from urllib.parse import quote

from sluicegate.core.booked import Unusable


@dataclass(frozen=True, slots=True)
class File:
    """One kind of file. `noun`: what it is, in errors; `application`: marks it as ours; `damaged`: what to do then."""

    noun: str
    application: int
    version: int
    tables: tuple[str, ...]
    damaged: str

    def connect(self, path: str) -> sqlite3.Connection:
        """To write, from any thread, one at a time. Raises Unusable."""
        try:
            os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            return sqlite3.connect(path, timeout=5.0, check_same_thread=False, isolation_level=None)
        except (sqlite3.Error, OSError) as e:
            raise _closed(path, e) from None

    def look(self, path: str) -> sqlite3.Connection:
        """To read only, from any thread, one at a time. Raises Unusable."""
        try:
            return sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, timeout=5.0, check_same_thread=False)
        except sqlite3.Error as e:
            raise _closed(path, e) from None

    def prepare(self, db: sqlite3.Connection, path: str, synchronous: str) -> None:
        """Tables of this version, made in an empty file; changes are appended to a log beside it. Raises Unusable."""
        try:
            if self.check(db, path) == 0:
                with db:
                    db.execute("BEGIN IMMEDIATE")
                    if self.check(db, path) == 0:  # nobody was quicker
                        for table in self.tables:
                            db.execute(table)
                        db.execute(f"PRAGMA application_id = {self.application}")
                        db.execute(f"PRAGMA user_version = {self.version}")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute(f"PRAGMA synchronous = {synchronous}")
        except sqlite3.Error as e:
            raise Unusable(f"{path} cannot be used: {e}") from None

    def check(self, db: sqlite3.Connection, path: str) -> int:
        """The version of the file, 0 for an empty one. Raises Unusable."""
        try:
            version = int(db.execute("PRAGMA user_version").fetchone()[0])
            owner = int(db.execute("PRAGMA application_id").fetchone()[0])
            empty = not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        except sqlite3.OperationalError as e:  # a full disk, a lock: no reason to bring back a backup
            raise Unusable(f"{path} cannot be read: {e}") from None
        except sqlite3.DatabaseError as e:
            raise Unusable(f"{path} is damaged, or no {self.noun}: {e}. {self.damaged}") from None
        if empty and not version:
            return 0
        if owner != self.application:
            raise Unusable(f"{path} is a database of something else; move it away")
        if version > self.version:
            known = f"this gateway reads up to {self.version}: use a newer one"
            raise Unusable(f"{path} is a {self.noun} of version {version}; {known}")
        return version


def _closed(path: str, e: sqlite3.Error | OSError) -> Unusable:
    return Unusable(f"{path} cannot be opened: {str(getattr(e, 'strerror', None) or e).lower()}")
