"""The World: live state by identity, so that it outlives the snapshot that named it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sluicegate.core.alerts import Alarms, Silent
from sluicegate.core.caller import Callers
from sluicegate.core.credentials import Token, Tokens, stand_in
from sluicegate.core.door import Door
from sluicegate.core.policy import Policies
from sluicegate.core.pool import Look, Member, Pool
from sluicegate.core.ports import Journal, Prover
from sluicegate.core.residency import declared
from sluicegate.core.retries import Retries
from sluicegate.core.route import Route, Routes
from sluicegate.core.snapshot import Change, Deployment, Directory, Instance, Model, Snapshot
from sluicegate.core.throttle import Throttle

REMOVED = 1024
"""Doors of deployments that left the configuration, kept for when they come back; the first to leave goes first."""


NOTHING: Final = Change((), ())


class World:
    """What an exchange may read and change: callers, routes, doors, journal. No clock: `now` comes with events."""

    __slots__ = (
        "_quotas", "alarms", "callers", "doors", "in_flight", "journal", "members", "on_rejected", "policies", "prover",
        "retries", "routes", "snapshot", "tokens", "why",
    )  # fmt: skip

    def __init__(self, snapshot: Snapshot, directory: Directory, journal: Journal) -> None:
        self.journal = journal
        self.alarms: Alarms = Silent()
        "Who hears of what somebody should be told."
        self.prover: Prover | None = None
        "Of tokens; None: no issuer is declared."
        self.in_flight = 0
        "Exchanges beyond identity and grant that have not ended."
        self.policies = Policies()
        "Limits and parameter rules, as they apply to who calls."
        self.members: dict[int, Member] = {}
        "One of each deployment of the configuration, by its number. What is live about it is its door."
        self.doors: dict[int, Door] = {}
        "By the number of the deployment, those that were removed first."
        self._quotas: dict[str, Throttle] = {}
        self.tokens = Tokens()
        "What is shown to instances that take tokens."
        self.on_rejected: Callable[[Member, int], None] | None = None
        "Told of a member that refused our credential, and with which status."
        self.retries = Retries(snapshot.gateway.retry_budget)
        self.why: list[Look] | None = None
        "Of a fork (core/fork.py), where somebody wants it explained: a look at every candidate, see Pool.pick."
        self.adopt(snapshot, directory)

    def adopt(self, snapshot: Snapshot, directory: Directory | Callers) -> None:
        """Put a new configuration in force. A deployment that is still the same target keeps its door, also when it
        was away for a while; one whose credential changed is looked at again at once. Callers that are bound
        already are taken as they are: 100,000 are not bound again because a timeout changed."""
        instances = {i.number: i for i in snapshot.instances}
        deployments = {d.number: d for d in snapshot.deployments}
        removed = [(n, door) for n, door in self.doors.items() if n not in deployments]
        doors = dict(removed[-REMOVED:])
        quotas = {
            d.quota_group: self._quotas.get(d.quota_group) or Throttle() for d in snapshot.deployments if d.quota_group
        }
        away = {id(door.quota) for door in doors.values()}  # what is under way there may still be refused
        left = [(g, t) for g, t in self._quotas.items() if g not in quotas and (not t.calm or id(t) in away)]
        self._quotas = quotas | dict(left[-REMOVED:])
        members: dict[int, Member] = {}
        for number, d in deployments.items():
            instance = instances[d.instance]
            doors[number] = door = self._door(d, instance)
            members[number] = Member(d, instance, door)
            identity = instance.auth.identity
            if identity and self.tokens.get(identity) is None:
                door.supplied(False)
            elif door.breaker.withheld:
                door.supplied(True)
        self.doors = doors
        self.members = members
        region = snapshot.gateway.region

        def pool(model: Model, numbers: tuple[int, ...]) -> Pool:
            """Own region first, then tiers, then as declared."""
            tiers: dict[tuple[bool, int], list[Member]] = {}
            for d in (deployments[n] for n in numbers):
                instance = instances[d.instance]
                away = bool(region and instance.region and instance.region != region)
                member = Member(d, instance, doors[d.number], model.spill.soft_ceiling)
                if snapshot.boundaries:
                    member.declared = declared(d, instance.region)
                tiers.setdefault((away, d.tier), []).append(member)
            return Pool([tiers[key] for key in sorted(tiers)], model.balance)

        def route(model: Model, numbers: tuple[int, ...], arm: tuple[int, ...]) -> Route:
            found = Route(model, pool(model, numbers), Route(model, pool(model, arm)) if arm else None)
            found.cut = len(numbers) < len(model.deployments)
            if found.arm is not None and model.rollout is not None:
                found.arm.cut = len(arm) < len(model.rollout.deployments)
            return found

        routes = {m.name: route(m, m.deployments, m.rollout.deployments if m.rollout else ()) for m in snapshot.models}
        inside: dict[str, dict[str, Route]] = {}
        for boundary in snapshot.gateway.boundaries:
            inside[boundary] = {
                m.name: route(m, _cut(m.cuts, boundary), _cut(m.rollout.cuts, boundary) if m.rollout else ())
                for m in snapshot.models
            }
        self.routes = Routes(routes, inside)
        self.retries.share = snapshot.gateway.retry_budget
        callers = directory if isinstance(directory, Callers) else Callers(directory, region)
        if callers.prover is not self.prover:
            if callers is directory:  # it may have been asked: what was said without this prover is worth nothing
                callers = callers.altered(NOTHING)
            callers.prover = self.prover
        self.callers = callers
        if self.callers.region != region:
            self.callers.move(region)
        self.policies.adopt()
        self.snapshot = snapshot

    def alarm(self, kind: str, subject: str, detail: str) -> None:
        """Somebody should be told: one of core/alerts.py's kinds, of what, and what is the matter."""
        self.alarms.raised(kind, subject, detail)

    def over(self, kind: str, subject: str) -> None:
        """That is no more."""
        self.alarms.over(kind, subject)

    def know(self, prover: Prover | None) -> None:
        """Who proves tokens from now on. What connections know of callers was said by the one before, so they are
        asked anew."""
        if self.prover is not prover:
            self.prover = prover
            self.callers = self.callers.altered(NOTHING)
            self.callers.prover = prover

    def _door(self, d: Deployment, instance: Instance) -> Door:
        quota = self._quotas.get(d.quota_group)
        target = (instance.scheme, instance.host, instance.port, instance.base_path, d.name)
        door = self.doors.get(d.number)
        if door is None or door.target != target:
            return Door(target, quota)
        door.quota = quota
        door.unbar()  # who drained it is the keeper
        old = self.members.get(d.number)
        if old is not None and old.instance.auth != instance.auth:
            door.breaker.look_now()
        return door

    def supply(self, number: int, token: Token) -> None:
        """The token of an identity came: who had none to be shown may be asked from now on, and who refused the one
        before is looked at again at once."""
        if self.tokens.take(number, token):
            for member in self.members.values():
                if member.instance.auth.identity == number:
                    member.door.supplied(True)

    def withdraw(self, number: int) -> None:
        """An identity has no token any more: nobody is asked who wants to see it."""
        if self.tokens.drop(number):
            for member in self.members.values():
                if member.instance.auth.identity == number:
                    member.door.supplied(False)

    def assume(self) -> World:
        """Nobody fetches tokens here (a simulation, a dry run): every identity has one that stands in."""
        for number in {i.auth.identity for i in self.snapshot.instances} - {0}:
            self.supply(number, stand_in())
        return self

    def look_at_tokens(self, now: float) -> bool:
        """To be called now and then: whether one ended. It is not shown any more."""
        ended = self.tokens.ended(now)
        for number in ended:
            self.withdraw(number)
        return bool(ended)

    def renewed(self, member: Member, sent_at: float) -> Member | None:
        """A member refused the credential that it was shown, by what was sent then. The member as it is now, if it is
        shown another one by now: that refusal says nothing of it. A key comes with a configuration, of which nothing
        else about the member may be another; a token comes by itself."""
        now = self.members.get(member.deployment.number)
        if now is None:
            return None
        old, new = member.instance, now.instance
        if old is not new and old.auth != new.auth:
            same = (old.number, old.scheme, old.host, old.port, old.base_path, old.region) == (
                new.number, new.scheme, new.host, new.port, new.base_path, new.region
            )  # fmt: skip
            ready = not new.auth.identity or self.tokens.get(new.auth.identity) is not None
            return now if same and ready and member.deployment == now.deployment else None
        token = self.tokens.get(new.auth.identity) if new.auth.identity else None
        return now if token is not None and token.since > sent_at else None

    def rejected(self, member: Member, status: int) -> None:
        """It does not take the credential that we show."""
        if self.on_rejected is not None:
            self.on_rejected(member, status)

    def pools(self, now: float) -> list[dict[str, object]]:
        """Every deployment as it is now, plain data for consoles and metrics. `until`: seconds from
        `now`, 0.0 where there is no time."""
        told: list[dict[str, object]] = []
        for member in self.members.values():
            door = member.door
            state, until = door.state(now)
            told.append({
                "number": member.deployment.number, "deployment": member.label, "tier": member.tier, "state": state,
                "until": max(0.0, until - now), "cause": door.breaker.cause, "faults": door.breaker.faults,
                "in_flight": door.in_flight, "tokens": door.tokens, "load": round(door.load(now)),
                "quota_group": member.deployment.quota_group, "exhausted": door.exhausted(),
            })  # fmt: skip
        return told


def _cut(cuts: tuple[tuple[str, tuple[int, ...]], ...], boundary: str) -> tuple[int, ...]:
    """The members inside a boundary; nothing that is not said to be inside is."""
    for name, numbers in cuts:
        if name == boundary:
            return numbers
    return ()
