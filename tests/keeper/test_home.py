"""One keeper a folder, and what one that was killed left running."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sluicegate.keeper.home import LOCK, Home, Taken, began


def test_a_folder_has_one_keeper_at_a_time(tmp_path: Path):
    home = Home(str(tmp_path / "data"))
    with pytest.raises(Taken, match=r"another gateway runs with .*data: stop it, or write another gateway\.data"):
        Home(str(tmp_path / "data"))
    home.close()
    Home(str(tmp_path / "data")).close()


def test_orphans_are_the_same_processes_and_no_others(tmp_path: Path):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        home = Home(str(tmp_path))
        home.remember([child.pid, os.getpid()])
        home.remember([child.pid])
        home.close()
        home = Home(str(tmp_path))
        assert home.orphans == [child.pid]
        home.dismiss()
        assert child.wait(10) == -15
        assert began(child.pid) == 0
        home.close()
    finally:
        child.kill()
        child.communicate()
    (tmp_path / LOCK).write_text(f"[[{os.getpid()}, 1]]")  # a pid used again by somebody else
    home = Home(str(tmp_path))
    assert home.orphans == []
    home.close()
    (tmp_path / LOCK).write_text("{")
    home = Home(str(tmp_path))
    assert home.orphans == []
    home.close()


def test_a_list_that_was_being_replaced_is_read_as_far_as_it_goes(tmp_path: Path):
    """A keeper that was killed in between: its workers went on beside those of the next one, with what they had."""
    me = os.getpid()
    home = Home(str(tmp_path))
    home.remember([me])
    short = (tmp_path / LOCK).read_text()
    home.remember([me, me, me])
    long = (tmp_path / LOCK).read_text()
    home.close()
    (tmp_path / LOCK).write_text(short + long[len(short) :])
    home = Home(str(tmp_path))
    assert home.orphans == [me]
    home.orphans = []
    home.close()
