"""Deployments that may stand in for each other, and which of them is asked next.

Tiers in order, and inside a tier whoever the balance prefers among those whose doors are open. A pool is asked anew
for every attempt: a provisioned deployment that is shut is passed over, and has its turn again the moment it opens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import Final

from sluicegate.core.door import RECENT_S, Door
from sluicegate.core.snapshot import Deployment, Instance

ANY_SIZE: Final = 1 << 62
UNDECLARED: Final = 100_000
"""Tokens a minute that a deployment without declared capacity is taken for, where members are compared."""

DOUBT: Final = 1.25
"""A prompt is longer than a window of the model book if its estimate says so by that much: plain prose has up to a
quarter fewer tokens than estimated. What an operator declares is taken at its word."""

EXPLORE: Final = 0.04
"""Share of requests by which `latency` finds out how the slower members do today."""

SPREAD: Final = (7919.0**3, 7919.0, 7919.0**2)
"""A request has one lot. For each further attempt its farther digits are used: the near ones said who was the first."""

TRAIL_MOST: Final = 32
"""Lines of one record's trail."""


class Member:
    """A deployment bound to its instance and its door, as one pool sees it."""

    __slots__ = (
        "ceiling", "declared", "deployment", "door", "instance", "label", "level", "max_input", "place", "seen",
        "share", "tier", "weight",
    )  # fmt: skip

    def __init__(
        self, deployment: Deployment, instance: Instance, door: Door, soft_ceiling: float | None = None
    ) -> None:
        self.deployment = deployment
        self.instance = instance
        self.door = door
        self.label = f"{instance.name}/{deployment.name}"
        self.tier = deployment.tier
        self.declared = ""
        "For records, where boundaries are declared: see core/residency.py."
        self.seen = ""
        "The region that an answer named last, and that contradicts nothing."
        self.place = 0
        "In the order of its pool."
        self.level = 0
        "Of its tier, in the order of its pool."
        self.weight = max(deployment.weight, 1)
        self.share = 1.0 / ((deployment.capacity or UNDECLARED) * self.weight)
        "Load is compared after multiplying with it."
        window = deployment.window
        self.max_input = deployment.max_input or (int(window * DOUBT) if window else ANY_SIZE)
        "Longest prompt, in tokens as we estimate them."
        self.ceiling = inf
        "Load beyond which it is passed over (`spill.soft_ceiling`)."
        if soft_ceiling is not None and deployment.capacity:
            self.ceiling = soft_ceiling * deployment.capacity / 6  # of a minute, in RECENT_S

    def __repr__(self) -> str:
        return f"Member({self.label})"

    @property
    def in_flight(self) -> int:
        return self.door.in_flight


Balance = Callable[["Pool", Sequence[Member], float, float], Member]
"""Chooses one of at least two members; `now`, `chance`."""


class Look:
    """A member as it was when somebody asked why: the word for what became of it, and what it carried."""

    __slots__ = ("answer_s", "cause", "in_flight", "load", "member", "state", "until", "word")

    def __init__(self, member: Member, word: str, now: float, estimate: int = 0) -> None:
        door = member.door
        self.member = member
        self.word = word
        "taken, only (nobody else in its tier could be), balance, later, tried, or a key of PASSED."
        self.state = door.state(now)[0]
        at, reason = door.ready(now, estimate)
        self.until = at - now if reason and at != inf else 0.0
        "Seconds until it may be asked."
        self.cause = door.breaker.cause
        self.in_flight = door.in_flight
        self.load = door.load(now)
        "Tokens in flight and settled of late, see Door.load."
        self.answer_s = door.answer_s()


