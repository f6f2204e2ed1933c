"""What somebody gets wrong with a first file of their own: each mistake is told with the words that mend it."""

import re

import pytest

from sluicegate.spec.pasted import azure, meant, portal, regional
from sluicegate.spec.problems import Severity
from tests.spec.reading import SMALLEST, compiled, found, gateway, instance, swapped

HERE = "https://contoso-weu.openai.azure.com"


def endpoint(text: str) -> list[str]:
    return found(swapped(HERE, f'"{text}"'))


@pytest.mark.parametrize(
    ("pasted", "better"),
    [
        (HERE + "/openai", HERE),
        (HERE + "/openai/", HERE),
        (HERE + "/openai/v1/", HERE),
        (HERE + "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21", HERE),
        (HERE + "/?api-version=2024-10-21", HERE),
        ("https://contoso.services.ai.azure.com/models", "https://contoso.services.ai.azure.com"),
        ("https://contoso.services.ai.azure.com/api/projects/p1", "https://contoso.services.ai.azure.com"),
        ("https://contoso.cognitiveservices.azure.com/openai/responses?x", "https://contoso.cognitiveservices.azure.com"),
        ("contoso.openai.azure.com", "https://contoso.openai.azure.com"),
        ("Contoso.OpenAI.Azure.com/openai/", "https://contoso.openai.azure.com"),
        ("https://apim.contoso.example/llm/openai/deployments/x?y", "https://apim.contoso.example/llm"),
        ("localhost:9001", "https://localhost:9001"),
    ],
)  # fmt: skip
def test_an_address_of_requests_is_answered_with_the_endpoint_in_it(pasted: str, better: str):
    (problem,) = endpoint(pasted)
    assert re.search(rf"\| write {re.escape(better)}(:|$)", problem), problem
    assert endpoint(better) == []


@pytest.mark.parametrize(
    "host", ["portal.azure.com/#@contoso/resource/x", "ai.azure.com/build", "oai.azure.com/portal/ab"]
)
def test_a_page_of_the_portal_is_told_from_a_resource(host: str):
    (problem,) = endpoint(f"https://{host}")
    assert "is a page of Azure's portals" in problem and "Keys and Endpoint" in problem
    assert portal(f"https://{host}") and not portal(HERE)


@pytest.mark.parametrize("text", ["https://user:pw@a.example/openai", "contoso", "sk-abcdef0123456789", "", "ftp://a.example", "a b.example c"])  # fmt: skip
def test_nothing_is_made_of_what_is_no_address(text: str):
    assert meant(text) == ""


@pytest.mark.parametrize("text", [HERE + "/openai?x", "contoso.openai.azure.com", "contoso.example/openai/v1?k=1"])
def test_what_is_meant_is_never_said_of_a_value_from_elsewhere(text: str):
    """It may be a secret that stands where it does not belong."""
    said = found(SMALLEST.replace(HERE, "${env:WHERE}"), env={"WHERE": text})
    assert len(said) == 1 and f"{text} " not in said[0] and "write an address such as" in said[0]


def test_a_path_that_something_else_put_there_stays():
    snapshot = compiled(swapped(HERE, "https://apim.contoso.example/llm"))[0]
    assert snapshot.instances[0].base_path == "/llm"


