"""What a model offers: its family, cut to what all its servers have; or what is written, if that can be."""

import pytest

from sluicegate.apis import APIS
from sluicegate.spec.load import load
from sluicegate.spec.problems import Problems
from sluicegate.spec.references import Sources
from tests.spec.reading import found, model

FILE = """\
version: 1
gateway: {secrets: ["${env:SECRET}"]}
instances:
  weu:
    endpoint: https://contoso-weu.openai.azure.com
    auth: {key: "${env:KEY}"}
    deployments:
      chat: {model: gpt-4o, version: 2024-11-20}
      vectors: {model: text-embedding-3-large, version: 1}
      ours: {model: gpt-4o-ours, version: 1}
  fra:
    provider: openai_compatible
    endpoint: http://10.0.0.8:8000/v1
    auth: {key: "${env:KEY}"}
    deployments:
      mistral: {model: mistral-small, version: 1}
      twin: {model: gpt-4o, version: 2024-11-20}
      judge: {model: judge-7b, version: 3}
models:
  m: {use: %s%s}
consumers:
  app: {key: "${env:APP}", models: all%s}
"""
SECRETS = {name: f"{name}-0123456789abcdef0123456789abcdef" for name in ("SECRET", "KEY", "APP")}


def problems(use: str, more: str = "", consumer: str = "") -> tuple[tuple[str, ...], list[str]]:
    """What the model offers, and what is wrong."""
    text = FILE % (use, more, consumer)
    result = load(text.encode(), "g.yaml", "/nowhere", Sources(SECRETS), tuple(APIS))
    said: Problems = result.problems
    told = [f"{p.place.line}:{p.place.column} {p.what} | {p.hint}" for p in said.of("error")]
    return (result.snapshot.models[0].operations if result.snapshot else ()), told


OPENAI = {name for name, row in APIS.items() if "openai_compatible" in row.providers}
AZURE = {name for name, row in APIS.items() if "azure_openai" in row.providers}


@pytest.mark.parametrize(
    ("use", "offers"),
    [
        ("gpt-4o@2024-11-20", {"chat_completions"}),
        ("text-embedding-3-large@1", {"embeddings"}),
        ("[fra/mistral]", OPENAI),
        ("[weu/ours]", AZURE),
        ("[weu/ours, fra/mistral], mixed_versions: true", AZURE & OPENAI),
        ("[weu/chat, fra/mistral], mixed_versions: true", {"chat_completions"}),
    ],
)
def test_a_model_offers_what_its_family_and_all_its_servers_can(use: str, offers: set[str]):
    found, told = problems(use)
    assert not told and set(found) == offers and len(found) == len(offers)


def test_servers_differ_in_what_they_have():
    assert AZURE != OPENAI and "moderations" in OPENAI - AZURE


def test_families_without_anything_in_common_are_said():
    _, told = problems("[weu/chat, weu/vectors], mixed_versions: true")
    assert len(told) == 1 and told[0].startswith(
        "20:12 its members have no operation in common that this gateway knows: gpt-4o@2024-11-20 offers chat and "
        "responses, text-embedding-3-large@1 offers embeddings | write operations: [...]"
    )


def test_what_is_written_holds_whatever_the_book_says():
    assert problems("gpt-4o@2024-11-20", ", operations: [completions, chat_completions]")[0] == (
        "completions",
        "chat_completions",
    )


def test_what_a_server_does_not_have_cannot_be_written():
    _, told = problems("[weu/ours]", ", operations: [embeddings, moderations]")
    assert [t.split(" ", 1)[1] for t in told] == [
        "weu/ours cannot be asked for moderations: it is azure_openai | remove the operation, or that member"
    ]


def test_an_operation_that_we_do_not_know_is_named_by_method_and_path():
    named = ", operations: [chat_completions, POST /responses/compact]"
    offers, told = problems("gpt-4o@2024-11-20", named, ", operations: [POST /responses/compact]")
    assert not told and offers == ("chat_completions", "POST /responses/compact")


@pytest.mark.parametrize(
    ("operation", "what"),
    [
        ("POST /chat/completions", "is chat_completions | write chat_completions"),
        ("POST /embeddings", "is embeddings | write embeddings"),
        ("POST /v1/rerank", "begins as a family of URLs does"), ("POST /models/x", "begins as a family of URLs does"),
        ("POST /deployments/x/rerank", "begins as a family of URLs does"),
        ("GET /rerank", "is not an operation"), ("POST rerank", "is not an operation"), ("POST /", "is not an operation"),
        ("POST /a/../b", "is not an operation"), ("POST /a//b", "is not an operation"), ("POST /a/", "is not an operation"),
        ("POST /{model}/x", "is not an operation"), ("POST /A", "is not an operation"), ("POST /a?b", "is not an operation"),
        ("POST /a%2fb", "is not an operation"), ("POST  /a", "is not an operation"), ("post /a", "is not an operation"),
        ("responses", "responses belongs to the language and arrives later"), ("embedding", 'did you mean "embeddings"?'),
    ],
)  # fmt: skip
def test_what_is_no_operation_is_said(operation: str, what: str):
    _, told = problems("gpt-4o@2024-11-20", f", operations: ['{operation}']")
    assert len(told) == 1 and what in told[0], told


def test_a_consumer_cannot_be_granted_what_no_model_offers():
    _, told = problems("gpt-4o@2024-11-20", "", ", operations: [POST /rerank]")
    assert len(told) == 1 and 'no model offers "POST /rerank" | name it in the operations of a model, too' in told[0]


def test_an_operation_that_is_none_says_what_one_looks_like():
    assert found(model("operations: [Chat]")) == [
        '14:18 models.chat.operations: "Chat" is not an operation | write a name such as embeddings, or POST and a path '
        "such as /audio/mix"
    ]


def test_the_longest_prompt_of_the_book_is_not_that_of_many_texts():
    text = FILE % ("text-embedding-3-large@1", "", "")
    snapshot = load(text.encode(), "g.yaml", "/nowhere", Sources(SECRETS), tuple(APIS)).snapshot
    assert snapshot is not None
    window = {d.name: d.window for d in snapshot.deployments}
    assert window["vectors"] is None and window["chat"] is not None