class Pool:
    """Members by tier, each tier in declared order."""

    __slots__ = ("_choose", "last", "members", "soft", "tiers")

    def __init__(self, tiers: Sequence[Sequence[Member]], balance: str = "least_tokens") -> None:
        self.tiers = tuple(tuple(t) for t in tiers)
        self.members = tuple(m for tier in self.tiers for m in tier)
        self.soft = any(m.ceiling != inf for m in self.members)
        self._choose: Balance = BALANCE[balance]
        for place, member in enumerate(self.members, 1):
            member.place = place
        self.last = [0] * len(self.tiers)
        "Of each tier, the place of who was taken last."
        for level, tier in enumerate(self.tiers):
            for member in tier:
                member.level = level

    def pick(
        self, tried: Sequence[Door], now: float, chance: float, estimate: int, trail: list[str],
        why: list[Look] | None = None,
    ) -> Member | None:  # fmt: skip
        """Who is asked next, None when nobody can be. Takes nothing: `Door.enter` does. The one way to a member.

        `tried`: whoever was asked already; `chance`: in [0, 1); `estimate`: tokens of the prompt. Into `trail` goes who
        is passed over and why; into `why`, where somebody wants to know, a look at everybody (core/explain.py).
        """
        if tried:
            chance = chance * SPREAD[len(tried) % 3] % 1.0
        for tier in self.tiers:
            free: Sequence[Member] = tier
            if tried or self.soft:
                free = self._free(tier, tried, now, estimate, trail, why)
            else:
                for member in tier:  # the usual case, in a few steps
                    door = member.door
                    if not door.clear or door.quota is not None or estimate > member.max_input:
                        free = self._free(tier, tried, now, estimate, trail, why)
                        break
            if free:
                taken = free[0] if len(free) == 1 else self._choose(self, free, now, chance)
                self.last[taken.level] = taken.place
                if why is not None:
                    self._told(taken, free, tier, why, now)
                return taken
        return self._beyond(tried, now, chance, estimate, why) if self.soft else None

    def outlook(
        self, now: float, estimate: int, short: Sequence[Door], never: Sequence[Door] = ()
    ) -> tuple[str, float]:
        """Why nobody can be asked, and the seconds until somebody can: `throttled` (all that could take it are),
        `failed` (one at least is broken), `prompt` (too long for all), `empty`. `short`: see no_larger; `never`:
        whoever this caller cannot have."""
        kind, soonest = "empty", inf
        for member in self.members:
            if member.door in never:
                continue
            if estimate > member.max_input or member.door in short:
                if kind == "empty":
                    kind = "prompt"
                continue
            at, reason = member.door.ready(now, estimate)
            if reason != "residency":  # no time brings it back
                soonest = min(soonest, round(at - now, 6))
            if reason == "open" or reason == "half_open" or reason == "residency":
                kind = "failed"
            elif kind != "failed":
                kind = "throttled"
        return kind, soonest

    def no_larger(self, than: Member) -> list[Door]:
        """After `than` refused a prompt as too long: the doors of whoever would say the same, its own among them.

        A longer window may take it, and so may another kind of capacity where nothing is declared: what the book says
        of a model holds for no deployment in particular.
        """
        declared = than.deployment.max_input is not None
        return [
            m.door
            for m in self.members
            if m is than or (m.max_input <= than.max_input and (declared or m.tier == than.tier))
        ]

    def _free(
        self, tier: Sequence[Member], tried: Sequence[Door], now: float, estimate: int, trail: list[str],
        why: list[Look] | None,
    ) -> list[Member]:  # fmt: skip
        """Who of a tier can be asked; of the others it is told why not."""
        free = []
        for member in tier:
            door = member.door
            if door in tried:
                if why is not None:
                    why.append(Look(member, "tried", now))
                continue
            reason = ""
            if estimate > member.max_input:
                reason = "prompt"
            elif not door.clear or door.quota is not None:
                reason = door.ready(now, estimate)[1]
            if not reason and member.ceiling != inf and door.load(now) > member.ceiling:
                reason = "soft_ceiling"
            if not reason:
                free.append(member)
                continue
            if len(trail) < TRAIL_MOST:
                trail.append(f"{member.label}: passed.{reason}")
            if why is not None:
                why.append(Look(member, reason, now, estimate))
        return free

    def _beyond(
        self, tried: Sequence[Door], now: float, chance: float, estimate: int, why: list[Look] | None
    ) -> Member | None:
        """Nobody is left below its soft ceiling. That is a guess of ours, no word of an upstream: it sends requests to
        others, and where there are none it refuses nothing."""
        for tier in self.tiers:
            free = [
                m for m in tier
                if m.door not in tried and estimate <= m.max_input and not m.door.ready(now, estimate)[1]
            ]  # fmt: skip
            if free:
                taken = free[0] if len(free) == 1 else self._choose(self, free, now, chance)
                self.last[taken.level] = taken.place
                if why is not None:
                    why[:] = [look for look in why if look.member not in free]
                    why.append(Look(taken, "taken" if len(free) > 1 else "only", now))
                    why.extend(Look(m, "balance", now) for m in free if m is not taken)
                return taken
        return None

    def _told(
        self, taken: Member, free: Sequence[Member], tier: tuple[Member, ...], why: list[Look], now: float
    ) -> None:
        """Of this tier who was taken and who could have been, and all of the tiers that had no turn."""
        why.append(Look(taken, "taken" if len(free) > 1 else "only", now))
        why.extend(Look(m, "balance", now) for m in free if m is not taken)
        for later in self.tiers[self.tiers.index(tier) + 1 :]:
            why.extend(Look(m, "later", now) for m in later)


