"""Compiling: what applies in the end, and what can only be judged across sections."""

import pytest

from sluicegate.core.breaker import BreakerSpec, ThrottleSpec
from sluicegate.core.caller import Callers, Consumer, digest
from sluicegate.core.secret import Secret
from sluicegate.core.settings import (
    Admin,
    Connections,
    Gateway,
    Listen,
    OnDisconnect,
    Retention,
    Spill,
    Telemetry,
    Timeouts,
)
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


def order(text: str) -> list[str]:
    """The names of the first model's pool, in the order in which they are tried."""
    snapshot, _ = compiled(text)
    names = {d.number: d.name for d in snapshot.deployments}
    return [names[n] for n in snapshot.models[0].deployments]


def test_what_is_left_out_is_what_the_shores_default_to():
    snapshot, _ = compiled(SMALLEST)
    assert snapshot.gateway == Gateway(data="/nowhere/data")
    assert snapshot.instances[0].connections == Connections()
    chat = snapshot.models[0]
    assert (chat.timeouts, chat.on_disconnect) == (Timeouts(), OnDisconnect())
    assert (chat.attempts, chat.body_max) == (3, 32 * 1024 * 1024)
    assert chat.operations == ("chat_completions",)


def test_every_key_of_listen_arrives():
    snapshot, _ = compiled(
        gateway("""\
        name: eu-prod
        region: westeurope
        data: /var/lib/sluicegate
        drain: 10m
        listen:
          address: "[::1]:9090"
          connections: 2k
          handshakes: 5
          headers: 50
          timeouts: {head: 1s, body: 2s, body_total: 3s, keep_alive: 4s, write: 5s}
          sizes: {head: 16KiB, target: 4KiB, pipelined: 32KiB, answer: 128KiB}
        """)
    )
    listen = Listen(
        host="::1", port=9090, connections=2000, handshakes=5, head_s=1.0, body_s=2.0, body_total_s=3.0, keep_alive_s=4.0,
        write_s=5.0, head_bytes=16384, head_count=50, target_bytes=4096, pipelined_bytes=32768,
        write_high=131072,
    )  # fmt: skip
    assert snapshot.gateway == Gateway("eu-prod", "westeurope", "/var/lib/sluicegate", listen, 600.0)


def test_every_key_of_an_instance_arrives():
    snapshot, _ = compiled(
        instance("""\
        provider: azure_openai
        region: westeurope
        api_version: 2024-10-21
        connections: {idle_min: 2, idle_max: 8, idle: 50s, life: 5m, handshakes: 3, dns: 10s}
        """).replace("contoso-weu.openai.azure.com", "Proxy.Contoso.example:8443/azure/")
    )
    weu = snapshot.instances[0]
    assert (weu.scheme, weu.host, weu.port, weu.base_path) == ("https", "proxy.contoso.example", 8443, "/azure")
    assert (weu.region, weu.api_version, weu.auth.kind) == ("westeurope", "2024-10-21", "key")
    assert weu.auth.secret == Secret("upstream-key-of-weu-0001")
    assert weu.connections == Connections(2, 8, 50.0, 300.0, 3, 10.0)


@pytest.mark.parametrize(
    ("endpoint", "parts"),
    [
        ("https://a.example", ("https", "a.example", 443, "")),
        ("http://127.0.0.1:8000/v1", ("http", "127.0.0.1", 8000, "/v1")),
        ("http://[::1]:8000/v1/", ("http", "::1", 8000, "/v1")),
        ("http://vllm:80", ("http", "vllm", 80, "")),
    ],
)
def test_endpoints_are_taken_apart(endpoint: str, parts: tuple[str, str, int, str]):
    i = compiled(swapped("https://contoso-weu.openai.azure.com", f'"{endpoint}"'))[0].instances[0]
    assert (i.scheme, i.host, i.port, i.base_path) == parts


