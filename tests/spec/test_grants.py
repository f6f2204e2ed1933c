"""Who may use what: plans, tenants, boundaries and the cut of pools, keys and their digests."""

import pytest

from sluicegate.core.caller import Callers, Consumer, digest
from sluicegate.core.secret import Secret
from sluicegate.core.snapshot import Snapshot
from sluicegate.spec.secret import Digest, read_digest, write_digest
from tests.spec.reading import ENV, SMALLEST, bottom, compiled, consumer, found, swapped

TWO_REGIONS = """\
version: 1
gateway:
  secrets: ["${env:SECRET}"]
  region: westeurope
boundaries:
  eu: {regions: [westeurope, swedencentral], processing: data_zone}
  world: {regions: any, processing: global}
instances:
  sdc:
    endpoint: https://sdc.example
    region: swedencentral
    auth: none
    deployments:
      zone: {model: m, version: 1, sku: DataZoneStandard}
      any: {model: m, version: 1, sku: GlobalStandard}
      ptu: {model: m, version: 1, sku: ProvisionedManaged}
  weu:
    endpoint: https://weu.example
    region: westeurope
    auth: none
    deployments:
      std: {model: m, version: 1}
      new: {model: m, version: 2}
  us:
    endpoint: https://us.example
    region: eastus
    auth: none
    deployments:
      us: {model: m, version: 1}
      only: {model: o, version: 1}
models:
  chat: {use: m@1}
  chat-us: {use: o@1}
tenants:
  hr: {boundary: eu}
  labs: {boundary: world}
consumers:
  a: {tenant: hr, key: "${env:APP_KEY}", models: [chat]}
  b: {tenant: labs, key: "${env:AOAI_KEY}", models: all}
"""


def names(snapshot: Snapshot, numbers: tuple[int, ...]) -> list[str]:
    return [d.name for n in numbers for d in snapshot.deployments if d.number == n]


def test_the_pool_is_ordered_by_own_region_then_tier_then_as_declared():
    snapshot, _ = compiled(TWO_REGIONS)
    assert names(snapshot, snapshot.models[0].deployments) == ["std", "ptu", "zone", "any", "us"]


def test_each_boundary_has_its_cut_of_each_pool():
    snapshot, directory = compiled(TWO_REGIONS)
    cuts = dict(snapshot.models[0].cuts)
    assert names(snapshot, cuts["eu"]) == ["std", "ptu", "zone"]
    assert names(snapshot, cuts["world"]) == ["std", "ptu", "zone", "any", "us"]
    assert dict(snapshot.models[1].cuts)["eu"] == ()
    assert [(t.name, t.boundary) for t in directory.tenants] == [("hr", "eu"), ("labs", "world")]


def test_the_gateways_boundaries_leave_others_without_members():
    text = TWO_REGIONS.replace("  region: westeurope\nb", "  region: westeurope\n  boundaries: [world]\nb", 1)
    snapshot, _ = compiled(text)
    assert dict(snapshot.models[0].cuts)["eu"] == ()
    assert len(dict(snapshot.models[0].cuts)["world"]) == 5


def test_without_boundaries_there_are_no_cuts():
    assert compiled(SMALLEST)[0].models[0].cuts == ()


def test_cross_region_false_keeps_to_the_gateways_region():
    snapshot, _ = compiled(TWO_REGIONS.replace("chat: {use: m@1}", "chat: {use: m@1, cross_region: false}"))
    assert names(snapshot, snapshot.models[0].deployments) == ["std"]
    assert len(snapshot.models[1].deployments) == 1
    text = TWO_REGIONS + "defaults: {cross_region: false}\n"
    problems = found(text)
    assert problems == [
        '33:18 models.chat-us.use: cross_region is false, and no member is in "westeurope" | declare a deployment there, or '
        "write cross_region: true"
    ]


