"""What instances can be asked for besides chat, byte by byte and number by number."""

import base64
import json
import math
import struct
from typing import Any

import pytest

from sluicegate.sim.answer import Answer
from sluicegate.sim.azure.request import Request
from sluicegate.sim.instances import Instances
from sluicegate.sim.ledger import Entry

FLEET = {
    "weu": {
        "deployments": {
            "vectors": {"model": "text-embedding-3-large"},
            "small": {"model": "text-embedding-3-small", "capacity": {"tokens_per_minute": 1000}},
            "text": {"model": "gpt-35-turbo-instruct", "tokens": [5, 5]},
            "gpt-4o": {},
        }
    },
    "fra": {"kind": "openai_compatible", "deployments": {"judge": {"model": "omni-moderation"}}},
}


def ask(target: str, given: Any, name: str = "weu", method: str = "POST", behind: Instances | None = None) -> Answer:
    """One request to an instance, at the time 0."""
    instance = (behind or Instances(FLEET, 7, True)).behind[name]
    headers = [(b"authorization", b"Bearer " + instance.key.encode())]
    request = Request(method, target, headers, b"", json.dumps(given).encode())
    return instance.answer(request, Entry(name, 0.0, 0.0), 0.0, 0.0)


def said(answer: Answer) -> Any:
    return json.loads(answer.body())


def at(deployment: str, operation: str) -> str:
    return f"/openai/deployments/{deployment}/{operation}?api-version=2024-10-21"


def test_vectors_are_of_length_one_the_same_for_the_same_text_and_the_same_in_either_writing():
    numbers = said(ask(at("vectors", "embeddings"), {"input": ["one", "two", "one"]}))
    packed = said(ask(at("vectors", "embeddings"), {"input": ["one", "two", "one"], "encoding_format": "base64"}))
    assert [d["index"] for d in numbers["data"]] == [0, 1, 2]
    for plain, coded in zip(numbers["data"], packed["data"], strict=True):
        floats = struct.unpack("<3072f", base64.b64decode(coded["embedding"]))
        assert floats == pytest.approx(plain["embedding"], abs=1e-9)
        assert math.isclose(sum(n * n for n in floats), 1.0, abs_tol=1e-5)
    first, second, third = (d["embedding"] for d in numbers["data"])
    assert first == third != second
    assert numbers["usage"] == {"prompt_tokens": 3, "total_tokens": 3}


@pytest.mark.parametrize(
    ("given", "tokens", "count"),
    [("abcde", 2, 1), (["abcde", "a"], 3, 2), ([15339, 1917, 11], 3, 1), ([[15339, 1917], [11]], 3, 2)],
)
def test_ids_are_tokens_and_a_quarter_of_the_bytes_is(given: Any, tokens: int, count: int):
    answer = said(ask(at("small", "embeddings"), {"input": given, "dimensions": 8}))
    assert answer["usage"]["prompt_tokens"] == tokens
    assert [len(d["embedding"]) for d in answer["data"]] == [8] * count


@pytest.mark.parametrize(
    ("deployment", "operation", "given", "status", "code"),
    [
        ("vectors", "embeddings", {}, 400, "missing_required_parameter"),
        ("vectors", "embeddings", {"input": []}, 400, None), ("vectors", "embeddings", {"input": [1, "a"]}, 400, None),
        ("vectors", "embeddings", {"input": ["x"] * 2049}, 400, None),
        ("vectors", "embeddings", {"input": [7] * 8193}, 400, "context_length_exceeded"),
        ("vectors", "embeddings", {"input": "x", "dimensions": 0}, 400, None),
        ("vectors", "chat/completions", {"messages": [{}]}, 400, "OperationNotSupported"),
        ("gpt-4o", "embeddings", {"input": "x"}, 400, "OperationNotSupported"),
        ("gpt-4o", "completions", {"prompt": "x"}, 400, "OperationNotSupported"),
        ("text", "completions", {"prompt": [1, "a"]}, 400, None), ("text", "completions", {"n": 3, "best_of": 2}, 400, None),
        ("text", "completions", {"max_tokens": -1}, 400, "integer_out_of_range"),
        ("gone", "embeddings", {"input": "x"}, 404, "DeploymentNotFound"),
        ("text", "moderations", {"input": "x"}, 404, "404"), ("text", "rerank", {}, 404, "404"),
    ],
)  # fmt: skip
def test_what_azure_refuses(deployment: str, operation: str, given: Any, status: int, code: str | None):
    answer = ask(at(deployment, operation), given)
    assert (answer.status, said(answer)["error"]["code"]) == (status, code)


def test_every_prompt_gets_its_choices_and_all_that_were_written_are_billed():
    given = {"prompt": ["one", "two"], "n": 2, "best_of": 3}
    answer = said(ask(at("text", "completions"), given))
    assert [c["index"] for c in answer["choices"]] == [0, 1, 2, 3] and answer["object"] == "text_completion"
    assert answer["usage"] == {"prompt_tokens": 2, "completion_tokens": 5 * 2 * 3, "total_tokens": 32}


def test_a_streamed_completion_says_what_the_plain_one_does():
    plain = said(ask(at("text", "completions"), {"prompt": ["[sim:echo] Grüße", "[sim:echo] 東京"], "echo": True}))
    given = {"prompt": ["[sim:echo] Grüße", "[sim:echo] 東京"], "echo": True, "stream": True}
    events = ask(at("text", "completions"), {**given, "stream_options": {"include_usage": True}}).body()
    chunks = [json.loads(line[6:]) for line in events.split(b"\n\n") if line.startswith(b"data: {")]
    texts = ["", ""]
    for chunk in chunks:
        for choice in chunk["choices"]:
            texts[choice["index"]] += choice["text"]
    assert texts == [c["text"] for c in plain["choices"]] and events.endswith(b"data: [DONE]\n\n")
    assert texts[0].endswith("Grüße") and chunks[-1]["usage"] == plain["usage"]


def test_capacity_is_for_all_operations():
    behind = Instances(FLEET, 7, True)
    assert ask(at("small", "embeddings"), {"input": [7] * 1000}, behind=behind).status == 200
    refused = ask(at("small", "embeddings"), {"input": "x"}, behind=behind)
    assert refused.status == 429 and "Embeddings_Create" in said(refused)["error"]["message"]


def test_a_server_of_its_own_judges_texts():
    verdicts = said(ask("/v1/moderations", {"model": "judge", "input": ["fine", "[sim:filter]"]}, "fra"))
    assert [v["flagged"] for v in verdicts["results"]] == [False, True]
    assert ask("/v1/moderations", {"model": "judge", "input": []}, "fra").status == 400


def test_instances_list_their_models_each_in_its_own_way():
    azure = said(ask("/openai/models?api-version=2024-10-21", None, method="GET"))
    assert {m["id"] for m in azure["data"]} >= {"gpt-4o-2024-11-20"}
    assert azure["data"][0]["capabilities"] == {
        "fine_tune": False, "inference": True, "completion": False, "chat_completion": False, "embeddings": True,
    }  # fmt: skip
    one = said(ask("/v1/models/judge", None, "fra", "GET"))
    assert (one["id"], one["object"]) == ("judge", "model")
    assert ask("/v1/models/other", None, "fra", "GET").status == 404
    assert ask("/v1/models", {}, "fra", "POST").status == 404
