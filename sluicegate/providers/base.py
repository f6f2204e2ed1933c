"""What a provider row is: how a deployment of one kind of server is reached, and how its refusals are read. Pure."""

from __future__ import annotations

from typing import Any, ClassVar, Final, Protocol

from sluicegate.core.events import AnswerFacts
from sluicegate.core.ports import Headers
from sluicegate.core.secret import Secret
from sluicegate.core.snapshot import Deployment, Instance

MODELS: Final = "models/"
"""How the version of a request begins that came below /models, as azure-ai-inference sends it (apis/__init__.py)."""


class Plan:
    """How requests of one operation reach one deployment: computed once, used for every request."""

    __slots__ = ("head", "instance", "model", "passes", "usage")

    def __init__(self, head: bytes, model: str | None, usage: bool) -> None:
        self.head = head
        "Request line and our fixed headers (host, credential, user-agent, accept-encoding: identity), each line ended."
        self.model = model
        "Name to write into the body's `model`; None: the path says it, the body stays as it is."
        self.instance: Instance | None = None
        "As it was when this was made: after another configuration both are asked for, by exchanges of each."
        self.passes = False
        "The client's own bearer goes up with it (`auth: passthrough`)."
        self.usage = usage
        "`stream_options.include_usage` is accepted by this API version."


class Provider(Protocol):
    """One row of PROVIDERS."""

    name: ClassVar[str]

    def plan(
        self, api: Any, deployment: Deployment, instance: Instance, api_version: str | None,
        token: Secret | None = None,
    ) -> Plan:  # fmt: skip
        """`token`: what is shown to an instance that takes tokens.

        `api_version`: the client's, of a dated URL; `preview` or `latest` of an undated one; None: undated; with
        MODELS before it, or MODELS alone: of Foundry's inference API.
        It was checked against a strict grammar and is safe in a request line."""

    def refusal(self, status: int, headers: Headers, body: bytes, wall: float) -> AnswerFacts:
        """Read an answer with a status other than 200. `cause` "" means: it is the client's own error, pass it on.

        Causes: `upstream.throttled.rate`, `.capacity`, `.size` (429), `upstream.credential` (401, 403),
        `upstream.deployment` (404), `upstream.status_5xx` (5xx; 408, 409, 424, 499 too), `upstream.redirect` (3xx),
        `upstream.status` (anything else that the client did not cause). `retry_after` from retry-after-ms,
        x-ms-retry-after-ms, retry-after (seconds, fractions, HTTP date against `wall`), then x-ratelimit-reset-*
        (`22`, `6m0s`, `120ms`); garbage, negatives and NaN are ignored, never raised.
        """
