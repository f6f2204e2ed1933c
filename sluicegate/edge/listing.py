"""Answers lists of models from the configuration in force: nothing goes up, nothing is recorded.

A model outside the grant and one that does not exist are the same 404: names cannot be probed. Whom a model offers
nothing of what they may do is not shown it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sluicegate.apis.models import ANTHROPIC, asked, described, listed
from sluicegate.core.caller import Callers, Consumer
from sluicegate.core.exchange import elsewhere, unknown
from sluicegate.core.route import Routes
from sluicegate.core.snapshot import Model

if TYPE_CHECKING:
    from sluicegate.edge.listener import Server
    from sluicegate.edge.request import Request

MOST: Final = 256
"""Answers that are kept."""

_HEADERS: Final = b"content-type: application/json\r\ncache-control: no-store\r\n"


class Listing:
    """For the connections of one worker."""

    __slots__ = ("_by", "_made", "server")

    def __init__(self, server: Server) -> None:
        self.server = server
        self._by: tuple[Routes | None, Callers | None] = (None, None)
        "The configuration that they were made of."
        self._made: dict[tuple[int, str, str | None], bytes] = {}
        "Answers by consumer, shape and name: with thousands of models one costs milliseconds."

    def answer(self, request: Request, path: bytes, query: bytes) -> tuple[str, str] | bool:
        """Whether it was asked for and is answered; or reason and message of a refusal."""
        found = asked(request.method, path, query)
        if found is None:
            return False
        if isinstance(found, str):
            return found, ""
        consumer = request.credentials.who(self.server.bound.world.callers)
        if isinstance(consumer, str):
            return consumer, unknown(consumer)
        world = self.server.bound.world
        if consumer.boundary and not world.routes.serves(consumer.boundary):
            return "boundary.mismatch", elsewhere(world, consumer.boundary)[1]
        shape = found.shape
        if path.startswith(b"/v1/") and any(name == b"anthropic-version" for name, _ in request.forward):
            shape = ANTHROPIC
        body = self.body(consumer, shape, found.name)
        if not body:
            return "route.model", "There is no such model, or you may not use it."
        request.head(200, _HEADERS, len(body))
        request.data(body)
        request.end()
        return True

    def body(self, consumer: Consumer, shape: str, name: str | None) -> bytes:
        """The answer; empty: there is no such model."""
        world = self.server.bound.world
        by = (world.routes, world.callers)
        if self._by[0] is not by[0] or self._by[1] is not by[1] or len(self._made) >= MOST:
            self._by = by
            self._made.clear()
        key = (consumer.number, shape, name)
        body = self._made.get(key)
        if body is None:
            models = self.models(consumer)
            if name is None:
                body = listed(shape, models)
            else:
                body = next((described(shape, model) for model in models if model.name == name), b"")
                if not body:
                    return body
            self._made[key] = body
        return body

    def models(self, consumer: Consumer) -> list[Model]:
        """Those that it may use, in the order of the configuration."""
        routes = self.server.bound.world.routes
        found = []
        for name in routes.names(consumer):
            route = routes.get(name)
            if route is not None and (not consumer.operations or consumer.operations & route.operations):
                found.append(route.model)
        return found
