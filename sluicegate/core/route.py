"""(model, operation, consumer) -> the pool and the policies that apply, or the reason why not.

The one authorisation point: every operation of every URL family passes through `Routes.find`. Default deny.
"""

from __future__ import annotations

from typing import Final
from zlib import crc32

from sluicegate.core.actions import Read, Relay
from sluicegate.core.caller import Consumer
from sluicegate.core.door import Door
from sluicegate.core.pool import Member, Pool
from sluicegate.core.record import Context
from sluicegate.core.settings import OnDisconnect, Timeouts
from sluicegate.core.snapshot import Model

MIXED: Final = b"x-sluicegate-warning: mixed_versions\r\n"
"""Header line of every answer of a pool whose members differ in model or version."""

CONTEXTS: Final = 1024
"""Of callers on an arm that are kept, so that they are packed once."""


class Route:
    """A model bound to its pool: what an exchange needs to know after it was let in."""

    __slots__ = (
        "_contexts", "arm", "arm_name", "arm_share", "attempts", "base", "body_max", "body_upload", "breaker",
        "by_user", "cut", "long_context", "model", "name", "on_disconnect", "operations", "passes", "passes_only",
        "platform", "pool", "public_urls", "read", "read_whole", "relay", "relay_stream", "throttle", "timed",
        "timeouts",
    )  # fmt: skip

    def __init__(self, model: Model, pool: Pool, arm: Route | None = None) -> None:
        self.model = model
        self.pool = pool
        self.arm = arm
        "The other arm of a rollout, with its share of the callers."
        self.arm_share = model.rollout.share if model.rollout is not None else 0.0
        self.by_user = model.rollout is not None and model.rollout.stick_to == "end_user"
        "Who stays on one arm is each end user."
        self.cut = False
        "Members of the model are left out because they are outside the boundary."
        self.base: Route | None = None
        "Of an arm: the one it stands in for."
        self.arm_name = ""
        "Of an arm, for records: its model and version."
        self._contexts: dict[Context, Context] = {}
        if arm is not None:
            arm.base = self
            first = next(iter(arm.pool.members), None)
            arm.arm_name = "" if first is None else f"{first.deployment.model}@{first.deployment.version}"
        self.passes: tuple[Door, ...] = tuple(m.door for m in pool.members if m.instance.auth.kind == "passthrough")
        "Of members that are shown the client's own token: nobody asks them who has none."
        self.passes_only = len(self.passes) == len(pool.members) > 0
        self.name = model.name
        self.operations = frozenset(model.operations)
        self.attempts = model.attempts
        self.timeouts: Timeouts = model.timeouts
        self.on_disconnect: OnDisconnect = model.on_disconnect
        self.body_max = model.body_max
        self.body_upload = model.body_upload
        self.breaker = model.breaker
        self.throttle = model.throttle
        self.long_context = model.spill.long_context
        self.platform = model.spill.platform
        self.public_urls = model.public_urls
        self.timed = model.balance == "latency"
        # Actions that are the same for every request of the model.
        self.read = Read(model.body_max, model.body_upload)
        self.read_whole = Read(model.body_max, model.body_upload, True)
        notes = MIXED if model.mixed_versions else b""
        self.relay = Relay(model.on_disconnect.other, b"", (), notes, self.platform)
        self.relay_stream = Relay(model.on_disconnect.stream, b"", (), notes, self.platform)

    def lets_spill(self, member: Member, target: bytes) -> bool:
        """Whether a client may ask Azure to send on to this deployment what `member` cannot take: where that is
        allowed, and to another member of the pool only, or a header would go around grants and boundaries."""
        if self.platform:
            for other in self.pool.members:
                if other.instance.number == member.instance.number and other.deployment.name.encode() == target:
                    return other.deployment.number != member.deployment.number
        return False

    def on_arm(self, context: Context) -> Context:
        """What records say of a caller on this arm. As many as callers that differ in what theirs say, so bounded: each
        request brings one of its own where records say the client's address, each member of a family has one."""
        found = self._contexts.get(context)
        if found is None:
            if len(self._contexts) >= CONTEXTS:
                self._contexts.clear()
            found = self._contexts[context] = context.but(self.arm_name)
        return found


def drawn(consumer: int, model: int, user: str = "") -> float:
    """A number in [0, 1) that is always the same for these: a share that grows keeps whom it had."""
    return crc32(b"%d %d %b" % (consumer, model, user.encode("utf-8", "replace"))) / 2**32


class Routes:
    """All models by public name: whole, and as each boundary that is served has them."""

    __slots__ = ("_by_name", "_inside", "largest_body", "largest_upload")

    def __init__(self, routes: dict[str, Route], inside: dict[str, dict[str, Route]] | None = None) -> None:
        self._by_name = routes
        self._inside = inside or {}
        self.largest_body = max((r.body_max for r in routes.values()), default=0)
        self.largest_upload = max((r.body_upload for r in routes.values()), default=0)
        "Read limit where the body names the model; the route's own is checked once it is known."

    def find(self, consumer: Consumer, operation: str, model: str, user: str = "") -> Route | str:
        """The route, or the reason to refuse. `user`: the end user, where the arm of a rollout hangs on it.

        A model outside the grant and a model that does not exist get the same answer, so that names cannot be
        probed: 404 DeploymentNotFound, as Azure says it (E4, E13).
        """
        routes = self._by_name
        if consumer.boundary:
            inside = self._inside.get(consumer.boundary)
            if inside is None:
                return "boundary.mismatch"
            routes = inside
        route = routes.get(model)
        if route is None or not consumer.may(model):
            return "route.model"
        if operation not in route.operations or (consumer.operations and operation not in consumer.operations):
            return "grant.operation"
        if route.arm is not None and drawn(consumer.number, route.model.number, user) < route.arm_share:
            return route.arm
        return route

    def serves(self, boundary: str) -> bool:
        """Whether tenants of this boundary are served here."""
        return boundary in self._inside

    def onward(
        self, route: Route, consumer: Consumer, operation: str, size: int, upload: bool = False, user: str = ""
    ) -> list[Route]:
        """Where else a request may go when no member of its route can serve: from a rollout's arm to the model
        itself, then to other models, only those that are written down and that this consumer may use."""
        found = [] if route.base is None else [route.base]
        for name in route.model.fallback:
            other = self.find(consumer, operation, name)
            if not isinstance(other, str) and other.by_user and user:
                other = self.find(consumer, operation, name, user)
            if not isinstance(other, str) and size <= (other.body_upload if upload else other.body_max):
                found.append(other)
                if other.base is not None:
                    found.append(other.base)
        return found

    def names(self, consumer: Consumer) -> list[str]:
        """Public names of the models this consumer may use: those that have somebody inside its boundary."""
        routes = self._inside.get(consumer.boundary, {}) if consumer.boundary else self._by_name
        return [n for n, route in routes.items() if consumer.may(n) and (route.pool.members or not consumer.boundary)]

    def inside(self, boundary: str, model: str) -> Route | None:
        """A model as tenants of this boundary have it; empty: as those without one."""
        return self._inside.get(boundary, {}).get(model) if boundary else self._by_name.get(model)

    def get(self, model: str) -> Route | None:
        """By name, whoever asks: for questions that are no calls."""
        return self._by_name.get(model)

    def all(self) -> list[Route]:
        """Every model."""
        return list(self._by_name.values())
