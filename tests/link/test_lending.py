"""Shares of limits on their way: answers reach who asked in order, and nobody waits for a keeper that says nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sluicegate.core.limits.lender import Holds, Lend, Recall, Rest, Returned, Want
from sluicegate.keeper.lending import Lending
from sluicegate.link.channel import Lends, Needs
from sluicegate.link.lending import PATIENCE_S, Borrower


class Shares:
    """What a worker has of each limit; nothing is in use."""

    def __init__(self) -> None:
        self.have: dict[str, int] = {}
        self.back: list[Returned] = []
        self.new: list[Holds] = []
        self.rest: dict[str, int] = {}
        self.parts = 0

    def got(self, lend: Lend, now: float) -> None:
        self.have[lend.key] = self.have.get(lend.key, 0) + lend.amount

    def recalled(self, recall: Recall, now: float) -> Returned:
        given = min(self.have.get(recall.key, 0), recall.amount)
        self.have[recall.key] = self.have.get(recall.key, 0) - given
        return Returned(recall.key, given, True)

    def returns(self, now: float) -> list[Returned]:
        back, self.back = self.back, []
        return back

    pending = returns

    def told(self, rest: Rest) -> None:
        self.rest[rest.key] = rest.amount

    def moved(self) -> list[Holds]:
        moved, self.new = self.new, []
        return moved

    def leave(self, now: float) -> list[Returned]:
        have, self.have = self.have, {}
        return [Returned(key, amount, False) for key, amount in have.items()]

    def alone(self, parts: int) -> None:
        self.parts = parts


class Machine:
    """Two workers and a keeper; messages are delivered when the test says."""

    def __init__(self) -> None:
        self.clock = 0.0
        self.down: list[tuple[int, Lends]] = []
        self.up: list[tuple[int, Needs]] = []
        self.lending = Lending(lambda pid, message: self.down.append((pid, message)), lambda: self.clock)
        self.shares = {pid: Shares() for pid in (1, 2)}
        self.borrowers = {
            pid: Borrower(self.shares[pid], lambda m, pid=pid: self.up.append((pid, m)), lambda: self.clock, 2)  # type: ignore[misc]
            for pid in (1, 2)
        }
        for pid in (1, 2):
            self.lending.joined(pid)

    def deliver(self) -> None:
        while self.up or self.down:
            while self.up:
                self.lending.take(*self.up.pop(0))
            while self.down:
                pid, message = self.down.pop(0)
                self.borrowers[pid].take(message)


def want(need: int, key: str = "a") -> Want:
    return Want(key, 100, 60.0, need, 0)


@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 60)), min_size=1, max_size=2), st.booleans())))  # fmt: skip
def test_everybody_is_told_once_and_shares_are_never_more_than_the_whole(steps: list[tuple[int, list[tuple[str, int]], bool]]):  # fmt: skip
    machine = Machine()
    told: list[int] = []
    for n, (pid, needs, delivered) in enumerate(steps):
        wants = [want(need, key) for key, need in dict(needs).items()]
        assert machine.borrowers[pid].ask(wants, lambda n=n: told.append(n))  # type: ignore[misc]
        if delivered:
            machine.deliver()
    machine.deliver()
    machine.clock += 1.0
    machine.lending.tick()
    machine.deliver()
    for borrower in machine.borrowers.values():
        borrower.tick()
    assert sorted(told) == list(range(len(steps)))
    for key in "ab":
        assert sum(s.have.get(key, 0) for s in machine.shares.values()) <= 100


def test_who_waits_for_a_silent_keeper_goes_on_and_its_late_answer_is_nobody_elses():
    machine = Machine()
    told: list[str] = []
    borrower = machine.borrowers[1]
    borrower.ask([want(10)], lambda: told.append("first"))
    machine.clock += PATIENCE_S / 2
    borrower.tick()
    assert told == []
    machine.clock += PATIENCE_S
    borrower.tick()
    assert told == ["first"]
    assert not borrower.ask([want(20)], lambda: told.append("second")), "a silent keeper makes one wait, not all"
    assert borrower.ask([want(20, "b")], lambda: told.append("another limit"))
    machine.deliver()
    assert told == ["first", "another limit"], "the late answer was the first one's"
    assert machine.shares[1].have["a"] == 10, "and what it brought is there"
    assert borrower.ask([want(20)], lambda: told.append("third"))
    machine.deliver()
    assert told == ["first", "another limit", "third"]


def test_who_goes_on_without_an_answer_may_ask_for_more_at_once():
    machine = Machine()
    told: list[bool] = []
    borrower = machine.borrowers[1]
    for _ in range(3):
        borrower.ask([want(10)], lambda: told.append(borrower.ask([want(10), want(5, "b")], lambda: None)))
    machine.clock += PATIENCE_S
    borrower.tick()
    assert told == [False] * 3


def test_what_moved_is_said_before_what_is_wanted_and_the_rest_is_told():
    machine = Machine()
    machine.shares[1].new = [Holds("a", 100, 60.0, 70)]
    machine.shares[1].have = {"a": 70}
    machine.borrowers[1].ask([want(10)], lambda: None)
    machine.deliver()
    assert machine.lending.lender.shares("a") == {1: 80}
    machine.clock += 1.0
    machine.lending.tick()
    machine.deliver()
    assert machine.shares[1].rest == {"a": 20} and not machine.shares[2].rest
    machine.borrowers[1].leave()
    machine.borrowers[2].ask([want(100)], lambda: None)
    machine.deliver()
    assert machine.lending.lender.shares("a") == {2: 100}, "who leaves gives back what it does not use"


def test_without_a_keeper_nobody_waits_and_nobody_asks():
    machine = Machine()
    told: list[str] = []
    borrower = machine.borrowers[1]
    borrower.ask([want(10), want(5, "b")], lambda: told.append("asked before"))
    borrower.lost()
    assert told == ["asked before"]
    assert not borrower.ask([want(1)], lambda: told.append("never"))
    assert machine.shares[1].parts == 2
    machine.shares[1].back = [Returned("a", 5, False)]
    sent = len(machine.up)
    borrower.tick()
    assert len(machine.up) == sent and told == ["asked before"]


def test_what_fell_free_goes_back_and_is_lent_to_who_wants_it():
    machine = Machine()
    machine.borrowers[1].ask([want(100)], lambda: None)
    machine.deliver()
    assert machine.shares[1].have == {"a": 100}
    machine.shares[1].have = {"a": 40}
    machine.shares[1].back = [Returned("a", 60, False)]
    machine.borrowers[1].tick()
    machine.borrowers[2].ask([want(50)], lambda: None)
    machine.deliver()
    assert machine.shares[2].have["a"] >= 50
    machine.lending.left(1)
    assert machine.lending.lender.shares("a").keys() == {2}
