"""Instances that are one resource say the same of it."""

import pytest

from tests.spec.reading import SMALLEST, compiled, found

OTHER = """\
  sdc:
    endpoint: https://contoso-weu.openai.azure.com
    auth: none
    deployments:
      b: {model: gpt-4o, version: 2024-11-20}
"""


def two(
    first: str, second: str, host: str = "contoso-weu.openai.azure.com", path: str = "", first_host: str = ""
) -> str:
    """Two instances, the first in `first`, the second in `second`: region or subscription lines."""
    text = SMALLEST.replace("    auth:\n", f"    {first}\n    auth:\n").replace("models:\n", OTHER + "models:\n", 1)
    text = text.replace("    auth: none\n", f"    {second}\n    auth: none\n")
    at = text.index("  sdc:")
    text = text[:at] + text[at:].replace("contoso-weu.openai.azure.com", host + path)
    return text.replace("contoso-weu.openai.azure.com", first_host, 1) if first_host else text


@pytest.mark.parametrize(
    "host",
    ["contoso-weu.openai.azure.com", "contoso-weu.cognitiveservices.azure.com", "contoso-weu.services.ai.azure.com"],
)
def test_a_resource_is_in_one_region_whatever_it_is_called_by(host: str):
    assert found(two("region: westeurope", "region: swedencentral", host)) == [
        "14:13 instances.sdc.region: is \"swedencentral\", and \"westeurope\" for instances.weu, which is the same resource"
        " | a resource is in one region: write the true one at both"
    ]  # fmt: skip


def test_and_on_one_bill():
    assert found(two("subscription: ai-1", "subscription: ai-2")) == [
        '14:19 instances.sdc.subscription: is "ai-2", and "ai-1" for instances.weu, which is the same resource'
        " | a resource is in one subscription: write the true one at both"
    ]


def test_one_host_with_two_paths_may_lead_to_two_and_is_worth_a_word():
    text = two("region: westeurope", "region: swedencentral", "llm.contoso.example", "/sdc", "llm.contoso.example")
    assert found(text) == []
    [said] = [w for w in found(text, "warning") if "instances.sdc.region" in w]
    assert said == (
        '14:13 instances.sdc.region: is "swedencentral", and "westeurope" for instances.weu, at the same address'
        " | where its paths do lead to two, all is well; where they do not, one region is untrue"
    )


@pytest.mark.parametrize(
    ("first", "second", "host"),
    [
        ("region: westeurope", "region: westeurope", "contoso-weu.openai.azure.com"),
        ("region: westeurope", "subscription: ai-1", "contoso-weu.openai.azure.com"),
        ("region: westeurope", "region: swedencentral", "contoso-sdc.openai.azure.com"),
        ("region: westeurope", "region: usgovvirginia", "contoso-weu.openai.azure.us"),
    ],
)
def test_what_agrees_says_nothing_or_is_another_resource_is_fine(first: str, second: str, host: str):
    compiled(two(first, second, host))
    assert not [w for w in found(two(first, second, host), "warning") if "same" in w and "instances.sdc.region" in w]
