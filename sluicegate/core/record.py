"""What an exchange leaves behind: one record, its attempts, and why each decision was taken.

Fields that later features fill exist when they do. Two lives: `admit` before the first
upstream byte (state open), `settle` before the last byte goes to the client (settled or interrupted).
"""

from __future__ import annotations

from sluicegate.core.events import Usage

VERSION = 1


class Attempt:
    """One upstream call inside an exchange."""

    __slots__ = ("at", "cause", "deployment", "ended_at", "retry_after", "sent", "status")

    def __init__(self, deployment: int, at: float) -> None:
        self.deployment = deployment
        "Number of the deployment."
        self.at = at
        self.ended_at = at
        self.status = 0
        "HTTP status of its answer, 0 when there was none."
        self.cause = ""
        "Why it did not serve, as a dotted name; empty: it did."
        self.sent = ""
        self.retry_after: float | None = None


class UsageRecord:
    """Settled facts of one exchange. Times are monotonic seconds of the worker; the journal adds wall time."""

    __slots__ = (
        "api", "at", "attempts", "consumer", "ended_at", "estimated", "first_token_at", "how", "id", "model",
        "reason", "state", "status", "stream", "tenant", "trail", "usage", "version",
    )  # fmt: skip

    def __init__(self, id: str, api: str, at: float) -> None:
        self.version = VERSION
        self.id = id
        self.api = api
        self.at = at
        self.ended_at = at
        self.consumer = 0
        self.tenant = ""
        self.model = ""
        self.stream = False
        self.status = 0
        "What the client saw."
        self.reason = ""
        "Dotted name of a refusal; empty when an upstream's answer was relayed."
        self.how = ""
        "How the relay ended (events.How); empty when nothing was relayed."
        self.state = "open"
        "open, settled, interrupted, refused (refusals before admission are counted, not journalled)."
        self.usage: Usage | None = None
        self.estimated = False
        self.first_token_at: float | None = None
        self.attempts: list[Attempt] = []
        self.trail: list[str] = []
        "Decisions in order, human-readable, without any text of the client."
