"""Messages as Anthropic writes them, plain and streamed, counted tokens, and refusals in its words.

Foundry answers the same below /anthropic. The prompt asks by the same marks as in chat completions; besides,
`[sim:written=300]` and `[sim:hour=100]` report so many prompt tokens as written to a cache, the latter for an hour.
"""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import blake2b
from math import ceil
from typing import Any, Final
from zlib import crc32

import msgspec

from sluicegate.sim.answer import Answer, Claim, Headers, Piece
from sluicegate.sim.azure import refusals
from sluicegate.sim.azure.refusals import JSON
from sluicegate.sim.azure.request import ANTHROPIC, MESSAGES, Request
from sluicegate.sim.azure.text import (
    ENCODED,
    fitting,
    last_user_text,
    marks,
    pieces,
    prompt_tokens,
    prose,
    unmarked,
)
from sluicegate.sim.spec import DeploymentSpec

SSE: Final = (b"content-type", b"text/event-stream; charset=utf-8")
STOP: Final = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
OVERLOADED: Final = 529
MINUTE_S: Final = 60.0

encode = msgspec.json.encode


class Message:
    """One request, understood: what will be said, what it costs, how it is written."""

    def __init__(
        self, document: dict[str, Any], body: bytes | bytearray, deployment: DeploymentSpec, azure: bool, seed: int
    ) -> None:
        self.deployment = deployment
        messages = document["messages"]
        self.prompt = last_user_text(messages)
        self.marks = marks(self.prompt)
        self.stream = document.get("stream") is True
        self.draw = crc32(body, seed)
        self.choices = 1
        cap = document.get("max_tokens")
        self.cap = cap if isinstance(cap, int) else None
        given = document.get("tools")
        tools = [t for t in given if isinstance(t, dict) and "input_schema" in t] if isinstance(given, list) else []
        self.tool = self._tool(tools, document.get("tool_choice"))
        self.finish = "end_turn"
        self.arguments = ""
        self.tokens: tuple[str, ...] = ()
        if self.tool is not None:
            self.finish = "tool_use"
            self.arguments = encode(fitting(self.tool.get("input_schema") or {"type": "object"}, self.draw)).decode()
        else:
            self.tokens = self._said()
        size = len(self.tokens) + (3 + len(pieces(self.arguments)) if self.tool is not None else 0)
        extra = sum(len(encode(document[name])) // 4 for name in ("tools", "system") if document.get(name))
        prompt = int(self.marks.get("prompt_tokens") or prompt_tokens(messages, extra))
        self.hour = min(int(self.marks.get("hour") or 0), prompt)
        self.written = min(int(self.marks.get("written") or 0) + self.hour, prompt)
        cached = min(int(self.marks.get("cached") or deployment.cached), prompt - self.written)
        self.claim = Claim(prompt, size + deployment.reasoning, cached, deployment.reasoning)

    def _tool(self, tools: list[dict[str, Any]], choice: Any) -> dict[str, Any] | None:
        choice = choice if isinstance(choice, dict) else {}
        if not tools or not ("tool" in self.marks or choice.get("type") in ("any", "tool")):
            return None
        wanted = self.marks.get("tool") or choice.get("name")
        return next((t for t in tools if t.get("name") == wanted), tools[0])

    def _said(self) -> tuple[str, ...]:
        if self.deployment.text == "echo" or "echo" in self.marks:
            tokens = pieces(unmarked(self.prompt) or " ")
        else:
            low, high = self.deployment.tokens
            asked = self.marks.get("tokens")
            tokens = prose(self.draw, int(asked) if asked and asked.isdecimal() else low + self.draw % (high - low + 1))
        if "filter_output" in self.marks:
            self.finish = "refusal"
            return tokens[: max(1, len(tokens) // 2)]
        if self.cap is not None and len(tokens) > self.cap:
            self.finish = "max_tokens"
            return tokens[: self.cap]
        return tokens

    # ------------------------------------------------------------------ how it is written

    def answer(self, identity: bytes, wall: float, speed: float) -> Answer:
        """Plain, or as a stream."""
        model = encode(self.deployment.answers_as or self.deployment.model)
        write = self._streamed if self.stream else self._plain
        return write(b'"model":%b,"id":"%b","type":"message","role":"assistant"' % (model, identity), speed)

    def _usage(self, output: int) -> bytes:
        claim = self.claim
        tier = self.marks.get("tier") or "standard"
        return (
            b'{"input_tokens":%d,"cache_creation_input_tokens":%d,"cache_read_input_tokens":%d,"cache_creation":'
            b'{"ephemeral_5m_input_tokens":%d,"ephemeral_1h_input_tokens":%d},"output_tokens":%d,"service_tier":%b}'
            % (
                claim.prompt - claim.cached - self.written, self.written, claim.cached, self.written - self.hour,
                self.hour, output, encode(tier),
            )
        )  # fmt: skip

    def _call(self) -> tuple[bytes, bytes]:
        assert self.tool is not None
        call = blake2b(b"%d" % self.draw, digest_size=12).hexdigest().encode()
        return b'"type":"tool_use","id":"toolu_01%b","name":%b' % (call, encode(self.tool.get("name"))), call

    def _plain(self, who: bytes, speed: float) -> Answer:
        latency = self.deployment.latency
        if self.tool is not None:
            block = b"{%b,%b}" % (self._call()[0], b'"input":' + self.arguments.encode())
        else:
            block = b'{"type":"text","text":%b}' % encode("".join(self.tokens))
        usage = self._usage(self.claim.completion)
        if self.claim.reasoning:
            usage = usage[:-1] + b',"output_tokens_details":{"thinking_tokens":%d}}' % self.claim.reasoning
        body = b'{%b,"content":[%b],"stop_reason":"%b","stop_sequence":null,"usage":%b}' % (
            who, block, self.finish.encode(), usage
        )  # fmt: skip
        delay = (latency.first_token_s + latency.per_token_s * self.claim.completion) * speed
        return Answer(200, [JSON], [(delay, body)], claim=self.claim, usage_piece=0)

    def _streamed(self, who: bytes, speed: float) -> Answer:
        latency = self.deployment.latency
        first, pace = latency.first_token_s * speed, latency.per_token_s * speed
        at = first if latency.head_s is None else min(latency.head_s * speed, first)
        begin = (
            b'{"type":"message_start","message":{%b,"content":[],"stop_reason":null,"stop_sequence":null,"usage":%b}}'
        )
        events: list[Piece] = [(at, _event(b"message_start", begin % (who, self._usage(1))))]
        wait = first - at + pace * self.deployment.reasoning
        if self.tool is not None:
            block, parts = b"{%b,%b}" % (self._call()[0], b'"input":{}'), pieces(self.arguments)
            kind = b'"type":"input_json_delta","partial_json":'
        else:
            block, parts, kind = b'{"type":"text","text":""}', self.tokens, b'"type":"text_delta","text":'
        start = b'{"type":"content_block_start","index":0,"content_block":%b}' % block
        events.append((wait, _event(b"content_block_start", start)))
        events.append((0.0, _event(b"ping", b'{"type": "ping"}')))
        for part in parts:
            delta = b'{"type":"content_block_delta","index":0,"delta":{%b%b}}' % (
                kind, ENCODED.get(part) or encode(part)
            )  # fmt: skip
            events.append((pace, _event(b"content_block_delta", delta)))
        events.append((0.0, _event(b"content_block_stop", b'{"type":"content_block_stop","index":0}')))
        said = b'"output_tokens":%d' % self.claim.completion
        if self.claim.reasoning:
            said += b',"output_tokens_details":{"thinking_tokens":%d}' % self.claim.reasoning
        end = b'{"type":"message_delta","delta":{"stop_reason":"%b","stop_sequence":null},"usage":{%b}}'
        events.append((0.0, _event(b"message_delta", end % (self.finish.encode(), said))))
        events.append((0.0, STOP))
        answer = Answer(200, [SSE], events, stream=True, claim=self.claim, usage_piece=len(events) - 2)
        answer.burst = self.deployment.burst
        return answer


class Count:
    """A request to count the tokens of one."""

    def __init__(
        self, document: dict[str, Any], body: bytes | bytearray, deployment: DeploymentSpec, azure: bool, seed: int
    ) -> None:
        self.tokens = Message(document, body, deployment, azure, seed).claim.prompt
        self.claim = Claim(0, 0)
        self.cap: int | None = 0
        self.choices = 0
        self.marks: dict[str, str] = {}
        self.stream = False

    def answer(self, identity: bytes, wall: float, speed: float) -> Answer:
        """The number."""
        return Answer(200, [JSON], [(0.0, b'{"input_tokens":%d}' % self.tokens)], claim=self.claim)


def wrong_count(request: Request) -> Answer | None:
    """What the API refuses about a body."""
    document = request.document
    if request.header(b"anthropic-version") is None:
        return refusals.bad_request("anthropic-version: header is required")
    messages = document.get("messages")
    if not isinstance(messages, list) or not messages:
        return refusals.bad_request("messages: at least one message is required")
    for message in messages:
        if not isinstance(message, dict) or message.get("role") not in ("user", "assistant"):
            return refusals.bad_request('messages.0.role: Input should be "user" or "assistant"')
    return None


def wrong_message(request: Request) -> Answer | None:
    """Of a message, which needs its maximum, too."""
    wrong = wrong_count(request)
    if wrong is not None:
        return wrong
    most = request.document.get("max_tokens")
    if most is None:
        return refusals.bad_request("max_tokens: Field required")
    if not isinstance(most, int) or isinstance(most, bool) or most < 1:
        return refusals.bad_request("max_tokens: Input should be greater than or equal to 1")
    return None


# ---------------------------------------------------------------------- refusals and headers

_TYPES: Final = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    413: "request_too_large", 429: "rate_limit_error", OVERLOADED: "overloaded_error",
}  # fmt: skip


def in_its_words(request: Request, answer: Answer) -> Answer:
    """A refusal as whoever asked reads it: Anthropic's clients have an envelope of their own, and what Azure calls want
    of capacity is overloaded there."""
    if request.surface not in (ANTHROPIC, MESSAGES) or answer.status < 400:
        return answer
    try:
        error = msgspec.json.decode(answer.body())["error"]
        code, message = error.get("code"), str(error["message"])
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
        return answer
    if code == "NoCapacity":
        answer.status, message = OVERLOADED, "Overloaded"
        answer.headers = [(n, v) for n, v in answer.headers if not n.lower().startswith(b"retry-after")]
        answer.retry_s = None
    elif code == "context_length_exceeded":
        message = "prompt is too long: " + message
    elif answer.status == 429:
        message = "This request would exceed your organization's rate limit. Please try again later."
    answer.headers = [(n, v) for n, v in answer.headers if not n.startswith(b"x-ratelimit-")]
    kind = _TYPES.get(answer.status, "api_error")
    answer.replace_body(
        encode({"type": "error", "error": {"type": kind, "message": message}, "request_id": None}), JSON[1]
    )
    return answer


def limits(deployment: DeploymentSpec | None, left: tuple[int, int], wall: float) -> Headers:
    """Headers about what remains. They reset within a minute."""
    if deployment is None:
        return []
    at = datetime.fromtimestamp(ceil(wall + MINUTE_S), UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode()
    capacity = deployment.capacity
    tokens = capacity.tokens_per_minute or 450_000
    requests = capacity.requests_per_minute or max(1, tokens // 1000 * 6)
    found: Headers = []
    for what, most, remains in ((b"requests", requests, left[0]), (b"input-tokens", tokens, left[1])):
        found += [
            (b"anthropic-ratelimit-%b-limit" % what, b"%d" % most),
            (b"anthropic-ratelimit-%b-remaining" % what, b"%d" % max(0, remains)),
            (b"anthropic-ratelimit-%b-reset" % what, at),
        ]
    return found


def _event(name: bytes, data: bytes) -> bytes:
    return b"event: " + name + b"\ndata: " + data + b"\n\n"
