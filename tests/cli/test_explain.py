"""`sluicegate explain`: by a file alone, and by a gateway of two workers with a throttled and a drained deployment."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sluicegate import main
from sluicegate.cli.explained import text
from sluicegate.core.breaker import BreakerSpec, ThrottleSpec
from sluicegate.core.caller import digest
from sluicegate.core.events import Facts
from sluicegate.core.explain import WORDS, Question, explain
from sluicegate.core.fork import Kept
from sluicegate.core.refusals import REFUSALS
from sluicegate.core.state import World
from sluicegate.sim.fleet import FleetThread
from tests.keeper.running import ENV, KEY, ROOT, Gateway, until
from tests.keeper.test_keeper import SMALL
from tests.laws import rig

FILE = """\
version: 1
gateway: {secrets: ['${env:SECRET}'], region: westeurope, boundaries: [eu]}
boundaries: {eu: {regions: [westeurope, swedencentral], processing: regional}}
instances:
  ptu: {endpoint: 'https://ptu.example', region: westeurope, auth: none, deployments: {p: {model: gpt-4o, version: 2024-11-20, sku: ProvisionedManaged, ptu: 50, max_input: 1k}}}
  weu: {endpoint: 'https://weu.example', region: westeurope, auth: none, deployments: {s: {model: gpt-4o, version: 2024-11-20}}}
  sdc: {endpoint: 'https://sdc.example', region: swedencentral, auth: none, deployments: {s: {model: gpt-4o, version: 2024-11-20}, m: {model: gpt-4o-mini, version: 2024-07-18}}}
  usa: {endpoint: 'https://usa.example', region: eastus, auth: none, deployments: {s: {model: gpt-4o, version: 2024-11-20}}}
models:
  chat: {use: gpt-4o@2024-11-20, fallback: [small], params: {max_tokens: {max: 500}}, body: {max: 64KiB}}
  small: {use: gpt-4o-mini@2024-07-18}
tenants:
  retail: {boundary: eu, limits: [100k tokens/minute]}
consumers:
  shop: {tenant: retail, key: '${env:APP_KEY}', models: [chat], limits: [60k tokens/minute, 5 concurrent]}
  desk: {tenant: retail, key: '${env:DESK_KEY}', models: all, params: {n: {allow: [1]}}}
