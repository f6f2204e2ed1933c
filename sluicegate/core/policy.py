"""Policies: what applies to a consumer on a route, found once and kept while it is used.

A policy holds the limits that the requests of one consumer meet on one model, the rules for their parameters, and
what their answers taught us. Policies come and go; the limits they share live by identity: whose they are, what they
count, for which window. Nothing is made before it is first used, so 100,000 consumers cost what those who call cost.

What is idle is forgotten by a hand that goes round: each new policy lets it look at a few old things. No timer, no
pause, and never more than about twice what is in use.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import ceil
from typing import Final

from sluicegate.core.caller import Consumer
from sluicegate.core.events import Facts, Usage
from sluicegate.core.learned import Learned
from sluicegate.core.limits import LIMITS
from sluicegate.core.limits.base import Claim, Limit, LimitSpec
from sluicegate.core.limits.lender import Holds, Lend, Recall, Rest, Returned
from sluicegate.core.params import Rules, rules, token_field
from sluicegate.core.route import Route

KEEP_S: Final = 60.0
"""A policy that was not used for so long may go; making it again costs 10 us."""

LEARNED_MOST: Final = 50_000
"""Consumers and models whose answers are remembered, about 300 bytes each; the first that was learned goes first."""

SURRENDERS: Final = 16
"""Old things looked at, several times a second, for shares of limits that are larger than what is used of them."""

ANY: Final = 1 << 62
"""Room without an end."""

LOOKS: Final = 4
"""Old things looked at for each new policy: more than it brings, so that the idle ones become fewer."""


CROWD: Final = 50_000
"""Policies and limits of single end users and members of families, 0.76 KB each on average: 38 MB. A consumer that
names ever new ones gets at most half of what is free; the others of it are counted together, as if they were one:
memory is bounded, and no limit is escaped."""

OTHERS: Final = "others"

CROWDED: Final = b"others"
"""The same, of members of a family."""

Identity = tuple[int, str, str, bytes, str]
"""Consumer, model, operation, digest of the key or mark of the member of a family, mark of the end user."""


class Policy:
    """What applies to one consumer, model and operation."""

    __slots__ = (
        "_learned", "_requests", "_room", "_room_in", "_tokens", "configuration", "key", "last", "limits", "rules",
        "single",
    )  # fmt: skip

    def __init__(self, key: Identity) -> None:
        self.key = key
        self.single = False
        "It is of one end user, or of one member of a family: there may be ever more of these."
        self.last = 0.0
        self.configuration = -1
        "Of which configuration it was made, see Policies.adopt."
        self.bind((), None, None)

    def bind(self, limits: Sequence[Limit], rules: Rules | None, learned: Learned | None) -> None:
        """What applies from now on."""
        self.limits = limits
        self.rules = rules
        self._learned = learned
        self._tokens = tuple(limit for limit in limits if limit.counts == "tokens" and not limit.shadow)
        self._requests = tuple(limit for limit in limits if limit.counts == "requests" and not limit.shadow)
        counted = [limit for limit in self._tokens if limit.spec.count != "output"]
        self._room = min([limit.whole for limit in counted if limit.spec.count != "input"], default=ANY)
        self._room_in = min([limit.whole for limit in counted if limit.spec.count == "input"], default=ANY)

    def claim(self, facts: Facts) -> Claim:
        """What a request wants, after the rules changed what they change."""
        learned = self._learned
        if learned is None:
            return Claim(0, 0, True)
        estimate = facts.estimate
        wants = estimate if learned.ratio == 1.0 else learned.input(estimate, facts.media)
        most = facts.max_output
        choices = max(facts.n, facts.best_of)
        bounded = most is not None
        output = learned.reserve * choices if most is None else most * choices
        if wants > estimate:  # a guess, which makes no request too large
            room = min(self._room - output if bounded else self._room, self._room_in)
            if wants > room:
                wants = max(estimate, room)
        return Claim(wants, output, bounded)

    def learn(self, facts: Facts, claim: Claim, usage: Usage) -> None:
        """What the upstream said that a whole answer took."""
        learned = self._learned
        if learned is not None:
            if not facts.media:
                learned.prompt(facts.estimate, usage.input + usage.cached + usage.cache_write)
            if not claim.bounded:
                learned.answer((usage.output + usage.reasoning) // max(facts.n, facts.best_of))

    def headroom(self, now: float) -> bytes:
        """Header lines that say what is left of the consumer's own limits: of each kind the nearest to its end."""
        lines = b""
        for limits in (self._tokens, self._requests):
            if limits:
                nearest = limits[0]
                left = nearest.remaining(now) + nearest.elsewhere
                if len(limits) > 1:
                    for limit in limits[1:]:
                        other = limit.remaining(now) + limit.elsewhere
                        if other < left:
                            nearest, left = limit, other
                lines += nearest.headroom % (left, ceil(nearest.resets(now)))
        return lines


