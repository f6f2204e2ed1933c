import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluicegate.core.booked import Admitted, Began, Settled
from sluicegate.core.record import Context
from sluicegate.core.settings import Price, Prices
from sluicegate.link import segments
from sluicegate.link.segments import FIRST, FRAME, Foreign, read
from sluicegate.worker import Worker
from tests.gateway import directory, snapshot
from tests.link.booking import WALL, finish, journal, record


def everything(written) -> list:
    """All frames of a writer, in order."""
    home = os.path.join(written.folder, written.writer)
    return [f for n in segments.serials(home) for f in whole(os.path.join(home, segments.name(n)))]


def whole(path) -> list:
    found, start = [], 0
    while (frames := read(path, start)).found:
        found += frames.found
        start = frames.end
    return found


def test_a_record_comes_back_as_it_was(tmp_path):
    prices = Prices("EUR", ((1, (Price("p", (("input", 2_000_000, 1), ("output", 8_000_000, 1))),)),))
    written = journal(tmp_path, prices=prices)
    one = record(1)
    one.context = Context("job", labels=(("cost_centre", "4711"),), end_user="u")
    written.admit(one)
    finish(one)
    one.trail.append("weu/a: upstream.fault")
    one.service_tier = "default"
    written.settle(one)
    began, admitted, settled = everything(written)
    assert began == Began(1, "node-1", "cafe", written.writer, 1, int(WALL * 1e6))
    assert isinstance(admitted, Admitted) and (admitted.id, admitted.estimate, admitted.context.kind) == (
        one.id,
        11,
        "job",
    )
    assert isinstance(settled, Settled)
    assert settled.wall_us == int(WALL * 1e6) and settled.took_us == 1_000_000 and settled.first_token_us == 500_000
    assert settled.tokens == (11, 3, 0, 7, 2) and settled.usage_source == "upstream"
    assert (settled.currency, settled.cost, settled.price) == ("EUR", (14 * 2 + 9 * 8) * 1000, "p")
    assert settled.trail == ("weu/a: upstream.fault",) and settled.context.labels == (("cost_centre", "4711"),)
    (tried,) = settled.attempts
    assert (tried.deployment, tried.after_us, tried.took_us, tried.charged_to, tried.cost) == (
        1,
        250_000,
        750_000,
        "consumer",
        100_000,
    )
    written.close()


def test_a_configuration_in_force_is_named_before_its_records(tmp_path):
    written = journal(tmp_path)
    written.admit(record(1))
    written.adopt("beef", Prices(), "node-2")
    written.admit(record(2))
    found = everything(written)
    assert [getattr(f, "spec", f.__class__.__name__) for f in found] == ["cafe", "Admitted", "beef", "Admitted"]
    assert [f.node for f in found if isinstance(f, Began)] == ["node-1", "node-2"], "a gateway can be renamed"
    written.close()


def test_an_unknown_kind_and_later_fields_are_skipped(tmp_path):
    written = journal(tmp_path)
    written.admit(record(1))
    written._append(msgspec.msgpack.encode([77, "of a later version"]))
    written._append(msgspec.msgpack.encode([1, "b" * 32, 5, "api", 1, "t", "m", False, 3, None, "a later field"]))
    path = os.path.join(tmp_path, written.writer, segments.name(1))
    frames = read(path)
    assert [f.id[-1] for f in frames.found[1:]] == ["1", "b"] and frames.unknown == 1
    written.close()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_torn_tail_gives_exactly_what_was_acknowledged(tmp_path_factory, data):
    """Cut or spoilt anywhere, the frames before that place are read and none after it."""
    written = journal(tmp_path_factory.mktemp("j"), segment=64 * 1024)
    ends = [written._at]
    for n in range(data.draw(st.integers(1, 20))):
        one = record(n)
        written.admit(one)
        ends.append(written._at)
        if data.draw(st.booleans()):
            written.settle(finish(one))
            ends.append(written._at)
    path = Path(written.folder, written.writer, segments.name(1))
    original = path.read_bytes()
    image = bytearray(original)
    at = data.draw(st.integers(FIRST, ends[-1] - 1))
    if data.draw(st.booleans()):
        image[at:] = bytes(len(image) - at)
    else:
        image[at] ^= data.draw(st.integers(1, 255))
    before = [e for e in ends if image[:e] == original[:e]]  # zeros over zeros spoil nothing
    torn = path.with_name("torn.journal")
    torn.write_bytes(image)
    found = read(str(torn))
    assert len(found.found) == len(before)
    assert whole(str(path))[: len(found.found)] == found.found
    written.close()


