"""Chat completions as Azure writes them, plain and streamed, byte for byte as its SDKs are used to.

What the model says is decided first (`Saying`, one for each of `n` choices), then written either way. JSON is put
together from parts that are encoded once: keys in Azure's order, which is the alphabet's.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final
from zlib import crc32

import msgspec

from sluicegate.sim.answer import Answer, Claim, Piece
from sluicegate.sim.azure import refusals
from sluicegate.sim.azure.refusals import BLOCKED, JAILBREAK, JSON, SAFE
from sluicegate.sim.azure.request import DATED, Request, dated_since
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
DONE: Final = b"data: [DONE]\n\n"

encode = msgspec.json.encode
_SAFE: Final = encode(SAFE)
_BLOCKED: Final = encode(BLOCKED)
_PROMPT_RESULTS: Final = encode([{"prompt_index": 0, "content_filter_results": {**SAFE, **JAILBREAK}}])
_FILTERS: Final = b'"content_filter_results":' + _SAFE + b","
N_MOST: Final = 128
STREAM_OPTIONS_SINCE: Final = "2024-09-01"
JSON_SCHEMA_SINCE: Final = "2024-08-01"
_ASYNC_STRIDE: Final = 12
"""Content events between two annotations of the asynchronous filter."""


class Saying:
    """What one choice says."""

    __slots__ = ("blocked", "calls", "finish", "size", "tokens")

    def __init__(self, tokens: tuple[str, ...], finish: str, calls: list[tuple[str, str, str]] | None = None) -> None:
        self.tokens = tokens
        self.finish = finish
        self.calls = calls or []
        "Tool calls: id, function name, arguments as JSON text."
        self.blocked = finish == "content_filter"
        self.size = len(tokens)
        "Output tokens."
        for _, _, arguments in self.calls:
            self.size += 3 + len(pieces(arguments))


class Chat:
    """One request, understood: what will be said, what it costs, how it is written."""

    def __init__(
        self, document: dict[str, Any], body: bytes | bytearray, deployment: DeploymentSpec, azure: bool, seed: int
    ) -> None:
        self.deployment = deployment
        self.azure = azure
        self.document = document
        messages = document["messages"]
        prompt = last_user_text(messages)
        self.marks = marks(prompt)
        self.prompt = prompt
        self.stream = document.get("stream") is True
        options = document.get("stream_options")
        options = options if isinstance(options, dict) else {}
        self.usage_asked = options.get("include_usage") is True
        padded = options.get("include_obfuscation")
        self.obfuscation = padded if isinstance(padded, bool) else deployment.obfuscation
        self.draw = crc32(body, seed)
        asked = document.get("service_tier")
        asked = self.marks.get("tier") or (asked if asked in ("priority", "flex") else "")
        self.tier = b'"service_tier":%b,' % encode(asked) if asked else b""
        "As a member of answers; `[sim:tier=default]` answers another than asked for, as a ramp limit does."
        tools = document.get("tools")
        self.tools = [t["function"] for t in tools if isinstance(t, dict) and isinstance(t.get("function"), dict)] if (
            isinstance(tools, list)
        ) else []  # fmt: skip
        extra = len(encode(tools)) // 4 if tools else 0
        cap = document.get("max_completion_tokens")
        cap = document.get("max_tokens") if cap is None else cap
        self.cap = cap if isinstance(cap, int) else None
        "Token maximum of each choice, None without."
        n = document.get("n")
        count = n if isinstance(n, int) else 1
        self.sayings = [self._said(index) for index in range(count)]
        prompt_count = int(self.marks.get("prompt_tokens") or prompt_tokens(messages, extra))
        reasoning = deployment.reasoning
        self.choices = count
        self.claim = Claim(
            prompt_count,
            sum(s.size for s in self.sayings) + reasoning,
            min(int(self.marks.get("cached") or deployment.cached), prompt_count),
            reasoning,
        )

    # ------------------------------------------------------------------ what is said

    def _said(self, index: int) -> Saying:
        """One choice, cut to the token maximum."""
        draw = self.draw + 31 * index
        if self.tools and self._calls_tool():
            return Saying((), "tool_calls", self._calls(draw))
        tokens = self._tokens(draw)
        finish = "stop"
        if "filter_output" in self.marks:
            tokens, finish = tokens[: max(1, len(tokens) // 2)], "content_filter"
        if self.cap is not None and len(tokens) > self.cap:
            tokens, finish = tokens[: self.cap], "length"
        return Saying(tokens, finish)

    def _tokens(self, draw: int) -> tuple[str, ...]:
        form = self.document.get("response_format")
        form = form if isinstance(form, dict) else {}
        if form.get("type") == "json_schema":
            named = form.get("json_schema")
            schema = named.get("schema") if isinstance(named, dict) else None
            return pieces(encode(fitting(schema or {}, draw)).decode())
        if form.get("type") == "json_object":
            return pieces(encode({"answer": "".join(prose(draw, 6)).strip()}).decode())
        if self.deployment.text == "echo" or "echo" in self.marks:
            return pieces(unmarked(self.prompt) or " ")
        low, high = self.deployment.tokens
        asked = self.marks.get("tokens")
        count = int(asked) if asked and asked.isdecimal() else low + draw % (high - low + 1)
        return prose(draw, count)

    def _calls_tool(self) -> bool:
        choice = self.document.get("tool_choice")
        return "tool" in self.marks or choice == "required" or isinstance(choice, dict)

    def _calls(self, draw: int) -> list[tuple[str, str, str]]:
        """The tools named by `[sim:tool=a,b]`, by tool_choice, or the first."""
        choice = self.document.get("tool_choice")
        wanted = [name.strip() for name in self.marks.get("tool", "").split(",") if name.strip()]
        if not wanted and isinstance(choice, dict) and isinstance(choice.get("function"), dict):
            wanted = [str(choice["function"].get("name"))]
        chosen = [t for t in self.tools if t.get("name") in wanted] or self.tools[:1]
        return [
            (
                f"call_{blake2b(b'%d %d' % (draw, i), digest_size=12).hexdigest()}",
                str(tool.get("name")),
                encode(fitting(tool.get("parameters") or {"type": "object"}, draw)).decode(),
            )
            for i, tool in enumerate(chosen)
        ]

    # ------------------------------------------------------------------ how it is written

    def answer(self, identity: bytes, wall: float, speed: float) -> Answer:
        """`identity`: of the completion; `wall`: now; `speed`: factor on all waiting, from the jitter."""
        model = self.deployment.answers_as or f"{self.deployment.model}-{self.deployment.version}"
        write = self._streamed if self.stream else self._plain
        return write(identity, encode(model), int(wall), speed)

    def _usage(self) -> bytes:
        claim = self.claim
        return (
            b'{"completion_tokens":%d,"completion_tokens_details":{"accepted_prediction_tokens":0,"audio_tokens":0,'
            b'"reasoning_tokens":%d,"rejected_prediction_tokens":0},"prompt_tokens":%d,'
            b'"prompt_tokens_details":{"audio_tokens":0,"cached_tokens":%d},"total_tokens":%d}'
            % (claim.completion, claim.reasoning, claim.prompt, claim.cached, claim.prompt + claim.completion)
        )

    def _plain(self, identity: bytes, model: bytes, created: int, speed: float) -> Answer:
        latency = self.deployment.latency
        choices = []
        for index, saying in enumerate(self.sayings):
            content = b"null" if saying.calls else encode("".join(saying.tokens))
            message = b'"annotations":[],"content":' + content + b',"refusal":null,"role":"assistant"'
            if saying.calls:
                message += b',"tool_calls":' + encode(
                    [
                        {"function": {"arguments": arguments, "name": name}, "id": call, "type": "function"}
                        for call, name, arguments in saying.calls
                    ]
                )
            filters = b""
            if self.azure:
                filters = b'"content_filter_results":' + (_BLOCKED if saying.blocked else _SAFE) + b","
            choices.append(
                b"{"
                + filters
                + b'"finish_reason":"%b","index":%d,"logprobs":null,"message":{%b}}'
                % (saying.finish.encode(), index, message)
            )
        body = b"".join(
            (
                b'{"choices":[', b",".join(choices), b'],"created":%d,"id":"%b","model":%b,"object":"chat.completion",'
                % (created, identity, model),
                b'"prompt_filter_results":' + _PROMPT_RESULTS + b"," if self.azure else b"",
                self.tier, b'"system_fingerprint":"fp_51mu1a7ed0","usage":', self._usage(), b"}",
            )
        )  # fmt: skip
        longest = max((s.size for s in self.sayings), default=0) + self.deployment.reasoning
        delay = (latency.first_token_s + latency.per_token_s * longest) * speed
        return Answer(200, [JSON], [(delay, body)], claim=self.claim, usage_piece=0)

    def _streamed(self, identity: bytes, model: bytes, created: int, speed: float) -> Answer:
        latency = self.deployment.latency
        null = b',"usage":null' if self.usage_asked else b""
        tail = (
            b'"created":%d,"id":"%b","model":%b,"object":"chat.completion.chunk",%b'
            b'"system_fingerprint":"fp_51mu1a7ed0"' % (created, identity, model, self.tier)
        )
        end = b"," + tail + null + b"}\n\n"
        events: list[Piece] = []
        first = latency.first_token_s * speed
        if self.azure:
            at = first if latency.head_s is None else min(latency.head_s * speed, first)
            events.append((
                at,
                b'data: {"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":'
                + _PROMPT_RESULTS + null + b"}\n\n",
            ))  # fmt: skip
            first -= at
        first += latency.per_token_s * speed * self.deployment.reasoning
        pace = latency.per_token_s * speed
        for index, saying in enumerate(self.sayings):
            events.append((first if not index else 0.0, b'data: {"choices":[' + self._role(saying, index) + b"]" + end))
        parts = [self._content(saying, index, pace) for index, saying in enumerate(self.sayings)]
        flow = parts[0] if len(parts) == 1 else _interleaved(parts)
        if self.obfuscation:
            events += [
                (after, b'data: {"choices":[' + choice + b"]," + tail + self._padding(i) + null + b"}\n\n")
                for i, (after, choice) in enumerate(flow)
            ]
        else:
            start, close = b'data: {"choices":[', b"]" + end
            events += [(after, start + choice + close) for after, choice in flow]
        if self.azure and self.deployment.async_filter:
            events = self._annotated(events, null)
        filters = b'"content_filter_results":{},' if self.azure else b""
        for index, saying in enumerate(self.sayings):
            told = b'"content_filter_results":' + _BLOCKED + b"," if saying.blocked and self.azure else filters
            events.append((
                0.0,
                b'data: {"choices":[{' + told + b'"delta":{},"finish_reason":"%b","index":%d,"logprobs":null}]'
                % (saying.finish.encode(), index) + end,
            ))  # fmt: skip
        usage_piece = -1
        if self.usage_asked:
            usage_piece = len(events)
            events.append((0.0, b'data: {"choices":[],' + tail + b',"usage":' + self._usage() + b"}\n\n"))
        events.append((0.0, DONE))
        answer = Answer(200, [SSE], events, stream=True, claim=self.claim, usage_piece=usage_piece)
        answer.burst = self.deployment.burst
        return answer

    def _role(self, saying: Saying, index: int) -> bytes:
        content = b"null" if saying.calls else b'""'
        filters = b'"content_filter_results":{},' if self.azure else b""
        extra = b""
        if len(saying.calls) == 1:  # as Azure does it: the first chunk begins the call
            call, name, _ = saying.calls[0]
            extra = b',"tool_calls":[{"function":{"arguments":"","name":%b},"id":"%b","index":0,"type":"function"}]' % (
                encode(name), call.encode(),
            )  # fmt: skip
        return (
            b"{" + filters + b'"delta":{"content":' + content + b',"refusal":null,"role":"assistant"' + extra
            + b'},"finish_reason":null,"index":%d,"logprobs":null}' % index
        )  # fmt: skip

    def _content(self, saying: Saying, index: int, pace: float) -> list[Piece]:
        """The choices of the content chunks."""
        close = b'},"finish_reason":null,"index":%d,"logprobs":null}' % index
        if saying.calls:
            empty = (
                b'{"content_filter_results":{},"delta":{"tool_calls":[' if self.azure else b'{"delta":{"tool_calls":['
            )
            out: list[Piece] = []
            for number, (call, name, arguments) in enumerate(saying.calls):
                if len(saying.calls) > 1:
                    start = b'{"function":{"arguments":"","name":%b},"id":"%b","index":%d,"type":"function"}' % (
                        encode(name), call.encode(), number,
                    )  # fmt: skip
                    out.append((pace, empty + start + b"]" + close))
                for token in pieces(arguments):
                    part = b'{"function":{"arguments":%b},"index":%d}' % (encode(token), number)
                    out.append((pace, empty + part + b"]" + close))
            return out
        start = b"{" + (_FILTERS if self.azure and not self.deployment.async_filter else b"") + b'"delta":{"content":'
        known = ENCODED
        return [(pace, start + (known.get(token) or encode(token)) + close) for token in saying.tokens]

    def _padding(self, index: int) -> bytes:
        """Between nothing and 32 letters, so that lengths tell nothing."""
        size = (self.draw >> (index % 24)) % 32
        return b',"obfuscation":"' + b"aZ3kQ9xW7mB2vN5tR8yL4cP6sD1fG0hJ"[:size] + b'"'

    def _annotated(self, events: list[Piece], null: bytes) -> list[Piece]:
        """The asynchronous filter's chunks between the content, and one after it."""
        lead = 1 + len(self.sayings)
        out = events[:lead]
        start, seen, longest = 0, 0, len("".join(self.sayings[0].tokens)) if self.sayings else 0
        per_event = longest / max(1, len(events) - lead)
        for number, event in enumerate(events[lead:], 1):
            out.append(event)
            seen = round(per_event * number)
            if number % _ASYNC_STRIDE == 0:
                out.append((0.0, _annotation(start, seen, null)))
                start = seen
        blocked = any(saying.blocked for saying in self.sayings)
        out.append((0.0, _annotation(start, max(seen, start), null, _BLOCKED if blocked else _SAFE)))
        return out


