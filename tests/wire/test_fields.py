"""The value authorised is the value forwarded: every key once, every untouched byte as it was."""

import json
import mmap
import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sluicegate.wire.fields import LONGEST_NUMBER, MEDIUM, SMALL, BadJson, rebuild, tidied, top_level, without

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.text(max_size=8)
BLANKS = st.text(alphabet=" \t\r\n", max_size=3)


@st.composite
def bodies(draw: st.DrawFn, keys: st.SearchStrategy[str] = NAMES) -> tuple[list[tuple[str, object]], bytes]:
    """Members in order, repeated ones among them, and one of their many spellings."""
    members = draw(st.lists(st.tuples(keys, VALUES), max_size=8))
    blank = BLANKS if draw(st.booleans()) else st.just("")

    def key(text: str) -> str:
        escape = draw(st.booleans())
        return '"' + "".join(f"\\u{ord(c):04x}" for c in text) + '"' if escape and text.isascii() else json.dumps(text)

    inner = ",".join(
        f"{draw(blank)}{key(k)}{draw(blank)}:{draw(blank)}{json.dumps(v, ensure_ascii=draw(st.booleans()))}{draw(blank)}"
        for k, v in members
    )
    return members, f"{draw(blank)}{{{inner or draw(blank)}}}{draw(blank)}".encode("utf-8", "surrogatepass")


@given(bodies(st.sampled_from(["model", "stream", "mode", "", "é", "a" * 6])))
@example(([("a", 1), ("a", 2)], b'{"a":1,"a":2}'))
@example(([("model", 1), ("model", 2)], b'{"model":1,"\\u006dodel":2}'))
@example(([("a", 1), ("b", 2), ("a", 1)], b'{"a": 1, "b": 2,"a":1}'))
def test_a_key_that_repeats_is_refused_however_it_is_spelled(case: tuple[list[tuple[str, object]], bytes]) -> None:
    members, body = case
    names = [k for k, _ in members]
    if len(set(names)) == len(names):
        assert [(k, json.loads(bytes(v))) for k, v in top_level(body).items()] == members
    else:
        with pytest.raises(BadJson) as refused:
            top_level(body)
        assert refused.value.reason == "request.duplicate_key"


