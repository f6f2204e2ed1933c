"""What is counted, and how it is called: the table that workers fill and `/metrics` shows.

Labels come from the configuration (names of models, deployments, consumers) or from tables of ours (reasons, causes),
never from what a client sends, and each family has a bound: what is beyond it is counted under `other`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

OTHER: Final = "other"


@dataclass(frozen=True, slots=True)
class Family:
    """One name of the metrics page. Everything is counted in integers: seconds as microseconds."""

    name: str
    kind: str
    "counter, gauge (summed over workers), max (the largest of any worker) or histogram."
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    "Upper bounds of a histogram, seconds."
    per: float = 1.0
    "A cell counts units of this: 1e-6 where the family is in seconds."
    most: int = 1000
    "Label sets of one worker; more are counted under `other`."

    @property
    def cells(self) -> int:
        """Integers of one label set: a histogram has its buckets, one beyond them, and the sum."""
        return len(self.buckets) + 2 if self.buckets else 1


WHOLE = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
OURS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
FIRST = (0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3.0, 6.0, 12.0, 30.0, 60.0)

REQUESTS = Family(
    "sluicegate_requests_total", "counter",
    "Requests that ended, by model, the status the client saw, and the reason where the gateway itself refused.",
    ("model", "status", "reason"),
)  # fmt: skip
CONSUMER_REQUESTS = Family(
    "sluicegate_consumer_requests_total", "counter", "Requests that ended, by consumer.", ("tenant", "consumer"),
    most=200,
)  # fmt: skip
CONSUMER_TOKENS = Family(
    "sluicegate_consumer_tokens_total", "counter", "Tokens of all classes, by consumer.", ("tenant", "consumer"),
    most=200,
)  # fmt: skip
ATTEMPTS = Family(
    "sluicegate_attempts_total", "counter",
    "Calls to deployments, by why they did not serve; cause `none`: they did.", ("deployment", "cause"),
)  # fmt: skip
TOKENS = Family(
    "sluicegate_tokens_total", "counter",
    "Tokens by class. The classes are disjoint: input is without cached, output without reasoning.",
    ("model", "class"),
)  # fmt: skip
ESTIMATED = Family(
    "sluicegate_estimated_total", "counter",
    "Requests whose tokens are an estimate, because the upstream never said.", ("model",),
)  # fmt: skip
SECONDS = Family(
    "sluicegate_request_seconds", "histogram", "From the head of a request to the end of its answer.",
    ("model", "stream"), WHOLE, 1e-6,
)  # fmt: skip
FIRST_TOKEN = Family(
    "sluicegate_first_token_seconds", "histogram", "From the head of a request to the first token of its stream.",
    ("model",), FIRST, 1e-6,
)  # fmt: skip
ADDED = Family(
    "sluicegate_added_seconds", "histogram",
    "What the gateway itself added before an answer went down: from the last byte of a request until the deployment is "
    "asked, and from what decides about its answer until that goes on. Time of deployments and clients is not in it.",
    (), OURS, 1e-6,
)  # fmt: skip
IN_FLIGHT = Family("sluicegate_requests_in_flight", "gauge", "Requests admitted and not ended.")
DEPLOYMENT_IN_FLIGHT = Family(
    "sluicegate_deployment_in_flight", "gauge", "Calls under way to a deployment.", ("deployment",)
)
DEPLOYMENT_STATE = Family(
    "sluicegate_deployment_state", "gauge",
    "In how many workers a deployment is closed (well), paced, shut (throttled), open, half_open (faults), or barred.",
    ("deployment", "state"), most=4000,
)  # fmt: skip
CLIENTS = Family("sluicegate_client_connections", "gauge", "Open connections of clients.")
UPSTREAMS = Family("sluicegate_upstream_connections", "gauge", "Connections to instances, by what they do.", ("state",))
LAG = Family(
    "sluicegate_loop_lag_seconds", "max", "By how much the busiest worker was late in the last second.", per=1e-6
)

JOURNAL_LOST = Family(
    "sluicegate_journal_lost_total", "counter", "Records that found no room, neither in the journal nor in memory.",
)  # fmt: skip
JOURNAL_STALLED = Family(
    "sluicegate_journal_stalled_seconds_total", "counter",
    "Time in which requests waited for the journal, because its next segment was not ready.", per=1e-6,
)  # fmt: skip
JOURNAL_FAILING = Family(
    "sluicegate_journal_failing", "gauge", "Workers that cannot write their journal: records wait in memory.",
)  # fmt: skip

FAMILIES: Final = {
    f.name: f
    for f in (
        REQUESTS, CONSUMER_REQUESTS, CONSUMER_TOKENS, ATTEMPTS, TOKENS, ESTIMATED, SECONDS, FIRST_TOKEN, ADDED,
        IN_FLIGHT, DEPLOYMENT_IN_FLIGHT, DEPLOYMENT_STATE, CLIENTS, UPSTREAMS, LAG, JOURNAL_LOST,
        JOURNAL_STALLED, JOURNAL_FAILING,
    )
}  # fmt: skip