def test_a_rollout_is_an_arm_of_its_own_with_cuts_of_its_own():
    text = TWO_REGIONS.replace("chat: {use: m@1}", "chat: {use: m@1, rollout: {to: m@2, share: 5%}}")
    snapshot, _ = compiled(text)
    arm = snapshot.models[0].rollout
    assert arm is not None and (arm.share, arm.stick_to) == (0.05, "consumer")
    assert names(snapshot, arm.deployments) == ["new"] == names(snapshot, dict(arm.cuts)["eu"])
    assert found(text.replace("to: m@2", "to: m@1"))[0].startswith(
        "32:34 models.chat.rollout.to: weu/std is in both arms"
    )


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("models: [chat]", "models: [chat, chat-us]", '38:57 consumers.a.models: "chat-us" has no deployment inside boundary '
         '"eu" of tenant hr | remove the grant, or declare a deployment in westeurope or swedencentral, processed at most '
         "data zone"),
        ("hr: {boundary: eu}", "hr: {boundary: eur}", '35:18 tenants.hr.boundary: no boundary is called "eur"; did you mean '
         '"eu"? | declared: eu, world'),
        ("hr: {boundary: eu}", "hr: {labels: {x: y}}", "35:3 tenants.hr: has no boundary | write boundary: one of eu, world"),
        ("tenant: hr, key", "key", "38:3 consumers.a: belongs to no tenant that is declared, so it is inside no boundary | "
         "write tenant: hr, or labs"),
        ("tenant: hr, key", "tenant: hrr, key", '38:15 consumers.a.tenant: no tenant is called "hrr"; did you mean "hr"? | '
         "declared: hr, labs; or declare it: NAME: {}"),
        ("  region: westeurope\nb", "b", '2:1 gateway.region: left out, so this gateway is outside boundary "eu" (westeurope, '
         "swedencentral) | write gateway.region"),
        ("  region: westeurope\nb", "  region: eastus\nb", '4:11 gateway.region: "eastus" is outside boundary "eu" '
         "(westeurope, swedencentral) | tenants of it cannot be served from here: write gateway.boundaries without it, or "
         "add the region"),
        ("  region: westeurope\nb", "  region: westeurope\n  boundaries: [eu, uk]\nb", "5:20 gateway.boundaries: no boundary is "
         'called "uk" | declared: eu, world'),
    ],
)  # fmt: skip
def test_a_boundary_that_does_not_hold_is_refused(old: str, new: str, problem: str):
    assert TWO_REGIONS.count(old) == 1
    assert found(TWO_REGIONS.replace(old, new)) == [problem]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (consumer("plan: teem") + "plans: {team: {models: [chat]}}\n",
         '18:11 consumers.my-app.plan: no plan is called "teem"; did you mean "team"? | declared: team'),
        (swapped("    models: [chat]\n", "    plan: team\n") + "plans: {team: {limits: [5 concurrent]}}\n",
         "15:3 consumers.my-app: has no models, and plan team grants none | nothing is granted that is not written: "
         "models: [...], or models: all"),
        (bottom("plans: {team: {models: [chatt]}}"),
         '18:25 plans.team.models: no model is called "chatt"; did you mean "chat"?'),
        (consumer("operations: [chat_completion]"), '18:18 consumers.my-app.operations: no operation is called "chat_completion"; did you mean '
         '"chat_completions"? | known: chat_completions, embeddings'),
        (consumer("labels: {Cost: 1}"), '18:14 consumers.my-app.labels: "Cost" is not a name for a label | use a-z, 0-9, dot, '
         "dash and underscore, at most 63, beginning with a letter or digit"),
        (SMALLEST.replace("consumers:\n  my-app:\n    key: ${env:APP_KEY}\n    models: [chat]\n", ""),
         "1:1 needs consumers | write consumers: a map from names to consumers"),
    ],
)  # fmt: skip
def test_references_to_nothing_are_refused(text: str, problem: str):
    assert found(text) == [problem]


def test_labels_of_plan_and_consumer_are_united():
    text = consumer("plan: p\nlabels: {cost_centre: 0815, team: x}") + "plans: {p: {labels: {team: y, env: prod}}}\n"
    assert compiled(text)[1].consumers[0].labels == (("cost_centre", "0815"), ("env", "prod"), ("team", "x"))


def test_a_fallback_is_another_model_and_never_widens_a_grant():
    text = TWO_REGIONS.replace("chat-us: {use: o@1}", "chat-us: {use: o@1, fallback: [chat]}").replace(
        "models: all", "models: [chat-us]"
    )
    assert compiled(text)[0].models[1].fallback == ("chat",)
    assert (
        '39:54 consumers.b.models: "chat-us" falls back to "chat", which it may not use: no fallback for it'
        in found(text, "note")
    )
    for wrong, what in [
        ("chat-us", "is the model itself"),
        ("chta", "no model is called"),
        ("chat, chat", "listed twice"),
    ]:
        assert what in found(text.replace("fallback: [chat]", f"fallback: [{wrong}]"))[0]


# ---------------------------------------------------------------- digests


def written(key: str, secret: str = ENV["SECRET"]) -> str:
    return write_digest(Digest("5f2a9c10", digest(key.encode(), Secret(secret))))


def test_a_digest_stands_for_the_key():
    text = swapped("${env:APP_KEY}", written("the-key-itself"))
    who = Callers(compiled(text)[1]).who([b"the-key-itself"])
    assert isinstance(who, Consumer) and who.name == "my-app"
    assert read_digest(written("x")) == Digest("5f2a9c10", digest(b"x", Secret(ENV["SECRET"])))


def test_one_key_of_two_consumers_is_found_whether_digest_or_reference():
    twice = swapped("${env:APP_KEY}", written("k")) + f"  b: {{key: '{written('k')}', models: [chat]}}\n"
    assert "18:12 consumers.b.key: shows the same key as consumers.my-app (g.yaml:16:10)" in found(twice)[0]
    mixed = SMALLEST + f"  b: {{key: '{written(ENV['APP_KEY'])}', models: [chat]}}\n"
    assert "shows the same key as consumers.b" in found(mixed)[0]
    old = swapped('["${env:SECRET}"]', '["${env:SECRET}", "${env:OLD}"]')
    older = old + f"  b: {{key: '{written(ENV['APP_KEY'], 'o' * 40)}', models: [chat]}}\n"
    assert "shows the same key as consumers.b" in found(older, env={"OLD": "o" * 40})[0]
