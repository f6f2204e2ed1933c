"""What is said of instances that are no Azure OpenAI resource."""

import re

import pytest

from sluicegate.apis import APIS
from sluicegate.core.snapshot import Snapshot
from sluicegate.spec.load import load
from sluicegate.spec.references import Sources
from tests.spec.reading import ENV

FILE = """version: 1
instances:
  hub:
    provider: {provider}
    endpoint: {endpoint}
    auth:
      key: ${{env:AOAI_KEY}}
    deployments:
      {name}: {{model: {name}, version: 1, sku: {sku}}}
models:
  assistant: {{use: {name}@1}}
consumers:
  my-app:
    key: ${{env:APP_KEY}}
    models: [assistant]
"""


def file(provider: str, endpoint: str, name: str = "claude-sonnet-4-6", sku: str = "GlobalStandard") -> str:
    return FILE.format(provider=provider, endpoint=endpoint, name=name, sku=sku)


def found(text: str) -> list[str]:
    problems = load(text.encode(), "g.yaml", "/nowhere", Sources(ENV), tuple(APIS)).problems.of("error")
    return [f"{p.place.line}:{p.place.column} {p.path}: {p.what} | {p.hint}" for p in problems]


def compiled(text: str) -> Snapshot:
    assert found(text) == []
    snapshot = load(text.encode(), "g.yaml", "/nowhere", Sources(ENV), tuple(APIS)).snapshot
    assert snapshot is not None
    return snapshot


HUB = "https://hub.services.ai.azure.com"


@pytest.mark.parametrize(
    ("provider", "endpoint", "base"),
    [("anthropic", "https://api.anthropic.com", ""), ("anthropic", HUB + "/anthropic", "/anthropic"),
     ("anthropic", "https://proxy.example/claude", "/claude"), ("foundry", HUB, "")],
)  # fmt: skip
def test_an_endpoint_ends_before_what_belongs_to_requests(provider: str, endpoint: str, base: str) -> None:
    snapshot = compiled(file(provider, endpoint))
    assert (snapshot.instances[0].provider, snapshot.instances[0].base_path) == (provider, base)


@pytest.mark.parametrize(
    ("provider", "endpoint"),
    [("anthropic", "https://api.anthropic.com/v1"), ("anthropic", HUB + "/anthropic/v1"), ("anthropic", HUB + "/anthropic/v1/messages"),
     ("foundry", HUB + "/models"), ("foundry", HUB + "/openai/v1"), ("foundry", HUB + "/anthropic"), ("azure_openai", HUB + "/openai")],
)  # fmt: skip
def test_a_path_that_belongs_to_requests_is_an_error(provider: str, endpoint: str) -> None:
    written = {"anthropic": re.sub("/v1.*", "", endpoint)}.get(provider, HUB)
    assert found(file(provider, endpoint, "gpt-4o" if provider == "azure_openai" else "claude-sonnet-4-6")) == [
        f"5:15 instances.hub.endpoint: has a path that belongs to requests | write {written}: the gateway adds the path "
        "of each request"
    ]


def test_claude_of_a_foundry_resource_lies_below_a_path() -> None:
    assert found(file("anthropic", HUB)) == [
        "5:15 instances.hub.endpoint: is a Foundry resource, which has Claude below /anthropic | write its address with "
        "/anthropic after it, or provider: foundry"
    ]


@pytest.mark.parametrize(("sku", "processing"), [("GlobalStandard", "global"), ("DataZoneStandard", "data_zone")])
def test_claude_travels_as_far_as_its_deployment_says_and_has_a_price(sku: str, processing: str) -> None:
    snapshot = compiled(file("anthropic", "https://api.anthropic.com", sku=sku))
    assert snapshot.deployments[0].processing == processing
    prices = dict(snapshot.prices.deployments)
    assert (1 in prices) == (sku == "GlobalStandard")
    if prices:
        assert {class_ for class_, *_ in prices[1][0].rates} == {
            "input", "cached_input", "cache_write", "cache_write_1h", "output"
        }  # fmt: skip


def test_an_api_version_says_that_a_foundry_resource_has_no_v1() -> None:
    text = file("foundry", HUB, "mistral-large", "GlobalStandard").replace(
        "    auth:", "    api_version: 2024-05-01-preview\n    auth:"
    )
    assert compiled(text).instances[0].api_version == "2024-05-01-preview"
    other = text.replace("provider: foundry", "provider: anthropic")
    assert "6:5 instances.hub.api_version: has no effect with provider anthropic | remove it" in found(other)


def test_an_instance_of_anthropic_serves_messages_and_no_chat() -> None:
    for provider, endpoint in (("anthropic", "https://api.anthropic.com"), ("foundry", HUB)):
        assert compiled(file(provider, endpoint)).models[0].operations == ("messages", "count_tokens")
    asked = file("anthropic", "https://api.anthropic.com").replace("@1}", "@1, operations: [chat_completions]}")
    assert len(found(asked)) == 1 and "chat_completions" in found(asked)[0]


def test_claude_of_foundry_and_of_anthropic_are_one_pool() -> None:
    other = """  own:
    provider: anthropic
    endpoint: https://api.anthropic.com
    auth: none
    deployments:
      claude-sonnet-4-6: {model: claude-sonnet-4-6, version: 1, sku: GlobalStandard}
models:"""
    snapshot = compiled(file("foundry", HUB).replace("models:", other, 1))
    assert snapshot.models[0].deployments == (1, 2)
    assert snapshot.models[0].operations == ("messages", "count_tokens")
