"""One limit for several workers: the keeper lends each a share of it, and takes shares back from who has more than
it needs.

A share is an allowance, not credit: so much of the amount may be in use in that worker's own window at any time. All
shares together, with what the keeper holds and what is on its way, are the amount. So however long messages take, no
stretch as long as the window sees more admitted than the amount: the bound of over-admission is 0. (Answers that take
more than was reserved for them are debt as ever.) What messages cost is time: a worker that lacks room asks before it
refuses, one round trip to the keeper and one more from there to the others.

When the keeper is gone, each worker goes on with its share, or with an equal part of the limit if that is more: then
up to 2 - 1/N times the amount may pass N workers (core/policy.py, `alone`). When a worker is gone, its share comes back
one window later, since nobody knows what it used; one that was told to leave gives back what it does not use. Only the
keeper knows of that: if it is killed, too, within that window, the next one lends the share at once, and by so much
more than the amount may pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from sluicegate.core.limits.base import Claim, Limit

PATIENCE_S: Final = 0.05
"""How long a worker waits for what the others give back; then it gets what there is."""


@dataclass(frozen=True, slots=True)
class Want:
    """Worker to keeper: room is short. Answered by one Lend."""

    key: str
    whole: int
    window: float
    "Seconds; 0 where nothing outlives the requests in flight."
    need: int
    more: int
    "What would be welcome beyond the need, if nobody else has to give it."


@dataclass(frozen=True, slots=True)
class Lend:
    """Keeper to worker: so much more is yours."""

    key: str
    amount: int
    enough: bool
    "As much as was needed; else there was no more."
    rest: int
    "What nobody holds now."


@dataclass(frozen=True, slots=True)
class Rest:
    """Keeper to worker, once a second where it changed: so much of it nobody holds."""

    key: str
    amount: int


@dataclass(frozen=True, slots=True)
class Recall:
    """Keeper to worker: give back what you do not use, up to so much. Answered by one Returned, at once; what is in
    use above `floor` is not used again and follows as it falls free."""

    key: str
    amount: int
    floor: int


@dataclass(frozen=True, slots=True)
class Returned:
    """Worker to keeper: so much is no longer mine."""

    key: str
    amount: int
    asked: bool
    "The answer to a Recall."


@dataclass(frozen=True, slots=True)
class Holds:
    """Worker to keeper: so much is mine, though you did not lend it: what was used of a limit whose window changed, or
    what the keeper before you lent."""

    key: str
    whole: int
    window: float
    amount: int


# ------------------------------------------------------------------ the worker's side


def short(limits: Sequence[Limit], claim: Claim, now: float) -> list[Want]:
    """What to ask the keeper for so that the claim, which was just refused, could pass; empty: nothing would help."""
    wants = []
    for limit in limits:
        need = limit.short(claim, now)
        if need > 0 and now >= limit.vain_until:
            wants.append(Want(limit.key, limit.whole, limit.window, need, limit.soon(now)))
        elif not limit.shadow and limit.lacks(claim, now) is not None:
            return []
    return wants


# ------------------------------------------------------------------ the keeper's side


class _Loan:
    """One limit: who holds what of it."""

    __slots__ = ("coming", "free", "lost", "shares", "told", "waiting", "whole", "window")

    def __init__(self, whole: int, window: float) -> None:
        self.whole = whole
        self.window = window
        self.free = whole
        "Negative: the limit became smaller than what is lent."
        self.told = whole
        "What the workers believe to be free."
        self.shares: dict[int, int] = {}
        "Worker -> what it holds, as far as we know: what is on its way to it included."
        self.waiting: list[tuple[float, int, Want]] = []
        "(until, worker, what it wants)"
        self.coming: set[int] = set()
        "Workers that were asked to give back and have not answered."
        self.lost: list[tuple[float, int]] = []
        "Shares of workers that are gone: (when they are free again, how much)."


class Lender:
    """The keeper's book. Every method returns the messages to send, each with its worker."""

    __slots__ = ("_changed", "_loans", "_workers")

    def __init__(self) -> None:
        self._changed: set[str] = set()
        "Limits of which the workers may believe something that is no longer so."
        self._loans: dict[str, _Loan] = {}
        self._workers: set[int] = set()

    def __len__(self) -> int:
        return len(self._loans)

    def joined(self, worker: int, holds: Iterable[Holds] = ()) -> None:
        """A worker is there, or has what we did not lend it."""
        self._workers.add(worker)
        for held in holds:
            loan = self._loan(held.key, held.whole, held.window)
            loan.free -= held.amount
            loan.shares[worker] = loan.shares.get(worker, 0) + held.amount
            self._changed.add(held.key)

    def gone(self, worker: int, now: float) -> list[tuple[int, Lend | Recall]]:
        """A worker died. What it held is in use for one window more, as far as anybody knows."""
        self._workers.discard(worker)
        out: list[tuple[int, Lend | Recall]] = []
        for key, loan in list(self._loans.items()):
            share = loan.shares.pop(worker, 0)
            if share:
                loan.lost.append((now + loan.window, share))
            loan.coming.discard(worker)
            loan.waiting = [w for w in loan.waiting if w[1] != worker]
            out += self._serve(key, loan, now)
        return out

    def want(self, worker: int, want: Want, now: float) -> list[tuple[int, Lend | Recall]]:
        """A worker is short."""
        loan = self._loan(want.key, want.whole, want.window)
        out: list[tuple[int, Lend | Recall]] = []
        if want.need + sum(w.need for _, _, w in loan.waiting) > loan.free:  # the others must give
            floor = loan.whole // max(1, len(self._workers))
            for other in loan.shares:
                if other != worker and other not in loan.coming:
                    loan.coming.add(other)
                    out.append((other, Recall(want.key, want.need, floor)))
        loan.waiting.append((now + PATIENCE_S, worker, want))
        return out + self._serve(want.key, loan, now)

    def returned(self, worker: int, back: Returned, now: float) -> list[tuple[int, Lend | Recall]]:
        """A worker gave something back."""
        loan = self._loans.get(back.key)
        if loan is None:
            return []
        if back.amount:  # it may be of another configuration than the last who asked: the amount is what those say
            loan.free += back.amount
            left = loan.shares.get(worker, 0) - back.amount
            if left > 0:
                loan.shares[worker] = left
            else:
                loan.shares.pop(worker, None)
        if back.asked:
            loan.coming.discard(worker)
        return self._serve(back.key, loan, now)

    def tick(self, now: float) -> list[tuple[int, Lend | Recall]]:
        """A few times a second: who waited long enough gets what there is, what the dead held comes back, and what
        nobody holds is forgotten."""
        out: list[tuple[int, Lend | Recall]] = []
        for key, loan in list(self._loans.items()):
            if loan.waiting or loan.lost:
                out += self._serve(key, loan, now)
            if not loan.shares and not loan.waiting and not loan.lost:
                del self._loans[key]
        return out

    def rests(self) -> list[tuple[int, Rest]]:
        """Once a second: what nobody holds, to who holds a part of a limit of which that changed."""
        changed, self._changed = self._changed, set()
        out = []
        for key in changed:
            loan = self._loans.get(key)
            if loan is not None and loan.told != max(0, loan.free):
                loan.told = max(0, loan.free)
                out += [(worker, Rest(key, loan.told)) for worker in loan.shares]
        return out

    def shares(self, key: str) -> dict[int, int]:
        """Worker -> what it holds; for explanations."""
        loan = self._loans.get(key)
        return dict(loan.shares) if loan else {}

    def free(self, key: str) -> int | None:
        """What nobody holds; None: nobody has asked for any of it, all of it is free. For explanations."""
        loan = self._loans.get(key)
        return max(0, loan.free) if loan else None

    def _loan(self, key: str, whole: int, window: float) -> _Loan:
        loan = self._loans.get(key)
        if loan is None:
            loan = self._loans[key] = _Loan(whole, window)
        elif whole != loan.whole:
            loan.free += whole - loan.whole
            loan.whole = whole
        return loan

    def _serve(self, key: str, loan: _Loan, now: float) -> list[tuple[int, Lend | Recall]]:
        """Whoever can be answered, in the order in which they asked."""
        for due, amount in loan.lost:
            if now >= due:
                loan.free += amount
        loan.lost = [lost for lost in loan.lost if now < lost[0]]
        out: list[tuple[int, Lend | Recall]] = []
        still = []
        for until, worker, want in loan.waiting:
            free = max(0, loan.free)
            if free < want.need and now < until and any(other != worker for other in loan.coming):
                still.append((until, worker, want))
                continue
            amount = min(want.need, free)
            if amount == want.need and len(loan.waiting) == 1:
                fair = loan.whole // max(1, len(self._workers)) - loan.shares.get(worker, 0) - amount
                amount += max(0, min(want.more, free - amount, fair))
            if amount:
                loan.free -= amount
                loan.shares[worker] = loan.shares.get(worker, 0) + amount
            out.append((worker, Lend(key, amount, amount >= want.need, max(0, loan.free))))
        loan.waiting = still
        if loan.told != max(0, loan.free):
            self._changed.add(key)
        return out
