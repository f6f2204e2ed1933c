"""The short form of goal G7: see tests/goals/test_G7_killed.py."""

from pathlib import Path

from tests.keeper.killing import kill_and_compare


def test_a_killed_worker_loses_no_record_and_doubles_none(tmp_path: Path):
    found = kill_and_compare(tmp_path, 3)
    assert found["interrupted"] >= 1