@pytest.mark.parametrize(
    ("endpoint", "what"),
    [
        ("https://user:pass@a.example", "has a user or password in it"),
        ("https://a.example/?x=1", "is not an address we can call"),
        ("https://a.example/#x", "is not an address we can call"),
        ("//a.example", "is not an address we can call"),
        ("https://a.example/a/../b", "has . or .. in its path"),
        ("https://a.example//b", "is not an address we can call"),
        ("https://a.example:0", "has a port that does not exist"),
        ("https://a.example:70000", "has a port that does not exist"),
        ("http://169.254.169.254", "is a metadata address"),
        ("http://[::ffff:169.254.169.254]", "is a metadata address"),
        ("http://[fe80::1]", "is a metadata address"),
        ("http://[2002:a9fe:a9fe::1]", "is a metadata address"),
        ("http://[64:ff9b::a9fe:a9fe]", "is a metadata address"),
        ("http://192.0.0.192", "is a metadata address"),
        ("http://2852039166", "has a host that is neither a name nor an IP address"),
        ("http://0xa9fea9fe", "has a host that is neither a name nor an IP address"),
        ("http://0251.0376.0251.0376", "has a host that is neither a name nor an IP address"),
        ("https://a.example.", "has a host that is neither a name nor an IP address"),
        ("http://a_b..c", "has a host that is neither a name nor an IP address"),
        ("https://exämple.com", "has a host that is neither a name nor an IP address"),
        ("https://contoso.openai.azure.com/openai/v1", "has a path that belongs to requests"),
    ],
)
def test_an_endpoint_we_would_not_call_is_refused(endpoint: str, what: str):
    problems = found(swapped("https://contoso-weu.openai.azure.com", f'"{endpoint}"'))
    assert len(problems) == 1
    assert problems[0].startswith("6:15 instances.weu.endpoint: ") and what in problems[0]


def test_provisioned_comes_before_standard_and_else_as_declared():
    more = deployments("""\
    std-2: {model: gpt-4o, version: 2024-11-20, sku: DataZoneStandard}
    ptu-1: {model: gpt-4o, version: 2024-11-20, sku: ProvisionedManaged, ptu: 100}
    dev: {model: gpt-4o, version: 2024-11-20, sku: DeveloperTier}
    ptu-2: {model: gpt-4o, version: 2024-11-20, sku: GlobalProvisionedManaged}
    ptu-3: {model: gpt-4o, version: 2024-11-20, sku: DataZoneProvisionedManaged}
    batch: {model: gpt-4o, version: 2024-11-20, sku: GlobalBatch}
    other: {model: gpt-4o, version: 2025-08-01, sku: ProvisionedManaged}
    """)
    assert order(more) == ["ptu-1", "ptu-2", "ptu-3", "gpt-4o", "std-2", "dev"]


def test_a_tier_by_hand_overrides_the_sku_also_in_a_list():
    more = deployments("""\
    late: {model: gpt-4o, version: 2024-11-20, sku: ProvisionedManaged, tier: 2}
    early: {model: gpt-4o, version: 2024-11-20, tier: 0}
    """)
    assert order(more) == ["early", "gpt-4o", "late"]
    assert order(more.replace("use: gpt-4o@2024-11-20", "use: [weu/late, weu/gpt-4o]")) == ["gpt-4o", "late"]


def test_numbers_follow_declaration_and_begin_at_one():
    more = deployments("b: {model: x, version: 1}").replace("models:\n  chat:", "models:\n  x: {use: x@1}\n  chat:")
    snapshot, directory = compiled(more + "  z: {key: '${env:Z}', models: [x]}\n", {"Z": "z" * 20})
    assert [(d.number, d.name, d.instance) for d in snapshot.deployments] == [(1, "gpt-4o", 1), (2, "b", 1)]
    assert [(m.number, m.name, m.deployments) for m in snapshot.models] == [(1, "x", (2,)), (2, "chat", (1,))]
    assert [(c.number, c.name) for c in directory.consumers] == [(1, "my-app"), (2, "z")]


def test_timeouts_merge_key_by_key_and_everything_else_is_taken_whole():
    defaults = """\
    defaults:
      timeouts: {connect: 1s, total: 10m}
      retry: {attempts: 2}
      body: {max: 1MiB}
      on_disconnect: {stream: finish 5s}
    """
    chat = compiled(bottom(defaults))[0].models[0]
    assert chat.timeouts == Timeouts(connect=1.0, total=600.0)
    assert (chat.attempts, chat.body_max, chat.on_disconnect) == (2, 2**20, OnDisconnect(5.0, 30.0))
    own = """\
        timeouts: {total: 20m, first_byte: 30s}
        retry: {attempts: 5}
        body: {max: 2MiB}
        on_disconnect: {other: abort}
    """
    chat = compiled(model(own) + bottom(defaults)[len(SMALLEST) :])[0].models[0]
    assert chat.timeouts == Timeouts(connect=1.0, first_byte=30.0, total=1200.0)
    assert (chat.attempts, chat.body_max, chat.on_disconnect) == (5, 2**21, OnDisconnect(0.0, 0.0))


