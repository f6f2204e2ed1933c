"""What the mock upstream answers: Azure OpenAI's chat completions, plain and streamed, as bytes that are made once.

Usage differs from answer to answer, so that a sum of tokens that is right says something.
"""

from __future__ import annotations

import base64
import json
import struct
from dataclasses import dataclass
from random import Random

_ID = "chatcmpl-Ce4nY0bKq7TzW2mVd9RjXhPfLs3u"
_MODEL = "gpt-4o-2024-11-20"
_SAFE = {name: {"filtered": False, "severity": "safe"} for name in ("hate", "self_harm", "sexual", "violence")}
_WORDS = (" the", " sluice", " opens", " when", " water", " on", " both", " sides", " stands", " level", ",", " and")
_TEXT = (
    "The lock keeper opens the upper gate only when the water in the chamber stands level with the river above it. "
    "Until then the culverts fill the chamber slowly, so that ships lie quietly on their lines. "
)

# As an Azure OpenAI resource sends them; the framing headers are added by `head`.
AZURE_HEADERS = (
    ("apim-request-id", "0f0f6f52-9b3d-4c62-8d5e-3f6a5a0c7e11"),
    ("azureml-model-session", "d20251104-7c9e0b52"),
    ("strict-transport-security", "max-age=31536000; includeSubDomains; preload"),
    ("x-content-type-options", "nosniff"),
    ("x-ms-region", "West Europe"),
    ("x-ms-rai-invoked", "true"),
    ("x-ms-client-request-id", "0f0f6f52-9b3d-4c62-8d5e-3f6a5a0c7e11"),
    ("x-ms-deployment-name", "gpt-4o"),
    ("x-ratelimit-limit-requests", "1000000"),
    ("x-ratelimit-limit-tokens", "1000000000"),
    ("x-ratelimit-remaining-requests", "999999"),
    ("x-ratelimit-remaining-tokens", "999998800"),
    ("x-request-id", "7a3f0c9e-52d1-4b1c-9a55-0b8f4f6d2c10"),
    ("x-envoy-upstream-service-time", "412"),
    ("date", "Fri, 21 Nov 2025 12:00:00 GMT"),
)


@dataclass(frozen=True)
class Usage:
    """What an answer reports."""

    input: int
    output: int

    def json(self) -> dict[str, object]:
        return {
            "completion_tokens": self.output,
            "completion_tokens_details": {
                "accepted_prediction_tokens": 0, "audio_tokens": 0, "reasoning_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
            "prompt_tokens": self.input,
            "prompt_tokens_details": {"audio_tokens": 0, "cached_tokens": 0},
            "total_tokens": self.input + self.output,
        }  # fmt: skip


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


USAGES = tuple(Usage(201 + 13 * i, 103 + 29 * i) for i in range(8))


def head(*framing: tuple[str, str], status: str = "200 OK") -> bytes:
    """Status line and headers, the empty line included."""
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in (*framing, *AZURE_HEADERS))]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def plain_body(usage: Usage) -> bytes:
    """A whole answer, about 1.2 KB."""
    return _compact(
        {
            "choices": [
                {
                    "content_filter_results": _SAFE, "finish_reason": "stop", "index": 0, "logprobs": None,
                    "message": {"annotations": [], "content": _TEXT, "refusal": None, "role": "assistant"},
                }
            ],
            "created": 1763726400, "id": _ID, "model": _MODEL, "object": "chat.completion",
            "prompt_filter_results": [{"content_filter_results": _SAFE, "prompt_index": 0}],
            "system_fingerprint": "fp_b54fe76834", "usage": usage.json(),
        }
    )  # fmt: skip


FLOATS = 1536


def vector_body(usage: Usage) -> bytes:
    """The vector of one text, base64: 8.3 KB."""
    numbers = Random(usage.input)
    packed = struct.pack(f"<{FLOATS}f", *(numbers.uniform(-0.05, 0.05) for _ in range(FLOATS)))
    said = {"object": "embedding", "index": 0, "embedding": base64.b64encode(packed).decode()}
    counted = {"prompt_tokens": usage.input, "total_tokens": usage.input}
    return _compact({"object": "list", "data": [said], "model": "text-embedding-3-small", "usage": counted})


def _answers(bodies: dict[bytes, Usage]) -> tuple[tuple[bytes, Usage], ...]:
    return tuple(
        (head(("Content-Length", str(len(body))), ("Content-Type", "application/json")) + body, usage)
        for body, usage in bodies.items()
    )


_CHATS = {plain_body(usage): usage for usage in USAGES}
_VECTORS = {vector_body(usage): usage for usage in (Usage(41 + 3 * i, 0) for i in range(8))}
BODIES = _CHATS | _VECTORS
PLAIN = _answers(_CHATS)
VECTORS = _answers(_VECTORS)
STREAM_HEAD = head(("Transfer-Encoding", "chunked"), ("Content-Type", "text/event-stream; charset=utf-8"))
END = b"0\r\n\r\n"


def event(data: bytes) -> bytes:
    """One server-sent event."""
    return b"data: " + data + b"\n\n"


def framed(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


@dataclass(frozen=True)
class Stream:
    """The pieces of a streamed answer, framed, with or without what `include_usage` adds."""

    first: bytes  # no choices, prompt_filter_results
    content: tuple[bytes, ...]  # to be sent round and round
    finish: bytes
    last: tuple[bytes, ...]  # one per member of USAGES: the usage event if asked for, [DONE], the end of the body
    extra: int  # events besides the content and [DONE]


def stream(ask_usage: bool) -> Stream:
    """The pieces, made once for each of both kinds."""
    null = {"usage": None} if ask_usage else {}

    def chunk(choices: list[object], **more: object) -> bytes:
        common = {"created": 1763726400, "id": _ID, "model": _MODEL, "object": "chat.completion.chunk"}
        return event(_compact({"choices": choices, **common, "system_fingerprint": "fp_b54fe76834", **null, **more}))

    def choice(delta: dict[str, str], finish: str | None) -> list[object]:
        return [{"content_filter_results": {}, "delta": delta, "finish_reason": finish, "index": 0, "logprobs": None}]

    first = {
        "choices": [], "created": 0, "id": "", "model": "", "object": "",
        "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": _SAFE}],
    }  # fmt: skip
    done = framed(event(b"[DONE]")) + END
    return Stream(
        first=framed(event(_compact(first))),
        content=tuple(framed(chunk(choice({"content": word}, None))) for word in _WORDS),
        finish=framed(chunk(choice({}, "stop"))),
        last=tuple((framed(chunk([], usage=u.json())) if ask_usage else b"") + done for u in USAGES),
        extra=3 if ask_usage else 2,
    )


STREAMS = {ask_usage: stream(ask_usage) for ask_usage in (False, True)}
