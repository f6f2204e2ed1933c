"""Shares of limits on their way: answers reach who asked in order, and nobody waits for a keeper that says nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sluicegate.core.limits.lender import Holds, Lend, Recall, Returned, Want
from sluicegate.keeper.lending import Lending
from sluicegate.link.channel import Lends, Needs
from sluicegate.link.lending import PATIENCE_S, Borrower


class Shares:
    """What a worker has of each limit; nothing is in use."""

    def __init__(self) -> None:
        self.have: dict[str, int] = {}
        self.back: list[Returned] = []

    def got(self, lend: Lend, now: float) -> None:
        self.have[lend.key] = self.have.get(lend.key, 0) + lend.amount

    def recalled(self, recall: Recall, now: float) -> Returned:
        given = min(self.have.get(recall.key, 0), recall.amount)
        self.have[recall.key] = self.have.get(recall.key, 0) - given
        return Returned(recall.key, 100, 60.0, given, True)

    def returns(self, now: float) -> list[Returned]:
        back, self.back = self.back, []
        return back

    def holds(self) -> list[Holds]:
        return []


class Machine:
    """Two workers and a keeper; messages are delivered when the test says."""

    def __init__(self) -> None:
        self.clock = 0.0
        self.down: list[tuple[int, Lends]] = []
        self.up: list[tuple[int, Needs]] = []
        self.lending = Lending(lambda pid, message: self.down.append((pid, message)), lambda: self.clock)
        self.shares = {pid: Shares() for pid in (1, 2)}
        self.borrowers = {
            pid: Borrower(self.shares[pid], lambda m, pid=pid: self.up.append((pid, m)), lambda: self.clock)  # type: ignore[misc]
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
    borrower.ask([want(20)], lambda: told.append("second"))
    assert len(machine.up) == 2
    machine.lending.take(*machine.up.pop(0))
    borrower.take(machine.down.pop(0)[1])
    assert told == ["first"], "the answer was the first one's"
    machine.deliver()
    assert told == ["first", "second"]


def test_without_a_keeper_nobody_waits_and_nobody_asks():
    machine = Machine()
    told: list[str] = []
    borrower = machine.borrowers[1]
    borrower.ask([want(10), want(5, "b")], lambda: told.append("asked before"))
    borrower.lost()
    assert told == ["asked before"]
    assert not borrower.ask([want(1)], lambda: told.append("never"))
    machine.shares[1].back = [Returned("a", 100, 60.0, 5, False)]
    sent = len(machine.up)
    borrower.tick()
    assert len(machine.up) == sent and told == ["asked before"]


def test_what_fell_free_goes_back_and_is_lent_to_who_wants_it():
    machine = Machine()
    machine.borrowers[1].ask([want(100)], lambda: None)
    machine.deliver()
    assert machine.shares[1].have == {"a": 100}
    machine.shares[1].have = {"a": 40}
    machine.shares[1].back = [Returned("a", 100, 60.0, 60, False)]
    machine.borrowers[1].tick()
    machine.borrowers[2].ask([want(50)], lambda: None)
    machine.deliver()
    assert machine.shares[2].have["a"] >= 50
    machine.lending.left(1)
    assert machine.lending.lender.shares("a").keys() == {2}
