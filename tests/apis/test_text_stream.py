"""The meter of a streamed completion: it is chat's, and reads what completions say."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sluicegate.apis.text_stream import TextMeter
from sluicegate.core.events import Usage
from sluicegate.core.ports import Terminal

DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6}


def event(data: Any) -> bytes:
    return f"data: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


def chunk(text: str, index: int = 0, finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"text": text, "index": index, "finish_reason": finish, "logprobs": None}
    return {"id": "c", "choices": [choice], **more}


STREAM = event(chunk("One", usage=None)) + event(chunk(" two", usage=None)) + event(chunk("", 0, "stop", usage=None))
STREAM += event({"choices": [], "usage": USAGE}) + DONE
SHOWN = event(chunk("One")) + event(chunk(" two")) + event(chunk("", 0, "stop")) + DONE


def facts(meter: TextMeter) -> tuple[Any, ...]:
    return meter.usage, meter.error, meter.finished, meter.delivered, meter.end(), meter.cut("r", "m")


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_however_it_is_cut_the_same_passes_and_the_same_is_counted(at: list[int]) -> None:
    whole = TextMeter(1, True)
    assert whole.feed(STREAM, 0.0) == SHOWN
    edges = sorted({0, *at, len(STREAM)})
    meter = TextMeter(1, True)
    out = b"".join(meter.feed(STREAM[a:b], 0.0) for a, b in zip(edges, edges[1:], strict=False))
    assert out == SHOWN and facts(meter) == facts(whole)
    assert facts(meter)[:5] == (Usage(4, 2), "", True, 2, Terminal.DONE)


def test_every_truncation_is_seen() -> None:
    whole = {len(STREAM) - n for n in range(3)} | {len(STREAM) - len(DONE)}
    whole |= {STREAM.index(b'data: {"choices":[],"usage"')}  # every choice has ended
    for end in range(len(STREAM)):
        meter = TextMeter(1, True)
        meter.feed(STREAM[:end], 0.0)
        assert (meter.end() == Terminal.DONE) is (end in whole), end


def test_it_is_whole_when_every_choice_of_every_prompt_has_ended() -> None:
    meter = TextMeter(3, False)
    for index in (2, 0, 1):
        assert meter.end() == Terminal.INCOMPLETE
        meter.feed(event(chunk("x", index)) + event(chunk("", index, "length")), 1.0)
    assert meter.end() == Terminal.DONE and meter.delivered == 3 and meter.first_token_at == 1.0


def test_long_pieces_are_many_tokens() -> None:
    meter = TextMeter(1, False)
    meter.feed(event(chunk("The lock keeper opened the upper gate and the water fell. " * 4)), 0.0)
    assert 45 <= meter.delivered <= 65


def test_numbers_that_are_none_do_not_stop_it() -> None:
    odd = b'data: {"choices":[{"text":" y","index":0,"logprobs":{"token_logprobs":[-Infinity]},"finish_reason":"stop"}]}\n\n'
    meter = TextMeter(1, False)
    assert meter.feed(odd + DONE, 0.0) == odd + DONE
    assert (meter.delivered, meter.end()) == (1, Terminal.DONE)


def test_what_is_no_completion_is_refused_at_once() -> None:
    for first in (b"data: <html>\n\n", event({"id": "x"}), event({"error": {"code": "boom"}})):
        meter = TextMeter(1, False)
        meter.feed(first, 0.0)
        assert meter.error
