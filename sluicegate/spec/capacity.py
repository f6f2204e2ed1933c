"""What exists: instances, their deployments, and the boundaries that say which of them may see whose prompts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from sluicegate.core.settings import Connections
from sluicegate.providers import PROVIDERS
from sluicegate.spec.addresses import Endpoint, Url
from sluicegate.spec.auth import AuthForm, AuthSpec
from sluicegate.spec.forms import Regions
from sluicegate.spec.kinds import Choice, Name, PublicName, QuotaGroup, Text
from sluicegate.spec.sections import Keys, Listing
from sluicegate.spec.skus import LEVELS, SKUS
from sluicegate.spec.units import DAY, Capacity, Count, Duration, Whole
from sluicegate.spec.values import ApiVersion, Region

_C = Connections()


@dataclass(frozen=True, slots=True)
class ClientTls:
    """How an instance's certificate is checked."""

    ca: Annotated[str, Text("a path to a PEM file", 4096)]
    "PEM file with the authorities to trust, instead of the system's."


@dataclass(frozen=True, slots=True)
class ConnectionsSpec:
    """How connections to an instance are kept."""

    idle_min: Annotated[int, Whole(0, 1000)] = _C.idle_min
    "Connections opened ahead and kept (TLS instances), so that a request rarely waits for a handshake."
    idle_max: Annotated[int, Whole(0, 100_000)] = _C.idle_max
    "Idle connections kept at most."
    idle: Annotated[float, Duration(0.1, DAY)] = _C.idle_s
    "An idle connection is closed after this. Azure closes them at about two minutes; be first."
    life: Annotated[float, Duration(1, DAY)] = _C.life_s
    "A connection is retired after this, so that changes in DNS are seen."
    handshakes: Annotated[int, Whole(1, 10_000)] = _C.handshakes
    "Connects in progress at once; later ones wait in order."
    dns: Annotated[float, Duration(0, DAY)] = _C.dns_s
    "How long a resolved address is used for new connections."


@dataclass(frozen=True, slots=True)
class DeploymentSpec:
    """One addressable model deployment, called as it is called in Azure."""

    model: Annotated[str, Text("a model such as gpt-4o", 128, r"[^\s@]+")]
    "The model it deploys. Declared, because Azure's data plane does not say."
    version: Annotated[str, Text("a version such as 2024-11-20", 64, r"[^\s@]+")]
    "The model's version: deployments stand in for each other only if both agree."
    sku: Annotated[str, Choice(tuple(SKUS))] = "Standard"
    "Deployment type. Provisioned kinds are tried before standard kinds; batch kinds serve no live request."
    tier: Annotated[int, Whole(0, 9)] | None = None
    "Overrides the order that follows from the SKU: 0 first."
    ptu: Annotated[int, Whole(1, 1_000_000)] | None = None
    "Provisioned throughput units, of provisioned kinds only."
    capacity: Annotated[int, Capacity()] | None = None
    "What the deployment may take, as Azure's quota says it."
    weight: Annotated[int, Whole(1, 1000)] = 1
    "Its share inside a tier, beside the others, where the model says `balance: weighted`."
    processing: Annotated[str, Choice(LEVELS)] | None = None
    "Overrides how far prompts may travel, which follows from the deployment type."
    quota_group: Annotated[str, QuotaGroup()] | None = None
    "Deployments with the same word share a quota: when one is throttled, so are the others."
    max_input: Annotated[int, Count(1, 1_000_000_000)] | None = None
    "The longest prompt it takes, tokens; longer ones never reach it. Left out: the window of the model, where known."
    was: Annotated[tuple[str, ...], Listing(PublicName())] = ()
    "Names it had before: what is known of it goes on under the new one."

    instead: ClassVar = {
        **dict.fromkeys(
            ("name", "deployment_name"), "the name stands before the colon: NAME: {model: ..., version: ...}"
        ),
        **dict.fromkeys(("model_name",), "write model: gpt-4o"),
        **dict.fromkeys(("model_version",), "write version: 2024-11-20"),
        **dict.fromkeys(("type", "deployment_type", "sku_name"), "write sku: GlobalStandard"),
    }


@dataclass(frozen=True, slots=True)
class InstanceSpec:
    """The Azure resource, or server, that holds deployments."""

    endpoint: Annotated[Url, Endpoint()]
    """Its address. For a server that speaks OpenAI's API, with the path before /chat/completions: http://host:8000/v1;
    for one of Anthropic's, with the path before /v1, if there is any."""
    auth: Annotated[AuthSpec, AuthForm()]
    """What the gateway shows: `{key: ${env:NAME}}`, `managed_identity` and its like (tokens, fetched and refreshed by
    the gateway), `passthrough` (the client's own token), or `none`."""
    deployments: Annotated[Mapping[str, DeploymentSpec], Keys("deployment", PublicName())]
    "Its deployments, by the name that Azure knows them by."
    provider: Annotated[str, Choice(tuple(PROVIDERS))] = "azure_openai"
    "How it is spoken to."
    region: Annotated[str, Region()] = ""
    "The Azure region, or a name of your own, that it is in."
    subscription: Annotated[str, Name()] = ""
    "The Azure subscription it belongs to, by any name: standard deployments of one share their quota."
    api_version: Annotated[str, ApiVersion()] | None = None
    "For a resource without /openai/v1: requests without api-version go up with this one."
    tls: ClientTls | None = None
    "How its certificate is checked, where the system's authorities do not do."
    connections: ConnectionsSpec = ConnectionsSpec()
    "How connections to it are kept."
    was: Annotated[tuple[str, ...], Listing(Name())] = ()
    "Names it had before: what is known of it and its deployments goes on under the new one."

    instead: ClassVar = {
        **dict.fromkeys(("url", "base_url", "api_base", "azure_endpoint", "host"), "write endpoint: https://..."),
        **dict.fromkeys(("key", "api_key", "key_env", "credential"), 'write auth: {key: "${env:NAME}"}'),
        **dict.fromkeys(
            ("model", "version", "sku", "ptu", "capacity", "tier"), "it belongs to a deployment below this"
        ),
        **dict.fromkeys(("location",), "write region: westeurope"),
    }


@dataclass(frozen=True, slots=True)
class BoundarySpec:
    """Where prompts and answers of some tenants may be processed."""

    regions: Annotated[tuple[str, ...], Regions()]
    "Regions of instances, or `any`."
    processing: Annotated[str, Choice(LEVELS)]
    "The farthest that prompts may travel: `regional`, `data_zone` or `global`."
    url: Annotated[Url | None, Endpoint()] = None
    "Where its consumers are served. One that asks a gateway of another boundary is told so."
