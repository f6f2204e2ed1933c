"""Shared counters: the keeper's sums are what the workers counted, whoever came and went, and names are bounded."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.core.events import Usage
from sluicegate.core.families import (
    ATTEMPTS,
    CONSUMER_REQUESTS,
    DEPLOYMENT_IN_FLIGHT,
    DEPLOYMENT_STATE,
    FAMILIES,
    FIRST,
    IN_FLIGHT,
    LAG,
    OTHER,
    REQUESTS,
    SECONDS,
    WHOLE,
    Family,
)
from sluicegate.core.record import Attempt, UsageRecord
from sluicegate.edge import failures
from sluicegate.link.counters import CELLS, SECRET, Board, Counters, size
from sluicegate.link.counting import Counting
from sluicegate.stores.memory.journal import Journal
from sluicegate.worker.gauges import Gauges

REGIONS = 3


@pytest.fixture
def fd() -> Iterator[int]:
    made = os.memfd_create("counters-of-a-test")
    yield made
    os.close(made)


def board() -> tuple[int, Board]:
    fd = os.memfd_create("counters-of-a-test")
    return fd, Board(fd, REGIONS)


@given(st.lists(st.tuples(st.integers(0, REGIONS - 1), st.sampled_from("abc"), st.integers(0, 9), st.booleans())))
def test_the_sums_are_what_was_counted_whoever_came_and_went(steps: list[tuple[int, str, int, bool]]):
    fd, keeper = board()
    try:
        workers = [Counters(fd, n) for n in range(REGIONS)]
        counted: Counter[str] = Counter()
        for region, model, number, replaced in steps:
            worker = workers[region]
            worker.cells[worker.row(REQUESTS, model, "200", "")] += number
            counted[model] += number
            if replaced:
                worker.publish()
                workers[region] = Counters(fd, region)
        for worker in workers:
            worker.publish()
        sums = keeper.read({0, 1, 2})
        found = {labels[0]: cells[0] for (name, labels), cells in sums.items() if name == REQUESTS.name}
        assert {k: v for k, v in found.items() if v} == {k: v for k, v in counted.items() if v}
    finally:
        keeper.close()
        os.close(fd)


def test_gauges_are_those_of_the_living_and_begin_at_zero_with_each_worker(fd: int):
    keeper = Board(fd, REGIONS)
    for region, (flying, late) in enumerate([(3, 50), (4, 70)]):
        worker = Counters(fd, region)
        worker.cells[worker.row(IN_FLIGHT)] = flying
        worker.cells[worker.row(LAG)] = late
        worker.publish()
    assert keeper.read({0, 1})[IN_FLIGHT.name, ()] == [7]
    assert keeper.read({0, 1})[LAG.name, ()] == [70]
    assert keeper.read({0})[IN_FLIGHT.name, ()] == [3]
    assert keeper.read({0})[LAG.name, ()] == [50]
    Counters(fd, 0)
    assert keeper.read({0, 1})[IN_FLIGHT.name, ()] == [4]
    keeper.close()


def test_label_sets_beyond_the_bound_are_counted_together():
    counters = Counters()
    family: Family = CONSUMER_REQUESTS
    places = {counters.row(family, "t", f"c{n}") for n in range(family.most + 50)}
    assert len(places) == family.most  # one of them is `other`
    assert counters.full(family)
    assert counters.row(family, "t", "c0") != counters.row(family, OTHER, OTHER)
    assert counters.row(family, "t", f"c{family.most + 49}") == counters.row(family, OTHER, OTHER)


def test_deployments_beyond_the_bound_are_shown_together():
    """What the last of them carried stood there for all, and the state of any one."""
    mine = Counters()
    door = SimpleNamespace(state=lambda now: (states[0],))
    states = ["closed"]
    members = {n: SimpleNamespace(label=f"i/d{n}", in_flight=1, door=door) for n in range(5000)}
    world: Any = SimpleNamespace(in_flight=0, members=members)
    server: Any = SimpleNamespace(connections=(), refusals={})
    upstream: Any = SimpleNamespace(counts=lambda: SimpleNamespace(idle=0, busy=0, connecting=0))
    gauges = Gauges(mine, world, server, upstream, None)

    def shown(family: Family) -> dict[tuple[str, ...], int]:
        rows = {labels: at for (name, labels), at in mine._rows.items() if name == family.name}
        return {labels: mine.cells[at] for labels, at in rows.items()}

    for state in ("closed", "open", "closed"):
        states[0] = state
        gauges.publish(0.0)
        gauges.publish(1.0)
        assert sum(shown(DEPLOYMENT_IN_FLIGHT).values()) == sum(shown(DEPLOYMENT_STATE).values()) == 5000
        assert all(n in (0, 1) for labels, n in shown(DEPLOYMENT_STATE).items() if OTHER not in labels)
    assert shown(DEPLOYMENT_IN_FLIGHT)[OTHER,] == 5000 - (DEPLOYMENT_IN_FLIGHT.most - 1)
    gauges.forget()
    members.clear()
    gauges.publish(2.0)
    assert not any(shown(DEPLOYMENT_IN_FLIGHT).values()) and not any(shown(DEPLOYMENT_STATE).values())


def test_a_region_that_is_full_counts_under_other_and_never_outside(fd: int):
    keeper = Board(fd, REGIONS)
    counters = Counters(fd, 1)
    for n in range(CELLS):
        counters.cells[counters.row(SECONDS, f"model-with-a-long-name-{n}", "true")] += 1
        counters.cells[counters.row(REQUESTS, f"m{n}", "200", "")] += 1
    counters.publish()
    assert len(counters.cells) <= CELLS
    sums = keeper.read({1})
    assert sum(cells[0] for (name, _), cells in sums.items() if name == REQUESTS.name) == CELLS
    assert sums[REQUESTS.name, (OTHER, OTHER, OTHER)][0] > 0
    assert os.fstat(fd).st_size == size(REGIONS)
    assert not [name for name, _ in Board(fd, 1).read({0})], "a neighbour's region was written"
    keeper.close()


@pytest.fixture
def fewer_families() -> Iterator[None]:
    """Without ATTEMPTS. In place, as a compiled module keeps the table it was made with; and in order again after it."""
    before = dict(FAMILIES)
    del FAMILIES[ATTEMPTS.name]
    yield
    FAMILIES.clear()
    FAMILIES.update(before)


def test_a_name_of_a_version_that_is_gone_is_passed_over(fd: int, request: pytest.FixtureRequest):
    keeper = Board(fd, REGIONS)
    old = Counters(fd, 0)
    old.cells[old.row(ATTEMPTS, "weu/a", "none")] = 5
    old.publish()
    request.getfixturevalue("fewer_families")
    assert (ATTEMPTS.name, ("weu/a", "none")) not in keeper.read({0})
    new = Counters(fd, 0)
    new.cells[new.row(REQUESTS, "m", "200", "")] += 1
    new.publish()
    assert keeper.read({0})[REQUESTS.name, ("m", "200", "")] == [1]
    keeper.close()


# ---------------------------------------------------------------- what a record adds


def record(**given: object) -> UsageRecord:
    made = UsageRecord("1" * 32, "chat_completions", 10.0)
    made.model, made.tenant, made.consumer, made.status, made.state = "chat", "t", 1, 200, "settled"
    for name, value in given.items():
        setattr(made, name, value)
    return made


def counting() -> tuple[Counting, Counters, Journal]:
    counters, journal = Counters(), Journal()
    return Counting(journal, counters, lambda n: f"weu/d{n}", lambda n: f"app-{n}"), counters, journal


def value(counters: Counters, family: Family, *labels: str) -> int:
    return counters.cells[counters.row(family, *labels)]


def test_a_settled_record_is_handed_on_and_counted_whole():
    c, counters, journal = counting()
    failed, served = Attempt(7, 10.0), Attempt(8, 10.2)
    failed.cause = "upstream.throttled.rate"
    r = record(
        ended_at=10.3, first_token_at=10.25, stream=True, attempts=[failed, served], estimated=True,
        usage=Usage(input=10, output=5, cached=100, reasoning=50, cache_write=1),
    )  # fmt: skip
    c.admit(r)
    c.settle(r)
    assert journal.totals()["settled"] == 1
    by_name = {k: counters.cells[v] for k, v in counters._rows.items() if counters.cells[v] and OTHER not in k[1]}
    first = counters.row(SECONDS, "chat", "true")
    assert by_name == {
        (REQUESTS.name, ("chat", "200", "")): 1,
        (ATTEMPTS.name, ("weu/d7", "upstream.throttled.rate")): 1,
        (ATTEMPTS.name, ("weu/d8", "none")): 1,
        (CONSUMER_REQUESTS.name, ("t", "app-1")): 1,
        ("sluicegate_consumer_tokens_total", ("t", "app-1")): 166,
        ("sluicegate_tokens_total", ("chat", "input")): 10,
        ("sluicegate_tokens_total", ("chat", "output")): 5,
        ("sluicegate_tokens_total", ("chat", "cached")): 100,
        ("sluicegate_tokens_total", ("chat", "cache_write")): 1,
        ("sluicegate_tokens_total", ("chat", "reasoning")): 50,
        ("sluicegate_estimated_total", ("chat",)): 1,
    }
    cells = counters.cells[first : first + SECONDS.cells]
    assert cells[WHOLE.index(0.5)] == 1 and sum(cells[:-1]) == 1 and abs(cells[-1] - 300_000) <= 1
    assert FIRST.index(0.4)  # 0.25 s lies between 0.2 and 0.4


def test_a_refusal_is_counted_by_its_reason_and_never_by_what_the_client_wrote():
    c, counters, journal = counting()
    c.refuse(record(model="", consumer=0, status=404, reason="route.model", state="refused"))
    c.refuse(record(model="chat", status=429, reason="limit.token_rate", state="refused"))
    assert journal.totals()["refused"] == 2
    assert value(counters, REQUESTS, "", "404", "route.model") == 1
    assert value(counters, REQUESTS, "chat", "429", "limit.token_rate") == 1


def test_after_a_reload_numbers_may_be_other_names_and_counters_go_by_name():
    names = {1: "weu/a"}
    counters = Counters()
    c = Counting(Journal(), counters, names.__getitem__, str)
    for name in ("weu/a", "sdc/b", "weu/a"):
        names[1] = name
        c.adopted()
        r = record(attempts=[Attempt(1, 10.0)])
        c.admit(r)
        c.settle(r)
    assert value(counters, ATTEMPTS, "weu/a", "none") == 2
    assert value(counters, ATTEMPTS, "sdc/b", "none") == 1


def test_behind_the_regions_lies_what_all_workers_write_with_a_secret_of_the_keepers(fd: int):
    keeper = Board(fd, REGIONS)
    one, two = Counters(fd, 0), Counters(fd, REGIONS - 1)
    assert len(one.shared) >= failures.BYTES and failures.SECRET == SECRET
    assert bytes(one.shared[:SECRET]) == bytes(two.shared[:SECRET]) != bytes(SECRET)
    assert not any(one.shared[SECRET:])
    one.shared[-1] = one.shared[SECRET] = 7
    assert two.shared[-1] == two.shared[SECRET] == 7
    for worker in (one, two):
        worker.cells[worker.row(REQUESTS, "chat", "200", "")] += 1
        worker.publish()
    assert keeper.read({0, REGIONS - 1})[REQUESTS.name, ("chat", "200", "")] == [2], "and no region is touched by it"
    assert two.shared[-1] == 7
    keeper.close()
