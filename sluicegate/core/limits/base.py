"""What every limit is: a ceiling that a request claims its part of, and gives back what it did not use.

A limit lives by identity (core/policy.py), so a new configuration changes its amount and not its count. All of it
happens in steps that yield nothing: `reserve` looks at every limit first and takes only when all can give.

`amount` is what this process may give out. It is the whole limit, or with several workers this one's share of it
(core/limits/lender.py): shares are moved between processes, never copied, so that together they stay the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from sluicegate.core.events import Usage
from sluicegate.core.twin import twin


@dataclass(frozen=True, slots=True)
class LimitSpec:
    """One ceiling of a consumer or tenant, as written. Plain data: it stands in the Directory."""

    kind: str
    "Name of a row of LIMITS: token_rate, request_rate, concurrency."
    amount: int
    "Tokens or requests per window, or requests at the same time."
    window: float = 60.0
    "Seconds: 1, 60 or 3600; unused by concurrency."
    each: str = ""
    "What one counter covers: consumer, tenant, key, end_user, model; empty: the principal it is written at."
    count: str = "total"
    "total, input, output or uncached tokens."
    reserve: str = "learned"
    "learned or max: what a request without a token maximum takes."
    guarantee: str = "leased"
    "leased, exact or local."
    mode: str = "enforce"
    "enforce, shadow or off."
    models: tuple[str, ...] = ()
    "Public names it counts; empty: all."
    operations: tuple[str, ...] = ()
    "Operations it counts; empty: all."
    origin: str = ""
    "Where it was written, for refusals and explanations: `tenants.retail`."


RECENT_S = 2.0
"""A share is lent with as much on top as was used in so many seconds."""

SPARE = 32
"""Or with this part of the limit, if that is more: who comes now and then need not ask for each request."""

IDLE = 8
"""A share that is larger by this part of the limit than what is used, and will be soon, is given back."""

VAIN_S = 0.1
"""A worker that asked the keeper in vain does not ask again for so long: refused requests must not become messages."""


class Claim:
    """What one request wants of its limits; once it was let in, what it holds of them."""

    __slots__ = ("at", "bounded", "held", "input", "output", "taken", "wait")

    def __init__(self, input: int, output: int, bounded: bool) -> None:
        self.input = input
        "Prompt tokens, estimated."
        self.output = output
        "Completion tokens to reserve."
        self.bounded = bounded
        "`output` is a maximum that the upstream will keep, not a guess."
        self.at = 0.0
        "When it was let in: says from which slot a limit takes back."
        self.held: Sequence[Limit] = ()
        self.taken: list[int] = []
        "What each of `held` gave, in their order."
        self.wait = 0.0
        "Seconds until it could be let in, if it was not; inf: never."

    def settle(self, usage: Usage | None, left: bool, now: float) -> None:
        """Put the truth in the place of the estimate. Once; a second call finds nothing held.

        `usage` None: no tokens were used. `left`: something of the request went upstream, so it counts as a request.
        """
        held = self.held
        self.held = ()
        at = self.at
        for limit, taken in zip(held, self.taken, strict=False):
            limit.settle(at, taken, usage, left, now)


class Limit:
    """One counter of one principal."""

    __slots__ = (
        "amount", "elsewhere", "headroom", "key", "lent", "owes", "refs", "refused", "shadow", "spec", "vain_until",
        "whole", "window", "would_refuse",
    )  # fmt: skip

    kind: ClassVar[str]
    "Name of its row; refusals are called `limit.` and this."
    counts: ClassVar[str]
    "`tokens` or `requests` for what the head-room headers show, else empty."

    def __init__(self, spec: LimitSpec, key: str) -> None:
        self.key = key
        "Says which counter this is, the same in every process: principal, kind, what it counts."
        self.amount = spec.amount
        self.elsewhere = 0
        "What nobody holds of it, as the keeper said last: for what clients are told only."
        self.headroom = self._headroom(spec)
        "Header lines, to be filled in with what remains and when it resets."
        self.lent = False
        "`amount` is a share that the keeper lent."
        self.owes = 0
        "To be given back to the keeper as it falls free; no longer part of `amount`."
        self.vain_until = 0.0
        "The keeper had not enough: it is not asked again before."
        self.refs = 0
        "Policies that hold it (core/policy.py)."
        self.refused = 0
        "Requests it refused."
        self.would_refuse = 0
        "Requests it let through because it only shadows."
        self.spec = spec
        self.whole = spec.amount
        "The limit as written: nothing larger can ever pass."
        self.shadow = spec.mode == "shadow"
        self.window = spec.window
        "Seconds; 0 where nothing outlives the requests in flight."

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.key}, {self.amount})"

    def configure(self, spec: LimitSpec) -> None:
        """The same limit as another configuration has it. What was used stays used."""
        if not self.lent:
            self.amount = spec.amount
        elif spec.amount < self.whole:  # each worker gives up the same part of what it holds
            cut = self.amount - self.amount * spec.amount // self.whole
            self.amount -= cut
            self.owes += cut
        self.vain_until = 0.0
        self.whole = spec.amount
        self.headroom = self._headroom(spec)
        self.shadow = spec.mode == "shadow"
        self.spec = spec

    def _headroom(self, spec: LimitSpec) -> bytes:
        what = self.counts.encode()
        return (
            b"x-ratelimit-limit-%b: %d\r\nx-ratelimit-remaining-%b: %%d\r\nx-ratelimit-reset-%b: %%d\r\n"
            % (what, spec.amount, what, what)
        )  # fmt: skip

    def fork(self) -> Limit:
        """Another one as it is now, for a run that must change nothing (core/fork.py)."""
        return twin(self, type(self)(self.spec, self.key))

    def wants(self, claim: Claim) -> int:
        """How much the claim takes."""
        raise NotImplementedError

    def lacks(self, claim: Claim, now: float) -> float | None:
        """None: it may pass. Else the seconds until it could, if nobody else came; inf: never."""
        raise NotImplementedError

    def reserve(self, claim: Claim, now: float) -> int:
        """Take what the claim wants, which `lacks` just granted, and say how much that was."""
        raise NotImplementedError

    def settle(self, at: float, taken: int, usage: Usage | None, left: bool, now: float) -> None:
        """The truth about what was `taken` at the time `at`; see Claim.settle."""
        raise NotImplementedError

    def remaining(self, now: float) -> int:
        """What could be taken now, at least 0."""
        raise NotImplementedError

    def resets(self, now: float) -> float:
        """Seconds until nothing of it is used any more, if nobody came."""
        raise NotImplementedError

    def empty(self, now: float) -> bool:
        """Nothing is used, so that forgetting it loses nothing."""
        raise NotImplementedError

    def describe(self) -> str:
        """As a person would write it: `60000 tokens/minute`."""
        raise NotImplementedError

    def used(self, now: float) -> int:
        """What is used or reserved, debt included."""
        raise NotImplementedError

    # ------------------------------------------------------------ shares (core/limits/lender.py)

    def short(self, claim: Claim, now: float) -> int:
        """How much larger the share must be for the claim to pass; 0: it is no question of the share."""
        raise NotImplementedError

    def recent(self, since: float) -> int:
        """How much was taken since then, roughly."""
        raise NotImplementedError

    def soon(self, now: float) -> int:
        """What will be used soon, beyond what is."""
        return max(self.recent(now - RECENT_S), self.whole // SPARE)

    def surplus(self, now: float) -> int:
        """What to give back unasked, so that it stands free and can be told; 0: not worth a message."""
        if not self.window:
            return 0
        spare = self.amount - self.used(now) - self.soon(now)
        return spare if spare > self.whole // IDLE else 0

    def get(self, amount: int, enough: bool, rest: int, now: float) -> None:
        """The share grows, `rest` stays with the keeper. `enough` False: it would have to be more."""
        self.amount += amount
        self.elsewhere = rest
        if not enough:
            self.vain_until = now + VAIN_S

    def give(self, wanted: int, floor: int, now: float) -> int:
        """Part with what is not used, up to `wanted`; says how much that is. What is used beyond `floor` is owed."""
        spare = max(0, self.amount - self.used(now))
        part = max(0, min(wanted, max(spare, self.amount - floor)))
        self.amount -= part
        self.owes += part
        return self.owed(now)

    def owed(self, now: float) -> int:
        """What is owed and has fallen free: it is no longer ours."""
        free = max(0, min(self.owes, self.amount + self.owes - self.used(now)))
        self.owes -= free
        return free


def reserve(limits: Sequence[Limit], claim: Claim, now: float, asks: bool = False) -> Limit | None:
    """All or nothing: None when every limit gave its part, else the one that lacks longest, and nothing was taken.

    A limit that only shadows is passed over when it cannot give, and counts what it would have refused. `asks`: the
    keeper may be asked for more, so one that has not its share yet is named first, or it would count nothing.
    """
    worst: Limit | None = None
    passed: list[Limit] | None = None
    share: Limit | None = None
    for limit in limits:
        lacks = limit.lacks(claim, now)
        if lacks is not None:
            if limit.shadow:
                if passed is None:
                    passed = []
                passed.append(limit)
                if asks and now >= limit.vain_until and limit.short(claim, now) > 0:
                    share = limit
            elif worst is None or lacks > claim.wait:
                worst = limit
                claim.wait = lacks
    if worst is not None:
        return worst
    if share is not None:
        return share
    if passed is not None:
        for limit in passed:
            limit.would_refuse += 1
        limits = [limit for limit in limits if limit not in passed]
    claim.at = now
    claim.held = limits
    claim.taken = [limit.reserve(claim, now) for limit in limits]
    return None
