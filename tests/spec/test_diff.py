"""Differences in words: what changed, of what to what, and what it takes to put it in force. Never a secret."""

import pytest

from sluicegate.spec.diff import Told, compare, pack, told, unpack, words
from tests.spec.reading import ENV, SMALLEST, bottom, consumer, deployments, gateway, instance, loaded, model, swapped

CANARY = "another-key-that-nobody-may-see"


def tell(text: str, env: dict[str, str] | None = None) -> Told:
    result = loaded(text, env)
    assert result.errors == [], result.errors
    assert result.document and result.directory
    return told(result.document, result.directory, result.hash)


def diff(old: str, new: str, env: dict[str, str] | None = None) -> str:
    return words(compare(tell(old), unpack(pack(tell(new, env)))))


def test_nothing_changes_nothing_also_where_a_default_is_written_out():
    assert diff(SMALLEST, SMALLEST) == "no change"
    assert diff(SMALLEST, gateway("drain: 10m\nworkers: 1\nlisten: {headers: 100}")) == "no change"
    assert (
        diff(SMALLEST, bottom("defaults: {balance: least_tokens, retry: {attempts: 3}, timeouts: {idle: 60s}}"))
        == "no change"
    )


def test_keys_of_one_consumer_may_be_references_and_digests():
    mixed = SMALLEST.replace(
        "    key: ${env:APP_KEY}\n", '    keys: ["${env:APP_KEY}", "sgk1:5f2a9c10:MDEyMzQ1Njc4OWFiY2RlZg"]\n'
    )
    assert diff(SMALLEST, mixed) == "consumers.my-app: 1 key added\n1 change: 1 live"
    assert diff(mixed, mixed) == "no change"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (consumer("limits: [60k tokens/minute, 5 concurrent]"), consumer("limits: [80k tokens/minute, 9 requests/hour]"),
         "consumers.my-app: limits: 60k -> 80k tokens/minute\n"
         "consumers.my-app: limits: 9 requests/hour added\n"
         "consumers.my-app: limits: 5 concurrent removed\n"
         "3 changes: 3 live"),
        (SMALLEST, gateway("workers: 4\nlisten: {address: 0.0.0.0:8080}\ndrain: 5m"),
         "gateway: workers: 1 -> 4  (restart)\n"
         "gateway: drain: 10m -> 5m\n"
         "gateway: listen.address: 127.0.0.1:8080 -> 0.0.0.0:8080  (restart)\n"
         "3 changes: 1 live, 2 after a restart"),
        (SMALLEST, swapped("https://contoso-weu", "https://contoso-new"),
         "instances.weu: endpoint: https://contoso-weu.openai.azure.com -> https://contoso-new.openai.azure.com  "
         "(new connections)\n1 change: 1 for new connections"),
        (SMALLEST, deployments("gpt-4.1: {model: gpt-4.1, version: 1}"),
         "instances.weu.deployments.gpt-4.1: added (model gpt-4.1, version 1, sku Standard)\n1 change: 1 live"),
        (deployments("b: {model: b, version: 1, weight: 2}"), deployments("b: {model: b, version: 1}"),
         "instances.weu.deployments.b: weight: 2 -> 1\n1 change: 1 live"),
        (bottom("tenants: {hr: {}}"), bottom("tenants: {hr: {params: {n: {max: 1}}}}"),
         "tenants.hr: params.n: max 1 added\n1 change: 1 live"),
        (model("timeouts: {total: 1m}"), SMALLEST, "models.chat: timeouts.total: 1m removed\n1 change: 1 live"),
        (SMALLEST, instance("region: westeurope"), "instances.weu: region: westeurope added\n1 change: 1 live"),
        (consumer("labels: {cost: a*b}"), consumer("labels: {cost: c}"),
         "consumers.my-app: labels.cost: a*b -> c\n1 change: 1 live"),
    ],
)  # fmt: skip
def test_changes_are_told_in_words(old: str, new: str, said: str):
    assert diff(old, new) == said


def test_consumers_that_change_alike_are_said_once():
    def people(amount: int) -> str:
        text = SMALLEST + "".join(f"  c{n}: {{key: '${{env:K{n}}}', plan: p}}\n" for n in range(6))
        return text + f"plans: {{p: {{models: [chat], limits: [{amount}k tokens/minute]}}}}\n"

    env = {f"K{n}": f"key-of-number-{n}-which-is-long" for n in range(6)}
    assert words(compare(tell(people(60), env), tell(people(80), env))) == (
        "plans.p: limits: 60k -> 80k tokens/minute\n"
        "consumers.c0, consumers.c1, consumers.c2 and 3 more: limits: 60k -> 80k tokens/minute\n"
        "7 changes: 7 live"
    )


def test_a_secret_that_changed_is_said_and_never_shown():
    new = diff(SMALLEST, SMALLEST, {"AOAI_KEY": CANARY})
    assert new == "instances.weu: auth: another secret\n1 change: 1 live"
    assert diff(SMALLEST, SMALLEST, {"APP_KEY": CANARY}) == "consumers.my-app: another key\n1 change: 1 live"
    assert diff(SMALLEST, swapped("    auth:\n      key: ${env:AOAI_KEY}", "    auth: none")) == (
        "instances.weu: auth: key *** -> none\n1 change: 1 live"
    )
    two = swapped("    key: ${env:APP_KEY}", "    keys: ['${env:APP_KEY}', '${env:SECRET}']")
    assert diff(SMALLEST, two) == "consumers.my-app: 1 key added\n1 change: 1 live"
    crossing = pack(tell(two)).decode()
    assert not [secret for secret in ENV.values() if secret in crossing]


def test_whole_objects_come_and_go():
    more = SMALLEST + "  b: {key: '${env:SECRET}', models: all}\n"
    assert diff(SMALLEST, more) == "consumers.b: added (tenant default, models all)\n1 change: 1 live"
    assert diff(more, SMALLEST) == "consumers.b: removed\n1 change: 1 live"
