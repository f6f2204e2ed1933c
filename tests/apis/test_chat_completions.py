"""What a chat request decides, what goes up of it, and what its answer used."""

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.apis import APIS
from sluicegate.apis.base import BadRequest, Malformed
from sluicegate.core.events import Facts, Usage
from tests.attributes import attributes

ROW = APIS["chat_completions"]
MESSAGES = [{"role": "user", "content": "Hello"}]


def facts_of(body: bytes | dict[str, Any]) -> Facts:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return ROW.facts(ROW.fields(raw), raw)


def sent(body: bytes, model: str | None, usage: bool) -> bytes:
    fields = ROW.fields(body)
    return bytes(ROW.body(body, fields, ROW.facts(fields, body), model, usage))


# ---------------------------------------------------------------------- facts


def test_the_facts_of_a_plain_request() -> None:
    facts = facts_of({"model": "gpt-4o", "messages": MESSAGES})
    assert (facts.model, facts.stream, facts.max_output, facts.n) == ("gpt-4o", False, None, 1)
    assert (facts.tools, facts.images, facts.asked_usage) == (False, 0, False)
    assert 10 <= facts.estimate <= 20


def test_the_facts_of_a_full_request() -> None:
    facts = facts_of({
        "messages": MESSAGES, "stream": True, "stream_options": {"include_usage": True}, "n": 3, "max_tokens": 5,
        "max_completion_tokens": 7, "tools": [{"type": "function"}], "model": "m",
    })  # fmt: skip
    assert (facts.stream, facts.asked_usage, facts.n, facts.max_output, facts.tools) == (True, True, 3, 7, True)


@pytest.mark.parametrize(
    "field", ["model", "stream", "max_tokens", "max_completion_tokens", "n", "stream_options", "tools"]
)
def test_null_is_absent(field: str) -> None:
    assert vars_of(facts_of({"messages": [], field: None})) == {**vars_of(facts_of({"messages": []})), "estimate": ANY}


ANY = type("Any", (), {"__eq__": lambda self, other: True, "__hash__": None})()


def vars_of(facts: Facts) -> dict[str, Any]:
    return {name: getattr(facts, name) for name in attributes(Facts)}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[(f, v) for f in ("max_tokens", "max_completion_tokens") for v in
          ("-1", "2147483648", "1.5", "1.0", "1e3", '"5"', "true", "[]", "{}", "9" * 300, "-" + "9" * 300)],
        *[("n", v) for v in ("0", "-1", "129", "1.0", '"1"', "true", "9" * 300)],
        *[("model", v) for v in ("1", "[]", "{}", "true", '""', '"' + "m" * 257 + '"', '"\xff"')],
        *[("stream", v) for v in ("1", "0", '"true"', "[]", "{}")],
        *[("stream_options", v) for v in ("1", "true", "[]", '"x"', '{"include_usage":1}', '{"include_usage":"true"}')],
    ],
    ids=lambda v: str(v)[:20],
)  # fmt: skip
def test_a_deciding_field_of_the_wrong_type_is_refused(field: str, value: str) -> None:
    with pytest.raises(BadRequest) as refused:
        facts_of(
            f'{{"model":"m","messages":[],"{field}":{value}}}'.replace(
                '"model":"m",', "" if field == "model" else '"model":"m",'
            ).encode("latin-1")
        )
    assert refused.value.reason == "request.invalid_field"
    assert field in refused.value.message


def test_zero_and_the_largest_maximum_are_fine() -> None:
    assert facts_of({"max_tokens": 0}).max_output == 0
    assert facts_of({"max_tokens": 2**31 - 1}).max_output == 2**31 - 1
    assert facts_of({"n": 128}).n == 128
    assert facts_of({"max_tokens": 9, "max_completion_tokens": 3}).max_output == 9  # enough for whichever counts


def test_a_key_repeated_inside_stream_options_is_refused() -> None:
    with pytest.raises(BadRequest, match="duplicate_key"):
        facts_of(b'{"stream":true,"stream_options":{"include_usage":true,"include_usage":false}}')


def test_the_row_turns_bad_json_into_a_bad_request() -> None:
    with pytest.raises(BadRequest, match=r"request\.invalid_json"):
        ROW.fields(b"{")


def test_an_image_counts_by_what_it_is_not_by_its_bytes() -> None:
    url = "data:image/png;base64," + "A" * 5_000_000

    def asks(**image: str) -> Facts:
        return facts_of({"messages": [{"role": "user", "content": [
            {"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": url, **image}},
        ]}]})  # fmt: skip

    assert asks().images == 1
    assert 765 <= asks().estimate <= 850
    assert 85 <= asks(detail="low").estimate <= 170


