"""Where a request goes up, and what its head says: configuration only, checked byte by byte."""

from dataclasses import replace
from typing import Any

import pytest

from sluicegate.apis import APIS
from sluicegate.core.secret import Secret
from sluicegate.core.snapshot import Auth, Deployment, Instance
from sluicegate.providers import PROVIDERS

AZURE = Instance(1, "east", "azure_openai", "https", "east.openai.azure.com", 443, "", Auth("key", Secret("k-1")))
OTHER = Instance(2, "vllm", "openai_compatible", "http", "10.0.0.7", 8000, "/v1", Auth("key", Secret("k-2")))
FOUNDRY = Instance(3, "hub", "foundry", "https", "hub.services.ai.azure.com", 443, "", Auth("key", Secret("k-3")))
CLAUDE = Instance(4, "claude", "anthropic", "https", "api.anthropic.com", 443, "", Auth("key", Secret("k-4")))
DEPLOYMENT = Deployment(1, "gpt-4o-ptu", 1, "gpt-4o", "2024-08-06", "provisioned", 0)


def plan(
    instance: Instance, version: str | None, api: str = "chat_completions", **change: Any
) -> tuple[list[bytes], str | None, bool]:
    made = PROVIDERS[instance.provider].plan(APIS[api], replace(DEPLOYMENT, **change), instance, version)
    assert made.head.endswith(b"\r\n") and b"\r\n\r\n" not in made.head
    return made.head[:-2].split(b"\r\n"), made.model, made.usage


COMMON = [b"user-agent: sluicegate", b"accept-encoding: identity", b"content-type: application/json"]


def test_a_dated_request_goes_up_dated_with_the_clients_version() -> None:
    head, model, usage = plan(AZURE, "2024-10-21")
    assert head == [
        b"POST /openai/deployments/gpt-4o-ptu/chat/completions?api-version=2024-10-21 HTTP/1.1",
        b"host: east.openai.azure.com", *COMMON, b"api-key: k-1",
    ]  # fmt: skip
    assert (model, usage) == (None, True)


@pytest.mark.parametrize(
    ("version", "usage"),
    [("2023-05-15", False), ("2024-06-01", False), ("2024-08-01-preview", False), ("2024-09-01-preview", True),
     ("2024-10-21", True), ("2025-04-01-preview", True)],
)  # fmt: skip
def test_usage_is_asked_of_versions_that_know_how_to_say_it(version: str, usage: bool) -> None:
    assert plan(AZURE, version)[2] is usage
    assert plan(replace(AZURE, api_version=version), None)[2] is usage


@pytest.mark.parametrize(
    ("version", "target"),
    [(None, b"/openai/v1/chat/completions"), ("preview", b"/openai/v1/chat/completions?api-version=preview"),
     ("latest", b"/openai/v1/chat/completions?api-version=preview")],
)  # fmt: skip
def test_an_undated_request_goes_to_v1_with_the_deployment_in_its_body(version: str | None, target: bytes) -> None:
    head, model, usage = plan(AZURE, version)
    assert head[0] == b"POST " + target + b" HTTP/1.1"
    assert (model, usage) == ("gpt-4o-ptu", True)


def test_a_resource_without_v1_is_reached_dated() -> None:
    old = replace(AZURE, api_version="2024-02-01")
    target = b"POST /openai/deployments/gpt-4o-ptu/chat/completions?api-version=%b HTTP/1.1"
    for version in (None, "preview", "latest"):
        head, model, usage = plan(old, version)
        assert (head[0], model, usage) == (target % b"2024-02-01", None, False)
    assert plan(old, "2024-10-21")[0][0] == target % b"2024-10-21"


@pytest.mark.parametrize("version", [None, "2024-10-21", "preview"])
def test_a_compatible_server_knows_no_versions(version: str | None) -> None:
    head, model, usage = plan(OTHER, version, name="llama-3")
    assert head == [
        b"POST /v1/chat/completions HTTP/1.1",
        b"host: 10.0.0.7:8000",
        *COMMON,
        b"authorization: Bearer k-2",
    ]
    assert (model, usage) == ("llama-3", True)


