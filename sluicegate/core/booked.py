"""Records on their way from the journal to the ledger: plain data with wall time, as it stands in files.

Each is an array in the journal: a field is only ever added at the end, with a default, so that old files stay readable
and older readers ignore what they do not know.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from sluicegate.core.events import Usage
from sluicegate.core.pricing import Tariffs

BEGAN: Final = 0
ADMITTED: Final = 1
SETTLED: Final = 2
SEALED: Final = 3

FEW: Final = 100
"""Records that are moved at once while the mover keeps up. It lets others use its core between them; with more than
these it does not, or it would never keep up with workers that are always busy."""

Tokens = tuple[int, int, int, int, int]
"""Input, cached, cache_write, output, reasoning: disjoint."""


class Circumstances(NamedTuple):
    """A record.Context in a file."""

    kind: str = "live"
    parent: str = ""
    boundary: str = ""
    class_: str = ""
    arm: str = ""
    conversation: str = ""
    end_user: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    region: str = ""
    client: str = ""


class Began(NamedTuple):
    """Who writes from here on, under which configuration."""

    version: int
    node: str
    spec: str
    "Hash of the configuration in force."
    writer: str
    serial: int
    wall_us: int


class Admitted(NamedTuple):
    """An exchange is about to send its first upstream byte."""

    id: str
    wall_us: int
    "When its head was there, microseconds since 1970."
    api: str
    consumer: int
    tenant: str
    model: str
    stream: bool
    estimate: int
    "Input tokens."
    context: Circumstances | None = None
    deployment: int = 0
    "That is asked first; 0: none could be."


class Tried(NamedTuple):
    """One attempt."""

    deployment: int
    after_us: int
    "Since the head was there."
    took_us: int
    status: int
    cause: str
    sent: str
    charged_to: str
    tokens: Tokens | None = None
    cost: int | None = None
    "Nano-units; None: no price, or nothing to price."
    price: str = ""
    region: str = ""
    "Where the answer said that it came from."
    declared: str = ""
    "Region, processing and kind of the deployment, as they were configured then."


class Settled(NamedTuple):
    """An exchange is over: its facts are final."""

    id: str
    wall_us: int
    took_us: int
    first_token_us: int | None
    api: str
    consumer: int
    tenant: str
    model: str
    stream: bool
    status: int
    reason: str
    how: str
    state: str
    usage_source: str
    tokens: Tokens | None
    service_tier: str
    currency: str
    cost: int | None
    "Nano-units, what its consumer is charged; None: not priced."
    overhead: int
    "Nano-units of attempts that failed over and were billed all the same."
    price: str
    deployment: int
    "That served; 0: none."
    attempts: tuple[Tried, ...]
    trail: tuple[str, ...]
    context: Circumstances | None = None


def interrupted(admitted: Admitted, tariffs: Tariffs | None = None) -> Settled:
    """What is booked for an exchange whose worker died: its prompt, estimated, at the price of the deployment that was
    asked first. What came of an answer died with the worker, and so did the news of other deployments."""
    deployment, estimate = admitted.deployment, admitted.estimate
    mine = None
    if tariffs is not None and deployment:
        mine = tariffs.cost(deployment, Usage(estimate), "", admitted.wall_us / 1e6)
    price, cost, currency = "", None, ""
    if mine is not None and tariffs is not None:
        (price, cost), currency = mine, tariffs.currency
    return Settled(
        admitted.id, admitted.wall_us, 0, None, admitted.api, admitted.consumer, admitted.tenant, admitted.model,
        admitted.stream, 0, "", "", "interrupted", "estimated", (estimate, 0, 0, 0, 0), "", currency, cost, 0, price,
        deployment, (), ("the worker ended before this exchange did",), admitted.context,
    )  # fmt: skip


class Place(NamedTuple):
    """How far the journal of a writer was read."""

    serial: int = 0
    "Of its segment."
    offset: int = 0
    "In it; 0: nothing of it yet."
    node: str = ""
    spec: str = ""
    "What the last Began said."


class Unusable(Exception):
    """The ledger cannot be used; says which file and why."""
