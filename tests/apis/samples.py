"""A request to each operation whose prompt is some 1,000 tokens of text: for tests that walk the table.

A row that is unmetered needs none.
"""

from __future__ import annotations

import json
from typing import Any

WORDS = "word " * 800
MESSAGES = [{"role": "user", "content": WORDS}]

ASKED: dict[str, dict[str, Any]] = {
    "chat_completions": {"model": "chat", "stream": True, "messages": MESSAGES},
    "completions": {"model": "chat", "stream": True, "prompt": WORDS},
    "embeddings": {"model": "chat", "input": [WORDS[:2000], WORDS[2000:]]},
    "messages": {"model": "chat", "stream": True, "max_tokens": 100, "messages": MESSAGES},
    "images_generations": {"model": "chat", "stream": True, "prompt": WORDS},
    "audio_speech": {"model": "chat", "stream_format": "sse", "input": WORDS},
}


def body(operation: str) -> bytes:
    """The request's body."""
    return json.dumps(ASKED[operation], separators=(",", ":")).encode()
