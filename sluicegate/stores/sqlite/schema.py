"""The ledger's file: its tables, its version, and how it is opened."""

from __future__ import annotations

import os
import sqlite3
from urllib.parse import quote

from sluicegate.core.booked import Unusable

LEDGER = "ledger.sqlite"
"""The file, in `gateway.data`."""

VERSION = 1
APPLICATION = 0x51C39A7E
"""Marks a file as a ledger of ours."""

TABLES = (
    """CREATE TABLE records (
        id TEXT PRIMARY KEY, wall_us INTEGER NOT NULL, node TEXT, spec TEXT, writer TEXT, kind TEXT, state TEXT,
        api TEXT, consumer INTEGER, tenant TEXT, model TEXT, deployment INTEGER, status INTEGER, reason TEXT, how TEXT,
        stream INTEGER, took_us INTEGER, first_token_us INTEGER, usage_source TEXT, input INTEGER, cached INTEGER,
        cache_write INTEGER, output INTEGER, reasoning INTEGER, currency TEXT, cost INTEGER, overhead INTEGER,
        price TEXT, service_tier TEXT, more BLOB
    ) WITHOUT ROWID""",
    "CREATE INDEX records_wall ON records (wall_us)",
    "CREATE TABLE open (id TEXT PRIMARY KEY, writer TEXT, node TEXT, spec TEXT, record BLOB) WITHOUT ROWID",
    "CREATE INDEX open_writer ON open (writer)",
    """CREATE TABLE sums (
        span INTEGER, start INTEGER, consumer INTEGER, tenant TEXT, model TEXT, deployment INTEGER, currency TEXT,
        requests INTEGER NOT NULL, refused INTEGER NOT NULL, interrupted INTEGER NOT NULL, estimated INTEGER NOT NULL,
        unpriced INTEGER NOT NULL, input INTEGER NOT NULL, cached INTEGER NOT NULL, cache_write INTEGER NOT NULL,
        output INTEGER NOT NULL, reasoning INTEGER NOT NULL, cost INTEGER NOT NULL, overhead INTEGER NOT NULL,
        PRIMARY KEY (span, start, consumer, tenant, model, deployment, currency)
    ) WITHOUT ROWID""",
    "CREATE TABLE places (writer TEXT PRIMARY KEY, serial INTEGER, offset INTEGER, node TEXT, spec TEXT) WITHOUT ROWID",
)


def connect(path: str, write: bool = True) -> sqlite3.Connection:
    """A connection for any thread, one at a time. Raises Unusable."""
    try:
        if not write:
            if not os.path.exists(path):
                raise Unusable(f"{path} is not there: a gateway makes it when it starts")
            db = sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, timeout=5.0, check_same_thread=False)
        else:
            os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # for this user's eyes only
            db = sqlite3.connect(path, timeout=5.0, check_same_thread=False)
    except (sqlite3.Error, OSError) as e:
        raise Unusable(f"{path} cannot be opened: {str(getattr(e, 'strerror', None) or e).lower()}") from None
    return db


def prepare(db: sqlite3.Connection, path: str) -> None:
    """Tables of this version, made in an empty file. Raises Unusable."""
    try:
        if check(db, path) == 0:
            with db:
                db.execute("BEGIN IMMEDIATE")
                if check(db, path) == 0:
                    for table in TABLES:
                        db.execute(table)
                    db.execute(f"PRAGMA application_id = {APPLICATION}")
                    db.execute(f"PRAGMA user_version = {VERSION}")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA wal_autocheckpoint = 0")
    except sqlite3.Error as e:
        raise Unusable(f"{path} cannot be used: {e}") from None


def check(db: sqlite3.Connection, path: str) -> int:
    """The version of the file, 0 for an empty one. Raises Unusable."""
    try:
        version = int(db.execute("PRAGMA user_version").fetchone()[0])
        owner = int(db.execute("PRAGMA application_id").fetchone()[0])
        empty = not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    except sqlite3.OperationalError as e:  # a full disk, a lock: no reason to bring back a backup
        raise Unusable(f"{path} cannot be read: {e}") from None
    except sqlite3.DatabaseError as e:
        raise Unusable(f"{path} is damaged, or no ledger: {e}. Restore it from a backup, or move it away") from None
    if empty and not version:
        return 0
    if owner != APPLICATION:
        raise Unusable(f"{path} is a database of something else; move it away")
    if version > VERSION:
        raise Unusable(f"{path} is a ledger of version {version}; this gateway reads up to {VERSION}: use a newer one")
    return version
