"""The worked example of the language: hr-assistant calls chat at the gateway in westeurope. It shows a key."""

from sluicegate.core.limits.base import LimitSpec
from sluicegate.core.settings import ParamSpec, Rollout, Timeouts
from tests.spec.reading import compiled

TEXT = """\
version: 1
gateway:
  region: ${env:REGION|westeurope}
  boundaries: [eu, world]
  secrets: ["${env:SECRET}"]
boundaries:
  eu:    {regions: [westeurope, swedencentral, onprem-fra], processing: data_zone}
  world: {regions: any, processing: global}
instances:
  weu-std:
    endpoint: https://contoso-weu.openai.azure.com
    region: westeurope
    auth: none
    deployments:
      gpt-4o:     {model: gpt-4o, version: 2024-11-20, sku: DataZoneStandard, capacity: 450k tokens/minute}
      gpt-4o-new: {model: gpt-4o, version: 2025-08-01, sku: DataZoneStandard, capacity: 150k tokens/minute}
  sdc-std:
    endpoint: https://contoso-sdc.openai.azure.com
    region: swedencentral
    auth: none
    deployments:
      gpt-4o-sdc: {model: gpt-4o, version: 2024-11-20, sku: DataZoneStandard, capacity: 300k tokens/minute}
      gpt-4o-any: {model: gpt-4o, version: 2024-11-20, sku: GlobalStandard}
  weu-ptu:
    endpoint: https://contoso-weu-ptu.openai.azure.com
    region: westeurope
    auth: none
    deployments:
      gpt-4o-ptu: {model: gpt-4o, version: 2024-11-20, sku: ProvisionedManaged, ptu: 100}
models:
  chat:
    use: gpt-4o@2024-11-20
    timeouts: {first_byte: 30s, total: 20m}
    params:
      max_tokens: {default: 1000, max: 4000}
      n: {max: 1}
      service_tier: {allow: [auto, default]}
    rollout: {to: gpt-4o@2025-08-01, share: 5%}
plans:
  team:
    models: [chat]
    limits: [60k tokens/minute, 600 requests/minute, 20 concurrent]
tenants:
  hr:
    boundary: eu
    labels: {cost_centre: 0815}
    limits: [300k tokens/minute]
    params: {store: {force: false}}
consumers:
  hr-assistant:
    tenant: hr
    plan: team
    key: ${env:APP_KEY}
    limits:
      - 60k tokens/minute
      - {tokens: 5k, per: minute, each: key}
defaults:
  timeouts: {connect: 2s, first_byte: 60s, idle: 60s, total: 15m}
"""


def test_the_worked_example_comes_out_as_the_page_says():
    snapshot, directory = compiled(TEXT)
    (chat,) = snapshot.models
    (assistant,) = directory.consumers
    (hr,) = directory.tenants
    name = {d.number: d.name for d in snapshot.deployments}

    # may it
    assert assistant.models == ("chat",) and chat.operations == ("chat_completions",)
    # where, and in which order: not gpt-4o-any, which is processed anywhere
    assert [name[n] for n in dict(chat.cuts)[hr.boundary]] == ["gpt-4o-ptu", "gpt-4o", "gpt-4o-sdc"]
    assert [name[n] for n in dict(chat.cuts)["world"]] == ["gpt-4o-ptu", "gpt-4o", "gpt-4o-sdc", "gpt-4o-any"]
    new = tuple(n for n in name if name[n] == "gpt-4o-new")
    assert chat.rollout == Rollout(new, 0.05, "consumer", (("eu", new), ("world", new)))
    # ceilings, all of them: the consumer's list replaced its plan's, the tenant's stays
    assert assistant.limits == (
        LimitSpec("token_rate", 60_000, origin="consumers.hr-assistant"),
        LimitSpec("token_rate", 5000, each="key", origin="consumers.hr-assistant"),
    )
    assert hr.limits == (LimitSpec("token_rate", 300_000, origin="tenants.hr"),)
    # parameters: the model's and the tenant's
    assert chat.params == (
        ParamSpec("max_tokens", "1000", 4000.0, origin="models.chat"),
        ParamSpec("n", max=1.0, origin="models.chat"),
        ParamSpec("service_tier", allow=('"auto"', '"default"'), origin="models.chat"),
    )
    assert hr.params == (ParamSpec("store", force="false", origin="tenants.hr"),)
    # times: the model's over defaults, key by key
    assert chat.timeouts == Timeouts(2.0, 30.0, 60.0, 1200.0)
    assert hr.labels == (("cost_centre", "0815"),)


def test_the_same_file_serves_another_region_in_another_order():
    snapshot, _ = compiled(TEXT, {"REGION": "swedencentral"})
    name = {d.number: d.name for d in snapshot.deployments}
    assert [name[n] for n in dict(snapshot.models[0].cuts)["eu"]] == ["gpt-4o-sdc", "gpt-4o-ptu", "gpt-4o"]
