"""Who uses the application: one name however it is spelled, bounded and printable whatever a client writes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from sluicegate.core.end_user import LONGEST, end_user, mark


@given(st.text(max_size=LONGEST))
def test_a_name_is_one_name_however_it_is_spelled(name: str):
    plain, escaped = (end_user(Raw(json.dumps(name, ensure_ascii=a).encode("utf-8", "replace"))) for a in (False, True))
    if name.isprintable():
        assert plain == escaped == name
    else:
        assert escaped.isprintable()


@given(st.text(), st.booleans())
def test_whatever_is_written_there_is_bounded_and_printable(name: str, ascii: bool):
    found = end_user(Raw(json.dumps(name, ensure_ascii=ascii).encode("utf-8", "replace")))
    assert len(found) <= LONGEST and found.isprintable()
    assert len(mark(found)) == (24 if found else 0)


@pytest.mark.parametrize("value", [None, b"null", b"7", b'["a"]', b'{"a":1}', b"true", b'""'])
def test_what_is_no_text_names_nobody(value: bytes | None):
    assert end_user(None if value is None else Raw(value)) == ""


def test_long_names_are_apart_by_their_digest():
    one, other = (end_user(Raw(json.dumps("x" * size).encode())) for size in (LONGEST + 1, LONGEST + 2))
    huge = end_user(Raw(json.dumps("x" * 10**6).encode()))
    assert one != other != huge and {len(one), len(other), len(huge)} == {40}
    assert end_user(Raw(json.dumps("x" * LONGEST).encode())) == "x" * LONGEST
