"""Completions as Azure writes them, plain and streamed: `n` choices for each prompt, `best_of` written to keep them."""

from __future__ import annotations

from typing import Any, Final
from zlib import crc32

import msgspec

from sluicegate.sim.answer import Answer, Claim, Piece
from sluicegate.sim.azure import refusals
from sluicegate.sim.azure.embeddings import inputs, sound, tokens
from sluicegate.sim.azure.request import DATED, Request, dated_since
from sluicegate.sim.azure.text import marks, pieces, prose, unmarked
from sluicegate.sim.spec import DeploymentSpec

SSE: Final = (b"content-type", b"text/event-stream; charset=utf-8")
DONE: Final = b"data: [DONE]\n\n"
UNSAID: Final = 16
"""Tokens of an answer to a request that names no maximum."""

N_MOST: Final = 128
BEST_MOST: Final = 20
STREAM_OPTIONS_SINCE: Final = "2024-09-01"

encode = msgspec.json.encode
_RESULTS: Final = encode([{"prompt_index": 0, "content_filter_results": refusals.SAFE}])
_FILTERS: Final = b'"content_filter_results":' + encode(refusals.SAFE) + b","


class Completion:
    """One request, understood."""

    def __init__(
        self, document: dict[str, Any], body: bytes | bytearray, deployment: DeploymentSpec, azure: bool, seed: int
    ) -> None:
        self.deployment = deployment
        self.azure = azure
        self.stream = document.get("stream") is True
        options = document.get("stream_options")
        self.usage_asked = isinstance(options, dict) and options.get("include_usage") is True
        prompts = inputs(document.get("prompt") or "<|endoftext|>")
        first = prompts[0]
        self.marks = marks(first) if isinstance(first, str) else {}
        n = document.get("n") or 1
        best = max(document.get("best_of") or n, n)
        most = document.get("max_tokens")
        self.cap: int | None = UNSAID if most is None else most
        self.choices = best * len(prompts)
        draw = crc32(body, seed)
        self.texts: list[tuple[str, ...]] = []
        self.finishes: list[str] = []
        for said in prompts:
            for index in range(n):
                text, finish = self._said(said, draw + 31 * len(self.texts) + index)
                self.texts.append(pieces(said) + text if document.get("echo") and isinstance(said, str) else text)
                self.finishes.append(finish)
        written = sum(min(len(t), self.cap) for t in self.texts) * best // n
        self.claim = Claim(int(self.marks.get("prompt_tokens") or sum(tokens(p) for p in prompts)), written)

    def _said(self, prompt: str | list[int], draw: int) -> tuple[tuple[str, ...], str]:
        assert self.cap is not None
        if isinstance(prompt, str) and (self.deployment.text == "echo" or "echo" in self.marks):
            text = pieces(unmarked(prompt) or " ")
        else:
            low, high = self.deployment.tokens
            asked = self.marks.get("tokens")
            text = prose(draw, int(asked) if asked and asked.isdecimal() else low + draw % (high - low + 1))
        return (text[: self.cap], "length") if len(text) > self.cap else (text, "stop")

    def answer(self, identity: bytes, wall: float, speed: float) -> Answer:
        """Plain, or as a stream."""
        model = encode(self.deployment.answers_as or self.deployment.model)
        tail = b'"created":%d,"id":"%b","model":%b,"object":"text_completion"' % (int(wall), identity, model)
        return self._streamed(tail, speed) if self.stream else self._plain(tail, speed)

    def _plain(self, tail: bytes, speed: float) -> Answer:
        latency = self.deployment.latency
        choices = b",".join(
            self._choice("".join(text), index, self.finishes[index]) for index, text in enumerate(self.texts)
        )
        filters = b'"prompt_filter_results":' + _RESULTS + b"," if self.azure else b""
        body = b'{"choices":[' + choices + b"]," + tail + b"," + filters + b'"usage":' + self._usage() + b"}"
        delay = (latency.first_token_s + latency.per_token_s * max(map(len, self.texts), default=0)) * speed
        return Answer(200, [refusals.JSON], [(delay, body)], claim=self.claim, usage_piece=0)

    def _streamed(self, tail: bytes, speed: float) -> Answer:
        latency = self.deployment.latency
        null = b',"usage":null' if self.usage_asked else b""
        events: list[Piece] = []
        after = latency.first_token_s * speed
        if self.azure:
            lead = b'data: {"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":'
            events.append((after, lead + _RESULTS + null + b"}\n\n"))
            after = 0.0
        pace = latency.per_token_s * speed
        for turn in range(max(map(len, self.texts), default=0)):
            for index, text in enumerate(self.texts):
                if turn < len(text):
                    events.append((
                        after, b'data: {"choices":[' + self._choice(text[turn], index) + b"]," + tail + null + b"}\n\n"
                    ))  # fmt: skip
                    after = 0.0
            after = pace
        for index, finish in enumerate(self.finishes):
            events.append((
                0.0, b'data: {"choices":[' + self._choice("", index, finish) + b"]," + tail + null + b"}\n\n"
            ))  # fmt: skip
        usage_piece = -1
        if self.usage_asked:
            usage_piece = len(events)
            events.append((0.0, b'data: {"choices":[],' + tail + b',"usage":' + self._usage() + b"}\n\n"))
        events.append((0.0, DONE))
        answer = Answer(200, [SSE], events, stream=True, claim=self.claim, usage_piece=usage_piece)
        answer.burst = self.deployment.burst
        return answer

    def _choice(self, text: str, index: int, finish: str = "") -> bytes:
        told = b'"%b"' % finish.encode() if finish else b"null"
        filters = _FILTERS if self.azure else b""
        return b'{%b"finish_reason":%b,"index":%d,"logprobs":null,"text":%b}' % (filters, told, index, encode(text))

    def _usage(self) -> bytes:
        claim = self.claim
        return b'{"completion_tokens":%d,"prompt_tokens":%d,"total_tokens":%d}' % (
            claim.completion, claim.prompt, claim.prompt + claim.completion,
        )  # fmt: skip


def wrong_completion(request: Request) -> Answer | None:
    """What the API refuses about a body."""
    document = request.document
    if document.get("prompt") and not sound(document["prompt"]):
        return refusals.bad_request("'$.prompt' is invalid. Please check the API reference.", "prompt")
    for name, least, most in (("max_tokens", 0, 10**9), ("n", 1, N_MOST), ("best_of", 1, BEST_MOST)):
        value = document.get(name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most):
            return refusals.bad_request(f"Invalid '{name}': integer out of range.", name, "integer_out_of_range")
    best, n = document.get("best_of"), document.get("n") or 1
    if best is not None and best < n:
        return refusals.bad_request("best_of must be greater than n", "best_of")
    options = document.get("stream_options")
    if options is not None:
        if request.surface == DATED and not dated_since(request.api_version, STREAM_OPTIONS_SINCE):
            return refusals.bad_request("Unrecognized request argument supplied: stream_options")
        if document.get("stream") is not True:
            return refusals.bad_request(
                "The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options"
            )
    return None