@pytest.mark.parametrize(
    ("version", "declared", "target", "usage"),
    [
        (None, None, b"/openai/v1/chat/completions", True),
        ("2024-10-21", None, b"/openai/v1/chat/completions", True),
        ("preview", None, b"/openai/v1/chat/completions?api-version=preview", True),
        ("models/2024-05-01-preview", None, b"/models/chat/completions?api-version=2024-05-01-preview", False),
        ("models/2025-01-01", None, b"/models/chat/completions?api-version=2025-01-01", False),
        ("models/", None, b"/models/chat/completions?api-version=2024-05-01-preview", False),
        (None, "2024-05-01-preview", b"/models/chat/completions?api-version=2024-05-01-preview", False),
        ("2024-10-21", "2024-05-01-preview", b"/models/chat/completions?api-version=2024-05-01-preview", False),
    ],
)  # fmt: skip
def test_a_foundry_resource_is_reached_by_the_surface_that_the_client_came_by(
    version: str | None, declared: str | None, target: bytes, usage: bool
) -> None:
    head, model, asks = plan(replace(FOUNDRY, api_version=declared), version, name="mistral-large")
    assert head == [b"POST %b HTTP/1.1" % target, b"host: hub.services.ai.azure.com", *COMMON, b"api-key: k-3"]
    assert (model, asks) == ("mistral-large", usage)


def test_azure_openai_knows_no_versions_of_foundrys_inference_api() -> None:
    assert plan(AZURE, "models/2024-05-01-preview")[0][0] == b"POST /openai/v1/chat/completions HTTP/1.1"
    assert plan(OTHER, "models/2024-05-01-preview")[0][0] == b"POST /v1/chat/completions HTTP/1.1"


@pytest.mark.parametrize(
    ("instance", "api", "target"),
    [
        (CLAUDE, "messages", b"/v1/messages"), (CLAUDE, "count_tokens", b"/v1/messages/count_tokens"),
        (replace(CLAUDE, base_path="/anthropic"), "messages", b"/anthropic/v1/messages"),
        (FOUNDRY, "messages", b"/anthropic/v1/messages"), (FOUNDRY, "count_tokens", b"/anthropic/v1/messages/count_tokens"),
    ],
)  # fmt: skip
def test_anthropics_operations_show_their_key_in_a_header_of_their_own(
    instance: Instance, api: str, target: bytes
) -> None:
    head, model, usage = plan(instance, None, api, name="claude-sonnet")
    key = instance.auth.secret
    assert key is not None
    host = b"host: " + instance.host.encode()
    assert head == [b"POST %b HTTP/1.1" % target, host, *COMMON, b"x-api-key: " + key.reveal().encode()]
    assert (model, usage) == ("claude-sonnet", False)


@pytest.mark.parametrize(
    ("scheme", "host", "port", "said"),
    [("https", "h", 443, b"h"), ("http", "h", 80, b"h"), ("https", "h", 80, b"h:80"), ("http", "h", 8443, b"h:8443"),
     ("http", "::1", 80, b"[::1]"), ("http", "::1", 81, b"[::1]:81"), ("http", "[::1]", 81, b"[::1]:81")],
)  # fmt: skip
def test_host_names_the_port_where_it_is_not_the_usual_one(scheme: str, host: str, port: int, said: bytes) -> None:
    assert plan(replace(AZURE, scheme=scheme, host=host, port=port), None)[0][1] == b"host: " + said


def test_without_a_secret_no_credential_is_shown() -> None:
    for instance in (AZURE, OTHER, FOUNDRY, CLAUDE):
        head = plan(replace(instance, auth=Auth()), None)[0]
        assert not any(line.lower().startswith((b"api-key", b"x-api-key", b"authorization")) for line in head)


@pytest.mark.parametrize(
    "change",
    [
        {"host": "h\r\nx: y"}, {"host": "h h"}, {"host": ""}, {"host": "h/x"}, {"host": "u@h"}, {"host": "h\n"},
        {"base_path": "/a b"}, {"base_path": "/a\r\nx: y"}, {"base_path": "/a?b"}, {"base_path": "//h"}, {"base_path": "x"},
        {"auth": Auth("key", Secret("a\r\nx: y"))}, {"auth": Auth("key", Secret("a\n"))}, {"auth": Auth("key", Secret(""))},
        {"auth": Auth("key", Secret("a b c"))}, {"auth": Auth("key", Secret("ké"))}, {"auth": Auth("key", Secret(" k"))},
    ],
    ids=repr,
)  # fmt: skip
@pytest.mark.parametrize("instance", [AZURE, OTHER, FOUNDRY, CLAUDE], ids=lambda i: i.name)
def test_nothing_odd_gets_into_a_head(instance: Instance, change: dict[str, Any]) -> None:
    with pytest.raises(ValueError) as refused:
        plan(replace(instance, **change), None)
    assert "k-1" not in str(refused.value) and "x: y" not in str(refused.value)


@pytest.mark.parametrize("name", ["a/../b", "a?x=1", "a#b", "a b", "a\r\nx: y", "a%2fb", "../x", "é"])
def test_no_deployment_name_leaves_its_segment(name: str) -> None:
    with pytest.raises(ValueError):
        plan(AZURE, "2024-10-21", name=name)
