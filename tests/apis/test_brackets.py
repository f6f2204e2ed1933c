"""In a large body images are looked for only where a list may be: what is counted is what a reader of all of it finds."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.apis import APIS
from sluicegate.apis.chat_media import IMAGE_TOKENS, LOW_DETAIL_TOKENS
from sluicegate.apis.messages_media import IMAGE_TOKENS as CLAUDES
from sluicegate.wire.fields import LOOKED_AT, NEAR, SMALL, holds_lists

TEXTS: Any = st.sampled_from(["[", "a[0]", '"content":[', ": [", "\\", "x" * 3000, "no list", "[" * (LOOKED_AT + 3)])
URL = "data:image/png;base64," + "A" * 200
IMAGES = {
    "chat_completions": {"type": "image_url", "image_url": {"url": URL}},
    "messages": {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A" * 200}},
}
HEAD = b"POST /[: [ HTTP/1.1\r\n\r\n"
TOKENS = {"chat_completions": IMAGE_TOKENS, "messages": CLAUDES}


@st.composite
def bodies(draw: st.DrawFn) -> tuple[str, bytes, int]:
    """A row, a large body for it, and how many images are in it."""
    row = draw(st.sampled_from(sorted(IMAGES)))
    filler = {"role": "user", "content": "y" * SMALL}
    contents = (
        st.none() | TEXTS | st.lists(st.just(IMAGES[row]) | st.builds(lambda t: {"type": "text", "text": t}, TEXTS))
    )
    messages = [{"role": "user", "content": draw(contents)} for _ in range(draw(st.integers(0, 3)))]
    messages.insert(draw(st.integers(0, len(messages))), filler)
    members: list[tuple[str, Any]] = [("messages", messages)]
    for name in draw(st.lists(st.sampled_from(["stop", "user", "metadata", "n" * 300]), unique=True)):
        value: Any = {"messages": [URL]} if name == "metadata" else draw(TEXTS)
        members.insert(draw(st.integers(0, len(members))), (name, [value] if name == "stop" else value))
    blank = draw(st.sampled_from(["", " ", "\n\t", " " * (NEAR - 1), " " * (NEAR + 5)]))
    body = json.dumps(dict(members), separators=("," + blank, blank + ":" + blank)).encode()
    return row, body, sum(m["content"].count(IMAGES[row]) for m in messages if isinstance(m["content"], list))


@given(bodies(), st.booleans())
def test_every_image_of_a_large_body_is_found_and_no_text_is_one(drawn: tuple[str, bytes, int], viewed: bool) -> None:
    name, body, images = drawn
    row = APIS[name]
    read = memoryview(HEAD + body)[len(HEAD) :] if viewed else body
    facts = row.facts(row.fields(read), read)
    assert facts.images == images
    assert facts.media == images * TOKENS[name]


def test_a_low_detail_image_in_the_last_of_many_turns_is_found() -> None:
    row = APIS["chat_completions"]
    turns: list[Any] = [{"role": "user", "content": "list[0] " * 6} for _ in range(2000)]
    image = {"type": "image_url", "image_url": {"url": URL, "detail": "low"}}
    body = json.dumps({"model": "m", "messages": [*turns, {"role": "user", "content": [image]}]}).encode()
    assert row.facts(row.fields(body), body).media == LOW_DETAIL_TOKENS


@pytest.mark.parametrize(
    ("messages", "may"),
    [
        ('[{"content":"a[1] : x[2]"}]', False),  # as prose has them
        ('[{"content":[]}]', True),
        ('[{"content" \n:\t[]}]', True),
        ('[{"content":"he said: [no]"}]', True),  # cannot be told without reading
        ("[" + '"[",' * LOOKED_AT + "0]", True),  # enough of it was looked at
        ("[" + '"[",' * (LOOKED_AT - 1) + "0]", False),
        ('[{"content":' + " " * 2 * NEAR + "[]}]", True),
    ],
)
def test_a_list_may_be_a_value_only_behind_a_colon(messages: str, may: bool) -> None:
    body = ('{"stop":["a"],"messages":' + messages + ',"tools":[{"a":[]}]}').encode()
    row = APIS["chat_completions"]
    assert holds_lists(body, row.fields(body), "messages") is may
