"""The ledger's file, and its tables."""

from __future__ import annotations

from sluicegate.stores.sqlite.file import File

LEDGER = "ledger.sqlite"
"""The file, in `gateway.data`."""

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

FILE = File("ledger", 0x51C39A7E, 1, TABLES, "Restore it from a backup, or move it away")