def _annotation(start: int, end: int, null: bytes, results: bytes = _SAFE) -> bytes:
    return (
        b'data: {"choices":[{"content_filter_offsets":{"check_offset":%d,"start_offset":%d,"end_offset":%d},'
        b'"content_filter_results":%b,"finish_reason":null,"index":0}],"created":0,"id":"","model":"","object":""%b}\n\n'
        % (start, start, end, results, null)
    )


def _interleaved(parts: list[list[Piece]]) -> list[Piece]:
    """Choices of n > 1 come mixed, one token of each in turn; only the first of a turn waits."""
    out: list[Piece] = []
    for turn in range(max(len(part) for part in parts)):
        waited = False
        for part in parts:
            if turn < len(part):
                after, choice = part[turn]
                out.append((0.0 if waited else after, choice))
                waited = True
    return out


def wrong_chat(request: Request) -> Answer | None:
    """What the API refuses about a body."""
    document = request.document
    messages = document.get("messages")
    if not isinstance(messages, list) or not messages:
        return refusals.bad_request("Missing required parameter: 'messages'.", "messages", "missing_required_parameter")
    for name in ("max_tokens", "max_completion_tokens", "n"):
        value = document.get(name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            return refusals.bad_request(f"Invalid type for '{name}': expected an integer.", name, "invalid_type")
        if value is not None and (value < 1 or (name == "n" and value > N_MOST)):
            return refusals.bad_request(f"Invalid '{name}': integer out of range.", name, "integer_out_of_range")
    options = document.get("stream_options")
    if options is not None:
        if request.surface == DATED and not dated_since(request.api_version, STREAM_OPTIONS_SINCE):
            return refusals.bad_request("Unrecognized request argument supplied: stream_options")
        if document.get("stream") is not True:
            return refusals.bad_request(
                "The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options"
            )
    form = document.get("response_format")
    if isinstance(form, dict) and form.get("type") == "json_schema" and request.surface == DATED:
        if not dated_since(request.api_version, JSON_SCHEMA_SINCE):
            return refusals.bad_request(
                "response_format value as json_schema is enabled only for api versions 2024-08-01-preview and later",
                code="BadRequest",
            )
    return None