"""


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "gateway.yaml").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    for name, value in {**ENV, "DESK_KEY": "key-of-desk-000000000001"}.items():
        monkeypatch.setenv(name, value)
    return tmp_path


def alone(*args: str, **more: Any) -> Result:
    return CliRunner().invoke(main.program, ["explain", "--from", "gateway.yaml", *args], **more)


def test_a_file_alone_says_who_is_asked_first_and_why_everybody_else_is_not(there: Path):
    done = alone("--consumer", "shop", "--model", "chat", "--tokens", "200", "--max-tokens", "900")
    assert done.exit_code == 0, done.output
    head, rules, limits, candidates, end = done.stdout.split("\n\n")
    assert head.startswith("shop (tenant retail, boundary eu) asks chat, chat_completions: a prompt of 200 tokens")
    assert "with nothing under way\n" in head
    assert head.endswith("times: connect 2 s, first byte 60 s, idle 60 s, total 900 s; 3 attempts may fail")
    assert rules == "rule: max_tokens = 500 (models.chat)"
    assert limits.splitlines()[1:] == [
        "100000 tokens/minute         tenants.retail    700  100,000  passes",
        "60000 tokens/minute          consumers.shop    700   60,000  passes",
        "5 requests at the same time  consumers.shop      1        5  passes",
    ]
    rows = [line.split() for line in candidates.splitlines()]
    assert [(row[1], row[3]) for row in rows[1:5]] == [
        ("ptu/p", "only"), ("weu/s", "tier"), ("sdc/s", "region"), ("usa/s", "boundary"),
    ]  # fmt: skip
    assert candidates.endswith("fallback to small: no, this consumer may not use it")
    assert end == (
        "SENT to ptu/p\n"
        "  if it is throttled there, and wherever it goes then: weu/s, then sdc/s, then 429 boundary.throttled\n"
        "  if it fails there, and wherever it goes then: weu/s, then sdc/s, then 503 boundary.failed\n"
    )


def test_a_file_alone_takes_it_that_there_are_tokens(there: Path):
    (there / "gateway.yaml").write_text(FILE.replace("auth: none", "auth: managed_identity"))
    done = alone("--consumer", "shop", "--model", "chat", "--tokens", "200")
    assert done.exit_code == 0 and "SENT to ptu/p" in done.stdout, done.output


def test_a_prompt_too_long_for_a_member_passes_it_over_and_a_fallback_is_named(there: Path):
    told = one(alone("--as", "desk", "--model", "chat", "--tokens", "5000", "--json"))
    assert {c["deployment"]: c["word"] for c in told["candidates"]} == {
        "ptu/p": "passed.prompt", "weu/s": "only", "sdc/s": "region", "usa/s": "boundary",
    }  # fmt: skip
    assert told["outcome"]["deployment"] == "weu/s"
    assert told["fallback"] == [{"model": "small", "reason": ""}]
    last = {"deployment": "sdc/m", "model": "small"}
    assert told["if_throttled"]["then"] == [{"deployment": "sdc/s", "model": "chat"}, last]
    assert told["if_throttled"]["reason"] == "boundary.throttled"


@pytest.mark.parametrize(
    ("arguments", "body", "reason", "says"),
    [
        (["--as", "shop", "--model", "small"], None, "route.model", "The model exists, but not for this consumer"),
        (["--as", "shop", "--model", "caht"], None, "route.model", "No model has this name"),
        (["--as", "shop", "--model", "chat", "--tokens", "70000", "--path", "/v1/chat/completions"], None,
         "request.body_too_large", "raise body.max"),
        (["--as", "shop", "--model", "small", "--path", "/v1/embeddingz"], None, "route.path", "no operation"),
        (["--as", "desk", "--model", "chat"], {"messages": [], "n": 2}, "params.not_allowed", "rule of consumers.desk"),
        (["--as", "desk"], {"messages": []}, "request.no_model", "Name a model"),
        (["--as", "desk"], {"model": "chat", "stream": 7}, "request.invalid_field", "'stream' must be true or false"),
        (["--as", "shop", "--model", "chat"], {"messages": [], "max_tokens": 60_000, "n": 128},
         "limit.token_rate.too_large", "It will never pass"),
    ],
)  # fmt: skip
def test_a_refusal_names_its_reason_and_what_to_do(
    there: Path, arguments: list[str], body: dict[str, Any] | None, reason: str, says: str
):
    if body is not None:
        (there / "body.json").write_text(json.dumps(body))
        arguments = [*arguments, "--body", "body.json"]
    done = alone(*arguments)
    assert done.exit_code == 1, done.output
    assert f"REFUSED: {REFUSALS[reason].status} {reason}" in done.stdout
    assert says in done.stdout
    told = one(alone(*arguments, "--json"))
    assert (told["outcome"]["reason"], told["outcome"]["sent"]) == (reason, False)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--as", "shp", "--model", "chat"], 'no consumer is called "shp"; did you mean "shop"?'),
        (["--as", "shop"], "which model?"),
        (["--as", "shop", "--model", "chat", "--body", "nowhere"], "nowhere cannot be read: no such file"),
        (["--as", "shop", "--model", "chat", "--body", "x", "--tokens", "1"], "leave out --tokens"),
        (["--as", "shop", "--model", "chat", "--worker", "1"], "--from asks no gateway"),
        (["--as", "shop", "--model", "a", "--path", "/openai/deployments/b/chat/completions"], "write one of them"),
    ],
)
def test_a_question_without_an_answer_says_what_to_write(there: Path, arguments: list[str], says: str):
    done = alone(*arguments)
    assert done.exit_code == 2 and says in done.stderr and not done.stdout


@pytest.mark.parametrize(
    ("path", "sent", "says"),
    [
        ("/openai/v1/embeddings", True, "asks vectors, embeddings: a prompt of 4 tokens"),
        ("/v1/responses/compact", True, "asks vectors, POST /responses/compact"),
        ("/openai/responses/compact?api-version=2025-04-01-preview", True, "POST /responses/compact"),
        ("/v1/chat/completions", False, "REFUSED: 403 grant.operation"), ("/v1/rerank", False, "REFUSED: 404 route.path"),
        ("/v1/nothing/../here", False, "REFUSED: 404 route.path"), ("/v2/rerank", False, "REFUSED: 404 route.path"),
    ],
)  # fmt: skip
def test_operations_besides_chat_are_explained_as_they_are_named(there: Path, path: str, sent: bool, says: str):
    text = FILE.replace(
        "tenants:\n",
        "  vectors: {use: gpt-4o-mini@2024-07-18, operations: [embeddings, POST /responses/compact]}\ntenants:\n",
    )
    (there / "gateway.yaml").write_text(text)
    body = '{"model":"vectors","input":[[1,2,3],[4]]}'
    result = alone("--as", "desk", "--path", path, "--body", "-", input=body)
    assert says in result.output and result.exit_code == (0 if sent else 1), result.output


EVERY = FILE.replace(
    "tenants:\n",
    "  vectors: {use: gpt-4o-mini@2024-07-18, operations: [embeddings, POST /responses/compact]}\n"
    "  ears: {use: gpt-4o-mini@2024-07-18, operations: [audio_transcriptions, images_edits], body: {max: 1KiB}}\n"
    "  fence: {use: gpt-4o@2024-11-20, operations: [chat_completions, 'POST /a'], body: {urls: refuse_private}}\n"
    "tenants:\n",
)


@pytest.mark.parametrize(
    ("arguments", "sent", "says"),
    [
        (["--model", "vectors"], True, "asks vectors, embeddings: a prompt of 100 tokens"),
        (["--model", "vectors", "--operation", "POST /responses/compact"], True, "POST /responses/compact: a prompt"),
        (["--model", "vectors", "--operation", "chat_completions"], False, "It offers: embeddings, POST /responses/com"),
        (["--model", "ears"], True, "asks ears, audio_transcriptions: a prompt of 100 tokens"),
        (["--model", "ears", "--tokens", "9000"], True, "SENT to sdc/m"),
        (["--model", "ears", "--operation", "images_edits", "--tokens", "9000"], True, "SENT to sdc/m"),
        (["--model", "chat", "--operation", "embeddings"], False, "REFUSED: 403 grant.operation"),
        (["--model", "fence", "--operation", "POST /b"], False, "REFUSED: 404 route.path"),
    ],
)  # fmt: skip
def test_any_operation_that_a_model_offers_can_be_asked_for(there: Path, arguments: list[str], sent: bool, says: str):
    """Without a word about it, what the model offers first where that is no chat. Forms may be as large as uploads."""
    (there / "gateway.yaml").write_text(EVERY)
    result = alone("--as", "desk", *arguments)
    assert says in result.output and result.exit_code == (0 if sent else 1), result.output


def test_an_operation_that_is_misspelt_is_said(there: Path):
    result = alone("--as", "desk", "--model", "chat", "--operation", "embedings")
    assert result.exit_code == 2 and 'did you mean "embeddings"?' in result.output
    result = alone("--as", "desk", "--model", "chat", "--operation", "embeddings", "--path", "/v1/embeddings")
    assert result.exit_code == 2 and "leave out --operation" in result.output


def test_what_may_not_be_sent_again_is_not_said_to_be(there: Path):
    (there / "gateway.yaml").write_text(EVERY)
    told = one(alone("--as", "desk", "--model", "fence", "--operation", "POST /a", "--json"))
    assert told["if_failed"] == {"then": [], "reason": "boundary.failed", "status": 503}
    assert len(told["if_throttled"]["then"]) == 2
    assert len(one(alone("--as", "desk", "--model", "fence", "--json"))["if_failed"]["then"]) == 2


@pytest.mark.parametrize("long", [False, True])
def test_an_address_in_a_prompt_that_is_refused_is_refused_and_stays_here(there: Path, long: bool):
    (there / "gateway.yaml").write_text(EVERY)
    part = {"type": "image_url", "image_url": {"url": "http://10.0.0.7/secret-plan.png"}}
    body = {"model": "fence", "messages": [{"role": "user", "content": [part] * (100 if long else 1)}]}
    done = alone("--as", "desk", "--body", "-", "--json", input=json.dumps(body))
    assert one(done)["outcome"]["reason"] == "request.private_url" and "secret" not in done.stdout
    body["messages"][0]["content"] = [{**part, "image_url": {"url": "https://example.com/a.png"}}]
    assert one(alone("--as", "desk", "--body", "-", "--json", input=json.dumps(body)))["outcome"]["sent"]


def test_what_is_reserved_for_many_prompts_is_told(there: Path):
    (there / "gateway.yaml").write_text(
        FILE.replace("small: {", "small: {operations: [completions], ").replace("fallback: [small], ", "")
    )
    body = '{"model":"small","prompt":[[1,2],[3]],"best_of":5,"max_tokens":10}'
    done = alone("--as", "desk", "--path", "/v1/completions", "--body", "-", "--json", input=body)
    (limit,) = json.loads(done.output)["workers"][0]["limits"]
    assert limit["wants"] == 3 + 2 * 5 * 10, done.output


def test_a_body_from_stdin_decides_and_stays_here(there: Path):
    body = {"model": "chat", "messages": [{"role": "user", "content": "my secret plan"}], "max_tokens": 7}
    done = alone("--as", "shop", "--body", "-", "--json", input=json.dumps(body))
    told = one(done)
    assert told["outcome"]["sent"] and told["tokens"] == len(json.dumps(body)) // 4
    assert "secret" not in done.stdout


def one(done: Result) -> dict[str, Any]:
    (told,) = json.loads(done.stdout)["workers"]
    assert isinstance(told, dict)
    return told


# ---------------------------------------------------------------- a running gateway


RUNNING = """\
version: 1
gateway:
  data: {folder}/data
  drain: 1s
  workers: 2
  admin: {{address: '127.0.0.1:0'}}
  secrets: ["${{env:SECRET}}"]
  listen: {{address: '127.0.0.1:0'}}
