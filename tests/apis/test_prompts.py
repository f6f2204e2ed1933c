"""What a prompt is: ids are counted, texts are estimated, and nobody can make either of them look smaller."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from sluicegate.apis import APIS
from sluicegate.apis.base import BadRequest, Malformed
from sluicegate.apis.prompts import CROWDED, LARGE, prompt_of
from sluicegate.core.events import Facts, Usage

IDS = st.lists(st.integers(0, 200_000), min_size=1, max_size=40)


def raw(value: Any, blanks: bool = False) -> Raw:
    return Raw(json.dumps(value, separators=None if blanks else (",", ":")).encode())


def facts(operation: str, **fields: Any) -> Facts:
    row = APIS[operation]
    body = json.dumps({"model": "m", **fields}).encode()
    return row.facts(row.fields(body), body)


@given(IDS, st.booleans())
def test_a_list_of_ids_is_as_many_tokens(ids: list[int], blanks: bool) -> None:
    prompt = prompt_of(raw(ids, blanks))
    assert (prompt.tokens, prompt.count, prompt.exact) == (len(ids), 1, True)


@given(st.lists(IDS, min_size=1, max_size=20), st.booleans())
def test_lists_of_ids_are_their_sum(lists: list[list[int]], blanks: bool) -> None:
    prompt = prompt_of(raw(lists, blanks))
    assert (prompt.tokens, prompt.count, prompt.exact) == (sum(map(len, lists)), len(lists), True)


@given(st.lists(st.text(), min_size=1, max_size=20))
def test_texts_are_at_least_a_quarter_of_their_bytes(texts: list[str]) -> None:
    prompt = prompt_of(raw(texts))
    assert prompt.tokens >= sum(len(t.encode("utf-8", "surrogatepass")) for t in texts) / 4
    assert prompt.tokens >= len(texts) and (prompt.count, prompt.exact) == (len(texts), False)


@given(st.text(max_size=200))
def test_one_text_is_one_prompt(text: str) -> None:
    prompt = prompt_of(raw(text))
    assert prompt.count == 1 and not prompt.exact
    assert prompt.tokens == -(-len(json.dumps(text)) // 4)


@given(IDS, st.text(max_size=3))
def test_ids_between_texts_are_not_free(ids: list[int], text: str) -> None:
    assert prompt_of(raw([*ids, text])).tokens > len(ids)


@pytest.mark.parametrize("value", [None, [], 7, {"a": 1}, "", [None], [[]], True])
def test_what_is_no_prompt_is_the_upstreams_to_judge(value: Any) -> None:
    assert prompt_of(raw(value)).tokens <= 2


def test_nothing_there_is_nothing() -> None:
    assert prompt_of(None).tokens == 0


def test_millions_of_ids_make_no_millions_of_objects() -> None:
    ids = Raw(b"[" + b",".join([b"7"] * (LARGE + 1)) + b"]")
    assert prompt_of(ids).tokens == LARGE + 1
    texts = Raw(b"[" + b",".join([b'""'] * (CROWDED + 1)) + b"]")
    assert prompt_of(texts).count == CROWDED + 1


# ---------------------------------------------------------------------- facts


def test_embeddings_reserve_what_comes_in_and_nothing_else() -> None:
    said = facts("embeddings", input=[[1, 2, 3], [4]], dimensions=256, encoding_format="base64", stream=True)
    assert (said.estimate, said.media, said.max_output, said.stream, said.n) == (4, 4, 0, False, 1)
    text = facts("embeddings", input="a" * 400)
    assert (text.estimate, text.media) == (101, 0)


def test_completions_reserve_for_every_choice_of_every_prompt() -> None:
    said = facts("completions", prompt=["a", "b", "c"], n=2, best_of=5, max_tokens=10, stream=True)
    assert (said.n, said.best_of, said.max_output, said.stream) == (6, 15, 10, True)
    assert facts("completions", prompt=[[1, 2], [3]]).n == 2
    assert facts("completions", prompt="x", suffix="y" * 400).estimate == 101
    assert facts("completions").estimate == 0


@pytest.mark.parametrize(
    ("operation", "fields", "named"),
    [
        ("completions", {"n": 0}, "n"), ("completions", {"n": 129}, "n"), ("completions", {"n": "2"}, "n"),
        ("completions", {"best_of": 1.5}, "best_of"), ("completions", {"max_tokens": -1}, "max_tokens"),
        ("completions", {"stream": 1}, "stream"), ("completions", {"stream_options": []}, "stream_options"),
        ("completions", {"stream_options": {"include_usage": "yes"}}, "stream_options.include_usage"),
        ("completions", {"model": 7}, "model"), ("embeddings", {"model": ["m"]}, "model"),
        ("embeddings", {"model": ""}, "model"), ("moderations", {"model": {}}, "model"),
    ],
)  # fmt: skip
def test_what_decides_must_be_of_its_type(operation: str, fields: dict[str, Any], named: str) -> None:
    with pytest.raises(BadRequest) as bad:
        facts(operation, **fields)
    assert bad.value.reason == "request.invalid_field" and f"'{named}'" in bad.value.message


@pytest.mark.parametrize("operation", ["completions", "embeddings", "moderations"])
def test_nothing_changes_unless_it_must(operation: str) -> None:
    row = APIS[operation]
    body = b'{ "model" : "m", "input": [1 , 2], "prompt":"x" ,"new": 1.50 }'
    fields = row.fields(body)
    said = row.facts(fields, body)
    assert row.body(body, fields, said, None, True) is body and row.body(body, fields, said, "m", True) is body
    assert row.body(body, fields, said, "d", True) == body.replace(b'"m"', b'"d"')
    assert row.body(body, fields, said, None, True, {"user": b'"u"'}).startswith(b'{"user":"u", "model"')  # type: ignore[union-attr]


# ---------------------------------------------------------------------- answers


@pytest.mark.parametrize(
    ("operation", "answer", "cause"),
    [
        ("embeddings", b"", "answer.json"), ("embeddings", b"[]", "answer.shape"), ("embeddings", b"{}", "answer.shape"),
        ("embeddings", b'{"data":[]}', "answer.shape"), ("embeddings", b'{"data":7}', "answer.shape"),
        ("embeddings", b'{"data":[1],"error":{"code":"x"}}', "answer.error"), ("embeddings", b'{"data":[1', "answer.json"),
        ("embeddings", b"<html>", "answer.json"), ("moderations", b'{"results":[]}', "answer.shape"),
        ("moderations", b'{"results":[{}],"error":{}}', "answer.error"), ("moderations", b'{"results":[', "answer.json"),
        ("completions", b'{"choices":[]}', "answer.shape"), ("completions", b'{"choices":[{}', "answer.json"),
    ],
)  # fmt: skip
def test_what_is_no_answer_is_seen(operation: str, answer: bytes, cause: str) -> None:
    with pytest.raises(Malformed) as bad:
        APIS[operation].answer(answer)
    assert bad.value.cause == cause


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        (b'{"prompt_tokens":8,"total_tokens":8}', Usage(8)), (b'{"prompt_tokens":8}', Usage(8)), (b"null", None),
        (b'{"prompt_tokens":0}', None), (b'{"prompt_tokens":-8}', None), (b'{"prompt_tokens":"8"}', None),
        (b'{"prompt_tokens":1e30}', None), (b"{}", None),
    ],
)  # fmt: skip
def test_only_a_count_that_can_be_true_is_believed(usage: bytes, counted: Usage | None) -> None:
    row = APIS["embeddings"]
    answer = b'{"object":"list","data":[{"embedding":[0.5]}],"usage":%b}' % usage
    assert row.answer(answer) == counted
    assert row.tail(answer[-60:]) == counted


def test_a_large_answer_that_breaks_off_is_seen() -> None:
    for row in (APIS["embeddings"], APIS["moderations"], APIS["completions"]):
        with pytest.raises(Malformed):
            row.tail(b'"embedding":[0.5,0.25')
