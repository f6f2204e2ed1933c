"""What was found lately, in bounded room."""

from hypothesis import given
from hypothesis import strategies as st

from sluicegate.identity.recent import Recent

MARKS = st.integers(0, 40).map(lambda n: b"%d" % n)


@given(st.lists(st.tuples(st.sampled_from(["put", "get", "drop"]), MARKS, st.integers(1, 30)), max_size=200))
def test_it_never_holds_more_than_it_may_and_never_something_else(steps: list[tuple[str, bytes, int]]):
    recent: Recent[tuple[bytes, int]] = Recent(20, 200)
    truth: dict[bytes, tuple[bytes, int]] = {}
    for what, mark, weight in steps:
        if what == "put":
            recent.put(mark, (mark, weight), weight)
            truth[mark] = (mark, weight)
            assert recent.get(mark) == (mark, weight), "the latest is there"
        elif what == "drop":
            recent.drop(mark)
            truth.pop(mark, None)
            assert recent.get(mark) is None
        else:
            assert recent.get(mark) in (None, truth.get(mark))
        assert len(recent) <= 20
        held = [recent._young, recent._old]
        assert all(sum(weight for _, weight in half.values()) <= 130 for half in held), "half of it, and one more"


def test_what_is_used_stays_whatever_comes_by():
    recent: Recent[str] = Recent(100, 10_000)
    recent.put(b"mine", "mine", 1)
    for n in range(10_000):
        recent.put(b"%d" % n, "x", 1)
        if n % 40 == 0:
            assert recent.get(b"mine") == "mine"
    recent.clear()
    assert recent.get(b"mine") is None and len(recent) == 0
