"""What the admin plane needs of the keeper, how a resource is declared, and how it answers.

A `Route` is the whole truth about a path: who may use it, what it takes, what it answers. The server obeys it, the
OpenAPI document and the reference page are made from it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from sluicegate.core.kept import Kept, KeptKey

OPEN = ""
"""The role of paths that need no credential."""

BODY_BYTES = 256 * 1024


class Reply(NamedTuple):
    """An answer: status, body, and what the body is."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


class Stream(NamedTuple):
    """An answer without an end."""

    pieces: AsyncIterator[bytes]
    content_type: str = "text/event-stream"


class Who(NamedTuple):
    """Whoever asks."""

    name: str
    role: str
    tenant: str = ""
    "The only one that is seen and changed; empty: all."
    kind: str = "key"
    "How that was found: key, login, token, or uid (of the process at the other end of the Unix socket)."

    def sees(self, tenant: str) -> bool:
        """Whether what belongs to this tenant is there for them."""
        return self.tenant in ("", tenant)


Note = Callable[[Mapping[str, Any] | None, Mapping[str, Any] | None], Awaitable[None]]
"""Told what something is and what it will be, before it is so: that goes into the audit log. Raises Wrong."""


async def unnoted(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> None:
    """Nobody writes it down."""


class Asked(NamedTuple):
    """A request, read by its route."""

    who: Who
    path: tuple[str, ...]
    "The parts of the path that stand for something."
    query: Any = None
    body: Any = None
    note: Note = unnoted
    expect: int = 0
    "The version of what is to be changed, by If-Match; 0: whichever."
    peer: str = ""
    "The address it comes from; empty: the Unix socket."
    cookies: Mapping[str, str] = {}
    csrf: str = ""
    "Of the session, where there is one."
    guess: Callable[[], None] = lambda: None
    "Counts as a guess of a credential. Raises Wrong where there were too many from this address."


class Audit(Protocol):
    """Where changes are written down, before they happen. Raises Wrong where they cannot be."""

    async def write(self, what: str, facts: Mapping[str, Any]) -> int: ...


class Wrong(Exception):
    """Something is wrong with the request: status, and what to do about it."""

    def __init__(self, status: int, message: str, problems: Sequence[Mapping[str, str]] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.problems = problems
        "Of a body, each with its pointer."


Handler = Callable[[Asked], Awaitable[Any]]
"""Returns a Reply, a Stream, or a value that becomes JSON with status 200. Raises Wrong."""


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path; `{name}` stands for one segment."""

    method: str
    path: str
    role: str
    "What is needed (core/operators.py: MAY), or nothing."
    handler: Handler
    summary: str
    "What it does, in one sentence."
    answers: type | None = None
    "What comes back, JSON; None: see `content_type`."
    takes: type | None = None
    "The body, JSON."
    query: type | None = None
    content_type: str = "application/json"
    errors: Mapping[int, str] = field(default_factory=dict)
    "Statuses besides those that every path may have, and when."
    refused: type | None = None
    "What comes back with status 409, if it is no failure in form: it says what is wrong in its own fields."
    most: int = BODY_BYTES
    "Bytes of a body."
    id: str = ""
    "What it is called in the OpenAPI document and in what is written down of it."
    status: int = 200
    "Of an answer that is as asked."
    writes: bool = False
    "It changes something, and is written down before it does."
    notes: bool = False
    "It says itself what something was and will be, and is written down then."


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


Texts = Sequence[tuple[str, bytes]]
"""Files of a configuration that somebody sends, later ones over earlier ones: name and content."""


class Gateway(Protocol):
    """The keeper, as its operators may use it."""

    def status(self) -> dict[str, Any]: ...
    def told_alerts(self) -> dict[str, Any]: ...
    def told_credentials(self) -> list[dict[str, Any]]: ...
    async def residency(self) -> dict[str, Any]: ...
    async def pools(self) -> list[dict[str, Any]]: ...
    async def declared(self) -> bytes: ...
    async def effective(self) -> dict[str, Any]: ...
    async def reload(self, only_if_new: bool = False, by: str = "") -> Outcome: ...
    async def check(self, texts: Texts, base: str) -> dict[str, Any]: ...
    async def diff(self, texts: Texts, base: str) -> dict[str, Any]: ...
    async def apply(self, texts: Texts, base: str, expect: str, by: str) -> Outcome: ...
    async def restart(self) -> str: ...
    async def drain(self, deployment: str, away: bool) -> str: ...
    async def explain(self, question: Any) -> dict[str, Any] | str: ...
    async def consumers(
        self, after: str, most: int, tenant: str = "", name: str = ""
    ) -> tuple[list[dict[str, Any]], bool]: ...
    async def keys(
        self, consumer: str, after: str, most: int, tenant: str = ""
    ) -> tuple[list[dict[str, Any]], bool]: ...
    async def revoke(self, consumer: str, key: str, by: str, tenant: str = "") -> dict[str, Any] | str: ...
    @property
    def people(self) -> People | None: ...


class People(Protocol):
    """Consumers that are made while the gateway runs. Each change raises Refused."""

    async def one(self, name: str) -> Kept | None: ...
    async def every(self) -> list[Kept]: ...
    async def create(self, name: str, text: dict[str, Any], by: str, tenant: str, note: Note) -> Kept: ...
    async def change(self, name: str, text: dict[str, Any], expect: int, by: str, tenant: str, note: Note) -> Kept: ...
    async def remove(self, name: str, expect: int, tenant: str, note: Note) -> None: ...
    async def new_key(
        self, name: str, expires: float, by: str, tenant: str, note: Note
    ) -> tuple[Kept, KeptKey, str]: ...
    async def change_key(
        self, name: str, called: str, disabled: bool | None, expires: float | None, by: str, tenant: str, note: Note
    ) -> tuple[Kept, KeptKey]: ...
    async def remove_key(self, name: str, called: str, by: str, tenant: str, note: Note) -> Kept: ...


def said(status: int, value: Any) -> Reply:
    """A value as JSON."""
    return Reply(status, json.dumps(value).encode() + b"\n")


def wrong(status: int, message: str, *headers: tuple[str, str], problems: Sequence[Mapping[str, str]] = ()) -> Reply:
    """An error, with what to do about it."""
    more = {"problems": list(problems)} if problems else {}
    return said(status, {"error": {"message": message, **more}})._replace(headers=headers)
