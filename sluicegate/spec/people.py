"""Who may use it: tenants, their consumers, and plans that bundle what many consumers share.

Ceilings (limits) and rules (params) of tenant, plan, consumer and model all count; a consumer's own `limits` replace
its plan's. Permissions (models, operations) are only ever narrower.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from sluicegate.core.limits.base import LimitSpec
from sluicegate.core.settings import ParamSpec
from sluicegate.core.snapshot import Match
from sluicegate.spec.ceilings import LimitForm
from sluicegate.spec.forms import Grants, Labels
from sluicegate.spec.kinds import Name
from sluicegate.spec.match import Each, MatchForm
from sluicegate.spec.offered import Operation
from sluicegate.spec.rules import Rules
from sluicegate.spec.secret import Hidden, Key
from sluicegate.spec.sections import Listing
from sluicegate.spec.values import EndUser

KEY = Hidden("its key", digests=True)


@dataclass(frozen=True, slots=True)
class TenantSpec:
    """A group of consumers that is billed and isolated together."""

    later: ClassVar = ("quotas", "budgets", "pins", "class")
    bare: ClassVar = True

    boundary: Annotated[str, Name()] = ""
    "Where its prompts may be processed. Required once `boundaries` exist."
    limits: Annotated[tuple[LimitSpec, ...], Listing(LimitForm())] = ()
    "What all its consumers together may use in a short time."
    params: Annotated[tuple[ParamSpec, ...], Rules()] = ()
    "Rules for fields of its requests."
    labels: Annotated[tuple[tuple[str, str], ...], Labels()] = ()
    "Words of your own that stand in its records, such as a cost centre. Plans and consumers may say other ones."
    end_user: Annotated[str, EndUser()] = ""
    "As of consumers; for those that say nothing, nor their plan."
    was: Annotated[tuple[str, ...], Listing(Name())] = ()
    "Names it had before: what is known of it goes on under the new one."


@dataclass(frozen=True, slots=True)
class PlanSpec:
    """What several consumers have in common."""

    later: ClassVar = ("quotas", "budgets", "pins", "class")

    models: Annotated[tuple[str, ...], Grants()] = ()
    "The models they may use, unless a consumer names its own."
    limits: Annotated[tuple[LimitSpec, ...], Listing(LimitForm())] = ()
    "What each of them may use in a short time, unless it has `limits` of its own."
    params: Annotated[tuple[ParamSpec, ...], Rules()] = ()
    "Rules for fields of their requests, beside those of each."
    operations: tuple[Annotated[str, Operation()], ...] = ()
    "What they may ask of their models, unless a consumer names its own."
    diagnostics: bool = False
    "Whether answers tell them which deployment served, after how many attempts, and what the gateway added."
    labels: Annotated[tuple[tuple[str, str], ...], Labels()] = ()
    "Words of your own that stand in their records, beside those of each, which win."
    end_user: Annotated[str, EndUser()] = ""
    "As of consumers; for those that say nothing."


@dataclass(frozen=True, slots=True)
class ConsumerSpec:
    """An application that calls the gateway."""

    later: ClassVar = ("pins", "class", "quotas", "budgets")

    models: Annotated[tuple[str, ...], Grants()] = ()
    "The models it may use, or `all`. Nothing is granted that is not written, here or in its plan."
    key: Annotated[Key, KEY] | None = None
    "A reference to the key that it shows, or a digest of it: `sgk1:...`."
    keys: Annotated[tuple[Key, ...], Listing(KEY)] | None = None
    "Several keys, all valid, for rotation. Either this or `key`. `{key: sgk1:..., expires: 2026-12-31}` has an end."
    match: Annotated[Match, MatchForm()] | None = None
    """Which tokens and certificates are its own: a map of what must be equal, or an expression. Beside keys, or instead
    of them."""
    each: Annotated[str, Each()] = ""
    "A claim of which every value is a consumer of its own, NAME:VALUE, for limits and records."
    tenant: Annotated[str, Name()] = "default"
    "Whom it belongs to."
    plan: Annotated[str, Name()] = ""
    "The plan it has."
    limits: Annotated[tuple[LimitSpec, ...], Listing(LimitForm())] = ()
    "What it may use in a short time; replaces the limits of its plan, never those of its tenant."
    params: Annotated[tuple[ParamSpec, ...], Rules()] = ()
    "Rules for fields of its requests, beside those of its plan and tenant."
    operations: tuple[Annotated[str, Operation()], ...] = ()
    "What it may ask of its models; left out: all that they offer."
    diagnostics: bool = False
    "Whether answers tell it which deployment served, after how many attempts, and what the gateway added."
    labels: Annotated[tuple[tuple[str, str], ...], Labels()] = ()
    "Words of your own that stand in its records. Of one name its own wins over its plan's, that over its tenant's."
    end_user: Annotated[str, EndUser()] = ""
    """What names who uses it: a field of its requests, or `claim:` and a claim of its tokens. For records, limits
    `each: end_user`, and rollouts."""
    was: Annotated[tuple[str, ...], Listing(Name())] = ()
    "Names it had before: what is known of it goes on under the new one."
