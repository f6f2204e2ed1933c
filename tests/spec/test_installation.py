"""The installation's secret: made once, kept private, and not by a mere check."""

import os
import threading
from pathlib import Path

import pytest

from sluicegate.core.secret import Secret
from sluicegate.spec import installation
from sluicegate.spec.references import Wrong
from tests.spec.reading import SMALLEST, loaded

PLAIN = SMALLEST.replace('gateway:\n  secrets: ["${env:SECRET}"]\n', "")


def test_the_first_start_makes_it_private_and_later_ones_find_it(tmp_path: Path):
    data = str(tmp_path / "deep" / "data")
    first = installation.made(data)
    assert len(first.reveal()) == 64
    assert installation.made(data) == first == installation.known(data)
    assert os.stat(data).st_mode & 0o777 == 0o700
    assert os.stat(f"{data}/secret").st_mode & 0o777 == 0o600
    assert os.listdir(data) == ["secret"]


def test_many_first_starts_at_once_agree(tmp_path: Path):
    found: list[Secret] = []
    threads = [threading.Thread(target=lambda: found.append(installation.made(str(tmp_path)))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and len(set(found)) == 1


def test_one_that_others_may_read_or_that_was_cut_is_refused(tmp_path: Path):
    secret = tmp_path / "secret"
    secret.write_text("x" * 64)
    secret.chmod(0o640)
    with pytest.raises(Wrong, match="others may read"):
        installation.known(str(tmp_path))
    secret.chmod(0o600)
    assert installation.known(str(tmp_path)) == Secret("x" * 64)
    secret.write_text("x")
    with pytest.raises(Wrong, match="damaged"):
        installation.made(str(tmp_path))


def test_a_check_makes_nothing_and_says_what_a_start_would_make(tmp_path: Path):
    result = loaded(PLAIN, base=str(tmp_path))
    assert os.listdir(tmp_path) == []
    (note,) = result.problems.of("note")
    assert (note.place.line, note.path) == (1, "gateway.secrets")
    assert note.what == f"left out: one is made at the first start in {tmp_path}/data/secret"


def test_a_start_makes_it_says_so_once_and_the_hash_stays(tmp_path: Path):
    first = loaded(PLAIN, base=str(tmp_path), start=True)
    assert [n.what for n in first.problems.of("note")] == [f"left out: one was made in {tmp_path}/data/secret"]
    again = loaded(PLAIN, base=str(tmp_path), start=True)
    assert again.problems.of("note") == []
    assert first.snapshot and again.snapshot and first.snapshot.hash == again.snapshot.hash
    assert first.directory == again.directory


def test_nothing_is_made_for_a_configuration_with_errors(tmp_path: Path):
    assert loaded(PLAIN.replace("[chat]", "[other]"), base=str(tmp_path), start=True).problems.fatal
    assert os.listdir(tmp_path) == []


def test_a_place_that_cannot_be_written_is_an_error_with_its_position(tmp_path: Path):
    (tmp_path / "file").write_text("")
    text = SMALLEST.replace('secrets: ["${env:SECRET}"]', "data: ./file")
    (error,) = loaded(text, base=str(tmp_path), start=True).problems.of("error")
    assert (error.place.line, error.place.column, error.path) == (3, 9, "gateway.data")
    assert error.what.startswith("cannot keep the installation's secret: ")
