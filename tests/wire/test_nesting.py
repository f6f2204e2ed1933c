"""A whole JSON text is known by its nesting, however it is cut; a part of one never is."""

import json
import time
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from sluicegate.wire.nesting import Nesting

TEXTS = st.text(st.sampled_from('ab"\\{}[]/é\n\t,:'), max_size=12)
VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
DOCUMENTS = st.lists(VALUES, max_size=4) | st.dictionaries(TEXTS, VALUES, max_size=4)


def whole(data: bytes, *cuts: int) -> bool:
    nesting = Nesting()
    at = 0
    for cut in (*sorted(cuts), len(data)):
        nesting.feed(data[at:cut])
        at = max(at, cut)
    return nesting.whole


@given(DOCUMENTS, st.sampled_from([None, 1]), st.booleans(), st.lists(st.integers(0, 300), max_size=5))
@example({'a"': None}, None, True, [4, 4])
def test_a_document_is_whole_and_no_beginning_of_it_is(said: Any, indent: int | None, ascii: bool, cuts: list[int]):
    data = json.dumps(said, indent=indent, ensure_ascii=ascii).encode()
    assert whole(data) and whole(data, *[c for c in cuts if c < len(data)])
    assert whole(data, *range(len(data))) and whole(b" \n" + data + b"\r\n ")
    for size in range(len(data)):
        assert not whole(data[:size])
        assert not whole(data[:size], *[c for c in cuts if c < size])


def test_it_takes_no_longer_for_what_is_hard_to_look_through():
    """A mebibyte each; quadratic, one of them would take hours."""
    for hard in (b"\\n" * 500_000, b'\\"' * 500_000, b'"' * 1_000_000, b"\\" * 1_000_000, b"[" * 1_000_000):
        nesting = Nesting()
        nesting.feed(b'{"a":"')
        began = time.process_time()
        for at in range(0, len(hard), 65_536):
            nesting.feed(hard[at : at + 65_536])
        assert time.process_time() - began < 5