def test_audio_and_files_count_by_what_they_are() -> None:
    facts = facts_of({"messages": [{"content": [
        {"type": "input_audio", "input_audio": {"data": "A" * 640_000, "format": "wav"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64," + "A" * 1_000_000}},
    ]}]})  # fmt: skip
    assert 800 <= facts.estimate <= 1000 and facts.images == 0


@pytest.mark.parametrize(("before", "after"), [("[", "]"), ('[{"content":[', "]}]")])
def test_millions_of_empty_messages_cost_no_memory(before: str, after: str) -> None:
    program = f"""
import resource
from sluicegate.apis import APIS
row = APIS["chat_completions"]
body = ('{{"model":"m","messages":{before}' + "{{}}," * 3_000_000 + '{{}}{after}}}').encode()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert row.facts(row.fields(body), body).images == 0
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 64 * 1024  # KB


def test_text_that_looks_like_an_image_counts_as_text() -> None:
    text = '"image_url": "data:image/png;base64,' + "A" * 4000
    assert facts_of({"messages": [{"content": text}]}).estimate > 1000
    assert facts_of({"messages": [{"content": text}]}).images == 0


@given(st.dictionaries(
    st.sampled_from(["model", "stream", "messages", "n", "max_tokens", "stream_options", "tools", "functions"]),
    st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda v: st.lists(v) | st.dictionaries(
        st.sampled_from(["content", "image_url", "detail", "file", "input_audio", "include_usage"]), v), max_leaves=8),
))  # fmt: skip
def test_any_json_gives_facts_or_a_bad_request(body: dict[str, Any]) -> None:
    try:
        facts = facts_of(body)
    except BadRequest:
        return
    assert facts.estimate >= 0 and facts.n >= 1


# ---------------------------------------------------------------------- the body that goes up


def test_a_body_that_needs_no_change_is_the_very_same_buffer() -> None:
    body = bytearray(b'{"model":"a","messages":[],"stream":true,"stream_options":{"include_usage":true}}')
    fields = ROW.fields(body)
    facts = ROW.facts(fields, body)
    assert ROW.body(body, fields, facts, None, True) is body
    assert ROW.body(body, fields, facts, "a", True) is body
    plain = b'{"model":"a","messages":[]}'
    assert sent(plain, None, True) == plain


def test_a_rename_changes_the_model_and_not_one_other_byte() -> None:
    body = b'\n{ "messages" : [ {"content":"\\u00e9 \xff","model":"a"} ],\t"model" : "a" , "x":1.0e0 }\n'
    assert sent(body, "dep-1", False) == body.replace(b'"model" : "a"', b'"model" : "dep-1"')
    assert sent(b'{"messages":[]}', "dep-1", False) == b'{"model":"dep-1","messages":[]}'
    assert sent(b'{"model":null}', "dep-1", False) == b'{"model":"dep-1"}'


@pytest.mark.parametrize(
    ("options", "after"),
    [
        (b"", b'{"stream_options":{"include_usage":true},"stream":true}'),
        (b',"stream_options":null', b'{"stream":true,"stream_options":{"include_usage":true}}'),
        (b',"stream_options":{}', b'{"stream":true,"stream_options":{"include_usage":true}}'),
        (b',"stream_options":{"include_usage":false}', b'{"stream":true,"stream_options":{"include_usage":true}}'),
        (b',"stream_options":{"include_usage":null}', b'{"stream":true,"stream_options":{"include_usage":true}}'),
        (b',"stream_options":{"include_obfuscation" : false}',
         b'{"stream":true,"stream_options":{"include_usage":true,"include_obfuscation" : false}}'),
        (b',"stream_options":{"include_usage":true}', b'{"stream":true,"stream_options":{"include_usage":true}}'),
    ],
)  # fmt: skip
def test_usage_is_asked_for_and_what_else_the_client_asked_for_stays(options: bytes, after: bytes) -> None:
    assert sent(b'{"stream":true' + options + b"}", None, True) == after
    assert sent(b'{"stream":true' + options + b"}", None, False) == b'{"stream":true' + options + b"}"


def test_usage_is_not_asked_for_where_nothing_streams() -> None:
    assert sent(b'{"stream":false}', None, True) == b'{"stream":false}'


# ---------------------------------------------------------------------- whole answers

CHOICE = b'{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}'


def answer(usage: str = "", more: bytes = b"") -> Usage | None:
    said = b"" if not usage else b',"usage":' + usage.encode()
    return ROW.answer(b'{"id":"x","choices":[' + CHOICE + b"]" + said + more + b"}")


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ('{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}', Usage(10, 5)),
        ('{"prompt_tokens":10,"completion_tokens":5}', Usage(10, 5)),
        ('{"prompt_tokens":10,"total_tokens":10}', Usage(10, 0)),
        ('{"prompt_tokens":1500,"completion_tokens":300,"total_tokens":1800,'
         '"prompt_tokens_details":{"cached_tokens":1024,"audio_tokens":0,"cache_write_tokens":76},'
         '"completion_tokens_details":{"reasoning_tokens":256,"audio_tokens":0}}', Usage(400, 44, 1024, 76, 256)),
        ('{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"prompt_tokens_details":null}', Usage(10, 5)),
        # servers that leave reasoning out of the completion but not out of the total
        ('{"prompt_tokens":10,"completion_tokens":5,"total_tokens":40}', Usage(10, 5, reasoning=25)),
        ('{"prompt_tokens":10,"completion_tokens":5,"total_tokens":40,"completion_tokens_details":{"reasoning_tokens":25}}',
         Usage(10, 5, reasoning=25)),
    ],
)  # fmt: skip
def test_usage_is_mapped_to_disjoint_classes_that_sum_to_the_total(usage: str, expected: Usage) -> None:
    got = answer(usage)
    assert got == expected
    total = json.loads(usage).get("total_tokens")
    assert got is not None and (total is None or got.total_input + got.total_output == total)


@pytest.mark.parametrize(
    "usage",
    [
        "null", "{}", "[]", "5", '"x"', '{"prompt_tokens":-1,"completion_tokens":5}', '{"prompt_tokens":10,"completion_tokens":-5}',
        '{"prompt_tokens":1e9,"completion_tokens":5}', '{"prompt_tokens":10.5,"completion_tokens":5}',
        '{"prompt_tokens":"10","completion_tokens":5}', '{"prompt_tokens":10,"completion_tokens":99999999999999999999}',
        '{"prompt_tokens":2000000000,"completion_tokens":5}', '{"prompt_tokens":10}', '{"completion_tokens":5,"total_tokens":5}',
        '{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":11}}',
        '{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":6,"cache_write_tokens":6}}',
        '{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":-1}}',
        '{"prompt_tokens":10,"completion_tokens":5,"completion_tokens_details":{"reasoning_tokens":6}}',
        '{"prompt_tokens":10,"completion_tokens":5,"completion_tokens_details":{"reasoning_tokens":-6}}',
        '{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{"cache_write_tokens":-1}}',
        '{"prompt_tokens":10,"completion_tokens":5,"total_tokens":40,"completion_tokens_details":{"reasoning_tokens":3}}',
        '{"prompt_tokens":10,"completion_tokens":5,"total_tokens":14}', '{"prompt_tokens":true,"completion_tokens":5}',
        '{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}', '{"prompt_tokens":0,"completion_tokens":5,"total_tokens":5}',
        '{"prompt_tokens":10,"total_tokens":9}', '{"prompt_tokens":' + "9" * 5000 + ',"completion_tokens":5}',
    ],
    ids=lambda u: u[:60],
)  # fmt: skip
def test_usage_that_cannot_be_true_was_not_said(usage: str) -> None:
    assert answer(usage) is None


@pytest.mark.parametrize(
    ("prompt", "completion", "media"),
    [
        ({"audio_tokens": 0, "cached_tokens": 0}, {"audio_tokens": 0}, None),
        ({"audio_tokens": 60}, None, {"audio_input": 60}),
        (None, {"audio_tokens": 30, "reasoning_tokens": 5}, {"audio_output": 30}),
        ({"audio_tokens": 100}, {"audio_tokens": 50}, {"audio_input": 100, "audio_output": 50}),
        ({"audio_tokens": 80, "cached_tokens": 40}, {"audio_tokens": 1}, {"audio_input": 60, "audio_output": 1}),
        ({"audio_tokens": 40, "cached_tokens": 100}, {"audio_tokens": None}, None),
    ],
)
def test_sound_in_a_chat_is_told_apart_and_no_token_is_billed_twice(
    prompt: dict[str, Any] | None, completion: dict[str, Any] | None, media: dict[str, int] | None
) -> None:
    said = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150,
            "prompt_tokens_details": prompt, "completion_tokens_details": completion}  # fmt: skip
    got = answer(json.dumps(said))
    assert got is not None and (got.media or None) == media
    assert got.total_input + got.total_output == 150
    assert sum(n for class_, n in (media or {}).items() if class_.endswith("input")) <= got.input


@pytest.mark.parametrize(("side", "tokens"), [("prompt", -1), ("prompt", 101), ("completion", -1), ("completion", 51)])
def test_sound_that_cannot_be_makes_the_whole_of_it_unbelievable(side: str, tokens: int) -> None:
    said = {"prompt_tokens": 100, "completion_tokens": 50, f"{side}_tokens_details": {"audio_tokens": tokens}}
    assert answer(json.dumps(said)) is None


def test_an_answer_without_usage_is_an_answer() -> None:
    assert answer() is None


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        (b"", "answer.json"), (b"<html>502</html>", "answer.json"), (b'{"choices":[', "answer.json"),
        (b'{"choices":[' + CHOICE + b']}{"choices":[]}', "answer.json"), (b'{"choices":[' + CHOICE + b"]}x", "answer.json"),
        (b"\x1f\x8b\x08", "answer.json"), (b"[" * 100_000, "answer.json"), (b"[]", "answer.shape"), (b'"x"', "answer.shape"),
        (b"{}", "answer.shape"), (b'{"choices":[]}', "answer.shape"), (b'{"choices":null}', "answer.shape"),
        (b'{"choices":{}}', "answer.shape"), (b'{"error":{"code":"x"}}', "answer.error"), (b'{"error":"x"}', "answer.error"),
        (b'{"choices":[' + CHOICE + b'],"error":{"message":"x"}}', "answer.error"),
    ],
)  # fmt: skip
def test_a_200_that_is_no_answer_is_malformed(body: bytes, cause: str) -> None:
    with pytest.raises(Malformed) as malformed:
        ROW.answer(body)
    assert malformed.value.cause == cause


def test_an_answer_that_the_sdks_take_is_taken() -> None:
    assert answer('{"prompt_tokens":1,"completion_tokens":1}', b',"error":null') == Usage(1, 1)
    odd = b',"logprobs":[NaN],"text":"\\ud83d \xff"'
    assert answer('{"prompt_tokens":1,"completion_tokens":1}', odd) == Usage(1, 1)


@given(
    st.binary(max_size=200) | st.text(alphabet='{}[]":,choiesuagr0123456789.eE-ntlf\\ ', max_size=80).map(str.encode)
)
def test_random_answers_raise_nothing_but_malformed(body: bytes) -> None:
    for read in (ROW.answer, ROW.tail):
        try:
            assert read(body) is None
        except Malformed:
            pass


@pytest.mark.parametrize(
    ("tail", "usage"),
    [
        (b'..."}}],"usage":{"prompt_tokens":3,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":1},"x":{}}}', Usage(2, 4, 1)),
        (b'"usage" : {"prompt_tokens":3,"completion_tokens":4} , "system_fingerprint":"f"}\n', Usage(3, 4)),
        (b'... said \\"usage\\":{\\"prompt_tokens\\":1}"}}]}', None),
        (b'"usage":null}', None),
        (b'"usage":{"prompt_tokens":-3,"completion_tokens":4}}', None),
        (b"x" * 100 + b"}", None),
    ],
)  # fmt: skip
def test_usage_is_found_in_the_tail_of_a_large_answer(tail: bytes, usage: Usage | None) -> None:
    assert ROW.tail(tail) == usage


@pytest.mark.parametrize("tail", [b"", b'"usage":{"prompt_tokens":3,"completion_tokens":4', b"abc", b'}"'])
def test_a_tail_that_cannot_be_an_end_is_malformed(tail: bytes) -> None:
    with pytest.raises(Malformed):
        ROW.tail(tail)


@pytest.mark.parametrize("space", ["", " "])
def test_the_tier_of_a_large_answer_stands_behind_its_usage(space: str) -> None:
    usage = b'"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}'
    for said, tier in ((b'"priority"', "priority"), (b"null", ""), (b"7", "")):
        tail = b'..."}}],' + usage + b',"service_tier":' + space.encode() + said + b"}"
        found = APIS["chat_completions"].tail(tail)
        assert found == Usage(3, 4) and found is not None and found.tier == tier
    behind = APIS["chat_completions"].tail(b'..."}}],' + usage + b',"x":"\\"service_tier\\":\\"priority\\""}')
    assert behind is not None and behind.tier == ""
