"""The access log: one line a request, opened anew when asked, and a reader that stands still costs lines, not time."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from sluicegate.core.entry import Entry, Tried, entry
from sluicegate.core.events import Usage
from sluicegate.core.record import Attempt, UsageRecord
from sluicegate.telemetry import accesslog
from sluicegate.telemetry.accesslog import AccessLog, line

ENTRY = Entry(
    "0" * 32, 1_700_000_000.1234, 1.25, 0.5, "chat_completions", "chat", "retail", 7, 200, "", "done", "settled",
    True, False, (10, 0, 0, 5, 0), [Tried("weu/ptu", 429, "upstream.throttled.rate", 0.01), Tried("weu/std", 200, "", 1.2)],
)  # fmt: skip


def test_a_line_says_what_happened_and_nothing_that_is_empty():
    assert json.loads(line(ENTRY, "web-shop")) == {
        "time": "2023-11-14T22:13:20.123Z", "id": "0" * 32, "api": "chat_completions", "tenant": "retail",
        "consumer": "web-shop", "model": "chat", "status": 200, "how": "done", "state": "settled", "stream": True,
        "ms": 1250.0, "first_token_ms": 500.0, "estimated": False,
        "tokens": {"input": 10, "cached": 0, "cache_write": 0, "output": 5, "reasoning": 0},
        "attempts": [
            {"deployment": "weu/ptu", "status": 429, "ms": 10.0, "cause": "upstream.throttled.rate"},
            {"deployment": "weu/std", "status": 200, "ms": 1200.0},
        ],
    }  # fmt: skip


def test_an_entry_has_no_text_of_a_client_that_was_not_let_in():
    record = UsageRecord("1" * 32, "chat_completions", 10.0)
    record.model, record.state, record.status, record.reason = "made\nup", "refused", 404, "route.model"
    told = entry(record, 1_700_000_000.0, {})
    assert told.model == "" and told.wall == 1_700_000_010.0
    assert line(told, "").count(b"\n") == 1


def test_an_entry_names_deployments_and_keeps_token_classes_apart():
    record = UsageRecord("1" * 32, "chat_completions", 10.0)
    record.model, record.state, record.ended_at, record.usage = "chat", "settled", 10.5, Usage(1, 2, 3, 4, 5)
    attempt = Attempt(3, 10.0)
    attempt.ended_at, attempt.status = 10.5, 200
    record.attempts = [attempt]
    told = entry(record, 0.0, {3: "weu/std"})
    assert told.tokens == (1, 3, 4, 2, 5)
    assert told.attempts == [Tried("weu/std", 200, "", 0.5)]


def test_lines_go_where_they_are_wanted_and_to_a_new_file_when_it_was_moved(tmp_path: Path):
    log = AccessLog(str)
    log.take([ENTRY])  # nobody wants them: nothing happens
    log.configure(str(tmp_path / "a.log"))
    log.take([ENTRY, ENTRY])
    log.configure(str(tmp_path / "b.log"))
    log.take([ENTRY])
    log.stop()
    assert [(tmp_path / n).read_text().count("\n") for n in ("a.log", "b.log")] == [2, 1]

    log = AccessLog(str)
    log.configure(str(tmp_path / "c.log"))
    log.take([ENTRY])
    while not (tmp_path / "c.log").exists() or not (tmp_path / "c.log").stat().st_size:
        pass
    os.rename(tmp_path / "c.log", tmp_path / "c.old")
    log.reopen()
    log.take([ENTRY, ENTRY])
    log.stop()
    assert [(tmp_path / n).read_text().count("\n") for n in ("c.old", "c.log")] == [1, 2]
    assert log.dropped == 0


def test_a_reader_that_stands_still_and_a_file_that_cannot_be_had_cost_lines_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(accesslog, "END_S", 0.05)
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    log = AccessLog(str)
    log.configure(str(tmp_path / "pipe"))
    for _ in range(3 * accesslog.WAITING):
        log.take([ENTRY] * 20)
    assert log.dropped > 0 and log.dropped % 20 == 0
    log.stop()
    os.close(reader)

    log = AccessLog(str)
    log.configure(str(tmp_path / "no" / "where"))
    log.take([ENTRY] * 3, dropped=4)
    log.stop()
    assert log.dropped == 7
