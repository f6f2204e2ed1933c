"""Units: what is read is what was meant, and is written back as people write it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.spec.kinds import Flag, Word
from sluicegate.spec.moments import Moment
from sluicegate.spec.references import Wrong
from sluicegate.spec.units import Bytes, Capacity, Count, Duration, Share, Whole
from sluicegate.spec.values import Leave


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Count(), "500", 500),
        (Count(), "60k", 60_000),
        (Count(), "1.5M", 1_500_000),
        (Count(), "2B", 2_000_000_000),
        (Whole(), "0003", 3),
        (Duration(), "500ms", 0.5),
        (Duration(), "2s", 2.0),
        (Duration(), "15m", 900.0),
        (Duration(), "24h", 86400.0),
        (Duration(), "30d", 2592000.0),
        (Duration(), "0.1s", 0.1),
        (Duration(), "2 s", 2.0),
        (Bytes(), "64KiB", 65536),
        (Bytes(), "32MiB", 33554432),
        (Bytes(), "1GB", 10**9),
        (Bytes(), "0B", 0),
        (Share(), "30%", 0.3),
        (Capacity(), "450k tokens/minute", 450_000),
        (Flag(), "true", True),
        (Flag(), "false", False),
        (Leave(), "abort", 0.0),
        (Leave(), "finish 30s", 30.0),
    ],
)
def test_units_mean_what_they_say(kind: Word, text: str, value: Any):
    assert kind.parse(text) == value
    assert kind.parse(kind.write(value)) == value


@pytest.mark.parametrize(
    ("kind", "text", "what"),
    [
        (Duration(), "30", "has no unit"),
        (Bytes(), "1024", "has no unit"),
        (Share(), "30", "has no unit"),
        (Duration(), "30x", "its unit is none of ms, s, m, h, d"),
        (Duration(), "1h30m", "is not a duration"),
        (Duration(), "-1s", "is not a duration"),
        (Duration(), "1e3s", "is not a duration"),
        (Duration(), "inf", "is not a duration"),
        (Duration(), "\u0663s", "is not a duration"),
        (Count(), "1.5", "does not come out whole"),
        (Count(), "1.0001k", "does not come out whole"),
        (Count(), "60,000", "is not a count"),
        (Count(), "60_000", "is not a count"),
        (Count(), "0x10", "is not a count"),
        (Count(), "60K", "its unit is none of k, M, B"),
        (Count(), "9" * 16, "is not a count"),
        (Bytes(), "1.5B", "does not come out whole"),
        (Bytes(), "1Mb", "its unit is none of"),
        (Whole(1, 10), "0", "is too small"),
        (Whole(1, 10), "11", "is too large"),
        (Duration(0.01, 60), "2m", "is too large"),
        (Capacity(), "450k", "is not a capacity"),
        (Capacity(), "450k tokens/second", "is not a capacity"),
        (Flag(), "yes", "is not a truth value"),
        (Flag(), "True", "is not a truth value"),
        (Leave(), "finish", "is not known here"),
        (Leave(), "finish 30", "has no unit"),
        (Leave(), "continue 30s", "is not known here"),
    ],
)
def test_what_is_no_amount_says_what_to_write(kind: Word, text: str, what: str):
    with pytest.raises(Wrong) as caught:
        kind.parse(text)
    assert what in caught.value.what
    assert caught.value.hint


def test_bounds_are_said_in_units():
    with pytest.raises(Wrong) as caught:
        Duration(0.01, 60).parse("5ms")
    assert caught.value.hint == "write at least 10ms"


amounts = st.decimals(0, 10**6, places=3, allow_nan=False).map(lambda d: f"{d:f}")


@given(amounts, st.sampled_from(["ms", "s", "m", "h", "d"]))
def test_durations_go_round(number: str, unit: str):
    value = Duration().parse(number + unit)
    assert Duration().parse(Duration().write(value)) == pytest.approx(value, rel=1e-12)


@given(st.integers(0, 10**14))
def test_counts_and_sizes_go_round(number: int):
    assert Count().parse(Count().write(number)) == number
    assert Bytes().parse(Bytes().write(number)) == number
    assert Bytes().parse(f"{number}B") == number


@given(st.text(max_size=20))
def test_no_text_whatever_raises_anything_but_wrong(text: str):
    for kind in (Count(), Duration(), Bytes(), Share(), Capacity(), Leave(), Flag()):
        try:
            kind.parse(text)
        except Wrong as e:
            if len(text) > 3 and any(c.isdigit() for c in text):  # words of ours have none
                assert text not in e.what


def test_an_end_of_long_ago_is_not_for_ever():
    """0 stands for a key without an end."""
    assert Moment().parse("1970-01-01") == 1.0 == Moment().parse("1950-01-01T10:00:00Z")
    with pytest.raises(Wrong, match="is no time"):
        Moment().parse("9999-12-31T23:59:59-14:00")
