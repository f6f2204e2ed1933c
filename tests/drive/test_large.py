"""A body that is not copied is the one that its row would have made."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.apis import APIS
from sluicegate.core.ports import Chunk
from sluicegate.drive.large import LARGE, PiecesSource, pieces

CHAT = APIS["chat_completions"]
BIG = "x" * LARGE
WORDS = st.sampled_from(["model", "messages", "stream", "stream_options", "metadata", "n", 'a "key"', "\u6771"])
VALUES: Any = st.sampled_from([BIG, BIG + '\\"', [BIG], {"a": BIG}, "small", 1, None, {"b": [1, 2]}])


def drawn(source: PiecesSource, most: int) -> bytes:
    out = b""
    while (piece := source.take(most)) is not None:
        assert 0 < len(piece) <= most
        out += piece
    return out


@given(
    st.dictionaries(WORDS.filter(lambda k: k not in ("stream", "stream_options", "n", "model")), VALUES, max_size=5),
    st.booleans(),
    st.sampled_from([None, "chat", "gpt-4o-ptu"]),
    st.booleans(),
    st.booleans(),
    st.dictionaries(st.sampled_from(["metadata", "max_tokens", "user"]), st.sampled_from([b"1", b'"x"']), max_size=2),
    st.sampled_from([None, 1, 0]),
)
def test_it_is_the_same_body(
    said: dict[str, Any],
    stream: bool,
    model: str | None,
    usage: bool,
    first: bool,
    put: dict[str, bytes],
    indent: int | None,
):
    named = {"model": "chat", "stream": stream}
    document = {**named, **said} if first else {**said, **named}
    raw = json.dumps(document, indent=indent, ensure_ascii=False).encode()
    fields = CHAT.fields(raw)
    facts = CHAT.facts(fields, raw)
    wanted = bytes(CHAT.body(raw, fields, facts, model, usage, put or None))
    view = memoryview(raw)
    made: list[Chunk] = pieces(CHAT, view, CHAT.fields(view), facts, model, usage, put or None)
    assert b"".join(made) == wanted
    source = PiecesSource(made)
    assert source.size == len(wanted)
    assert drawn(source, 10_000) == wanted and drawn(source, 10) == b""
    assert source.rewind() and drawn(source, 1 << 30) == wanted


def test_large_values_are_where_they_were():
    raw = memoryview(json.dumps({"messages": BIG, "model": "chat", "input": BIG}).encode())
    fields = CHAT.fields(raw)
    made = pieces(CHAT, raw, fields, CHAT.facts(fields, raw), "another", False, None)
    large = [p for p in made if len(p) > LARGE]
    assert [type(p) for p in large] == [memoryview, memoryview] and all(p.obj is raw.obj for p in large)  # type: ignore[union-attr]
    assert sum(len(p) for p in made) - sum(map(len, large)) < 100


@pytest.mark.parametrize("text", ['"\\u0000 a large value"', "x"])
def test_a_text_like_our_own_word_is_a_text(text: str):
    raw = b'{"a":%b,"b":"%b","model":"chat"}' % (text.encode() if text[0] == '"' else b'"x"', BIG.encode())
    fields = CHAT.fields(raw)
    made = pieces(CHAT, memoryview(raw), fields, CHAT.facts(fields, raw), "another", False, None)
    assert b"".join(made) == raw.replace(b'"chat"', b'"another"')
