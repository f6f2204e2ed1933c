"""The language: what every section accepts, and the exact place and words of every refusal."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.spec.reading import (
    SMALLEST,
    bottom,
    compiled,
    consumer,
    deployments,
    found,
    gateway,
    instance,
    model,
    swapped,
)

LATER = "belongs to the language and arrives later: leave it out for now"


def test_the_smallest_file_is_enough():
    snapshot, directory = compiled(SMALLEST)
    assert [i.name for i in snapshot.instances] == ["weu"]
    assert [d.name for d in snapshot.deployments] == ["gpt-4o"]
    assert [m.name for m in snapshot.models] == ["chat"]
    assert [c.name for c in directory.consumers] == ["my-app"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        # ------------------------------------------------ keys
        (consumer("limit: 5"), '18:5 consumers.my-app: unknown key "limit"; did you mean "limits"?'),
        (consumer("Models: []"), '18:5 consumers.my-app: unknown key "Models"; did you mean "models"?'),
        (gateway("xyzzy: 1"), '4:3 gateway: unknown key "xyzzy" | known here: name, region, '
         "boundaries, data, workers, drain, listen, public_url, trusted_proxies, client_address, front_door_ids, allow, "
         "base_paths, cors, query_keys, failures, certificates, admin, core_dumps, secrets"),
        (gateway("trusted_proxies: [10.0.0.1/8]"), '4:21 gateway.trusted_proxies: "10.0.0.1/8" is an address inside a '
         "network | write the network, 10.0.0.0/8, or the address alone"),
        (gateway("trusted_proxies: [0.0.0.0/0]"), "4:21 gateway.trusted_proxies: trusts everybody to say who they are "
         "| write the networks of your proxies only"),
        (gateway("allow: [office]"), '4:11 gateway.allow: "office" is not a network | write a network such as '
         "10.0.0.0/8 or 2001:db8::/32"),
        (gateway("client_address: forwarded"), "4:3 gateway.client_address: has no effect: no proxy is trusted | write "
         "gateway.trusted_proxies, or remove it"),
        (gateway("front_door_ids: [contoso]"), '4:20 gateway.front_door_ids: "contoso" is not the id of a Front Door '
         "| look for `frontDoorId` of the profile: az afd profile show"),
        (gateway("base_paths: [/llm/]"), '4:16 gateway.base_paths: "/llm/" is not a plain path | write a path such as '
         "/llm, without slash at the end"),
        (gateway("base_paths: [/a/../b]"), '4:16 gateway.base_paths: "/a/../b" is not a plain path | write a path such '
         "as /llm, without slash at the end"),
        (gateway("cors: {origins: ['*']}"), '4:20 gateway.cors.origins: "*" would let every page of the web call with '
         "what its readers know | write an origin such as https://app.contoso.example"),
        (gateway("cors: {origins: ['https://app.example/x']}"), '4:20 gateway.cors.origins: "https://app.example/x" has '
         "a path | write an origin such as https://app.contoso.example: browsers say no more than that"),
        (bottom("instance: {}"), '18:1 unknown key "instance"; did you mean "instances"?'),
        (consumer("quotas: [50M tokens/month]"), f"18:5 consumers.my-app.quotas: {LATER}"),
        (consumer("match: {issuer: x}"), '18:21 consumers.my-app.match.issuer: no issuer is called "x" | declare it under issuers:'),
        (model("rollout: {to: gpt-4o@2024-11-20, steps: [1%]}"), f"14:38 models.chat.rollout.steps: {LATER}"),
        (bottom("tenants: {retail: {budgets: [1 EUR/day]}}"), f"18:20 tenants.retail.budgets: {LATER}"),
        (bottom("guards: [{name: pii}]"), f"18:1 guards: {LATER}"),
        (gateway("admin: {login: {issuer: x, owners: {groups: [a]}}}"),
         '4:27 gateway.admin.login.issuer: no issuer is called "x" | declare it under issuers:'),
        (swapped("    models: [chat]\n", ""),
         "15:3 consumers.my-app: has no models | nothing is granted that is not written: models: [...], or models: all"),
        (swapped("    use: gpt-4o@2024-11-20\n", "    retry: {attempts: 2}\n"),
         "12:3 models.chat: needs use | write use: a selector such as gpt-4o@2024-11-20, "
         "or a list such as [weu/gpt-4o, sdc/gpt-4o]"),
        (swapped("version: 1\n", ""), "1:1 needs version | write version: 1"),
        # ------------------------------------------------ nothing where something belongs
        (gateway("listen:"), "4:10 gateway.listen: is empty | write a map of address, tls, connections, handshakes, headers, "
         "timeouts, sizes, or remove the key"),
        (bottom("defaults: {}"), "18:11 defaults: is empty | write a map of timeouts, retry, breaker, "
         "throttle, spill, balance, cross_region, body, on_disconnect, end_user, or remove the key"),
        (swapped("models: [chat]", "models: []"), "17:13 consumers.my-app.models: is an empty list | "
         "write a list, each item a name such as gpt-4o, or remove the key"),
        (gateway("region: null"), "4:11 gateway.region: is empty | write a region such as westeurope, or remove the key"),
        (swapped("    key: ${env:APP_KEY}\n", "    key:\n"), "16:9 consumers.my-app.key: is empty | "
         "write a reference to its key: ${env:NAME} or ${file:/path}"),
        # ------------------------------------------------ one shape where another belongs
        (gateway("drain: [1s]"), "4:10 gateway.drain: is a list, not a duration such as 500ms, 30s, 15m, 24h"),
        (gateway("listen: 8080"), "4:11 gateway.listen: is text, not a map of address, tls, connections, handshakes, "
         "headers, timeouts, sizes | write address: an address such as 0.0.0.0:8080"),
        (swapped("models: [chat]", "models: chat"), "17:13 consumers.my-app.models: is text, not a list of models "
         "such as [chat, embed], or all | write [chat]"),
        (model("operations: chat_completions"), "14:17 models.chat.operations: is text, not a list, each item an operation "
         "such as embeddings | write it in brackets: [one, two]"),
        (swapped("use: gpt-4o@2024-11-20", "use: {gpt-4o: 1}"), "13:10 models.chat.use: is a map, not a selector such "
         "as gpt-4o@2024-11-20"),
        # ------------------------------------------------ values
        (swapped("version: 1\n", "version: 2\n"),
         '1:10 version: "2" is not a version of the language that this gateway reads | write version: 1'),
        (gateway("drain: 30"), '4:10 gateway.drain: "30" has no unit | write a duration such as 500ms, 30s, 15m, 24h'),
        (gateway("listen: {connections: 0}"),
         '4:25 gateway.listen.connections: "0" is too small | write at least 1'),
        (gateway("listen: {sizes: {head: 1KiB, target: 1MiB}}"),
         '4:40 gateway.listen.sizes.target: "1MiB" is too large | write at most 64KiB'),
        (gateway("name: Prod"), '4:9 gateway.name: "Prod" is not a name | use a-z, 0-9, dot, dash and underscore, '
         "at most 63, beginning with a letter or digit"),
        (swapped("  my-app:", "  My_App:"), '15:3 consumers: "My_App" is not a name for a consumer | use a-z, 0-9, dot, '
         "dash and underscore, at most 63, beginning with a letter or digit"),
        (swapped("version: 2024-11-20}", "version: 2024-11-20, sku: Provisioned}"),
         '10:57 instances.weu.deployments.gpt-4o.sku: "Provisioned" is not known here; did you mean "ProvisionedManaged"? | write one of ProvisionedManaged, '
         "DataZoneProvisionedManaged, GlobalProvisionedManaged, Standard, DataZoneStandard, GlobalStandard, "
         "DeveloperTier, DataZoneBatch, GlobalBatch"),
        (instance("provider: bedrock"),
         '9:15 instances.weu.provider: "bedrock" is not known here | write one of azure_openai, openai_compatible, '
         "foundry, anthropic"),
        (swapped("{model: gpt-4o, version: 2024-11-20}", "{model: claude-sonnet-4-6, version: 1, sku: ProvisionedManaged}"),
         "10:59 instances.weu.deployments.gpt-4o.sku: Claude is not deployed as ProvisionedManaged "
         "| write sku: GlobalStandard or DataZoneStandard"),
        (instance("api_version: latest"),
         '9:18 instances.weu.api_version: "latest" is not an API version such as 2024-10-21 | write '
         "2024-10-21, or leave it out: only resources without /openai/v1 need it"),
        (bottom("defaults: {on_disconnect: {stream: stop}}"), '18:36 defaults.on_disconnect.stream: "stop" is not known '
         "here | write abort, or finish and a time such as finish 30s"),
        (swapped("    auth:\n      key: ${env:AOAI_KEY}\n", "    auth: manged_identity\n"),
         '7:11 instances.weu.auth: "manged_identity" is not known here; did you mean "managed_identity"? | write one of none, managed_identity, '
         "workload_identity, azure_cli, azure_identity, passthrough"),
        (swapped("      key: ${env:AOAI_KEY}\n", "      managed_identity: 1\n"), '8:25 instances.weu.auth.managed_identity: '
         '"1" is no client id | write a client id such as 3f0c0000-0000-4000-8000-000000000002, or system'),
    ],
)  # fmt: skip
def test_every_refusal_says_where_what_and_what_to_write(text: str, problem: str):
    assert found(text) == [problem]


def test_all_errors_are_reported_in_one_pass_by_position():
    text = """\
    version: 3
    gateway:
      secrets: ["${env:SECRET}"]
      drain: soon
    instances:
      weu:
        endpoint: ftp://example
        auth: none
        deployments:
          gpt-4o: {model: gpt-4o, version: 1, sku: Big}
    models:
      chat:
        use: [weu/gpt-4o, weu/other]
        timeouts: {total: 5}
    consumers:
      a: {models: [chat, chatt], key: literal}
      b: {models: all}
    """
    assert [line.split()[0] for line in found(text)] == [
        "1:10", "4:10", "7:15", "10:48", "14:23", "16:22", "16:35", "17:3",
    ]  # fmt: skip


def test_what_is_missing_because_of_another_error_is_not_reported_again():
    problems = found(swapped("version: 2024-11-20", "version: [1]"))
    assert problems == ["10:40 instances.weu.deployments.gpt-4o.version: is a list, not a version such as 2024-11-20"]
    assert len(found(consumer("plan: team").replace("    models: [chat]\n", ""))) == 1


def test_scalars_mean_what_they_look_like():
    text = deployments("""\
    a: {model: "yes", version: 0613}
    b: {model: no, version: 1e3}
    c: {model: o, version: 3.10}
    """)
    snapshot, _ = compiled(text)
    assert [(d.model, d.version) for d in snapshot.deployments[1:]] == [("yes", "0613"), ("no", "1e3"), ("o", "3.10")]


def test_the_realistic_file_of_the_whole_language_only_has_things_that_arrive_later():
    text = (Path(__file__).parent / "realistic.yaml").read_text()
    others = [p for p in found(text, env={"ALERT_WEBHOOK": "https://hooks.contoso.example/a"}) if "later" not in p]
    assert [p.split(" | ")[0] for p in others] == [
        "8:13 gateway.secrets: cannot be read: no such file or directory",
        '11:24 gateway.listen.tls.certificate: "/etc/sluicegate/tls.crt" cannot be read: no such file or directory',
        "50:22 instances.sdc-std.auth.client_secret: cannot be read: no such file or directory",
    ]


@given(st.text(alphabet=st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1, max_size=64))
def test_a_version_is_its_text_however_it_looks(version: str):
    quoted = "'" + version.replace("'", "''").replace("${", "$${") + "'"
    text = swapped("version: 2024-11-20", f"version: {quoted}").replace("use: gpt-4o@2024-11-20", "use: [weu/gpt-4o]")
    if "@" in version:
        assert "is not a version" in found(text)[0]
    else:
        assert compiled(text)[0].deployments[0].version == version