class Policies:
    """All policies and limits of one process."""

    __slots__ = (
        "_back", "_configuration", "_crowd", "_crowd_all", "_learned", "_limits", "_moved", "_owing", "_policies",
        "_round", "_whose", "crowd", "latest", "lent", "parts",
    )  # fmt: skip

    def __init__(self, lent: bool = False, crowd: int = CROWD) -> None:
        self.crowd = crowd
        "Policies and limits of single end users that are held at most."
        self.lent = lent
        "Limits begin with nothing and get their shares from the keeper."
        self.parts = 1
        "Limits begin with one of so many equal parts."
        self.latest = 0.0
        "No limit sees time go back, whatever the order in which events of one moment are handled."
        self._configuration = 0
        self._policies: dict[Identity, Policy] = {}
        self._crowd: dict[int, int] = {}
        "Policies and limits of single end users, by consumer."
        self._crowd_all = 0
        self._whose: dict[str, int] = {}
        "The consumer, of each limit of a single end user, by its key in _limits."
        self._limits: dict[str, list[Limit]] = {}
        "By identity without the window: limits that differ in nothing but the window stand together."
        self._learned: dict[tuple[int, str], Learned] = {}
        self._round: deque[Policy | Limit] = deque()
        self._back: list[Returned] = []
        self._moved: list[Holds] = []
        self._owing: list[Limit] = []

    def __len__(self) -> int:
        """Policies and limits held: what memory they take grows with it."""
        return len(self._round)

    def adopt(self) -> None:
        """Another configuration is in force: policies are made anew when next used, limits keep what was used."""
        self._configuration += 1

    def find(
        self, consumer: Consumer, route: Route, operation: str, key: bytes, now: float, user: str = ""
    ) -> Policy | None:
        """What applies; None when nothing does. `key`: digest of the consumer's key, `user`: mark of the end user,
        where a limit is for each."""
        if not consumer.ruled and not route.model.params:
            return None
        identity = (consumer.number, route.name, operation, key, user)
        policy = self._policies.get(identity)
        if policy is None:
            self._look(now)
            single = bool(user or consumer.member)
            if single:
                if self._crowded(identity):
                    single = False
                    whose = CROWDED if consumer.member else key
                    identity = (consumer.number, route.name, operation, whose, OTHERS if user else "")
                    policy = self._policies.get(identity)
                else:
                    self._came(consumer.number)
            if policy is None:
                policy = self._policies[identity] = self._new(identity)
                policy.single = single
                self._round.append(policy)
        if policy.configuration != self._configuration:
            self._bind(policy, consumer, route)
        policy.last = now
        return policy

    def clock(self, now: float) -> float:
        """`now`, or the latest time that was seen, if that is later."""
        if now < self.latest:
            return self.latest
        self.latest = now
        return now

    def limits(self) -> Sequence[Limit]:
        """Every limit that is held, for metrics and explanations."""
        return [limit for same in self._limits.values() for limit in same]

    def limit(self, key: str) -> Limit | None:
        """The limit of this key (Limit.key), if anybody uses it."""
        for limit in self._limits.get(key.rpartition("/")[0], ()):
            if limit.key == key:
                return limit
        return None

    def _new(self, identity: Identity) -> Policy:
        return Policy(identity)

    def _bind(self, policy: Policy, consumer: Consumer, route: Route) -> None:
        """What applies by the configuration in force, to a policy that is new or was made of another one."""
        _, model, operation, key, user = policy.key
        params = [*route.model.params]
        limits: list[Limit] = []
        group = consumer.group
        if group is not None:
            params += group.params
            limits += self._of(group.limits, f"tenant/{group.number}", consumer, model, operation, key, user)
        params += consumer.params
        limits += self._of(consumer.limits, f"consumer/{consumer.number}", consumer, model, operation, key, user)
        learned = None
        if any(limit.counts == "tokens" for limit in limits):
            learned = self._learned.get((consumer.number, model))
            if learned is None:
                if len(self._learned) >= LEARNED_MOST:
                    del self._learned[next(iter(self._learned))]
                learned = self._learned[consumer.number, model] = Learned()
        for limit in limits:
            limit.refs += 1
        for limit in policy.limits:
            limit.refs -= 1
        names = [member.deployment.model for member in route.pool.members]
        policy.bind(tuple(limits), rules(params, operation, token_field(names)), learned)
        policy.configuration = self._configuration

    # ------------------------------------------------------------ shares (core/limits/lender.py)

    def got(self, lend: Lend, now: float) -> None:
        """The keeper lent us more."""
        limit = self.limit(lend.key)
        if limit is not None:
            limit.get(lend.amount, lend.enough, lend.rest, now)
        elif lend.amount:
            self._back.append(Returned(lend.key, lend.amount, False))

    def told(self, rest: Rest) -> None:
        """The keeper says what nobody holds."""
        limit = self.limit(rest.key)
        if limit is not None and limit.lent:
            limit.elsewhere = rest.amount

    def recalled(self, recall: Recall, now: float) -> Returned:
        """The keeper wants something back: the answer. What is owed after it comes by `returns`."""
        limit = self.limit(recall.key)
        if limit is None or not limit.lent:
            return Returned(recall.key, 0, True)
        given = limit.give(recall.amount, recall.floor, self.clock(now))
        if limit.owes and limit not in self._owing:
            self._owing.append(limit)
        limit.elsewhere = 0  # it would not have been asked back
        return Returned(limit.key, given, True)

    def returns(self, now: float) -> list[Returned]:
        """What is to be sent to the keeper, several times a second: shares of what was forgotten or is hardly used, and
        what was owed and has fallen free."""
        now = self.clock(now)
        around = self._round
        for _ in range(min(SURRENDERS, len(around))):
            thing = around[0]
            around.rotate(-1)
            if isinstance(thing, Limit) and thing.lent:
                self._give(thing, thing.surplus(now), now)
        return self.pending(now)

    def pending(self, now: float) -> list[Returned]:
        """What of shares is not ours any more and the keeper does not know of: to be said before anything is asked."""
        now = self.clock(now)
        back, self._back = self._back, []
        if self._owing:
            for limit in self._owing:
                free = limit.owed(now)
                if free:
                    back.append(Returned(limit.key, free, False))
            self._owing = [limit for limit in self._owing if limit.owes]
        return back

    def moved(self) -> list[Holds]:
        """What is held and was not lent: to be sent before anything else."""
        moved, self._moved = self._moved, []
        return moved

    def leave(self, now: float) -> list[Returned]:
        """Nothing runs here any more: all that is not used goes back. What is, the keeper holds for one window."""
        now = self.clock(now)
        for limit in self.limits():
            if limit.lent:
                self._give(limit, limit.amount - limit.used(now), now)
        return self.returns(now)

    def alone(self, parts: int) -> None:
        """The keeper is gone, and this is one of so many workers: what it holds of a limit is its own from now on, or
        an equal part if that is more. Who never called here is not locked out; over all workers up to 2 - 1/parts times
        the limit may pass, which is at most one whole and seven eighths for eight of them."""
        self.lent = False
        self.parts = parts
        self._back = []
        self._moved = []
        self._owing = []
        for limit in self.limits():
            if limit.lent:
                limit.lent = False
                limit.amount = max(limit.amount + limit.owes, _part(limit.whole, parts))
                limit.owes = limit.elsewhere = 0

    def _give(self, limit: Limit, amount: int, now: float) -> None:
        if amount > 0:
            given = limit.give(amount, limit.amount, now)
            if given:
                limit.elsewhere += given
                self._back.append(Returned(limit.key, given, False))

    def holds(self) -> list[Holds]:
        """What we have of each limit, for a keeper that is new."""
        return [
            Holds(limit.key, limit.whole, limit.window, limit.amount + limit.owes)
            for limit in self.limits()
            if limit.lent and limit.amount + limit.owes
        ]

    # ------------------------------------------------------------ limits by identity

    def _of(
        self, specs: Sequence[LimitSpec], whose: str, consumer: Consumer, model: str, operation: str, key: bytes,
        user: str,
    ) -> list[Limit]:  # fmt: skip
        """The limits of one list that count such requests."""
        wanted: dict[str, list[LimitSpec]] = {}
        for spec in specs:
            if spec.mode == "off":
                continue
            if (not spec.models or model in spec.models) and (not spec.operations or operation in spec.operations):
                base = _identity(spec, whose, consumer, model, key, user)
                wanted.setdefault(base, []).append(spec)
                one = spec.each == "end_user" and user and user != OTHERS
                if not one and consumer.member:
                    one = key != CROWDED and key.hex() in base
                if one and base not in self._whose:
                    self._whose[base] = consumer.number
                    self._came(consumer.number)
        return [limit for base, same in wanted.items() for limit in self._same(base, same)]

    def _same(self, base: str, specs: Sequence[LimitSpec]) -> list[Limit]:
        """The live limits that differ in nothing but their windows: by their window those that are there; those left
        over, whose window was changed, with what was used; and new ones."""
        there = self._limits.setdefault(base, [])
        left = list(there)
        keys: list[str] = []
        for spec in specs:
            key = f"{base}/{spec.window:g}"
            keys.append(f"{key}.{sum(k.startswith(key + '.') for k in keys)}")
        found = [next((limit for limit in there if limit.key == key), None) for key in keys]
        left = [limit for limit in left if limit not in found]
        limits = []
        for key, spec, limit in zip(keys, specs, found, strict=True):
            if limit is None and left:
                limit = left.pop(0)
                self._own(limit)
                limit.key = key
            lent = self.lent and spec.guarantee != "local"
            if limit is None:
                limit = LIMITS[spec.kind](spec, key)
                limit.amount = _part(spec.amount, self.parts)
                if lent:
                    limit.lent = True
                    limit.amount = 0
                    limit.elsewhere = spec.amount  # nobody said yet who holds it
                there.append(limit)
                self._round.append(limit)
            elif limit.spec is not spec:
                if limit.lent and not lent:
                    self._own(limit)
                limit.configure(spec)
                if lent and not limit.lent:
                    self._borrow(limit)
                if limit.owes and limit not in self._owing:
                    self._owing.append(limit)
            limits.append(limit)
        return limits

    def _own(self, limit: Limit) -> None:
        """It is no longer the one that the keeper lent: all of it goes back, and what was used here stays used."""
        share = limit.amount + limit.owes
        if limit.lent and share:
            self._back.append(Returned(limit.key, share, False))
        limit.lent = False
        limit.owes = limit.elsewhere = 0

    def _borrow(self, limit: Limit) -> None:
        """It is lent from now on: what was used of it is held already."""
        limit.lent = True
        limit.amount = limit.used(self.latest)
        if limit.amount:
            self._moved.append(Holds(limit.key, limit.whole, limit.window, limit.amount))

    # ------------------------------------------------------------ the hand that goes round

    def _look(self, now: float) -> None:
        """Forget what is idle among the next few."""
        around = self._round
        for _ in range(min(LOOKS, len(around))):
            thing = around.popleft()
            if isinstance(thing, Policy):
                if now - thing.last < KEEP_S:
                    around.append(thing)
                else:
                    for limit in thing.limits:
                        limit.refs -= 1
                    del self._policies[thing.key]
                    if thing.single:
                        self._left(thing.key[0])
            elif thing.refs or not thing.empty(now):
                around.append(thing)
            else:
                share = thing.amount + thing.owes
                if thing.lent and share:
                    self._back.append(Returned(thing.key, share, False))
                    thing.amount = thing.owes = 0
                base = thing.key.rpartition("/")[0]
                self._limits[base].remove(thing)
                if not self._limits[base]:
                    del self._limits[base]
                    owner = self._whose.pop(base, None)
                    if owner is not None:
                        self._left(owner)

    def _crowded(self, identity: Identity) -> bool:
        """Whether one more end user of this consumer is one too many."""
        return self._crowd.get(identity[0], 0) >= self.crowd - self._crowd_all

    def _came(self, consumer: int) -> None:
        """Something of an end user of this consumer is held from now on."""
        self._crowd[consumer] = self._crowd.get(consumer, 0) + 1
        self._crowd_all += 1

    def _left(self, consumer: int) -> None:
        """Something of an end user of this consumer was forgotten."""
        self._crowd_all -= 1
        rest = self._crowd[consumer] - 1
        if rest:
            self._crowd[consumer] = rest
        else:
            del self._crowd[consumer]


def _part(whole: int, parts: int) -> int:
    """One of so many equal parts, at least 1 of what is not 0."""
    return max(whole // parts, min(whole, 1))


def _identity(spec: LimitSpec, whose: str, consumer: Consumer, model: str, key: bytes, user: str) -> str:
    """Whose requests one counter covers, and what it counts of them."""
    each = spec.each
    who = f"{consumer.number}"
    if consumer.member:
        who = f"{who}:{key.hex()}"
        if each != "tenant" and whose == f"consumer/{consumer.number}":
            whose = f"consumer/{who}"
    if each == "consumer":
        whose = f"{whose}/consumer/{who}"
    elif each == "tenant":
        whose = f"{whose}/tenant/{consumer.tenant}"
    elif each == "key":
        whose = f"{whose}/key/{key.hex()}"
    elif each == "end_user":
        whose = f"{whose}/user/{user or 'nobody'}"
    elif each == "model":
        whose = f"{whose}/model/{model}"
    only = ",".join(spec.models + spec.operations)
    return f"{whose}/{spec.kind}/{spec.count}/{only}"