instances:
{instances}
models:
  chat: {{use: gpt-4o@2024-11-20}}
consumers:
  my-app: {{key: "${{env:APP_KEY}}", models: [chat], limits: [100 concurrent]}}
"""


@pytest.fixture
def fleet() -> Iterator[FleetThread]:
    with FleetThread({name: {**SMALL, "key": ENV["UPSTREAM_KEY"]} for name in "abc"}, seed=1) as fleet:
        yield fleet


def test_a_throttled_and_a_drained_deployment_of_a_running_gateway_are_told(fleet: FleetThread, tmp_path: Path):
    deployments = "{gpt-4o: {model: gpt-4o, version: 2024-11-20}}"
    instances = "\n".join(
        f"  {name}: {{endpoint: '{fleet[name].origin}', auth: {{key: '${{env:UPSTREAM_KEY}}'}}, "
        f"deployments: {deployments}}}"
        for name in "abc"
    )

    def cli(verb: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-P", "-m", "sluicegate.main", verb, "-c", str(gateway.file), *arguments]
        return subprocess.run(
            command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=30
        )

    with Gateway(tmp_path, RUNNING.format(folder=tmp_path, instances=instances)) as gateway:
        assert cli("drain", "c/gpt-4o").returncode == 0
        fleet.fault("throttle", instance="a", wait_s=300.0)
        for _ in range(2):
            assert call(gateway.port) == 200  # by way of a, which refuses once, and tells the other worker
        asked = len(fleet.ledger.entries)

        def explained() -> list[dict[str, Any]]:
            done = cli("explain", "--consumer", "my-app", "--model", "chat", "--json")
            assert done.returncode == 0, done.stderr
            found: list[dict[str, Any]] = json.loads(done.stdout)["workers"]
            return found

        def knows(worker: dict[str, Any]) -> bool:
            return any(c["word"] == "passed.throttled" for c in worker["candidates"])

        told = until(lambda: (found := explained()) and all(map(knows, found)) and found)
        for worker in told:
            words = {c["deployment"]: c for c in worker["candidates"]}
            assert {name: c["word"] for name, c in words.items()} == {
                "a/gpt-4o": "passed.throttled", "b/gpt-4o": "only", "c/gpt-4o": "drained",
            }  # fmt: skip
            assert 200 < words["a/gpt-4o"]["until_s"] <= 300
            assert worker["outcome"]["deployment"] == "b/gpt-4o"
            assert worker["if_failed"] == {"then": [], "reason": "pool.failed", "status": 503}
            assert set(WORDS) >= {c["word"] for c in worker["candidates"]}
        assert sorted(worker["worker"] for worker in told) == sorted(gateway.workers)

        done = cli("explain", "--consumer", "my-app", "--model", "chat")
        assert "SENT to b/gpt-4o" in done.stdout and "2 workers say the same" in done.stdout
        assert f"drained  {' ' * 4}" in done.stdout and WORDS["drained"] in done.stdout
        only = cli("explain", "--as", "my-app", "--model", "chat", "--worker", str(gateway.workers[0]), "--json")
        assert [w["worker"] for w in json.loads(only.stdout)["workers"]] == [gateway.workers[0]]
        wrong = cli("explain", "--as", "my-app", "--model", "chat", "--worker", "1")
        assert (wrong.returncode, wrong.stdout) == (2, "") and "1 is no worker of it" in wrong.stderr
        wrong = cli("explain", "--as", "my-apq", "--model", "chat")
        assert (wrong.returncode, wrong.stderr) == (
            2,
            'Error: no consumer is called "my-apq"; did you mean "my-app"?\n',
        )
        assert len(fleet.ledger.entries) == asked, "nothing was sent"
        totals, _ = gateway.end()
        assert (totals["records"], totals["refused"]) == (2, 0)
    assert cli("explain", "--as", "my-app", "--model", "chat").returncode == 2


def test_a_limit_that_one_worker_used_up_is_used_up_by_every_workers_word(fleet: FleetThread, tmp_path: Path):
    """The worker that served nobody has no share of it, and would be told so only when it asks for one."""
    instances = (
        f"  a: {{endpoint: '{fleet['a'].origin}', auth: {{key: '${{env:UPSTREAM_KEY}}'}}, "
        "deployments: {gpt-4o: {model: gpt-4o, version: 2024-11-20}}}"
    )
    configured = RUNNING.format(folder=tmp_path, instances=instances).replace("100 concurrent", "3 requests/minute")
    with Gateway(tmp_path, configured) as gateway:
        command = [sys.executable, "-P", "-m", "sluicegate.main", "explain", "-c", str(gateway.file)]

        def explained() -> list[dict[str, Any]]:
            done = subprocess.run(
                [*command, "--as", "my-app", "--model", "chat", "--json"],
                env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=30,
            )  # fmt: skip
            assert done.returncode in (0, 1), done.stderr
            found: list[dict[str, Any]] = json.loads(done.stdout)["workers"]
            return found

        for used in range(4):
            told = explained()
            assert [t["limits"][0]["room"] for t in told] == [3 - used] * 2
            assert [t["outcome"]["reason"] for t in told] == ["limit.request_rate" if used == 3 else ""] * 2
            assert call(gateway.port) == (429 if used == 3 else 200)


def call(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        path = "/openai/deployments/chat/chat/completions?api-version=2024-10-21"
        body = json.dumps({"messages": [{"role": "user", "content": "hello"}]})
        connection.request("POST", path, body, {"api-key": KEY, "content-type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def test_where_workers_differ_is_said_and_who_is_silent():
    """Two workers, one of which was refused by the first deployment and has told nobody yet."""
    worlds = [World(rig.snapshot(2), rig.directory(), Kept()) for _ in range(2)]
    door = worlds[1].doors[0]
    door.leave(door.enter(1.0, 10), 1.0, 10, 1.0)
    door.throttled(0, 1.0, 1.0, "upstream.throttled.rate", 9.0, 10, BreakerSpec(), ThrottleSpec())
    question = Question("app", "chat_completions", "chat", Facts("chat"), 10, {})
    question.key = digest(rig.KEY, rig.SECRET)
    told = [{"worker": pid, **explain(world, question, 2.0)} for pid, world in enumerate(worlds, 11)]
    said = text(told, [13])
    assert "SENT to i0/d0" in said
    assert said.endswith(
        "worker 12 differs: i0/d0: passed.throttled; i1/d1: only; the request: sent to i1/d1\n\n"
        "worker 13 does not answer"
    )
    assert text(told[:1]) in said and "differs" not in text(told[:1])


RULES = """\
version: 1
gateway: {secrets: ['${env:SECRET}']}
issuers:
  contoso: {kind: entra, tenant_id: 11110000-0000-4000-8000-000000000003, audience: api://sluicegate}
instances: {weu: {endpoint: 'https://weu.example', auth: none, deployments: {s: {model: gpt-4o, version: 2024-11-20}}}}
models: {chat: {use: gpt-4o@2024-11-20}}
consumers:
  strong: {models: [chat], match: {issuer: contoso, azp: app, azpacr: 2}}
  batch: {models: [chat], match: {issuer: contoso, roles: [batch, night]}}
  staff: {models: [chat], match: {issuer: contoso, groups: staff}}
  family:
    models: [chat]
    match: issuer == "contoso" && "llm" in scp && !(azp in ["blocked"])
    each: azp
"""


@pytest.mark.parametrize(
    ("claims", "status", "lines"),
    [
        ({"azp": "app", "azpacr": "2", "roles": ["batch"]}, 0,
         ["the caller is strong (tenant default), by rank 1: {issuer: contoso, azp: app, azpacr: 2}"]),
        ({"azp": "app", "azpacr": "1"}, 1,
         ["refused, identity.unmatched: no rule matches", "", "nearly:",
          "  consumers.strong, rank 1: {issuer: contoso, azp: app, azpacr: 2}", "    azpacr: 1, not 2",
          '  consumers.family, rank 3: issuer == "contoso" && "llm" in scp && !(azp in ["blocked"]), each azp',
          '    not true: "llm" in scp']),
        ({"roles": ["night"], "groups": ["staff"]}, 1,
         ["refused, identity.ambiguous: 2 rules of rank 2 match",
          "  consumers.batch: {issuer: contoso, roles: [batch, night]}", "  consumers.staff: {issuer: contoso, groups: staff}"]),
        ({"appid": "one", "scp": "x llm"}, 0,
         ['the caller is family:one (tenant default), by rank 3: issuer == "contoso" && "llm" in scp && '
          '!(azp in ["blocked"]), each azp']),
        ({}, 1, ["refused, identity.unmatched: no rule matches"]),
    ],
)  # fmt: skip
def test_E5_whose_claims_are_and_which_rules_nearly_match(
    there: Path, claims: Any, status: int, lines: list[str]
) -> None:
    (there / "gateway.yaml").write_text(RULES)
    (there / "claims.json").write_text(json.dumps(claims))
    for given in (json.dumps(claims), "claims.json"):
        done = alone("--claims", given, "--issuer", "contoso")
        assert (done.exit_code, done.output.splitlines()) == (status, lines)


def test_a_question_about_claims_that_is_none_is_refused_in_words(there: Path) -> None:
    (there / "gateway.yaml").write_text(RULES)
    for args, what in (
        (("--claims", "{}"), "whose claims are these? Write --issuer NAME"),
        (("--claims", "{}", "--issuer", "nope"), 'no issuer is called "nope"; declared: contoso'),
        (("--claims", "nowhere.json", "--issuer", "contoso"), "nowhere.json cannot be read"),
        (("--claims", "[]", "--issuer", "contoso"), "[] cannot be read"),
        (("--claims", "{", "--issuer", "contoso"), "--claims is no JSON"),
        (("--claims", "{}", "--issuer", "contoso", "--as", "batch"), "--claims say who asks: leave out --as"),
        (("--issuer", "contoso", "--as", "batch"), "--issuer says whose --claims are"),
        (("--model", "chat"), "who asks? Write --as NAME, or --claims and --issuer"),
        (("--as", "family", "--model", "chat"), 'it is one for each azp: ask as "family:VALUE"'),
        (("--as", "batch:x", "--model", "chat"), '"batch" is no family'),
    ):
        done = alone(*args)
        assert done.exit_code == 2 and what in done.output, (args, done.output)


def test_who_shows_no_key_can_be_asked_for_and_claims_go_on_to_the_request(there: Path) -> None:
    (there / "gateway.yaml").write_text(RULES)
    assert "batch (tenant default) asks chat" in alone("--as", "batch", "--model", "chat").output
    assert "family:x (tenant default) asks chat" in alone("--as", "family:x", "--model", "chat").output
    done = alone("--claims", '{"azp":"x","scp":"llm"}', "--issuer", "contoso", "--model", "chat")
    assert done.exit_code == 0 and "SENT to weu/s" in done.output
