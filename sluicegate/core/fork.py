"""A World to try things in: an exchange there sees what is live and changes nothing of it.

What an exchange may change (doors and what belongs to them, limits, what was learned, the retry budget) is copied when
it is first touched, so a fork costs what its one exchange touches and not what the gateway has. Whoever adds state that
an exchange changes adds its copy here; tests/laws/test_explain.py compares all of the World before and after.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from sluicegate.core.alerts import Silent
from sluicegate.core.breaker import Breaker
from sluicegate.core.caller import Callers, Consumer, Shown
from sluicegate.core.door import Door
from sluicegate.core.events import Facts
from sluicegate.core.learned import Learned
from sluicegate.core.limits.base import Claim, Limit, LimitSpec
from sluicegate.core.params import Rule
from sluicegate.core.policy import Identity, Policies, Policy
from sluicegate.core.pool import Member, Pool
from sluicegate.core.record import UsageRecord
from sluicegate.core.retries import Retries
from sluicegate.core.route import Route, Routes
from sluicegate.core.settings import Gateway
from sluicegate.core.snapshot import Directory, Snapshot
from sluicegate.core.state import World
from sluicegate.core.throttle import Throttle
from sluicegate.core.twin import twin

_NOTHING: Final = Snapshot("", Gateway(), (), (), ())
_NOBODY: Final = Directory((), ())


class Kept:
    """The journal of a fork: keeps the one record, writes nothing."""

    __slots__ = ("record",)

    def __init__(self) -> None:
        self.record: UsageRecord | None = None

    def admit(self, record: UsageRecord) -> None:
        self.record = record

    def settle(self, record: UsageRecord) -> None:
        self.record = record

    def refuse(self, record: UsageRecord) -> None:
        self.record = record


class Said:
    """What one limit says to a request, before anything is taken from it."""

    __slots__ = ("lacks", "limit", "room", "share", "used", "wants")

    def __init__(self, limit: Limit, claim: Claim, now: float) -> None:
        self.limit = limit
        self.wants = limit.wants(claim)
        self.room = limit.remaining(now) + limit.elsewhere
        self.used = limit.used(now)
        self.share = limit.amount if limit.lent else None
        "This worker's, of a limit that several share."
        asks = 0 < limit.short(claim, now) <= limit.elsewhere and now >= limit.vain_until
        self.lacks = None if asks else limit.lacks(claim, now)
        "As Limit.lacks: None, it may pass; where the share is too small, with what nobody holds."


class Forked:
    """A fork and what its exchange touched."""

    __slots__ = ("_doors", "_policies", "_routes", "_throttles", "models", "said", "world")

    def __init__(self, world: World, key: bytes, rests: Mapping[str, int]) -> None:
        """`key`: digest of the key that the request is taken to show; `rests`: see _Policies."""
        self.said: list[Said] = []
        "By every limit that the request met."
        self.models: dict[Member, str] = {}
        "The public name under which each copied member stands."
        self._doors: dict[Door, Door] = {}
        self._throttles: dict[Throttle, Throttle] = {}
        self._routes: dict[Route, Route] = {}
        self.world = own = twin(world, World(_NOTHING, _NOBODY, Kept()))
        own.journal = Kept()
        own.alarms = Silent()
        own.on_rejected = None
        own.retries = twin(world.retries, Retries(0.0))
        own.callers = _Callers(key)
        own.routes = _Routes(world.routes, self)
        own.policies = self._policies = _Policies(world.policies, self.said, rests)
        own.doors = {}
        own.members = world.members  # looked up by name, for whom Azure itself sent a request on to; never entered
        own.why = []

    def rules(self) -> list[Rule]:
        """About parameters, that the request met."""
        return self._policies.rules()

    def route(self, live: Route) -> Route:
        """The fork's own."""
        own = self._routes.get(live)
        if own is None:
            own = self._routes[live] = twin(live, Route(live.model, live.pool))
            own.pool = self._pool(live)
            own.passes = tuple(self._door(door) for door in live.passes)
            own.arm = None  # only Routes.find looks at it, and does so in the live one
            if live.base is not None:
                own.base = self.route(live.base)
        return own

    def _pool(self, live: Route) -> Pool:
        pool = twin(live.pool, Pool(()))
        pool.tiers = tuple(tuple(self._member(m, live.name) for m in tier) for tier in live.pool.tiers)
        pool.members = tuple(m for tier in pool.tiers for m in tier)
        return pool

    def _member(self, live: Member, model: str) -> Member:
        member = twin(live, Member(live.deployment, live.instance, live.door))
        member.door = self._door(live.door)
        self.models[member] = model
        return member

    def _door(self, live: Door) -> Door:
        own = self._doors.get(live)
        if own is None:
            own = self._doors[live] = twin(live, Door())
            own.breaker = twin(live.breaker, Breaker())
            own.throttle = twin(live.throttle, Throttle())
            if live.quota is not None:
                own.quota = self._throttle(live.quota)
        return own

    def _throttle(self, live: Throttle) -> Throttle:
        own = self._throttles.get(live)
        if own is None:
            own = self._throttles[live] = twin(live, Throttle())
        return own