def test_of_labels_the_nearest_wins_name_by_name():
    """Consumer, plan, tenant: as settings do, but each name by itself, since nobody repeats a cost centre."""
    text = SMALLEST.replace(
        "models: [chat]", "models: [chat]\n    tenant: t\n    plan: p\n    labels: {a: own, b: own}"
    )
    text += "tenants:\n  t:\n    labels: {a: tenant, b: tenant, c: tenant, d: tenant}\n"
    text += "plans:\n  p:\n    labels: {b: plan, c: plan}\n"
    found = Callers(compiled(text)[1]).called("my-app")
    assert found is not None
    assert dict(found.context.labels) == {"a": "own", "b": "own", "c": "plan", "d": "tenant"}


def test_a_key_finds_its_consumer_and_grants_hold():
    text = consumer("tenant: retail").replace(
        "    key: ${env:APP_KEY}\n", "    keys: ['${env:APP_KEY}', '${env:SECOND}']\n"
    )
    _, directory = compiled(
        text + "  all: {key: '${env:ALL}', models: all}\n", {"SECOND": "second-key", "ALL": "all-key"}
    )
    callers = Callers(directory)
    for key in (b"key-of-my-app-0000000001", b"second-key"):
        who = callers.who([key])
        assert isinstance(who, Consumer)
        assert (who.name, who.tenant, who.may("chat"), who.may("other")) == ("my-app", "retail", True, False)
    everyone = callers.who([b"all-key"])
    assert isinstance(everyone, Consumer) and everyone.may("other") and everyone.tenant == "default"
    assert callers.who([b"nobody"]) == "credential.unknown"


