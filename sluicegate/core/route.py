"""(model, operation, consumer) -> the pool and the policies that apply, or the reason why not.

The one authorisation point: every operation of every URL family passes through `Routes.find`. Default deny.
"""

from __future__ import annotations

from sluicegate.core.actions import Read, Relay
from sluicegate.core.caller import Consumer
from sluicegate.core.pool import Pool
from sluicegate.core.settings import OnDisconnect, Timeouts
from sluicegate.core.snapshot import Model


class Route:
    """A model bound to its pool: what an exchange needs to know after it was let in."""

    __slots__ = (
        "attempts", "body_max", "model", "name", "on_disconnect", "operations", "pool", "read", "relay", "relay_stream",
        "timeouts",
    )  # fmt: skip

    def __init__(self, model: Model, pool: Pool) -> None:
        self.model = model
        self.name = model.name
        self.pool = pool
        self.operations = frozenset(model.operations)
        self.attempts = model.attempts
        self.timeouts: Timeouts = model.timeouts
        self.on_disconnect: OnDisconnect = model.on_disconnect
        self.body_max = model.body_max
        # Actions that are the same for every request of the model.
        self.read = Read(model.body_max)
        self.relay = Relay(model.on_disconnect.other)
        self.relay_stream = Relay(model.on_disconnect.stream)


class Routes:
    """All models by public name."""

    __slots__ = ("_by_name", "largest_body")

    def __init__(self, routes: dict[str, Route]) -> None:
        self._by_name = routes
        self.largest_body = max((r.body_max for r in routes.values()), default=0)
        "Read limit where the body names the model; the route's own is checked once it is known."

    def find(self, consumer: Consumer, operation: str, model: str) -> Route | str:
        """The route, or the reason to refuse.

        A model outside the grant and a model that does not exist get the same answer, so that names cannot be
        probed: 404 DeploymentNotFound, as Azure says it (E4, E13).
        """
        route = self._by_name.get(model)
        if route is None or not consumer.may(model):
            return "route.model"
        if operation not in route.operations:
            return "grant.operation"
        return route

    def names(self, consumer: Consumer) -> list[str]:
        """Public names of the models this consumer may use."""
        return [n for n in self._by_name if consumer.may(n)]

    def get(self, model: str) -> Route | None:
        """By name, whoever asks: for questions that are no calls."""
        return self._by_name.get(model)

    def all(self) -> list[Route]:
        """Every model."""
        return list(self._by_name.values())
