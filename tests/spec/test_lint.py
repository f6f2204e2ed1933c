"""Warnings and notes: what compiles and may still not do as people hope. None of them is an error."""

import pytest

from sluicegate.spec.problems import Severity
from tests.spec.reading import SMALLEST, consumer, deployments, found, gateway, instance, model, swapped

TWO = deployments("b: {model: gpt-4o, version: 2024-11-20, sku: DataZoneStandard}")


def test_a_file_with_nothing_to_say_about_is_silent():
    for severity in ("error", "warning", "note"):
        assert found(TWO, severity) == []


@pytest.mark.parametrize(
    ("text", "severity", "problem"),
    [
        (SMALLEST, "warning", "13:10 models.chat.use: one deployment only: when it is throttled or broken, nothing stands "
         "in for it (A8) | declare another of the same model and version"),
        (TWO.replace("https://contoso-weu.openai.azure.com", "http://models.contoso.example"), "note", "6:15 instances.weu.endpoint: plain HTTP: the key and all text cross "
         "the network in clear | write https:// if the server can"),
        (gateway("listen: {address: 0.0.0.0:8080}"), "note", "4:21 gateway.listen.address: plain HTTP: clients' keys and all "
         "text cross the network in clear | add tls, unless something in front does it"),
        (gateway("admin: {address: 0.0.0.0:8081}"), "warning", "4:20 gateway.admin.address: others reach this address and nobody "
         "has a key: it stays closed, metrics too | declare gateway.admin.keys, or write 127.0.0.1"),
        (gateway('admin: {address: 0.0.0.0:8081, keys: {ops: {role: viewer, key: "sga1:5f2a9c10:MDEyMzQ1Njc4OWFiY2RlZg"}}}'), "note",
         "4:20 gateway.admin.address: plain HTTP: operators' keys cross the network in clear | put something in front that "
         "speaks TLS, or write 127.0.0.1 and tunnel"),
        (model("timeouts: {total: 20s, first_byte: 30s, idle: 1s}"), "warning", "14:40 models.chat.timeouts.first_byte: "
         "first_byte is longer than total (20s), which ends the request first | shorten it, or raise total"),
        (deployments("b: {model: gpt-4o, version: 2024-11-20, tier: 0}"), "note", "11:53 instances.weu.deployments.b.tier: "
         "overrides what follows from Standard"),
        (deployments("b: {model: gpt-4o, version: 1}"), "note", "11:7 instances.weu.deployments.b: no model uses it | name "
         "it in the use of a model, or remove it"),
        (instance("deployments: {b: {model: gpt-4o, version: 2024-11-20}}").replace("    deployments:\n", "  sdc:\n    endpoint: "
         "https://contoso-weu.openai.azure.com/\n    auth: none\n    deployments:\n"), "warning", "11:15 instances.sdc.endpoint: "
         "the same address as instances.weu: deployments of both share their capacity and their faults | declare all its "
         "deployments in one instance"),
        (consumer(""), "warning", "16:10 consumers.my-app.key: shorter than 16 characters | openssl rand -hex 32 makes a key"),
    ],
)  # fmt: skip
def test_what_may_surprise_is_said(text: str, severity: Severity, problem: str):
    env = {"APP_KEY": "short"} if "shorter" in problem else None
    assert problem in found(text, severity, env)
    assert found(text, env=env) == []


@pytest.mark.parametrize(
    "host", ["http://127.0.0.1:8000", "http://localhost:8000", "http://[::1]:8000", "http://127.8.0.1"]
)
def test_loopback_needs_no_tls(host: str):
    assert found(swapped("https://contoso-weu.openai.azure.com", f'"{host}"'), "note") == []


# ---------------------------------------------------------------- what the guidance warns of


def world(*instances: str, more: str = "", models: str = "chat: {use: m@1}") -> str:
    text = "version: 1\ngateway: {secrets: ['${env:SECRET}']}\ninstances:\n"
    text += "".join(
        f"  i{n}: {{endpoint: https://i{n}.example, auth: none, {said}}}\n" for n, said in enumerate(instances)
    )
    return text + f"models: {{{models}}}\nconsumers: {{a: {{key: '${{env:APP_KEY}}', models: [chat]}}}}\n{more}"


def one(sku: str = "Standard", more: str = "", name: str = "d") -> str:
    return f"deployments: {{{name}: {{model: m, version: 1, sku: {sku}{more}}}}}"


