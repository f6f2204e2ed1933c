"""Whatever an upstream says about time, we get seconds or nothing."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.wire.retry import FAR, duration, retry_after, seconds, until

WALL = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT

NAMES = st.sampled_from([
    b"retry-after-ms", b"x-ms-retry-after-ms", b"Retry-After", b"retry-after", b"x-ratelimit-reset-tokens",
    b"x-ratelimit-reset-requests", b"x-ratelimit-remaining-tokens", b"X-RateLimit-Remaining-Requests",
    b"Date",
])  # fmt: skip
VALUES = (
    st.binary(max_size=40)
    | st.floats().map(lambda f: str(f).encode())
    | st.integers().map(lambda i: str(i).encode())
    | st.text(alphabet="0123456789.hmsnud-+e ", max_size=20).map(str.encode)
    | st.sampled_from([b"Tue, 14 Nov 2023 22:13:50 GMT", b"Thu, 31 Feb 9999 23:59:60 GMT", b"nan", b"inf", b"1e999"])
)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=6), st.floats(0, 1e11))
def test_never_an_exception_never_negative_never_infinite(pairs: list[tuple[bytes, bytes]], wall: float) -> None:
    wait = retry_after(pairs, wall)
    assert wait is None or (math.isfinite(wait) and 0 <= wait <= FAR)


@pytest.mark.parametrize(
    ("pairs", "wait"),
    [
        ([("retry-after-ms", "150"), ("retry-after", "1")], 0.15),
        ([("Retry-After", "1")], 1.0),
        ([("x-ms-retry-after-ms", "150")], 0.15),
        ([("retry-after", "0.5")], 0.5),
        ([("retry-after", "Tue, 14 Nov 2023 22:13:50 GMT")], 30.0),
        ([("retry-after", "Tuesday, 14-Nov-23 22:13:50 GMT")], 30.0),
        ([("retry-after", "Tue Nov 14 22:13:50 2023")], 30.0),
        ([("retry-after", "Tue, 14 Nov 2023 22:00:00 GMT")], 0.0),
        # two clocks differ by an hour, and the upstream's own says how long it is
        ([("retry-after", "Tue, 14 Nov 2023 23:13:50 GMT"), ("Date", "Tue, 14 Nov 2023 23:13:20 GMT")], 30.0),
        ([("retry-after", "Tue, 14 Nov 2023 21:13:50 GMT"), ("date", "Tue, 14 Nov 2023 21:13:20 GMT")], 30.0),
        ([("retry-after", "Tue, 14 Nov 2023 22:13:50 GMT"), ("date", "today")], 30.0),
        ([("retry-after-ms", "nan"), ("retry-after", "2")], 2.0),
        ([("retry-after-ms", "-5"), ("retry-after", "2")], 2.0),
        ([("retry-after", "86400")], 86400.0),
        ([("retry-after", "22 seconds")], None),
        ([("retry-after", "1" * 400)], None),
        ([("retry-after", "Tue, 99 Foo 2023 22:13:50 GMT")], None),
        ([("x-ratelimit-reset-requests", "22")], 22.0),
        ([("x-ratelimit-reset-tokens", "6m0s")], 360.0),
        ([("x-ratelimit-reset-tokens", "120ms")], 0.12),
        ([("x-ratelimit-reset-tokens", "1h2m3.5s")], 3723.5),
        ([("x-ratelimit-reset-tokens", "soon"), ("x-ratelimit-reset-requests", "3")], 3.0),
        ([("retry-after", "4"), ("x-ratelimit-reset-tokens", "9")], 4.0),
        # the budget that is used up decides, not the one with room
        ([("x-ratelimit-reset-requests", "1s"), ("x-ratelimit-remaining-requests", "5"),
          ("x-ratelimit-reset-tokens", "40s"), ("x-ratelimit-remaining-tokens", "0")], 40.0),
        ([("x-ratelimit-remaining-tokens", "-1"), ("x-ratelimit-reset-tokens", "0")], None),
        ([], None),
    ],
)  # fmt: skip
def test_every_spelling(pairs: list[tuple[str, str]], wait: float | None) -> None:
    got = retry_after([(n.encode(), v.encode()) for n, v in pairs], WALL)
    assert got == (wait if wait is None else pytest.approx(wait))


def test_the_parts() -> None:
    assert seconds("") is seconds("1e5") is seconds("+1") is seconds("\u0663") is None
    assert duration("5x") is duration("m") is duration("99999999999d") is None
    assert until("", WALL) is until("Tue, 14 Nov 2023 22:13:50 EST", WALL) is None
