"""What an exchange leaves behind: one record, its attempts, and why each decision was taken.

Two lives: `admit` before the first upstream byte (state open), `settle` before the last byte goes to the client
(settled or interrupted). What is the same for every request of a caller, or belongs to a feature that is off, stands in
a Context that requests share: it costs one pointer. What the exchange cannot know is added on the way: wall time, node,
spec hash and cost by the journal (link/journal.py), adjustments as rows of their own by the ledger.
"""

from __future__ import annotations

from typing import Final

from sluicegate.core.events import Usage

VERSION: Final = 1


class Context:
    """What a record says of its request that its own events do not. Never changed once a record holds it."""

    __slots__ = (
        "arm", "boundary", "class_", "client", "conversation", "end_user", "kind", "labels", "packed", "parent",
        "region",
    )  # fmt: skip

    def __init__(
        self,
        kind: str = "live",
        parent: str = "",
        boundary: str = "",
        class_: str = "",
        arm: str = "",
        conversation: str = "",
        end_user: str = "",
        labels: tuple[tuple[str, str], ...] = (),
        region: str = "",
        client: str = "",
    ) -> None:
        self.kind = kind
        "live, job, batch, shadow, guard, cache or probe."
        self.parent = parent
        "Id of the record that this one came from."
        self.boundary = boundary
        self.class_ = class_
        self.arm = arm
        "Of a rollout; empty: the model's own."
        self.conversation = conversation
        self.end_user = end_user
        self.labels = labels
        self.region = region
        "Where the gateway is."
        self.client = client
        "Address from which it was asked, where that is to be written down."
        self.packed: object = None
        "As a journal writes it, kept there for the next record."

    def but(self, arm: str = "", end_user: str = "", client: str = "") -> Context:
        """The same on this arm, for this end user, or from this address."""
        return Context(
            self.kind, self.parent, self.boundary, self.class_, arm or self.arm, self.conversation,
            end_user or self.end_user, self.labels, self.region, client or self.client,
        )  # fmt: skip


PLAIN: Final = Context()
"""Of a live request about which nothing else is known."""


class Attempt:
    """One upstream call inside an exchange."""

    __slots__ = (
        "at", "cause", "declared", "deployment", "ended_at", "region", "retry_after", "sent", "status", "usage",
    )  # fmt: skip

    def __init__(self, deployment: int, at: float) -> None:
        self.deployment = deployment
        "Number of the deployment."
        self.at = at
        self.ended_at = at
        self.region = ""
        "Where its answer says that it comes from, as it says so."
        self.declared = ""
        "Where boundaries are declared: region, processing and kind of the deployment, as configured."
        self.status = 0
        "HTTP status of its answer, 0 when there was none."
        self.cause = ""
        "Why it did not serve, as a dotted name; empty: it did."
        self.sent = ""
        self.retry_after: float | None = None
        self.usage: Usage | None = None
        "Of an attempt that did not serve and may be billed all the same, as far as we know it: its prompt, and what"
        " came of its answer. The one that served has the record's."

    @property
    def charged_to(self) -> str:
        """`consumer`, or `overhead`: the upstream bills an attempt that was cut and failed over, too."""
        return "consumer" if self.cause in ("", "gone") else "overhead"


class UsageRecord:
    """Settled facts of one exchange. Times are monotonic seconds of the worker; the journal adds wall time."""

    __slots__ = (
        "api", "at", "attempts", "consumer", "context", "ended_at", "estimate", "estimated", "first", "first_token_at",
        "how", "id", "model", "reason", "service_tier", "state", "status", "stream", "tenant", "trail", "usage",
        "version",
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
        self.estimate = 0
        "Input tokens as estimated at admission: what is booked when nobody lives to settle."
        self.first = 0
        "Number of the deployment that is asked first: whose price is booked when nobody lives to settle."
        self.service_tier = ""
        "Of the answer; of the request, where an answer that is estimated did not come so far; empty: not said."
        self.first_token_at: float | None = None
        self.attempts: list[Attempt] = []
        self.trail: list[str] = []
        "Decisions in order, human-readable, without any text of the client."
        self.context = PLAIN

    @property
    def usage_source(self) -> str:
        """upstream, or estimated: ours, from what passed; empty: there is no usage."""
        return "" if self.usage is None else "estimated" if self.estimated else "upstream"