def test_what_is_left_of_the_life_before_is_not_read(tmp_path):
    first = journal(tmp_path, segment=8192)
    for n in range(30):
        first.admit(record(n))
    first.close()
    spare = tmp_path / segments.SPARE
    spare.mkdir()
    os.rename(tmp_path / first.writer / segments.name(1), spare / "x")
    second = journal(tmp_path, segment=8192)
    assert not os.listdir(spare), "it was recycled"
    second.admit(record(99))
    assert [type(f).__name__ for f in everything(second)] == ["Began", "Admitted"]
    second.close()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.booleans(), max_size=300), st.integers(4, 16))
def test_records_go_on_over_segments_and_none_is_lost(tmp_path_factory, steps, kib):
    written = journal(tmp_path_factory.mktemp("j"), segment=kib * 1024)
    expected = []
    for n, settle in enumerate(steps):
        one = record(n)
        written.admit(one)
        expected.append((Admitted, one.id))
        if settle:
            written.settle(finish(one))
            expected.append((Settled, one.id))
        if n % 7 == 0:
            written.tend()
    written.close()
    assert [(type(f), f.id) for f in everything(written) if not isinstance(f, Began)] == expected
    assert written.lost == 0 and written.appended == len(expected)


def test_a_full_disk_stops_no_request_and_loses_nothing_that_fits_in_memory(tmp_path, monkeypatch):
    said = []
    now = [100.0]
    written = journal(tmp_path, segment=4096, alarm=said.append, now=lambda: now[0])
    monkeypatch.setattr(os, "posix_fallocate", no_space)
    for n in range(100):
        written.admit(record(n))
        written.tend()
    assert written.lost == 0 and written.failing
    assert said == [f"cannot write the journal in {tmp_path}: no space left on device"]
    monkeypatch.undo()
    written.tend()
    assert written.failing, "it was tried again too soon"
    now[0] += 1.0
    written.tend()
    written.tend()
    assert said[1:] == [""] and written.failing == ""
    for _ in range(10):
        written.tend()
    found = [f.id for f in everything(written) if isinstance(f, Admitted)]
    assert found == [record(n).id for n in range(100)]
    written.close()


def test_what_does_not_fit_in_memory_is_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "posix_fallocate", no_space)
    written = journal(tmp_path, backlog=1000)
    for n in range(100):
        written.admit(record(n))
    kept = len(written._backlog)
    assert 0 < kept < 100 and written.lost == 100 - kept and written.totals()["open"] == 100
    written.close()
    assert written.lost == 100
    assert not [f for f in os.listdir(tmp_path / written.writer) if f.endswith(".new")], "no half of a segment is left"


def no_space(*_):
    raise OSError(28, "No space left on device")


def test_a_folder_that_cannot_be_made_is_an_alarm_and_no_exception(tmp_path):
    (tmp_path / "file").write_text("")
    said = []
    written = journal(tmp_path / "file" / "journal", alarm=said.append)
    one = record(1)
    written.admit(one)
    written.settle(finish(one))
    written.refuse(one)
    assert len(said) == 1 and "cannot write the journal" in said[0]
    written.close()


@pytest.mark.parametrize("text", ["\ud800", "x" * 400_000])
def test_a_record_that_cannot_be_written_is_counted(tmp_path, text):
    written = journal(tmp_path)
    one = record(1)
    one.trail.append(text)
    written.admit(one)
    written.settle(finish(one))
    written.admit(record(2))
    assert written.lost == 1 and [f.id for f in everything(written)[1:]] == [one.id, record(2).id]
    written.close()


