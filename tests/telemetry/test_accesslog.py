"""The access log: one line a request, opened anew when asked, and a reader that stands still costs lines, not time."""

from __future__ import annotations

import json
import os
import queue
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.core.booked import Admitted, Settled, Tried, interrupted
from sluicegate.core.entry import Entry, entry
from sluicegate.core.record import UsageRecord
from sluicegate.telemetry import accesslog
from sluicegate.telemetry.accesslog import AccessLog, line, refused, stamp

NAMES = {1: "weu/ptu", 2: "weu/std"}
RECORD = Settled(
    "0" * 32, 1_700_000_000_123_400, 1_250_000, 500_000, "chat_completions", 7, "retail", "chat", True, 200, "", "done",
    "settled", "upstream", (10, 0, 0, 5, 0), "", "USD", 5, 0, "book", 2,
    (Tried(1, 0, 10_000, 429, "upstream.throttled.rate", "all", "overhead"),
     Tried(2, 11_000, 1_200_000, 200, "", "all", "consumer")), (),
)  # fmt: skip
REFUSED = Entry("1" * 32, 1_700_000_010.0, 0.0004, "chat_completions", "", 0, 401, "credential.unknown", "", False)


def written(said: accesslog.Line) -> dict[str, Any]:
    return msgspec.json.decode(msgspec.json.encode(said))


def test_a_line_says_what_happened_and_nothing_that_is_empty():
    assert written(line(RECORD, "web-shop", NAMES.__getitem__)) == {
        "time": "2023-11-14T22:13:20.123Z", "id": "0" * 32, "api": "chat_completions", "tenant": "retail",
        "consumer": "web-shop", "model": "chat", "status": 200, "how": "done", "state": "settled", "stream": True,
        "ms": 1250.0, "first_token_ms": 500.0, "estimated": False,
        "tokens": {"input": 10, "cached": 0, "cache_write": 0, "output": 5, "reasoning": 0},
        "attempts": [
            {"deployment": "weu/ptu", "status": 429, "ms": 10.0, "cause": "upstream.throttled.rate"},
            {"deployment": "weu/std", "status": 200, "ms": 1200.0},
        ],
    }  # fmt: skip


def test_a_request_that_its_worker_did_not_live_to_end_has_its_line():
    admitted = Admitted("2" * 32, 1_700_000_000_000_000, "chat_completions", 7, "retail", "chat", True, 12)
    told = written(line(interrupted(admitted), "web-shop", NAMES.__getitem__))
    assert (told["state"], told["status"], told["estimated"], told["tokens"]["input"]) == ("interrupted", 0, True, 12)


def test_a_line_of_a_refused_request_has_no_text_of_a_client_that_was_not_let_in():
    record = UsageRecord("1" * 32, "chat_completions", 10.0)
    record.model, record.state, record.status, record.reason = "made\nup", "refused", 404, "route.model"
    record.ended_at = 10.5
    told = entry(record, 1_700_000_000.0)
    assert written(refused(told, "")) == {
        "time": "2023-11-14T22:13:30.000Z", "id": "1" * 32, "api": "chat_completions", "status": 404,
        "reason": "route.model", "state": "refused", "stream": False, "ms": 500.0,
    }  # fmt: skip


def test_times_are_those_of_their_own_second_whatever_was_told_before():
    first, later = 1_700_000_000_999_999, 1_700_000_001_000_000
    assert [stamp(t)[17:] for t in (first, later, first, later - 1)] == ["20.999Z", "21.000Z", "20.999Z", "20.999Z"]


def access_log() -> AccessLog:
    return AccessLog(str, NAMES.__getitem__)