@pytest.mark.parametrize(
    ("text", "severity", "says"),
    [
        (world("region: westeurope, subscription: s, " + one(), "region: westeurope, subscription: s, " + one()), "warning",
         "models.chat.use: i0/d and i1/d share one quota (s, westeurope, m, Standard): balancing them gains no throughput "
         "(A7, L3) | give the whole quota to one deployment, or declare one of another subscription or region"),
        (world(one(more=", quota_group: q"), one(more=", quota_group: q")), "warning",
         "models.chat.use: i0/d and i1/d share one quota (q): balancing them gains no throughput (A7, L3) | "),
        (world("region: westeurope, subscription: s, " + one(), "region: westeurope, subscription: s, " + one()), "note",
         "instances.i1.subscription: subscription and region of instances.i0: standard deployments share one quota (A7, A10)"),
        (world("region: westeurope, " + one(), "region: eastus, " + one()), "warning", "models.chat.use: its members are in "
         "westeurope (data zone eu) and eastus (data zone us): prompts of every tenant may go to each (L2) | "),
        (world("region: westeurope, " + one(), "region: swedencentral, " + one()), "note", "models.chat.use: several regions "
         "for capacity: Azure itself balances data zone and global deployments (B20, L3)"),
        (world("region: westeurope, " + one(), "region: swedencentral, " + one()).replace("gateway: {", "gateway: {region: "
         "westeurope, "), "note", "gateway.region: one gateway region, 2 regions of deployments: when westeurope is gone, so "
         "are all (A13, L5)"),
        (world(one(), models="chat: {use: [i0/d]}").replace("version: 1, sku", "version: Latest, sku"), "warning",
         "instances.i0.deployments.d.version: names no version: what answers may change, and differ from the other members "
         "(B5, L4)"),
        (world(one(), one().replace("version: 1", "version: 2"), models="chat: {use: [i0/d, i1/d], mixed_versions: true}"),
         "warning", "models.chat.mixed_versions: answers depend on the member: each carries a warning header (B5, L4)"),
        (world(one(), one("DataZoneStandard"), models="chat: {use: [i0/d, i1/d], mixed_versions: true}"), "note",
         "models.chat.mixed_versions: all members are of one model and version | remove it"),
        (world(one("ProvisionedManaged"), one("ProvisionedManaged")), "note",
         "models.chat.use: all members are provisioned: what they cannot take is refused (A9)"),
        (world(one(more=", processing: global")), "note",
         "instances.i0.deployments.d.processing: overrides what follows from Standard"),
        (world(one(), more="plans: {team: {models: [chat]}}\ntenants: {hr: {}}\n"), "note", "plans.team: no consumer has it"),
        (world(one(), more="plans: {team: {models: [chat]}}\ntenants: {hr: {}}\n"), "note",
         "tenants.hr: no consumer belongs to it"),
    ],
)  # fmt: skip
def test_what_the_guidance_warns_of_is_said_with_its_row(text: str, severity: Severity, says: str):
    assert found(text) == []
    assert any(says in line for line in found(text, severity)), found(text, severity)


BOUNDED = """boundaries: {eu: {regions: [westeurope], processing: data_zone}}
tenants: {hr: {boundary: eu}}
"""


def test_a_pool_that_a_boundary_cuts_to_one_is_said_and_an_instance_of_no_region():
    text = world("region: westeurope, " + one(), "region: eastus, " + one(), one(), more=BOUNDED).replace(
        "gateway: {", "gateway: {region: westeurope, "
    ).replace("a: {key", "a: {tenant: hr, key")  # fmt: skip
    assert found(text) == []
    warnings = "\n".join(found(text, "warning"))
    assert 'inside boundary "eu" one deployment only, i0/d: nothing stands in for it (A8)' in warnings
    assert "instances.i2: has no region, so it is outside every boundary that names regions" in warnings
    assert "(L2)" not in warnings


def test_a_deployment_that_is_said_to_keep_prompts_nearer_than_its_kind_does_is_warned_of():
    text = world("region: westeurope, " + one("GlobalStandard", ", processing: regional"), more=BOUNDED).replace(
        "gateway: {", "gateway: {region: westeurope, "
    ).replace("a: {key", "a: {tenant: hr, key")  # fmt: skip
    assert found(text) == []
    says = "GlobalStandard is processed global, and boundaries take it for regional (F7)"
    assert any(says in line for line in found(text, "warning"))
    assert not any(
        says in line for line in found(text.replace("processing: regional", "processing: global"), "warning")
    )


@pytest.mark.parametrize(
    ("kind", "other", "said"),
    [
        ("GlobalStandard", "eastus", True),
        ("DataZoneStandard", "swedencentral", True),
        ("DataZoneStandard", "eastus", False),
    ],
)
def test_B20_deployments_that_azure_balances_already_gain_nothing_from_a_pool(kind: str, other: str, said: bool):
    text = world("region: westeurope, " + one(kind), f"region: {other}, " + one(kind))
    says = f"i0/d and i1/d are {kind}: Azure balances each over the same capacity already (B20, L3)"
    assert any(says in line for line in found(text, "note")) is said


def test_two_regions_of_one_file_are_no_single_gateway():
    text = world("region: westeurope, " + one(), "region: swedencentral, " + one())
    text = text.replace("gateway: {", "gateway: {region: '${env:REGION|westeurope}', ")
    assert not [line for line in found(text, "note") if "A13" in line]
