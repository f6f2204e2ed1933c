"""Long prompts are stepped over, and nobody can tell but by the clock: same fields, same bytes, same refusals."""

import json

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sluicegate.wire.fields import SMALL, BadJson, rebuild, top_level
from sluicegate.wire.prose import LONG, emptied, long_strings

READ = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
ENDS = st.sampled_from(["", "\\", "\\\\", '"', '\\"', "é", "\n", ":", "{", "]"])
"""What a string may end with: quotes and backslashes are what the search could take wrongly."""


@st.composite
def prose(draw: st.DrawFn) -> str:
    word = draw(st.sampled_from(["water ", 'he said "no" ', "a\\b ", "line\n", "ü", "{[,:"]))
    return word * draw(st.sampled_from([1, 10, LONG, 5 * LONG])) + draw(ENDS)


@st.composite
def large(draw: st.DrawFn) -> bytes:
    """More than is read without looking for prose, `messages` somewhere among other fields."""
    text = "x" * SMALL
    message = st.fixed_dictionaries({"role": st.just("user"), "content": prose()})
    messages = [*draw(st.lists(message, max_size=3)), {"content": text}]
    members: list[tuple[str, object]] = [("messages", messages)]
    others = st.tuples(st.sampled_from(["model", "user", "stop", "k" * 5000]), prose() | st.lists(prose(), max_size=2))
    for member in draw(st.lists(others, max_size=3, unique_by=lambda m: m[0])):
        members.insert(draw(st.integers(0, len(members))), member)
    if draw(st.booleans()):
        members.append(("temperature", 1))
    blank = draw(st.sampled_from(["", " ", "\n\t"]))
    separators = ("," + blank, blank + ":" + blank)
    return json.dumps(dict(members), separators=separators, ensure_ascii=draw(st.booleans())).encode()


@given(large())
def test_the_fields_are_those_that_a_reader_of_every_byte_finds(body: bytes) -> None:
    found = top_level(body)
    assert [(k, bytes(v)) for k, v in found.items()] == [(k, bytes(v)) for k, v in READ(body).items()]
    if "model" in found:
        changed = json.loads(rebuild(body, found, {"model": b'"other"'}))
        assert changed == {**json.loads(body), "model": "other"}


@given(large(), st.sampled_from([b"", b"POST / HTTP/1.1\r\n\r\n", b'{"messages":["' + b"h" * 3 * LONG + b'"]}']))
def test_of_a_body_that_is_the_end_of_what_was_read_the_fields_are_the_same(body: bytes, head: bytes) -> None:
    view = memoryview(head + body)[len(head) :]
    found = top_level(view)
    assert [(k, bytes(v)) for k, v in found.items()] == [(k, bytes(v)) for k, v in top_level(body).items()]
    assert rebuild(view, found, {"model": b'"other"'}) == rebuild(body, top_level(body), {"model": b'"other"'})


@given(large(), st.data())
def test_what_is_no_json_is_refused_unless_it_stands_in_a_long_string_of_messages(
    body: bytes, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, 400) | st.integers(len(body) - 400, len(body) - 1) | st.integers(0, len(body) - 1))
    byte = data.draw(st.sampled_from(b'"\\{}[],:\x00x'))
    spoilt = body[:at] + bytes([byte]) + body[at + 1 :]
    try:
        expected = READ(spoilt)
    except msgspec.DecodeError:
        inside = any(start <= at < end for start, end in long_strings(spoilt))
        try:
            passed = top_level(spoilt)
        except BadJson:
            return
        begin = body.index(b'"messages"')
        assert inside and begin < at < begin + 20 + len(passed["messages"])  # an escape or control character in it
        return
    try:
        found = top_level(spoilt)
    except BadJson as refused:
        assert refused.reason == "request.duplicate_key"  # the reader keeps the last of two
        return
    assert {k: bytes(v) for k, v in found.items()} == {k: bytes(v) for k, v in expected.items()}


@pytest.mark.parametrize("again", ["model", "messages"])
def test_a_field_that_repeats_behind_a_long_prompt_is_refused(again: str) -> None:
    prompt = json.dumps("y" * 2 * SMALL)
    body = f'{{"model":"a","messages":[{prompt}],"{again}":"b"}}'.encode()
    assert long_strings(body)
    with pytest.raises(BadJson) as refused:
        top_level(body)
    assert refused.value.reason == "request.duplicate_key"


@pytest.mark.parametrize("before", [True, False])
def test_of_any_other_field_every_byte_is_looked_at(before: bool) -> None:
    messages, user = '"messages":["' + "y" * 2 * SMALL + '"]', '"user":"' + "u" * 2 * LONG + '\\q"'
    body = ("{" + ",".join([user, messages] if before else [messages, user]) + "}").encode()
    with pytest.raises(BadJson) as refused:
        top_level(body)
    assert refused.value.reason == "request.invalid_json"


def test_a_long_key_is_read_and_not_taken_for_prose() -> None:
    body = json.dumps({"messages": ["z" * SMALL, {"k" * LONG * 2: 1}], "n" * LONG * 2: 2}).encode()
    assert len(long_strings(body)) == 1
    assert list(top_level(body)) == ["messages", "n" * LONG * 2]


@example(0)
@given(st.integers(0, 9))
def test_a_quote_is_within_the_string_behind_an_odd_number_of_backslashes(number: int) -> None:
    body = b'["' + b"a" * LONG * 2 + b"\\" * number + b'"]'
    strings = long_strings(body)
    if number % 2:
        assert strings == []  # it ends nowhere
    else:
        assert strings == [(2, len(body) - 2)]
        assert emptied(body, strings) == b'[""]'


def test_text_full_of_quotes_is_left_to_the_reader() -> None:
    body = json.dumps({"messages": ['"no" ' * SMALL]}).encode()
    assert long_strings(body) == []
    assert bytes(top_level(body)["messages"]) == body[len('{"messages": ') : -1]