def test_lines_go_where_they_are_wanted_and_to_a_new_file_when_it_was_moved(tmp_path: Path):
    log = access_log()
    log.take([REFUSED])  # nobody wants them: nothing happens
    log.configure(str(tmp_path / "a.log"))
    log.take([REFUSED, REFUSED])
    log.configure(str(tmp_path / "b.log"))
    log.settled([RECORD])
    log.stop()
    assert [(tmp_path / n).read_text().count("\n") for n in ("a.log", "b.log")] == [2, 1]

    log = access_log()
    log.configure(str(tmp_path / "c.log"))
    log.take([REFUSED])
    while not (tmp_path / "c.log").exists() or not (tmp_path / "c.log").stat().st_size:
        pass
    os.rename(tmp_path / "c.log", tmp_path / "c.old")
    log.reopen()
    log.take([REFUSED, REFUSED])
    log.stop()
    assert [(tmp_path / n).read_text().count("\n") for n in ("c.old", "c.log")] == [1, 2]
    assert log.dropped == 0


def test_a_reader_that_stands_still_and_a_file_that_cannot_be_had_cost_lines_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(accesslog, "END_S", 0.05)
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    log = access_log()
    log.configure(str(tmp_path / "pipe"))
    for _ in range(3 * accesslog.WAITING):
        log.take([REFUSED] * 20)
    assert log.dropped > 0 and log.dropped % 20 == 0
    log.stop()
    os.close(reader)

    log = access_log()
    log.configure(str(tmp_path / "no" / "where"))
    log.take([REFUSED] * 3, dropped=4)
    log.stop()
    assert log.dropped == 7


def test_a_folder_that_comes_later_has_the_lines_from_then_on(tmp_path: Path):
    log = access_log()
    log.configure(str(tmp_path / "no" / "where.log"))
    log.take([REFUSED] * 3)
    while log.dropped < 3:
        pass
    os.mkdir(tmp_path / "no")
    log.take([REFUSED] * 2)
    log.stop()
    assert (tmp_path / "no" / "where.log").read_text().count("\n") == 2 and log.dropped == 3


@given(st.lists(st.integers(0, 900), max_size=12))
def test_a_disk_that_is_full_for_a_while_tears_no_line_but_its_last(room: list[int]):
    """What was written of a line stood before the next one, which no reader of JSON took."""
    written = bytearray()
    left = list(room)

    def write(fd: int, data: memoryview) -> int:
        most = left.pop(0) if left else len(data)
        if not most:
            raise OSError(28, "No space left on device")
        written.extend(data[:most])
        return min(most, len(data))

    with pytest.MonkeyPatch.context() as patched, tempfile.TemporaryDirectory() as folder:
        patched.setattr(accesslog.os, "write", write)
        log = access_log()
        log.configure(os.path.join(folder, "a.log"))
        for _ in range(10):
            log.take([REFUSED] * 3)
        log.stop()
    whole = torn = 0
    for text in bytes(written).split(b"\n"):
        try:
            whole += bool(json.loads(text))
        except ValueError:
            torn += bool(text)
    assert whole + log.dropped == 30 and torn <= room.count(0)


def test_a_file_that_is_to_be_opened_anew_while_the_queue_is_full_is(tmp_path: Path):
    """A reader that stood still at the moment of a rotation: lines went into the old file for ever."""
    log = access_log()
    log._queue = queue.Queue(1)
    log.take([REFUSED])
    log._queue.put_nowait(b"{}\n")
    log.configure(str(tmp_path / "a.log"))
    log.stop()
    assert (tmp_path / "a.log").read_bytes() == b"{}\n" and log.dropped == 0
    log = access_log()
    log.configure(str(tmp_path / "b.log"))
    log.take([REFUSED])
    while not (tmp_path / "b.log").exists() or not (tmp_path / "b.log").stat().st_size:
        pass
    os.rename(tmp_path / "b.log", tmp_path / "b.old")
    whole, log._queue = log._queue, queue.Queue(1)
    log._queue.put_nowait(b"{}\n")
    log.reopen()
    log._queue = whole
    log.take([REFUSED])
    log.stop()
    assert [(tmp_path / n).read_text().count("\n") for n in ("b.old", "b.log")] == [1, 1]
