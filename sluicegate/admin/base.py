"""What the admin plane needs of the keeper, and how a resource answers."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, Protocol


class Reply(NamedTuple):
    """An answer: status, body, and what the body is."""

    status: int
    body: bytes
    content_type: str = "application/json"


Handler = Callable[..., Awaitable[Reply]]
"""Gets the parts of the path that stand for something."""


class Taking(NamedTuple):
    """A handler that gets the request's body after the parts of the path."""

    handler: Handler


Table = dict[tuple[str, str], Handler | Taking]
"""Method and path; `{}` stands for one segment."""


class Outcome(Protocol):
    """What a reload came to."""

    @property
    def state(self) -> str: ...
    @property
    def config(self) -> str: ...
    @property
    def report(self) -> str: ...
    @property
    def waiting(self) -> tuple[str, ...]: ...


class Gateway(Protocol):
    """The keeper, as its operators may use it."""

    def status(self) -> dict[str, Any]: ...
    async def pools(self) -> list[dict[str, Any]]: ...
    async def declared(self) -> bytes: ...
    async def reload(self) -> Outcome: ...
    async def restart(self) -> str: ...
    async def drain(self, deployment: str, away: bool) -> str: ...
    async def explain(self, question: Any) -> dict[str, Any] | str: ...


def said(status: int, value: Any) -> Reply:
    """A value as JSON."""
    return Reply(status, json.dumps(value).encode() + b"\n")


def wrong(status: int, message: str) -> Reply:
    """An error, with what to do about it."""
    return said(status, {"error": {"message": message}})
