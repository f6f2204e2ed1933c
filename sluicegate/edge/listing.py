"""Answers lists of models from the configuration in force: nothing goes up, nothing is recorded.

A model outside the grant and one that does not exist are the same 404: names cannot be probed. Whom a model offers
nothing of what they may do is not shown it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sluicegate.apis.models import ANTHROPIC, asked, described, listed
from sluicegate.core.caller import Consumer
from sluicegate.core.snapshot import Model

if TYPE_CHECKING:
    from sluicegate.edge.listener import Server
    from sluicegate.edge.request import Request

_HEADERS: Final = b"content-type: application/json\r\ncache-control: no-store\r\n"


class Listing:
    """For the connections of one worker."""

    __slots__ = ("server",)

    def __init__(self, server: Server) -> None:
        self.server = server

    def answer(self, request: Request, path: bytes, query: bytes) -> tuple[str, str] | bool:
        """Whether it was asked for and is answered; or reason and message of a refusal."""
        found = asked(request.method, path, query)
        if found is None:
            return False
        if isinstance(found, str):
            return found, ""
        consumer = request.credentials.who(self.server.bound.world.callers)
        if isinstance(consumer, str):
            return consumer, "Access denied: send a key of this gateway to see the models that it may use."
        models = self.models(consumer)
        shape = found.shape
        if path.startswith(b"/v1/") and any(name == b"anthropic-version" for name, _ in request.forward):
            shape = ANTHROPIC
        if found.name is None:
            body = listed(shape, models)
        else:
            one = [model for model in models if model.name == found.name]
            if not one:
                return "route.model", "There is no such model, or you may not use it."
            body = described(shape, one[0])
        request.head(200, _HEADERS, len(body))
        request.data(body)
        request.end()
        return True

    def models(self, consumer: Consumer) -> list[Model]:
        """Those that it may use, in the order of the configuration."""
        routes = self.server.bound.world.routes
        found = []
        for name in routes.names(consumer):
            route = routes.get(name)
            if route is not None and (not consumer.operations or consumer.operations & route.operations):
                found.append(route.model)
        return found
