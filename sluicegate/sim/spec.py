"""What a simulated fleet is made of: instances, their deployments, how fast they are. Declared as plain data.

The same shapes are read from a file (`sluicegate simulate --instances`), from the control API and from tests.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

import msgspec

from sluicegate.sim.azure.facts import PROVISIONED, ptu

Kind = Literal["azure_openai", "openai_compatible", "foundry", "anthropic"]
Mode = Literal["up", "down", "stall"]


class LatencySpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long a deployment takes. Seconds."""

    first_token_s: float = 0.0
    "From the complete request to the first token (a plain answer: part of its whole time)."
    per_token_s: float = 0.0
    "Each output token after it."
    head_s: float | None = None
    "To the response head and the first event, where that comes before the first token; default: together with it."
    jitter: float = 0.0
    "Share by which one answer is faster or slower than another: 0.2 gives 0.8 to 1.2 times, drawn from the seed."


class CapacitySpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a deployment takes before it says 429. Absent: anything."""

    tokens_per_minute: int = 0
    "Standard kinds: estimated at arrival (prompt + max_tokens); the count is reset each minute. 0: no bound."
    requests_per_minute: int = 0
    "Standard kinds: default is 6 for each 1,000 tokens per minute."
    slice_s: Literal[1, 10] = 10
    "Requests are counted in slices of so many seconds, each with its part of the minute's."
    ptu: int = 0
    "Provisioned kinds: units; tokens per minute and weights of the model are known (sluicegate/data/ptu.csv)."
    ptu_tokens_per_minute: int = 0
    "Instead of `ptu`: normalised tokens per minute at which utilisation is 100 %."
    bucket_s: float = 60.0
    "Provisioned kinds: so many seconds of that rate fill the bucket."
    unsaid: int = 4096
    "Provisioned kinds: output tokens assumed of a request that names no maximum."


class DeploymentSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One deployment: what it is and how it answers."""

    model: str = "gpt-4o"
    version: str = "2024-11-20"
    sku: str = "Standard"
    answers_as: str = ""
    "`model` of its answers; default: model-version. Another value is model drift."
    latency: LatencySpec = LatencySpec()
    tokens: tuple[int, int] = (20, 60)
    "Output tokens of an answer, from and to; the seed chooses."
    text: Literal["prose", "echo"] = "prose"
    "`echo`: the last user message comes back."
    reasoning: int = 0
    "Reasoning tokens of each answer: counted, never shown."
    cached: int = 0
    "Prompt tokens reported as cached, at most all of them."
    burst: int = 1
    "Content events in one write: Azure's default filter sends bursts."
    async_filter: bool = False
    "Asynchronous content filter: annotation-only chunks between and after the content."
    obfuscation: bool = False
    "Padding in streamed chunks without being asked for it."
    utilisation: float | None = None
    "Provisioned kinds: the share shown in azure-openai-deployment-utilization; default: computed from capacity."
    capacity: CapacitySpec = CapacitySpec()
    quota: str = ""
    "Name of a quota of the fleet that it shares with other deployments, besides its own capacity."
    max_input: int = 0
    "Longest prompt in tokens; a longer one is a 400 context_length_exceeded. 0: any."
    spillover: str = ""
    "Provisioned kinds: deployment of this instance to which the platform itself sends what this one refuses."
    headers: dict[str, str] = {}
    "More response headers."


class InstanceSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One Azure OpenAI resource, or a server that speaks OpenAI's dialect."""

    deployments: dict[str, DeploymentSpec] = msgspec.field(default_factory=lambda: {"gpt-4o": DeploymentSpec()})
    kind: Kind = "azure_openai"
    region: str = "West Europe"
    "Shown in x-ms-region; `westeurope` is shown as `West Europe`."
    key: str = ""
    "What callers must show; default: made from the seed for tests, at random by `sluicegate simulate`."
    second_key: str = ""
    "Taken as well, as Azure has two: for rotation."
    keyless: bool = False
    "Lets everybody in, whatever they show: a server on own premises that was given no key."
    host: str = "127.0.0.1"
    port: int = 0
    "0: any free port."
    tls: bool = False
    v1: bool = True
    "Has /openai/v1 (azure_openai and foundry)."
    cookies: bool = False
    "Answers with Set-Cookie."
    mode: Mode = "up"
    "`down`: nothing listens, open connections are reset. `stall`: connecting hangs, a full backlog takes no more."
    connect_s: float = 0.0
    "Virtual form only: seconds to connect."


class FleetSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All instances of one process."""

    instances: dict[str, InstanceSpec] = {}
    quotas: dict[str, CapacitySpec] = {}
    "Subscription-wide quotas by name: deployments that name one share it."
    seed: int = 0
    control: int | None = None
    "Port of the control API; absent: none in tests, a free one for `sluicegate simulate`."
    faults: list[dict[str, Any]] = []
    "Faults in force from the start, see the control API."


def fleet_spec(given: FleetSpec | Mapping[str, Any] | int) -> FleetSpec:
    """A spec from a spec, from plain data, or for a number of like instances. Raises ValueError naming the place.

    Plain data is a whole document (with `instances`), or only the instances by name.
    """
    if isinstance(given, FleetSpec):
        return given
    if isinstance(given, int):
        given = {"instances": {f"i{n + 1}": {} for n in range(given)}}
    elif "instances" not in given:
        given = {"instances": given}
    given = {**given, "instances": _filled(given["instances"], "deployments")}
    try:
        spec = msgspec.convert(given, FleetSpec, strict=False)
    except msgspec.ValidationError as e:
        raise ValueError(_located(given) or str(e)) from None
    for name, quota in spec.quotas.items():
        if quota.ptu or quota.ptu_tokens_per_minute:
            raise ValueError(f"quotas.{name}: PTU are quota of a deployment; write tokens_per_minute")
    for name, instance in spec.instances.items():
        _checked(instance, spec.quotas, f"instances.{name}.")
    return spec


def _checked(instance: InstanceSpec, quotas: Collection[str], where: str) -> None:
    """What the shapes cannot say. Raises ValueError."""
    for label, deployment in instance.deployments.items():
        at = f"{where}deployments.{label}."
        capacity = deployment.capacity
        provisioned = deployment.sku.endswith(PROVISIONED)
        if not 0 < deployment.tokens[0] <= deployment.tokens[1]:
            raise ValueError(f"{at}tokens: write [from, to], at least 1")
        if (capacity.ptu or capacity.ptu_tokens_per_minute) and not provisioned:
            raise ValueError(f"{at}capacity: {deployment.sku} has tokens_per_minute, not PTU")
        if (capacity.tokens_per_minute or capacity.requests_per_minute) and provisioned:
            raise ValueError(f"{at}capacity: {deployment.sku} has PTU, not tokens_per_minute")
        if capacity.ptu and ptu(deployment.model, deployment.sku) is None:
            raise ValueError(f"{at}capacity.ptu: nothing is known of {deployment.model}; write ptu_tokens_per_minute")
        if capacity.bucket_s <= 0:
            raise ValueError(f"{at}capacity.bucket_s: write seconds above 0")
        if deployment.quota and deployment.quota not in quotas:
            raise ValueError(f"{at}quota: there is no {deployment.quota!r} under quotas")
        target = instance.deployments.get(deployment.spillover)
        if deployment.spillover and (not provisioned or target is None or target.sku.endswith(PROVISIONED)):
            raise ValueError(f"{at}spillover: from a provisioned deployment to a standard one of the same instance")


def changed(spec: InstanceSpec, patch: Mapping[str, Any], quotas: Collection[str] = ()) -> InstanceSpec:
    """The spec with a patch (maps merge, everything else replaces). Raises ValueError."""
    fixed = {"kind", "host", "port", "tls"} & set(patch)
    if fixed:
        raise ValueError(f"{', '.join(sorted(fixed))}: cannot change while it runs")
    whole = merged(msgspec.to_builtins(spec), patch)
    try:
        made = msgspec.convert(whole, InstanceSpec, strict=False)
    except msgspec.ValidationError as e:
        raise ValueError(str(e)) from None
    _checked(made, quotas, "")
    return made


def _filled(objects: Any, inside: str = "") -> Any:
    """What is written as `name:` with nothing after it is an object with nothing said."""
    if not isinstance(objects, Mapping):
        return objects
    out = {name: {} if value in ("", None) else value for name, value in objects.items()}
    for name, value in out.items():
        if inside and isinstance(value, Mapping) and inside in value:
            out[name] = {**value, inside: _filled(value[inside])}
    return out


def _located(given: Mapping[str, Any]) -> str:
    """What is wrong, with the names of instance and deployment, which msgspec leaves out."""
    instances = given.get("instances")
    if not isinstance(instances, Mapping):
        return ""
    for name, instance in instances.items():
        deployments = instance.get("deployments") if isinstance(instance, Mapping) else None
        for label, deployment in deployments.items() if isinstance(deployments, Mapping) else ():
            if what := _refused(deployment, DeploymentSpec):
                return f"instances.{name}.deployments.{label}: {what}"
        if what := _refused(instance, InstanceSpec):
            return f"instances.{name}: {what}"
    return ""


def _refused(given: Any, shape: type) -> str:
    try:
        msgspec.convert(given, shape, strict=False)
    except msgspec.ValidationError as e:
        return str(e)
    return ""


def merged(base: Any, patch: Any) -> Any:
    """Maps merge, everything else replaces. A map for which nothing is written (`weu:`) stays as it is."""
    if isinstance(base, dict) and patch in ("", None):
        return base
    if not isinstance(base, dict) or not isinstance(patch, Mapping):
        return patch
    out = dict(base)
    for key, value in patch.items():
        out[key] = merged(out.get(key), value)
    return out