class Named(Shown):
    """Credentials of a request that shows none: the consumer is known already."""

    __slots__ = ("_consumer",)

    def __init__(self, consumer: Consumer) -> None:
        super().__init__((b"",))
        self._consumer = consumer

    def who(self, callers: Callers) -> Consumer | str:
        return self._consumer

    def bearer(self) -> bytes:
        return b"its own token"


class _Callers(Callers):
    """Knows the one key that counts for limits that count each key."""

    __slots__ = ("_mark",)

    def __init__(self, key: bytes) -> None:
        super().__init__(_NOBODY)
        self._mark = key

    def mark(self, key: bytes) -> bytes:
        return self._mark


class _Routes(Routes):
    """Finds as the live one does, and gives out copies."""

    __slots__ = ("_forked",)

    def __init__(self, live: Routes, forked: Forked) -> None:
        super().__init__({})
        self._by_name = live._by_name
        self._inside = live._inside
        self.largest_body = live.largest_body
        self.largest_upload = live.largest_upload
        self._forked = forked

    def find(self, consumer: Consumer, operation: str, model: str, user: str = "") -> Route | str:
        found = super().find(consumer, operation, model, user)
        return found if isinstance(found, str) else self._forked.route(found)


class _Policies(Policies):
    """Makes policies anew, over copies of the limits and of what was learned. `rests`: what there is to be had of
    limits that are shared, by key, where that is known better than here."""

    __slots__ = ("_live", "_rests", "_said")

    def __init__(self, live: Policies, said: list[Said], rests: Mapping[str, int]) -> None:
        super().__init__(live.lent)
        self.latest = live.latest
        self.parts = live.parts
        self._live = live
        self._said = said
        self._rests = rests

    def find(
        self, consumer: Consumer, route: Route, operation: str, key: bytes, now: float, user: str = ""
    ) -> Policy | None:
        pair = (consumer.number, route.name)
        learned = self._live._learned.get(pair)
        if learned is not None and pair not in self._learned:
            self._learned[pair] = twin(learned, Learned())
        return super().find(consumer, route, operation, key, now, user)

    def rules(self) -> list[Rule]:
        """That are enforced in what was made here."""
        return [r for p in self._policies.values() if p.rules is not None for r in p.rules.enforced]

    def _crowded(self, identity: Identity) -> bool:
        return identity not in self._live._policies and self._live._crowded(identity)

    def _new(self, identity: Identity) -> Policy:
        return _Policy(identity, self, self._said)

    def _same(self, base: str, specs: Sequence[LimitSpec]) -> list[Limit]:
        if base not in self._limits:
            self._limits[base] = [limit.fork() for limit in self._live._limits.get(base, ())]
        same = super()._same(base, specs)
        for limit in same:
            if limit.lent and limit.key in self._rests:
                limit.elsewhere = self._rests[limit.key]
        return same


class _Policy(Policy):
    """Writes down what each limit says to the claim it makes."""

    __slots__ = ("_policies", "_said")

    def __init__(self, key: Identity, policies: Policies, said: list[Said]) -> None:
        super().__init__(key)
        self._policies = policies
        self._said = said

    def claim(self, facts: Facts) -> Claim:
        claim = super().claim(facts)
        self._said.extend(Said(limit, claim, self._policies.latest) for limit in self.limits)
        return claim
