"""Deployments that may stand in for each other, and which of them is tried next."""

from __future__ import annotations

from collections.abc import Sequence

from sluicegate.core.snapshot import Deployment, Instance


class Member:
    """A deployment bound to its instance, with the live count of what it is carrying.

    The count belongs to the deployment's identity, not to a snapshot: a member is adopted by the World across
    configurations (core/state.py).
    """

    __slots__ = ("deployment", "in_flight", "instance", "label")

    def __init__(self, deployment: Deployment, instance: Instance) -> None:
        self.deployment = deployment
        self.instance = instance
        self.label = f"{instance.name}/{deployment.name}"
        self.in_flight = 0

    def __repr__(self) -> str:
        return f"Member({self.label})"


class Pool:
    """Members in the order in which they are tried: by tier, then as declared."""

    __slots__ = ("members",)

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = tuple(members)

    def pick(self, tried: Sequence[Member], now: float, chance: float) -> Member | None:
        """The first member not tried yet, None when all were. `now` and `chance`: for policies to come."""
        if not tried:
            return self.members[0] if self.members else None
        for member in self.members:
            if member not in tried:
                return member
        return None