def test_digests_are_made_with_the_first_secret_and_all_are_kept():
    _, directory = compiled(swapped('["${env:SECRET}"]', '["${env:SECRET}", "${env:OLD}"]'), {"OLD": "o" * 40})
    assert directory.secrets == (Secret("s" * 64), Secret("o" * 40))
    assert directory.consumers[0].digests == (digest(b"key-of-my-app-0000000001", Secret("s" * 64)),)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (swapped("use: gpt-4o@2024-11-20", "use: gpt-4o@2024-11-02"), "13:10 models.chat.use: no deployment offers "
         "gpt-4o@2024-11-02 | closest: gpt-4o@2024-11-20 (weu/gpt-4o)"),
        (swapped("use: gpt-4o@2024-11-20", "use: gtp-4o@2024-11-20"), "13:10 models.chat.use: no deployment offers "
         "gtp-4o@2024-11-20 | closest: gpt-4o@2024-11-20 (weu/gpt-4o)"),
        (swapped("use: gpt-4o@2024-11-20", "use: zzz@1"), "13:10 models.chat.use: no deployment offers zzz@1 | "
         "declared: gpt-4o@2024-11-20"),
        (swapped("use: gpt-4o@2024-11-20", "use: gpt-4o"), '13:10 models.chat.use: "gpt-4o" does not say model and '
         "version | write a selector such as gpt-4o@2024-11-20, or a list of instance/deployment"),
        (swapped("use: gpt-4o@2024-11-20", "use: [weu/gpt4o]"), "13:11 models.chat.use: no deployment is called "
         '"weu/gpt4o"; did you mean "weu/gpt-4o"?'),
        (swapped("use: gpt-4o@2024-11-20", "use: [weu/gpt-4o, weu/gpt-4o]"), '13:23 models.chat.use: "weu/gpt-4o" is '
         "listed twice | keep one of them"),
        (swapped("use: gpt-4o@2024-11-20", "use: [gpt-4o]"), '13:11 models.chat.use: "gpt-4o" is not a deployment | '
         "write instance/deployment, as they are called under instances:"),
        (deployments("b: {model: gpt-4o, version: 1}").replace("use: gpt-4o@2024-11-20", "use: [weu/gpt-4o, weu/b]"),
         '14:23 models.chat.use: "weu/b" is gpt-4o@1, but weu/gpt-4o is gpt-4o@2024-11-20 | members stand in for each '
         "other: give each model and version a name of its own"),
        (swapped("version: 2024-11-20}", "version: 2024-11-20, sku: GlobalBatch}"), "13:10 models.chat.use: only batch "
         "deployments offer gpt-4o@2024-11-20: weu/gpt-4o | batch kinds serve no live request: declare a standard or "
         "provisioned deployment"),
        (deployments("b: {model: gpt-4o, version: 1, sku: DataZoneBatch}").replace("use: gpt-4o@2024-11-20", "use: [weu/b]"),
         '14:11 models.chat.use: "weu/b" is a batch deployment, which serves no live request | remove it'),
        (deployments("b: {model: x, version: 1, sku: DataZoneBatch, tier: 1}"), "11:53 instances.weu.deployments.b.tier: "
         "a batch deployment serves no live request | remove it"),
        (deployments("b: {model: x, version: 1, ptu: 50}"), "11:33 instances.weu.deployments.b.ptu: has no effect on a "
         "deployment of Standard | remove it, or write the provisioned kind: sku: ProvisionedManaged"),
        (model("operations: [chat_completion]"), "14:18 models.chat.operations: no operation is called "
         '"chat_completion"; did you mean "chat_completions"? | known: chat_completions, embeddings'),
        (model("operations: [responses]"), "14:18 models.chat.operations: responses belongs to the language and arrives "
         "later | known: chat_completions, embeddings"),
        (swapped("models: [chat]", "models: [chat, caht]"), '17:20 consumers.my-app.models: no model is called "caht"; did '
         'you mean "chat"?'),
        (swapped("models: [chat]", "models: [chat, zzz]"), '17:20 consumers.my-app.models: no model is called "zzz" | '
         "declared: chat"),
        (swapped("models: [chat]", "models: [all]"), '17:14 consumers.my-app.models: no model is called "all" | for every '
         "model write models: all, without brackets"),
        (swapped("    key: ${env:APP_KEY}\n", ""), "15:3 consumers.my-app: has no key | write key: ${env:MY_APP_KEY}"),
        (consumer("keys: ['${env:OTHER}']"), "18:5 consumers.my-app.keys: stands beside key | put both into keys"),
        (consumer("").rstrip() + "\n  b: {key: '${env:APP_KEY}', models: [chat]}\n", "18:12 consumers.b.key: shows the same "
         "key as consumers.my-app (g.yaml:16:10) | one key belongs to one consumer: give each its own"),
        (swapped("key: ${env:APP_KEY}", "keys: ['${env:APP_KEY}', '${env:APP_KEY}']"), "16:30 consumers.my-app.keys: shows "
         "it twice (g.yaml:16:12) | one key belongs to one consumer: give each its own"),
        (instance("tls: {ca: /nowhere.pem}"), '9:15 instances.weu.tls.ca: "/nowhere.pem" cannot be read: no such file or '
         "directory | relative paths start beside the configuration"),
        (instance("tls: {ca: /nowhere.pem}").replace("https:", "http:"), "9:5 instances.weu.tls: has no effect on an http:// "
         "endpoint | remove it, or write https://"),
        (instance("provider: openai_compatible\napi_version: 2024-10-21"), "10:5 instances.weu.api_version: has no effect "
         "with provider openai_compatible | remove it"),
        (instance("connections: {idle_min: 9, idle_max: 8}"), "9:29 instances.weu.connections.idle_min: is more than "
         "idle_max | write at most 8, or raise idle_max"),
        (gateway("listen: {address: ':8080'}"), '4:21 gateway.listen.address: ":8080" has no host | write 127.0.0.1 for '
         "this machine only, 0.0.0.0 for every network it is on"),
        (gateway("listen: {address: localhost}"), '4:21 gateway.listen.address: "localhost" has no port | write an address '
         "such as 0.0.0.0:8080"),
        (gateway("listen: {address: '::1:80'}"), '4:21 gateway.listen.address: "::1:80" is not an address we can use | IPv6 '
         "addresses stand in brackets: [::1]:8080"),
        (gateway("listen: {address: 'a:70000'}"), '4:21 gateway.listen.address: "a:70000" has a port that does not exist | '
         "ports are 0 to 65535"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_refused_where_it_stands(text: str, problem: str):
    assert found(text, env={"OTHER": "other-key-000000000"}) == [problem]


def test_an_unused_model_and_an_ungranted_one_are_fine():
    assert found(model("").replace("models:\n  chat:", "models:\n  spare: {use: gpt-4o@2024-11-20}\n  chat:")) == []


def test_the_hash_is_of_what_applies_not_of_the_file():
    first = compiled(SMALLEST)[0].hash
    assert len(first) == 12 and int(first, 16) >= 0
    assert compiled("# a comment\n" + SMALLEST.replace("[chat]", '["chat"]'))[0].hash == first
    assert compiled(gateway("listen: {address: 127.0.0.1:8080}"))[0].hash == first
    others = [
        compiled(gateway("drain: 1s"))[0].hash,
        compiled(SMALLEST, {"AOAI_KEY": "another-upstream-key"})[0].hash,
        compiled(SMALLEST, {"APP_KEY": "another-client-key-000"})[0].hash,
        compiled(SMALLEST, {"SECRET": "t" * 64})[0].hash,
        compiled(swapped("models: [chat]", "models: all"))[0].hash,
    ]
    assert len({first, *others}) == 6


def test_every_setting_of_a_model_arrives_and_is_taken_whole_from_the_nearest_place():
    defaults = """\
    defaults:
      balance: latency
      breaker: {faults: 9, share: 10%, within: 10s, open: 1s}
      throttle: {longest: 1m, unnamed: [2s, 4s]}
      spill: {long_context: false, soft_ceiling: 90%, platform: true}
      retry: {attempts: 4, budget: 50%}
    """
    snapshot, _ = compiled(bottom(defaults))
    chat = snapshot.models[0]
    assert (chat.balance, chat.attempts, snapshot.gateway.retry_budget) == ("latency", 4, 0.5)
    assert chat.breaker == BreakerSpec(9, 0.1, 10.0, 1.0)
    assert chat.throttle == ThrottleSpec(60.0, (2.0, 4.0))
    assert chat.spill == Spill(False, 0.9, True)
    own = "balance: weighted\nbreaker: {faults: 2}\nthrottle: {longest: 2m}\nspill: {platform: true}\nretry: {attempts: 1}"
    chat = compiled(model(own) + bottom(defaults)[len(SMALLEST) :])[0].models[0]
    assert (chat.balance, chat.attempts) == ("weighted", 1)
    assert chat.breaker == BreakerSpec(faults=2)
    assert chat.throttle == ThrottleSpec(longest=120.0)
    assert chat.spill == Spill(platform=True)


def test_every_key_of_a_deployment_and_the_process_arrives():
    text = deployments(
        "b: {model: m, version: 1, sku: GlobalStandard, weight: 3, capacity: 5k tokens/minute, processing: data_zone, "
        "quota_group: ai/m, max_input: 128k}"
    ) + (
        "telemetry: {access_log: logs/access.jsonl, prometheus: false}\n"
        "stores: {retention: {records: 30d, journal: 1d}}\n"
    )
    text = text.replace("gateway:\n", "gateway:\n  workers: 4\n  admin: {address: 127.0.0.1:9090}\n")
    snapshot, _ = compiled(text)
    b = snapshot.deployments[1]
    assert (b.weight, b.capacity, b.processing, b.quota_group, b.max_input) == (3, 5000, "data_zone", "ai/m", 128_000)
    gateway = snapshot.gateway
    assert (gateway.workers, gateway.admin) == (4, Admin("127.0.0.1", 9090))
    assert gateway.telemetry == Telemetry("/nowhere/logs/access.jsonl", False)
    assert gateway.retention == Retention(30 * 86400.0, 86400.0)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (model("mixed_versions: true"), "14:5 models.chat.mixed_versions: has no effect on a selector, which takes one model "
         "and version | remove it, or write a list of instance/deployment"),
        (model("spill: {soft_ceiling: 90%}"), "14:13 models.chat.spill.soft_ceiling: has no effect: no member says its "
         "capacity | write capacity: 450k tokens/minute on its deployments, or remove it"),
        (deployments("b: {model: gpt-4o, version: 2024-11-20, weight: 3}").replace("    use:", "    balance: latency\n    use:"),
         "11:47 instances.weu.deployments.b.weight: has no effect: chat does not balance by it | write balance: weighted "
         "there, or remove it"),
        (model("cross_region: false"), "14:19 models.chat.cross_region: the gateway has no region | write gateway.region, or "
         "cross_region: true"),
        (gateway("admin: {address: 127.0.0.1:8080}"), "4:20 gateway.admin.address: is the address of gateway.listen too | "
         "write another port: metrics are not for clients"),
    ],
)  # fmt: skip
def test_settings_that_cannot_take_effect_are_errors(text: str, problem: str):
    assert found(text) == [problem]


def test_a_list_may_mix_versions_where_that_is_written():
    text = deployments("b: {model: gpt-4o, version: 1}").replace(
        "use: gpt-4o@2024-11-20", "use: [weu/gpt-4o, weu/b]\n    mixed_versions: true"
    )
    assert compiled(text)[0].models[0].mixed_versions
    assert not compiled(text.replace("weu/gpt-4o, ", ""))[0].models[0].mixed_versions
