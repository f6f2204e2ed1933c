"""Refusals before any exchange have lines in the access log, of a flood only some, and none is forgotten in the sum."""

from __future__ import annotations

from collections import Counter
from math import inf

from hypothesis import given
from hypothesis import strategies as st

from sluicegate.core.entry import Entry
from sluicegate.edge.early import LINES, Early
from tests.abuse.outside import ask, request
from tests.edge.test_front import DOOR, fronted

STEPS = st.lists(
    st.one_of(
        st.sampled_from(["front.door", "front.address", "credential.too_many_failures"]), st.floats(0.0, 1.5)
    ),
    max_size=200,
)  # fmt: skip


@given(STEPS)
def test_every_refusal_stands_in_a_line_or_in_a_number_and_lines_are_bounded(steps: list[str | float]):
    early = Early()
    early.want(True)
    now, refused, lines = 100.0, Counter[str](), list[Entry]()
    for n, step in enumerate(steps):
        if isinstance(step, str):
            refused[step] += 1
            early.add(f"{n:032x}", now, 403, step, "")
        else:
            now += step
            lines += early.take(now)
    lines += early.take(inf)
    told = Counter[str]()
    for line in lines:
        told[line.reason] += 1 + line.more
    assert told == refused
    assert len({line.id for line in lines}) == len(lines)
    seconds = now - 100.0 + 2
    assert all(sum(line.reason == reason for line in lines) <= (LINES + 1) * seconds for reason in refused)


def test_who_does_not_want_to_know_has_nothing_kept_for_it():
    early = Early()
    early.add("1", 1.0, 403, "front.door", "")
    early.want(True)
    assert early.take(100.0) == []
    for n in range(LINES + 5):
        early.add(str(n), 1.0, 403, "front.door", "")
    early.want(False)
    early.want(True)
    assert early.take(inf) == []


def test_what_the_front_refuses_is_told_with_the_id_that_the_client_has():
    with fronted(doors=(DOOR,)) as (gateway, _):
        told: list[Entry] = []
        gateway.worker.on_refused = told.extend
        gateway.call(lambda: gateway.worker.watch_refused(60.0))
        got = ask(gateway.port, request())
        unknown = ask(gateway.port, request(b"X-Azure-FDID: " + DOOR.encode(), path=b"/nothing"))
        gateway.stop()
        [door, path] = told
        assert (door.id.encode(), door.status, door.reason) == (
            got.header("x-sluicegate-request-id"),
            403,
            "front.door",
        )
        assert (path.id.encode(), path.status) == (unknown.header("x-sluicegate-request-id"), 404)
        assert door.client == "", "an address is about a person"
