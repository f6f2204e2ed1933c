"""The language: every section of a configuration and every key in it. This table is what errors, schema and pages say.

A field without default is required. `later` names keys that belong to the language and do not work yet: writing one
is an error that says so, because nothing is ignored silently. The sections stand in process.py (the gateway itself),
capacity.py (what exists), reach.py (how it is reached) and people.py (who may use it).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from sluicegate.spec.capacity import BoundarySpec, InstanceSpec
from sluicegate.spec.issuers import IssuerSpec
from sluicegate.spec.kinds import PublicName, Text
from sluicegate.spec.money import PricesSpec
from sluicegate.spec.people import ConsumerSpec, PlanSpec, TenantSpec
from sluicegate.spec.process import GatewaySpec, StoresSpec, TelemetrySpec
from sluicegate.spec.reach import DefaultsSpec, ModelSpec
from sluicegate.spec.sections import Keys, Listing
from sluicegate.spec.values import LanguageVersion


@dataclass(frozen=True, slots=True)
class Document:
    """A configuration."""

    later: ClassVar = ("classes", "queue", "jobs", "cache", "guards")
    instead: ClassVar = dict.fromkeys(
        ("model_list", "litellm_settings", "router_settings", "general_settings"),
        "it is of LiteLLM's proxy: docs/how-to/migrate.md says what becomes of it here",
    )

    version: Annotated[str, LanguageVersion()]
    "Of the language."
    instances: Annotated[Mapping[str, InstanceSpec], Keys("instance")]
    "What exists: resources and their deployments."
    models: Annotated[Mapping[str, ModelSpec], Keys("model", PublicName())]
    "What consumers ask for."
    consumers: Annotated[Mapping[str, ConsumerSpec], Keys("consumer")] = field(default_factory=dict)
    "Who may ask."
    directory: Annotated[str, Text("a path to a file of JSON lines", 4096)] = ""
    "A file with one consumer a line, as JSON: the fields of `consumers` and `name`. For more than a thousand of them."
    include: Annotated[tuple[str, ...], Listing(Text("a path such as models/*.yaml", 4096))] = ()
    "Files, beside this one or below, whose sections are united with these by name."
    gateway: GatewaySpec = GatewaySpec()
    "The process itself."
    boundaries: Annotated[Mapping[str, BoundarySpec], Keys("boundary")] = field(default_factory=dict)
    "Where prompts may be processed, for tenants to choose from."
    issuers: Annotated[Mapping[str, IssuerSpec], Keys("issuer")] = field(default_factory=dict)
    "Who signs tokens that consumers may show instead of keys."
    tenants: Annotated[Mapping[str, TenantSpec], Keys("tenant")] = field(default_factory=dict)
    "Groups of consumers that are billed and isolated together."
    plans: Annotated[Mapping[str, PlanSpec], Keys("plan")] = field(default_factory=dict)
    "What several consumers have in common."
    defaults: DefaultsSpec = DefaultsSpec()
    "How models are reached that do not say it themselves."
    prices: PricesSpec = PricesSpec()
    "What things cost."
    stores: StoresSpec = StoresSpec()
    "Where things are kept, and how long."
    telemetry: TelemetrySpec = TelemetrySpec()
    "What is said about the traffic."
