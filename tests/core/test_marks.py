"""Marks in a table that processes share: one for each digest, wherever in its places it stands."""

from __future__ import annotations

from array import array

from hypothesis import given
from hypothesis import strategies as st

from sluicegate.core.marks import WAYS, Marks

BITS = 20


def table(sets: int = 1) -> Marks:
    return Marks(memoryview(array("Q", [0] * (sets * WAYS))), BITS, 1.0)


def digest(n: int) -> int:
    """One of those whose places are the same."""
    return (n + 1) << BITS


def test_what_is_said_again_takes_the_place_of_what_was_said_before_in_every_place():
    marks = table()
    for n in range(WAYS):
        marks.mark(digest(n), 10.0 + n)
    for n in range(WAYS):
        marks.mark(digest(n), 50.0 + n)
        assert marks.until(digest(n)) == 50.0 + n and marks.count() == WAYS
    for n in range(WAYS):
        marks.mark(digest(n), 0.0)
        assert marks.until(digest(n)) == 0.0 and marks.count() == WAYS - 1 - n, "nothing of it is left"


def test_where_all_places_are_taken_the_first_that_is_over_makes_room():
    marks = table()
    for n in range(WAYS):
        marks.mark(digest(n), 100.0 - n)
    marks.mark(digest(WAYS), 5.0)
    assert marks.until(digest(WAYS - 1)) == 0.0 and marks.until(digest(WAYS)) == 5.0 and marks.count() == WAYS


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1000)), max_size=40))
def test_as_a_dictionary_says_as_long_as_there_is_room(said: list[tuple[int, int]]):
    marks, known = table(sets=2), {}
    for n, until in said:
        marks.mark(digest(n) | n, float(until))
        known[n] = float(until)
    assert {n: marks.until(digest(n) | n) for n in known} == known
    assert marks.count() == sum(1 for until in known.values() if until)
