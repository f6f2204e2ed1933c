"""Wherever the language takes a secret, one that is empty is an error: it never comes to mean "anybody"."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sluicegate.spec.kinds import MISSING, Context, Kind
from sluicegate.spec.language import Document
from sluicegate.spec.nodes import Scalar
from sluicegate.spec.problems import Place, Problems
from sluicegate.spec.references import Sources
from sluicegate.spec.secret import Hidden
from sluicegate.spec.sections import Listing, Named, Section


def secrets(kind: Kind, at: str = "", seen: frozenset[type] = frozenset()) -> Iterator[tuple[str, Hidden]]:
    """Every place of the language that takes one."""
    if isinstance(kind, Hidden):
        yield at, kind
    elif isinstance(kind, Named | Listing):
        yield from secrets(kind.kind, f"{at}[]", seen)
    if isinstance(kind, Section):
        if kind.cls in seen:
            return
        for name, (child, *_) in kind.fields.items():
            yield from secrets(child, f"{at}.{name}", seen | {kind.cls})
    else:
        for name, section in kind.below():
            if isinstance(section, Section):
                yield from secrets(section, f"{at}<{name}>", seen)


FOUND = dict(secrets(Section(Document)))


def test_they_are_found():
    assert {".gateway.secrets[]", ".consumers[].key", ".consumers[].keys[]"} <= set(FOUND)
    assert any(".auth" in at and at.endswith(".key") for at in FOUND), sorted(FOUND)
    assert len(FOUND) >= 6


@pytest.mark.parametrize("at", FOUND)
@pytest.mark.parametrize("text", ["", "${env:EMPTY}", "${env:UNSET}", "${file:%s/empty}", "${file:%s/line}", "${env:}", "${env:BLANK}"])  # fmt: skip
def test_abuse_49_an_empty_one_is_an_error_wherever_it_stands(at: str, text: str, tmp_path: Path):
    (tmp_path / "empty").write_text("")
    (tmp_path / "line").write_text("\n")
    problems = Problems()
    place = Place("g.yaml", 1, 1)
    cx = Context(Sources({"EMPTY": "", "BLANK": " "}), problems, place)
    written = text.replace("%s", str(tmp_path))
    found = FOUND[at].read(cx, Scalar(place, written, plain=not written.startswith("$")), ("x",))
    assert found is MISSING and problems.of("error")
