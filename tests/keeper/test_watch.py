"""Files that are looked at: every change is seen once, and not before it has come to rest."""

import os
import time
from pathlib import Path

from sluicegate.keeper.watch import Watched


def test_a_change_is_told_once_and_only_when_it_rests(tmp_path: Path):
    file = tmp_path / "a.yaml"
    file.write_text("1")
    watched = Watched([str(file)])
    assert not watched.changed()
    file.write_text("22")
    assert not watched.changed(), "it may still be being written"
    file.write_text("333")
    assert not watched.changed()
    assert watched.changed()
    assert not watched.changed()


def test_what_somebody_read_meanwhile_is_no_change_but_what_came_after_is(tmp_path: Path):
    file = tmp_path / "a.yaml"
    file.write_text("1")
    watched = Watched([str(file)])
    file.write_text("22")
    watched.known(watched.look(), [str(file)])
    assert not watched.changed() and not watched.changed()
    file.write_text("333")
    read = watched.look()
    file.write_text("4444")  # while it was being read
    watched.known(read, [str(file)])
    assert not watched.changed()
    assert watched.changed()


def test_a_rename_a_swapped_link_and_a_file_that_comes_and_goes_are_changes(tmp_path: Path):
    for name in ("one", "two"):
        (tmp_path / name).write_text("same size")
        os.utime(tmp_path / name, ns=(10**18, 10**18))
    link = tmp_path / "link"
    link.symlink_to("one")
    watched = Watched([str(link), str(tmp_path / "later")])

    def seen() -> bool:
        return (watched.changed(), watched.changed())[1]

    assert not seen()
    (tmp_path / "new").symlink_to("two")
    os.replace(tmp_path / "new", link)
    assert seen()
    (tmp_path / "later").write_text("")
    assert seen()
    os.unlink(tmp_path / "later")
    assert seen()
    assert not seen()


def test_who_cannot_wait_sees_a_change_before_it_is_at_rest(tmp_path: Path):
    path = tmp_path / "key"
    path.write_text("old")
    watched = Watched([str(path)])
    assert not watched.stirred()
    path.write_text("newer")
    assert watched.stirred() and not watched.changed() and watched.stirred()
    assert watched.changed() and not watched.stirred()


def test_a_file_that_comes_or_goes_where_a_pattern_is_included_is_a_change(tmp_path: Path):
    (tmp_path / "models").mkdir()
    watched = Watched([str(tmp_path / "models" / "*.yaml")])

    def seen() -> bool:
        return (watched.changed(), watched.changed())[1]

    assert not seen()
    (tmp_path / "models" / "chat.yaml").write_text("")
    assert seen()
    (tmp_path / "models" / "notes.txt").write_text("")
    assert not seen()
    os.rename(tmp_path / "models" / "chat.yaml", tmp_path / "models" / "mini.yaml")
    assert seen()
    os.unlink(tmp_path / "models" / "mini.yaml")
    assert seen()
    assert not seen()


def test_what_is_written_while_it_is_read_for_the_first_time_is_read_again(tmp_path: Path):
    """A file that is included anew: there was no look at it before it was read."""
    old, new = tmp_path / "old", tmp_path / "new"
    for path in (old, new):
        path.write_text("1")
    watched = Watched([str(old)])
    looked, began = watched.look(), time.time() + 1.0

    def seen() -> bool:
        return (watched.changed(), watched.changed())[1]

    watched.known(looked, [str(old), str(new)], began)
    assert not seen(), "both are older than what was read"
    watched.known(looked, [str(old)], began)
    os.utime(new, (began + 1.0, began + 1.0))
    watched.known(looked, [str(old), str(new)], began)
    assert seen() and not seen()
    watched = Watched([str(new)], began)
    assert seen(), "nor at the start"
    watched = Watched([str(old)], began)
    assert not seen()
