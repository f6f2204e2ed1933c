"""What clients send: the bytes of a chat completion as the openai SDK for Python writes them, in three sizes."""

from __future__ import annotations

import base64
import json
from random import Random

PATH = "/openai/deployments/chat/chat/completions?api-version=2024-10-21"
EMBEDDINGS = "/openai/deployments/chat/embeddings?api-version=2024-10-21"
SIZES_KB = (1, 20, 200)

# In the SDK's order and spelling; what is left out here (host, key, length) is added per request.
SDK_HEADERS = (
    ("Accept-Encoding", "gzip, deflate"),
    ("Connection", "keep-alive"),
    ("Accept", "application/json"),
    ("Content-Type", "application/json"),
    ("User-Agent", "AzureOpenAI/Python 3.3.1"),
    ("X-Stainless-Lang", "python"),
    ("X-Stainless-Package-Version", "3.3.1"),
    ("X-Stainless-OS", "Linux"),
    ("X-Stainless-Arch", "x64"),
    ("X-Stainless-Runtime", "CPython"),
    ("X-Stainless-Runtime-Version", "3.11.2"),
    ("X-Stainless-Async", "async:asyncio"),
    ("x-stainless-retry-count", "0"),
    ("x-stainless-read-timeout", "600"),
)

_PROSE = (
    "The harbour office keeps the log of every ship that enters, its draught, its flag and the name of the pilot. "
    "When the tide is low the sluice is opened by hand; two people are needed, one at each wheel. "
)


_PICTURE = base64.b64encode(Random(1).randbytes(3 * 1024)).decode()


def chat(size: int, stream: bool = False, ask_usage: bool = True) -> bytes:
    """A chat completion request of exactly `size` bytes: a system message, turns of a conversation, a question."""
    request: dict[str, object] = {"messages": [{"role": "system", "content": "You answer briefly and exactly."}]}
    request |= {"model": "chat", "max_tokens": 800, "temperature": 0.2, "user": "bench"}
    if stream:
        request["stream"] = True
        if ask_usage:
            request["stream_options"] = {"include_usage": True}
    messages: list[dict[str, str]] = request["messages"]  # type: ignore[assignment]
    # A turn is up to 2 KB, as conversations are: a body is many strings, not one.
    messages.append({"role": "user", "content": ""})
    while (missing := size - len(_compact(request))) > 0:
        room = min(missing, 2048)
        messages[-1]["content"] = (_PROSE * (room // len(_PROSE) + 1))[:room]
        if missing > 2048 + 64:  # what an empty turn costs, and one byte of content
            messages.append({"role": "user" if len(messages) % 2 else "assistant", "content": ""})
        elif missing > 2048:  # no room for another turn: this one takes the rest
            messages[-1]["content"] += _PROSE[: missing - 2048]
    return _compact(request)


def embedding() -> bytes:
    """A request for the vector of one text of 200 bytes, in base64 as the SDK asks for it."""
    return _compact({"input": _PROSE[:200], "model": "chat", "encoding_format": "base64"})


def picture(size: int) -> bytes:
    """A question about an image of about so many bytes, in base64: one string, as the SDK sends it."""
    url = "data:image/png;base64," + (_PICTURE * (size // len(_PICTURE) + 1))[:size]
    content = [{"type": "text", "text": _PROSE[:200]}, {"type": "image_url", "image_url": {"url": url}}]
    return _compact({"messages": [{"role": "user", "content": content}], "model": "chat", "max_tokens": 800})


def request(port: int, key: str, body: bytes, path: str = PATH) -> bytes:
    """The whole request, head and body."""
    head = [f"POST {path} HTTP/1.1", f"Host: 127.0.0.1:{port}"]
    head += [f"{name}: {value}" for name, value in SDK_HEADERS]
    head += [f"api-key: {key}", f"Content-Length: {len(body)}"]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