def least_tokens(pool: Pool, free: Sequence[Member], now: float, chance: float) -> Member:
    """Fewest tokens in flight and settled of late, relative to capacity and weight. Of equals the first."""
    best, least = free[0], inf
    for member in free:
        door = member.door
        if now >= door.turn:
            door.roll(now)
        load = (door.tokens + door.recent + door.before * ((door.turn - now) / RECENT_S)) * member.share  # door.load()
        if load < least:
            best, least = member, load
    return best


def weighted(pool: Pool, free: Sequence[Member], now: float, chance: float) -> Member:
    """By lot, each with its weight."""
    at = chance * sum(m.weight for m in free)
    for member in free:
        at -= member.weight
        if at < 0:
            return member
    return free[-1]


def round_robin(pool: Pool, free: Sequence[Member], now: float, chance: float) -> Member:
    """Each in turn."""
    last = pool.last[free[0].level]
    for member in free:
        if member.place > last:
            return member
    return free[0]


def least_busy(pool: Pool, free: Sequence[Member], now: float, chance: float) -> Member:
    """Fewest requests in flight, relative to weight; of equals each in turn."""
    least = min(m.door.in_flight / m.weight for m in free)
    return round_robin(pool, [m for m in free if m.door.in_flight / m.weight == least], now, chance)


def latency(pool: Pool, free: Sequence[Member], now: float, chance: float) -> Member:
    """The soonest to have answered: what an ordinary answer takes, from averages of the time to the first token and of
    each one after it, times those that are in flight there already. Without that, who stops answering would be asked by
    everybody until five have waited in vain, since no average becomes worse by silence.

    Now and then another one, or a member that became fast would never be noticed. Who is not known yet comes first,
    with one request; until that is answered it is taken to be as slow as the slowest."""
    if chance < EXPLORE:
        return free[int(chance / EXPLORE * len(free))]
    slowest = 0.0
    for member in free:
        took = member.door.answer_s()
        if took == 0.0 and not member.door.in_flight:
            return member
        slowest = max(slowest, took)
    best, least = free[0], inf
    for member in free:
        door = member.door
        soonest = (door.answer_s() or slowest or 1.0) * (door.in_flight + 1)
        if soonest < least:
            best, least = member, soonest
    return best


BALANCE: Final[dict[str, Balance]] = {
    "least_tokens": least_tokens,
    "weighted": weighted,
    "round_robin": round_robin,
    "least_busy": least_busy,
    "latency": latency,
}

PASSED: Final = {
    "open": "passed over, its breaker is open",
    "half_open": "passed over, its breaker is half open and another request is looking",
    "throttled": "passed over, it is throttled or comes back at a measured pace",
    "quota": "passed over, the quota it shares is throttled",
    "size": "passed over, it refuses requests of this size at present",
    "prompt": "passed over, the prompt is too long for it",
    "soft_ceiling": "passed over, it carries more than its soft ceiling",
    "residency": "passed over, it answered from a region outside a boundary: `sluicegate undrain` brings it back",
}
"""Why a member is passed over, as in docs/reference/reasons.md."""