TURNS = b'"turns":[' + b",".join([b'"short ones"'] * (SMALL // 12)) + b"]"
"""Nothing that could be stepped over."""


@given(bodies(st.sampled_from(["model", "stream", "", "turns", "a" * 6])), st.booleans())
@example(([("a", 1), ("\x74urns", 2)], b'{"a":1,"\\u0074urns":2}'), True)
@example(([("n", 10**1001)], b'{"n":1' + b"0" * 1001 + b"}"), True)
def test_a_large_body_of_short_texts_is_judged_as_a_small_one(
    case: tuple[list[tuple[str, object]], bytes], first: bool
) -> None:
    members, body = case
    names = [k for k, _ in members]
    inner = body.strip()[1:-1]
    parts = [part for part in ((TURNS, inner) if first else (inner, TURNS)) if part.strip()]
    large = b"{" + b",".join(parts) + b"}"
    assert SMALL < len(large) < MEDIUM
    if len(set(names)) < len(names) or "turns" in names:
        with pytest.raises(BadJson, match=r"request\.duplicate_key"):
            top_level(large)
    elif len(inner) > LONGEST_NUMBER:
        with pytest.raises(BadJson, match=r"request\.invalid_json"):
            top_level(large)
    else:
        found = top_level(large)
        assert {k: json.loads(bytes(v)) for k, v in found.items() if k != "turns"} == dict(members)
        assert bytes(found["turns"]) == TURNS[8:]


def test_blanks_cannot_hide_the_bytes_of_a_duplicate() -> None:
    # as long as a body without duplicate whose blanks follow every comma and colon: a sum of lengths alone would pass
    body = b'{"a":1,"bb":2,"c":3,"d":4,"bb":22}'
    with pytest.raises(BadJson, match="duplicate_key"):
        top_level(body)
    padded = {k: b" " * i for i, k in enumerate("abcdefgh")}
    with pytest.raises(BadJson, match="duplicate_key"):
        top_level(b"{" + b",".join(b'"%b":%b1' % (k.encode(), v) for k, v in padded.items()) + b',"a":1}')


@pytest.mark.parametrize(
    "body",
    [
        b"", b" ", b"[]", b'"x"', b"null", b"1", b"{", b"{}x", b"{}{}", b'{"a":1,}', b'{"a":01}', b'{"a":1.}',
        b'{"a":NaN}', b'{"a":Infinity}', b'{"a":-Infinity}', b"\xef\xbb\xbf{}", b"\xff\xfe{\x00}\x00", b"{\x00}",
        b"{'a':1}", b'{"a":"\\ud800"}', b'{"\\ud800":1}', b'{"\xff":1}', b'{"a":"\x01"}', b'{a:1}', b'{"a":tru}',
        b"model=gpt", b'{"a":1}\x00', b'{"a":"\\x41"}', b'\xa0{"a":1}',
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", b'{"a":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001,
        b'{"temperature":' + b"1" * 1_000_000 + b"}", b'{"x":-' + b"1" * 1_000_000 + b"}",
    ],
    ids=lambda b: repr(b[:20]),
)  # fmt: skip
def test_what_is_not_one_json_object_is_invalid_json(body: bytes) -> None:
    with pytest.raises(BadJson) as refused:
        top_level(body)
    assert refused.value.reason == "request.invalid_json"
    assert len(refused.value.message) < 400


@given(
    st.binary(max_size=60)
    | st.binary(max_size=40).map(lambda b: b'{"model":"' + b + b'"}')
    | bodies().map(lambda c: c[1])
)
def test_random_bytes_are_read_or_refused_and_nothing_else(body: bytes) -> None:
    try:
        fields = top_level(body)
    except BadJson:
        return
    assert all(bytes(v) in body for v in fields.values())
    assert rebuild(body, fields, {}) == body


def test_invalid_utf8_inside_a_value_stays_byte_identical() -> None:
    body = b'{"messages":[{"content":"\xff\xfe"}],"model":"a"}'
    assert rebuild(body, top_level(body), {"model": b'"b"'}) == body.replace(b'"a"', b'"b"')


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
def test_every_kind_of_buffer_reads_the_same(make: type) -> None:
    body = b' {"model" : "a", "n":1 } '
    fields = top_level(make(body))
    assert {k: bytes(v) for k, v in fields.items()} == {"model": b'"a"', "n": b"1"}
    assert rebuild(make(body), fields, {"n": b"2"}) == b' {"model" : "a", "n":2 } '


def test_a_mapped_file_is_read_without_copying_it() -> None:
    body = b'{"a":"' + b"x" * 100_000 + b'","b":2}'
    with mmap.mmap(-1, len(body)) as mapped:
        mapped.write(body)
        view = memoryview(mapped)
        fields = top_level(view)
        assert rebuild(view, fields, {"b": b"3"}) == body[:-2] + b"3}"
        del fields
        view.release()


@given(bodies(), st.data())
def test_only_the_changed_value_changes(case: tuple[list[tuple[str, object]], bytes], data: st.DataObject) -> None:
    _, body = case
    try:
        fields = top_level(body)
    except BadJson:
        return
    old = {k: json.loads(bytes(v)) for k, v in fields.items()}
    key = data.draw(st.sampled_from([*fields, "new"]))
    out = rebuild(body, fields, {key: b'"changed"'})
    assert {k: json.loads(bytes(v)) for k, v in top_level(out).items()} == {**old, key: "changed"}
    if key in fields:  # put back, it is the same body: nothing else moved
        assert rebuild(out, top_level(out), {key: bytes(fields[key])}) == body
    else:
        assert without(out, top_level(out), key) == body


def test_several_changes_and_additions_at_once() -> None:
    body = b'{ "b":1 ,"model":"x", "stream":true}'
    out = rebuild(body, top_level(body), {"model": b'"y"', "z": b"{}", "stream": b"false", "q": b"1"})
    assert out == b'{"z":{},"q":1, "b":1 ,"model":"y", "stream":false}'
    assert rebuild(b" { } ", {}, {"a": b"1"}) == b' {"a":1 } '


@pytest.mark.parametrize(
    ("body", "left"),
    [
        (b'{"u":null}', b"{}"),
        (b'{"u":null,"a":1}', b'{"a":1}'),
        (b'{"a":1,"u":null}', b'{"a":1}'),
        (b'{"a":1 , "u" : null , "b":2}', b'{"a":1 , "b":2}'),
        (b'{"a":{"u":null},"u":null}', b'{"a":{"u":null}}'),
        (b'{"a":1}', b'{"a":1}'),
    ],
)
def test_a_field_is_taken_out_and_the_rest_stays(body: bytes, left: bytes) -> None:
    assert without(body, top_level(body), "u") == left


def test_a_thousand_and_one_keys_are_too_many() -> None:
    def body(n: int, blank: bytes = b"") -> bytes:
        return b"{" + b",".join(b'"%d":%b1' % (i, blank) for i in range(n)) + b"}"

    assert len(top_level(body(1000))) == len(top_level(body(1000, b" "))) == 1000
    for many in (body(1001), body(1001, b" "), body(20_000), b"{" + b'"a":1,' * 5000 + b'"a":1}'):
        with pytest.raises(BadJson, match="too_many_keys"):
            top_level(many)


def test_a_million_keys_cost_no_memory() -> None:
    program = """
import resource
from sluicegate.wire.fields import BadJson, top_level
body = b"{" + b",".join(b'"key%d":1' % i for i in range(10**6)) + b"}"
nested = b'{"a":' + b"[1]," * 0 + b"[" + b"1," * 10**6 + b"1]}"
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    top_level(body)
except BadJson as bad:
    assert bad.reason == "request.too_many_keys"
else:
    raise AssertionError("accepted")
top_level(nested)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 64 * 1024  # KB


def test_what_lenient_readers_take_is_tidied_and_what_nobody_takes_is_none() -> None:
    assert json.loads(tidied(b'{"a":NaN,"b":[-Infinity],"c":"\\ud83d"}') or b"") == {"a": None, "b": [None], "c": "?"}
    assert tidied(b"<html>") is tidied(b"{} {}") is tidied(b"") is tidied(b"[" * 100_000) is None
    assert tidied(b"1" * 5000) is None
