"""The audit log: whatever is done to a copy of it is found, and what cannot be written down does not happen."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.keeper import audit as module
from sluicegate.keeper.audit import ANCHOR, FILE, HEAD, Audit, Head, Unwritable, entries, kept_head, sealed, verify

FACTS = [{"who": {"name": f"ops{n}", "role": "operator"}, "path": "/v1/reload", "status": 200 + n} for n in range(6)]


def written(folder: Path, facts: list[dict[str, Any]] = FACTS) -> list[bytes]:
    audit = Audit(str(folder))
    for one in facts:
        audit.append("reload", one)
    audit.close()
    return (folder / FILE).read_bytes().splitlines(keepends=True)


def chain(count: int = 6) -> tuple[list[bytes], Head]:
    lines, last = [], "0" * 64
    for n in range(1, count + 1):
        line, last = sealed({"seq": n, "at": "2026-11-21T00:00:00.000Z", "what": "reload", **FACTS[n % 6]}, last)
        lines.append(line)
    return lines, Head(count, last)


def test_what_was_written_verifies_and_says_who_what_and_when(tmp_path: Path):
    lines = written(tmp_path)
    head, flaws = verify(lines, [kept_head(str(tmp_path)) or Head(99)])
    assert flaws == [] and head.seq == 6
    first = json.loads(lines[0])
    assert first["who"]["name"] == "ops0" and first["what"] == "reload" and first["at"].endswith("Z")
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600 == (tmp_path / HEAD).stat().st_mode & 0o777
    assert [e["seq"] for e in entries(str(tmp_path / FILE), 4)] == [5, 6]


def test_it_goes_on_where_it_ended(tmp_path: Path):
    written(tmp_path)
    lines = written(tmp_path)
    head, flaws = verify(lines)
    assert flaws == [] and head.seq == 12


def mutations(value: Any) -> list[Any]:
    """Other values for every leaf."""
    if isinstance(value, dict):
        return [{**value, k: m} for k, v in value.items() for m in mutations(v)] + [
            {k: v for k, v in value.items() if k != gone} for gone in value
        ]
    if isinstance(value, int):
        return [value + 1, str(value)]
    return [value + "x", value[:-1], None]


def test_every_field_of_every_entry_that_is_changed_is_found():
    lines, head = chain()
    tried = 0
    for n, line in enumerate(lines):
        entry = json.loads(line)
        for other in mutations(entry):
            text = json.dumps(other, separators=(",", ":")).encode() + b"\n"
            assert text != line
            _, flaws = verify([*lines[:n], text, *lines[n + 1 :]], [head])
            assert flaws and flaws[0].line == n + 1, other
            tried += 1
    assert tried > 100


def test_an_entry_that_is_changed_and_sealed_again_breaks_the_next_or_the_anchor():
    lines, head = chain()
    for n, line in enumerate(lines):
        entry = json.loads(line)
        entry.pop("hash")
        last = entry.pop("last")
        forged, _ = sealed({**entry, "status": 999}, last)
        _, flaws = verify([*lines[:n], forged, *lines[n + 1 :]], [head])
        assert flaws and flaws[0].line == min(n + 2, len(lines))


def test_a_whole_chain_that_is_forged_is_found_by_any_anchor():
    lines, head = chain()
    forged, last = [], "0" * 64
    for line in lines:
        entry = {k: v for k, v in json.loads(line).items() if k not in ("hash", "last")}
        made, last = sealed({**entry, "who": {"name": "nobody"}}, last)
        forged.append(made)
    assert verify(forged)[1] == [], "without an anchor nobody can tell"
    middle = Head(3, json.loads(lines[2])["hash"])
    assert verify(forged, [middle])[1] and verify(forged, [head])[1]


@given(st.data())
def test_removed_added_moved_and_cut_off_entries_are_found(data: st.DataObject):
    lines, head = chain(data.draw(st.integers(2, 6)))
    how = data.draw(st.sampled_from(["remove", "cut", "move", "double", "insert", "bytes"]))
    n = data.draw(st.integers(0, len(lines) - 1))
    other = list(lines)
    if how == "remove":
        del other[n]
    elif how == "cut":
        other = other[:n]
    elif how == "move":
        m = data.draw(st.integers(0, len(lines) - 1).filter(lambda m: m != n))
        other.insert(m, other.pop(n))
    elif how == "double":
        other.insert(n, other[n])
    elif how == "insert":
        other.insert(n, sealed({"seq": n + 1, "what": "x"}, json.loads(other[n])["last"])[0])
    else:
        at = data.draw(st.integers(0, len(other[n]) - 1))
        byte = data.draw(st.integers(0, 255).filter(lambda b: b != other[n][at]))
        other[n] = other[n][:at] + bytes([byte]) + other[n][at + 1 :]
    assert verify(other, [head])[1], how
    assert verify(lines, [head])[1] == []


def test_half_a_line_of_a_machine_that_went_down_is_taken_out_and_told(tmp_path: Path):
    written(tmp_path)
    with (tmp_path / FILE).open("ab") as f:
        f.write(b'{"seq":7,"at":"2026')
    lines = written(tmp_path, [])
    head, flaws = verify(lines)
    assert flaws == [] and head.seq == 7 and json.loads(lines[-1])["what"] == "audit.torn"


def test_an_end_that_was_cut_off_is_told_at_the_next_start(tmp_path: Path):
    lines = written(tmp_path)
    (tmp_path / FILE).write_bytes(b"".join(lines[:4]))
    assert verify(lines[:4], [kept_head(str(tmp_path)) or Head()])[1]
    lines = written(tmp_path, [])
    assert json.loads(lines[-1])["what"] == "audit.shorter"
    lines = written(tmp_path)
    head, flaws = verify(lines, [kept_head(str(tmp_path)) or Head()])
    assert head.seq == len(lines) and [f.line for f in flaws] == [5], "a start does not make it whole again"
    assert "there were 6 entries" in flaws[0].what


def test_a_file_that_is_none_is_not_gone_on_with(tmp_path: Path):
    (tmp_path / FILE).write_text("hello\n")
    with pytest.raises(ValueError, match="damaged at its end"):
        Audit(str(tmp_path))


def test_what_cannot_be_written_leaves_no_trace_and_the_next_one_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    audit = Audit(str(tmp_path))
    audit.append("reload")
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(module.os, "write", lambda fd, line: write(fd, line[:20]))
        with pytest.raises(Unwritable, match="no space left"):
            audit.append("reload")
    assert audit.append("reload") == 2
    audit.close()
    head, flaws = verify((tmp_path / FILE).read_bytes().splitlines(keepends=True))
    assert flaws == [] and head.seq == 2


def test_anchors_are_said_at_the_start_at_the_end_and_in_between(tmp_path: Path):
    heads: list[Head] = []
    audit = Audit(str(tmp_path), heads.append)
    for _ in range(ANCHOR + 1):
        audit.append("reload")
    audit.close()
    assert [h.seq for h in heads] == [ANCHOR, ANCHOR + 1]
    lines = (tmp_path / FILE).read_bytes().splitlines(keepends=True)
    assert verify(lines, heads)[1] == []


def test_what_is_too_long_is_written_without_its_particulars(tmp_path: Path):
    audit = Audit(str(tmp_path))
    audit.append("config_apply", {"who": {"name": "ops"}, "changes": "x" * (2 << 20)})
    audit.append("reload")
    audit.close()
    lines = (tmp_path / FILE).read_bytes().splitlines(keepends=True)
    assert verify(lines)[1] == [] and json.loads(lines[0])["who"] == {"name": "ops"} and "cut" in json.loads(lines[0])