def test_hosts_of_azure_are_known_by_their_end():
    assert azure("contoso.openai.azure.com") and azure("contoso.openai.azure.us")
    assert regional("westeurope.api.cognitive.microsoft.com") and not regional("contoso.openai.azure.com")
    assert not azure("openai.azure.com.evil.example") and not azure("apim.contoso.example")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (SMALLEST.replace("key: ${env:APP_KEY}\n    models: [chat]", "{key: ${env:APP_KEY}}"), 'between braces or brackets a reference needs quotes: {key: "${env:NAME}"}'),
        (SMALLEST.replace("    auth:", "\tauth:"), "a tab stands before its text: indent with spaces"),
        (SMALLEST.replace("    auth:", "   auth:"), "check the indentation of this line and the colon after each key"),
        (SMALLEST.replace("version: 1\n", "version:1\n"), "a key needs a blank after its colon, and the line before this has none"),
        (SMALLEST.replace("models: [chat]", "models: [chat\n    tenant: a"), "what is opened at 17:13 is not closed before this, or a quote or comma between is missing"),
        (SMALLEST.replace("key: ${env:APP_KEY}", "labels: {team: “web: shop”}"), "these quotes are of a word processor: write \" or '"),
        (SMALLEST.replace("use: gpt-4o@2024-11-20", 'use: "gpt-4o@2024-11-20'), "the quote at 13:10 is not closed"),
        (SMALLEST.replace("  weu:", "\u00a0 weu:"), "type plain spaces instead"),
    ],
)  # fmt: skip
def test_what_is_not_yaml_is_told_with_what_to_do(text: str, hint: str):
    (problem,) = found(text)
    assert problem.endswith(f" | {hint}"), problem


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (swapped("use: gpt-4o@2024-11-20", "use: weu/gpt-4o"), '13:10 models.chat.use: "weu/gpt-4o" does not say model and '
         "version | write [weu/gpt-4o] for this deployment alone, or a selector such as gpt-4o@2024-11-20"),
        (SMALLEST.replace("auth:\n      key: ${env:AOAI_KEY}", "auth: ${env:AOAI_KEY}"), "7:11 instances.weu.auth: is text "
         'that is none of the words here | write {key: "${env:AOAI_KEY}"}'),
        (swapped("version: 2024-11-20}", "version: 2024-11-20, sku: provisioned}"), '10:57 instances.weu.deployments.gpt-4o.sku: '
         '"provisioned" is not known here; did you mean "ProvisionedManaged"? | write one of '),
        (swapped("version: 2024-11-20}", "version: 2024-11-20, capacity: 450}"), '10:62 instances.weu.deployments.gpt-4o.'
         'capacity: "450" has no unit | write 450k tokens/minute where Azure says capacity 450'),
        (SMALLEST + "    limits: [60k TPM]\n", '18:14 consumers.my-app.limits: "60k TPM" is not a limit | write 60k tokens/minute'),
        (SMALLEST + "    limits: [600rpm]\n", '18:14 consumers.my-app.limits: "600rpm" is not a limit | write 600 requests/minute'),
        (instance("region: West Europe"), '9:13 instances.weu.region: "West Europe" is how people read it | write westeurope'),
        (instance("api_version: latest"), '9:18 instances.weu.api_version: "latest" is not an API version such as 2024-10-21 | '
         "write 2024-10-21, or leave it out: only resources without /openai/v1 need it"),
        (instance("url: https://x.example"), '9:5 instances.weu: unknown key "url" | write endpoint: https://...'),
        (instance("api_key: x"), '9:5 instances.weu: unknown key "api_key" | write auth: {key: "${env:NAME}"}'),
        (gateway("listen: 8080"), "4:11 gateway.listen: is text, not a map of address, tls, connections, handshakes, headers, "
         "timeouts, sizes | write address: an address such as 0.0.0.0:8080"),
        (gateway("port: 8080"), '4:3 gateway: unknown key "port" | write listen: {address: 0.0.0.0:8080}'),
        (SMALLEST.replace("my-app:\n    key: ${env:APP_KEY}\n    models", "- name: web-shop\n    models"), "15:3 consumers: is a "
         "list, not a map from names to consumers | write the name and a colon instead of the dash: web-shop:"),
        ("version: 1\nmodel_list: []\n", '2:1 unknown key "model_list" | it is of LiteLLM\'s proxy: docs/how-to/migrate.md says '
         "what becomes of it here"),
        ("version: 1\n", "1:1 needs instances | write instances: a map from names to instances, NAME: {endpoint: ..., auth: "
         "..., deployments: ...}"),
    ],
)  # fmt: skip
def test_a_mistake_of_the_first_day_is_told_with_what_to_write(text: str, problem: str):
    said = found(text)
    assert any(one.startswith(problem) for one in said), said


def test_a_key_in_clear_where_auth_belongs_is_not_repeated():
    (problem,) = found(SMALLEST.replace("auth:\n      key: ${env:AOAI_KEY}", "auth: 0123456789abcdef"))
    assert "0123456789abcdef" not in problem and 'write {key: "${env:NAME}"}' in problem


@pytest.mark.parametrize(
    ("text", "severity", "problem"),
    [
        (SMALLEST.replace("https://", "http://"), "warning", "6:15 instances.weu.endpoint: plain HTTP: the key and all text "
         "cross the network in clear | write https://: resources of Azure answer nothing else"),
        (SMALLEST.replace("contoso-weu.openai.azure.com\n    auth:\n      key: ${env:AOAI_KEY}",
                          "westeurope.api.cognitive.microsoft.com\n    auth: managed_identity"), "warning",
         "6:15 instances.weu.endpoint: all resources of this region share this address, which takes keys and no tokens"),
        (instance("region: westeurpoe"), "warning", '9:13 instances.weu.region: no region of Azure is called "westeurpoe"; '
         'was "westeurope" meant?'),
        (SMALLEST.replace("gpt-4o: {model: gpt-4o,", "prod: {model: prod,").replace("use: gpt-4o", "use: prod"), "note",
         "10:21 instances.weu.deployments.prod.model: the deployment's own name, and no model that this version knows"),
        (SMALLEST.replace("APP_KEY", "AOAI_KEY"), "warning", "16:10 consumers.my-app.key: the key that the gateway shows to "
         "instances.weu: it opens that without us | make one of its own: sluicegate key new my-app"),
    ],
)  # fmt: skip
def test_what_loads_and_will_not_do_is_told_too(text: str, severity: Severity, problem: str):
    assert found(text) == []
    assert any(one.startswith(problem) for one in found(text, severity)), found(text, severity)


@pytest.mark.parametrize("region", ["westeurope", "our-cellar", "frankfurt-1"])
def test_regions_of_ones_own_are_nobodys_business(region: str):
    assert not any("region" in one for one in found(instance(f"region: {region}"), "warning"))