def test_something_else_is_no_segment(tmp_path):
    (tmp_path / "x").write_bytes(b"GET / HTTP/1.1\r\n")
    with pytest.raises(Foreign, match="no segment"):
        read(str(tmp_path / "x"))
    (tmp_path / "y").write_bytes(bytes(100))
    assert read(str(tmp_path / "y")).found == []


CHILD = """
import sys
from tests.link.booking import finish, journal, record
written = journal(sys.argv[1], segment=1 << 20)
for n in range(1 << 30):
    one = record(n)
    written.admit(one)
    written.settle(finish(one))
    if n % 50 == 0:
        print(n, flush=True)
"""


def test_a_killed_process_loses_nothing_it_had_written(tmp_path):
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )
    assert child.stdout
    for _ in range(40):
        said = int(child.stdout.readline())
    child.send_signal(signal.SIGKILL)
    said = int([str(said), *child.stdout.read().split("\n")[:-1]][-1])
    child.wait()
    child.stdout.close()
    (writer,) = [e for e in os.listdir(tmp_path) if e.startswith("w-")]
    found = [
        f for n in segments.serials(str(tmp_path / writer)) for f in whole(str(tmp_path / writer / segments.name(n)))
    ]
    settled = [f.id for f in found if isinstance(f, Settled)]
    assert len(settled) > said and settled == [record(n).id for n in range(len(settled))]
    assert len([f for f in found if isinstance(f, Admitted)]) - len(settled) in (0, 1)


def test_a_length_beyond_the_end_is_the_end():
    assert segments.frame(FRAME.pack(1000, 5) + b"x" * 10, 0, 1) is None


def test_the_worker_makes_segments_ahead_and_tries_again_after_a_full_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "posix_fallocate", no_space)

    async def run() -> None:
        worker = Worker(snapshot([]), directory(), records=str(tmp_path))
        written = worker.written
        assert written is not None and written.failing
        monkeypatch.undo()
        now = [time.monotonic() + 1.0]
        written._now, written._spawn = lambda: now[0], lambda work: work()
        worker._turn()
        assert not written.failing
        written.admit(record(1))
        assert written.appended == 1 and written.lost == 0
        worker._timer.cancel()
        written.close()

    asyncio.run(run())


def test_a_clock_that_is_set_is_heard_by_what_begins_after(tmp_path):
    """A machine that starts with a wrong clock, or sleeps: its next four thousand records had the wrong day."""
    wall = [WALL]
    written = journal(tmp_path, wall=lambda: wall[0])
    written.admit(record(1))
    wall[0] = WALL + 86400.0
    written.tend()
    written.settle(finish(record(1)))
    wall[0] = WALL - 3600.0
    written.tend()
    written.settle(finish(record(2)))
    wall[0] += 0.001  # no step: the same clock, read a moment later
    written.tend()
    written.settle(finish(record(3)))
    at = [round(f.wall_us / 1e6 - WALL, 3) for f in everything(written)[1:]]
    assert at == [0.0, 86400.0, -3600.0, -3600.0]
    written.close()


@pytest.mark.parametrize("how", ["removed", "moved", "its segments only"])
def test_a_journal_whose_folder_is_gone_begins_another_and_loses_nothing_of_its_segment(tmp_path, how):
    """Records went on into files that had no name any more, and nobody was told."""
    now, alarms = [100.0], []
    written = journal(tmp_path / "j", now=lambda: now[0], alarm=alarms.append)
    home = tmp_path / "j" / written.writer
    for n in range(3):
        written.admit(record(n))
    written.settle(finish(record(0)))
    if how == "removed":
        shutil.rmtree(tmp_path / "j")
    elif how == "moved":
        os.rename(home, tmp_path / "elsewhere")
    else:
        for path in home.glob("*.journal"):
            path.unlink()
    written.settle(finish(record(1)))
    for _ in range(3):
        now[0] += 1.0
        written.tend()
    written.settle(finish(record(2)))
    assert [bool(a) for a in alarms] == [True, False] and "was removed" in alarms[0]
    found = everything(written)
    assert [f.id for f in found if isinstance(f, Settled)] == [record(n).id for n in range(3)]
    assert [f.id for f in found if isinstance(f, Admitted)] == [record(n).id for n in range(3)]
    assert written.lost == 0 and not written.failing
    written.close()
