"""What a simulated fleet is made of: instances, their deployments, how fast they are. Declared as plain data.

The same shapes are read from a file (`sluicegate simulate --instances`), from the control API and from tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

Kind = Literal["azure_openai", "openai_compatible"]
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
    "Standard kinds: estimated at arrival (prompt + max_tokens), in a window of 60 s. 0: no bound."
    requests_per_10s: int = 0
    "Standard kinds: default is tokens_per_minute / 1000, rounded up."
    ptu_tokens_per_minute: int = 0
    "Provisioned kinds: at this rate utilisation is 100 %; a bucket that leaks, 429 with retry-after-ms above it."


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
    headers: dict[str, str] = {}
    "More response headers."


class InstanceSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One Azure OpenAI resource, or a server that speaks OpenAI's dialect."""

    deployments: dict[str, DeploymentSpec] = msgspec.field(default_factory=lambda: {"gpt-4o": DeploymentSpec()})
    kind: Kind = "azure_openai"
    region: str = "West Europe"
    "Shown in x-ms-region."
    key: str = ""
    "What callers must show; default: made from the seed for tests, at random by `sluicegate simulate`."
    host: str = "127.0.0.1"
    port: int = 0
    "0: any free port."
    tls: bool = False
    v1: bool = True
    "Has /openai/v1 (azure_openai only)."
    cookies: bool = False
    "Answers with Set-Cookie."
    mode: Mode = "up"
    "`down`: nothing listens, open connections are reset. `stall`: connecting hangs, a full backlog takes no more."
    connect_s: float = 0.0
    "Virtual form only: seconds to connect."


class FleetSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All instances of one process."""

    instances: dict[str, InstanceSpec] = {}
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
    try:
        spec = msgspec.convert(given, FleetSpec, strict=False)
    except msgspec.ValidationError as e:
        raise ValueError(_located(given) or str(e)) from None
    for name, instance in spec.instances.items():
        for label, deployment in instance.deployments.items():
            if not 0 < deployment.tokens[0] <= deployment.tokens[1]:
                raise ValueError(f"instances.{name}.deployments.{label}.tokens: write [from, to], at least 1")
    return spec


def changed(spec: InstanceSpec, patch: Mapping[str, Any]) -> InstanceSpec:
    """The spec with a patch (maps merge, everything else replaces). Raises ValueError."""
    fixed = {"kind", "host", "port", "tls"} & set(patch)
    if fixed:
        raise ValueError(f"{', '.join(sorted(fixed))}: cannot change while it runs")
    whole = _merged(msgspec.to_builtins(spec), patch)
    try:
        return msgspec.convert(whole, InstanceSpec, strict=False)
    except msgspec.ValidationError as e:
        raise ValueError(str(e)) from None


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


def _merged(base: Any, patch: Any) -> Any:
    if not isinstance(base, dict) or not isinstance(patch, Mapping):
        return patch
    out = dict(base)
    for key, value in patch.items():
        out[key] = _merged(out.get(key), value)
    return out
