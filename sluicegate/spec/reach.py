"""How models are reached: their pools, and what holds for every attempt. Settings are taken whole from the nearest
place that has them, `models.X` before `defaults`; only `timeouts` are merged key by key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from sluicegate.core.breaker import BreakerSpec, ThrottleSpec
from sluicegate.core.settings import Gateway, OnDisconnect, ParamSpec, Spill, Timeouts
from sluicegate.core.snapshot import Model
from sluicegate.spec.forms import Use, UseForm
from sluicegate.spec.kinds import Choice, PublicName
from sluicegate.spec.offered import Operation
from sluicegate.spec.rules import Rules
from sluicegate.spec.sections import Listing, otherwise
from sluicegate.spec.units import DAY, Bytes, Ceiling, Duration, Share, Whole
from sluicegate.spec.values import EndUser, Leave

_T, _D, _B, _TH, _S = Timeouts(), OnDisconnect(), BreakerSpec(), ThrottleSpec(), Spill()
_M = Model(0, "", (), ())
_RETRY_BUDGET = Gateway().retry_budget

BALANCES = ("least_tokens", "weighted", "round_robin", "least_busy", "latency")


@dataclass(frozen=True, slots=True)
class TimeoutsSpec:
    """Of a model's attempts. Merged key by key: the model's, then `defaults`, then these."""

    connect: Annotated[float, Duration(0.01, 60)] | None = otherwise(_T.connect)
    "Resolving, connecting and the TLS handshake of one attempt."
    first_byte: Annotated[float, Duration(0.1, DAY)] | None = otherwise(_T.first_byte)
    "From the start of an attempt, connecting included, to its first byte; of a stream, to its first event."
    idle: Annotated[float, Duration(0.1, DAY)] | None = otherwise(_T.idle)
    "Longest gap inside an answer."
    total: Annotated[float, Duration(0.1, DAY)] | None = otherwise(_T.total)
    "All attempts of a request together."


@dataclass(frozen=True, slots=True)
class RetrySpec:
    """How often a request is tried."""

    attempts: Annotated[int, Whole(1, 10)] = _M.attempts
    "Attempts that may end in a fault; throttled answers do not count."


@dataclass(frozen=True, slots=True)
class DefaultRetrySpec(RetrySpec):
    """How often requests are tried."""

    budget: Annotated[float, Share(0, 1)] = _RETRY_BUDGET
    "Retries after faults, at most, as a share of all requests; small traffic may have a few, unless it is `0%`."


@dataclass(frozen=True, slots=True)
class BodySpec:
    """How large a request may be."""

    max: Annotated[int, Bytes(1024, 2**30)] = _M.body_max
    "A body that is held; of an upload that is passed on while it comes, so much is kept to be sent to another member."
    upload: Annotated[int, Bytes(1024, 2**34)] = _M.body_upload
    "A form with files in it, as transcriptions and edits of images send."
    urls: Annotated[str, Choice(("any", "refuse_private"))] = "any"
    """Addresses in JSON bodies, such as `image_url`, that upstreams fetch; the gateway fetches none. `refuse_private`:
    a request that names a machine of its own, a private network or a metadata service is refused."""


@dataclass(frozen=True, slots=True)
class OnDisconnectSpec:
    """What happens upstream when the client leaves."""

    stream: Annotated[float, Leave()] = _D.stream
    "Of a streamed answer."
    other: Annotated[float, Leave()] = _D.other
    "Of any other: the upstream computes and bills it anyway, so its usage is worth waiting for."


@dataclass(frozen=True, slots=True)
class BreakerForm:
    """When faults take a deployment out, and for how long."""

    faults: Annotated[int, Whole(1, 1000)] = _B.faults
    "That many in a row open its breaker."
    share: Annotated[float, Share(0.01, 1)] = _B.share
    "So does this share of at least 20 answers."
    within: Annotated[float, Duration(1, 3600)] = _B.within
    "The time over which the share is taken."
    open: Annotated[float, Duration(0.1, 3600)] = _B.open
    "Until one request looks whether it is well again."


@dataclass(frozen=True, slots=True)
class ThrottleForm:
    """How long a throttled deployment is left alone."""

    longest: Annotated[float, Duration(1, DAY)] = _TH.longest
    "The longest time an answer may name; beyond it one request looks again every so often."
    unnamed: Annotated[tuple[float, ...], Listing(Duration(0.1, DAY))] = _TH.unnamed
    "Where the answer names no time: after its first refusal the first of these, and so on."


@dataclass(frozen=True, slots=True)
class SpillForm:
    """What else than throttling sends a request to the next member of a pool."""

    long_context: bool = _S.long_context
    "A 400 that says that the prompt is too long for this member."
    soft_ceiling: Annotated[float, Ceiling()] = _S.soft_ceiling or 0.0
    "A share of the declared `capacity` beyond which others are asked first, or `none`."
    platform: bool = _S.platform
    "Whether the headers of Azure's own spillover pass, both ways. It is recorded either way."


@dataclass(frozen=True, slots=True)
class RolloutForm:
    """A second arm of a model, for a share of those who ask."""

    later: ClassVar = ("steps", "hold", "abort_if")

    to: Annotated[Use, UseForm()]
    "The deployments of the new arm, as in `use`."
    share: Annotated[float, Share(0, 1)]
    "How much of the traffic goes there."
    stick_to: Annotated[str, Choice(["consumer", "end_user"], later=["conversation"])] = "consumer"
    "Who stays on one arm: each consumer, or each of its end users that a request names."


@dataclass(frozen=True, slots=True)
class DefaultsSpec:
    """How models are reached that do not say it themselves."""

    later: ClassVar = ("pins", "class")

    timeouts: TimeoutsSpec = TimeoutsSpec()
    "Merged with a model's own, key by key."
    retry: DefaultRetrySpec | None = None
    "Taken whole by models without `retry`; the budget is the gateway's."
    breaker: BreakerForm | None = None
    "Taken whole by models without `breaker`."
    throttle: ThrottleForm | None = None
    "Taken whole by models without `throttle`."
    spill: SpillForm | None = None
    "Taken whole by models without `spill`."
    balance: Annotated[str, Choice(BALANCES)] | None = otherwise(_M.balance)
    "Which member of a tier is next, for models without `balance`."
    cross_region: bool | None = otherwise(True)
    "Whether deployments outside the gateway's region are used, by models without `cross_region`."
    body: BodySpec | None = None
    "Taken whole by models without `body`."
    on_disconnect: OnDisconnectSpec | None = None
    "Taken whole by models without `on_disconnect`."
    end_user: Annotated[str, EndUser()] = ""
    "As of consumers; for those that say nothing, nor their plan or tenant."


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """The public name a consumer asks for."""

    instead: ClassVar = {
        **dict.fromkeys(("deployment", "deployments", "members", "pool"), "write use: [instance/deployment, ...]"),
        **dict.fromkeys(("model", "version"), "write use: model@version"),
        **dict.fromkeys(("strategy", "routing_strategy"), "write balance: least_tokens"),
    }

    use: Annotated[Use, UseForm()]
    "Every deployment of a model and version, by `model@version`; or a list of `instance/deployment`."
    mixed_versions: bool = False
    "Lets a list hold different models or versions; every answer then carries a warning."
    operations: tuple[Annotated[str, Operation()], ...] | None = None
    "What may be asked of it, unknown ones by method and path: `POST /audio/mix`; left out: what its family offers."
    balance: Annotated[str, Choice(BALANCES)] | None = None
    "Which member of a tier is next."
    cross_region: bool | None = None
    "Whether deployments outside the gateway's region are used."
    params: Annotated[tuple[ParamSpec, ...], Rules()] = ()
    "Rules for fields of requests."
    rollout: RolloutForm | None = None
    "A second arm, for a share of those who ask."
    fallback: Annotated[tuple[str, ...], Listing(PublicName())] = ()
    "Other models, tried in this order when no member of this one can serve; never beyond what the consumer may use."
    timeouts: TimeoutsSpec = TimeoutsSpec()
    "How long things may take."
    retry: RetrySpec | None = None
    "How often a request is tried."
    breaker: BreakerForm | None = None
    "When faults take a member out."
    throttle: ThrottleForm | None = None
    "How long a throttled member is left alone."
    spill: SpillForm | None = None
    "What else sends a request to the next member."
    body: BodySpec | None = None
    "How large a request may be."
    on_disconnect: OnDisconnectSpec | None = None
    "What happens upstream when the client leaves."
    was: Annotated[tuple[str, ...], Listing(PublicName())] = ()
    "Names it had before: what is known of it goes on under the new one."
