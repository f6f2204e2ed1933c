"""Whatever clients and upstreams write, a row answers with what it may answer with: walks the table."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sluicegate.apis import APIS
from sluicegate.apis.base import Api, BadRequest, Malformed
from sluicegate.apis.passing import Passing
from sluicegate.core.events import Facts, Usage
from sluicegate.wire.sse import Endless
from tests.golden.test_golden import CASES, http

ROWS: dict[str, Api] = {**APIS, "unknown": cast(Api, Passing("POST /unknown"))}
JSON_ROWS = [name for name, row in ROWS.items() if row.takes == "json"]

NAMES = (
    "model", "messages", "prompt", "input", "suffix", "stream", "stream_options", "max_tokens", "max_completion_tokens",
    "max_output_tokens", "n", "best_of", "tools", "functions", "system", "size", "quality", "response_format",
    "stream_format", "voice", "partial_images", "image", "images", "mask", "content", "usage", "data", "choices",
    "results", "error", "type", "response", "delta", "text", "index", "finish_reason", "service_tier", "prompt_tokens",
    "completion_tokens", "input_tokens", "output_tokens", "total_tokens", "prompt_tokens_details", "cached_tokens",
)  # fmt: skip
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=12)
)
VALUES = st.recursive(
    LEAVES, lambda v: st.lists(v, max_size=4) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=4), v, max_size=5),
    max_leaves=25,
)  # fmt: skip
OBJECTS = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=9)


def written(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


def sound(usage: Usage | None) -> bool:
    """What may become a bill: nothing negative, nothing absurd."""
    counts = ("input", "output", "cached", "cache_write", "reasoning")
    return usage is None or all(0 <= getattr(usage, name) < 10**10 for name in counts)


@pytest.mark.parametrize("name", JSON_ROWS)
def test_any_request_is_understood_or_refused(name: str) -> None:
    row = ROWS[name]

    @settings(max_examples=40)
    @given(OBJECTS)
    @example({"model": "m", "prompt": [[[]]], "input": [[[]]], "n": 2**63, "best_of": 2**63})
    @example({"model": "m", "max_tokens": 10**400, "stream_options": {"include_usage": []}})
    def check(fields: dict[str, Any]) -> None:
        body = written(fields)
        try:
            raw = row.fields(body)
            facts = row.facts(raw, body)
        except BadRequest as bad:
            assert bad.reason.startswith("request.") and bad.message.isprintable()
            return
        assert facts.estimate >= 0 and facts.n >= 1 and facts.best_of >= 0 and facts.media >= 0
        assert facts.max_output is None or facts.max_output >= 0
        assert facts.model is None or facts.model == fields["model"]
        assert bytes(row.body(body, raw, facts, None, False)) == body
        sent = json.loads(bytes(row.body(body, raw, facts, "another", True)))
        changed = {key for key in sent if key not in fields or sent[key] != fields[key]}
        assert changed <= {"model", "stream_options"} and sent["model"] == "another"

    check()


@pytest.mark.parametrize("name", ROWS)
def test_any_answer_is_one_or_none(name: str) -> None:
    row = ROWS[name]

    @settings(max_examples=40)
    @given(OBJECTS.map(written) | VALUES.map(written) | st.binary(max_size=60))
    @example(b"")
    @example(b"[" * 100_000)
    @example(b'{"usage":' * 2000)
    def check(answer: bytes) -> None:
        for read in (row.answer, row.tail):
            try:
                assert sound(read(answer))
            except Malformed as bad:
                assert bad.cause.startswith("answer.")

    check()


def _made(row: Api) -> Facts:
    """Facts of a streamed request of this row, from its golden files."""
    for case in CASES:
        if case.parts[-3] == row.name:
            _, headers, body = http((case / "request").read_bytes())
            if b'"stream"' in body or b"stream_format" in body:
                return row.facts(row.fields(body), body)
    return Facts("m", True)


STREAMED = [name for name in JSON_ROWS if name not in ("embeddings", "moderations", "count_tokens")]


@pytest.mark.parametrize("name", STREAMED)
def test_any_stream_is_read_to_an_end(name: str) -> None:
    row = ROWS[name]
    facts = _made(row)
    line = st.sampled_from([b"data: ", b"event: x\ndata: ", b": ", b"id: 1\ndata:", b"\xef\xbb\xbfdata: ", b""])
    event = st.builds(
        lambda a, b: a + b + b"\n\n", line, OBJECTS.map(written) | st.binary(max_size=20) | st.just(b"[DONE]")
    )

    @settings(max_examples=40)
    @given(st.lists(event, max_size=8), st.integers(1, 40), st.booleans())
    def check(events: list[bytes], step: int, asked: bool) -> None:
        stream = b"".join(events)
        meter = row.meter(facts, asked)
        passed = b""
        try:
            for at in range(0, len(stream), step):
                passed += meter.feed(stream[at : at + step], float(at))
        except Endless:
            return
        assert len(passed) <= len(stream) and sound(meter.usage) and meter.delivered >= 0
        assert meter.end() in ("done", "incomplete", "error")
        frame = meter.cut("stream.idle", "It stopped.")
        assert frame is None or b"It stopped." in frame

    check()
