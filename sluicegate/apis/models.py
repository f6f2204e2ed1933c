"""The lists of models, which the gateway answers itself: what the caller may use, as each dialect writes it.

Azure lists below `/openai`, OpenAI below `/v1` and `/openai/v1`, Anthropic below `/anthropic/v1`, and below `/v1` for
whoever sends `anthropic-version`, as its clients do. The names are the
gateway's public ones: what a client writes as `model`, or as its deployment. When a model was made we do not know,
and say 0, since clients want a number.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from sluicegate.apis import api_version
from sluicegate.core.snapshot import Model

AZURE: Final = "azure"
OPENAI: Final = "openai"
ANTHROPIC: Final = "anthropic"

BASES: Final = (
    (b"/openai/v1/models", OPENAI), (b"/v1/models", OPENAI), (b"/anthropic/v1/models", ANTHROPIC),
    (b"/openai/models", AZURE),
)  # fmt: skip

LONGEST: Final = 256
OWNER: Final = "sluicegate"


class Asked:
    """Which list, or which one of its models."""

    __slots__ = ("name", "shape")

    def __init__(self, shape: str, name: str | None) -> None:
        self.shape = shape
        self.name = name
        "As it stands in the path, None for all: looked up, and nothing else."


def asked(method: str, path: bytes, query: bytes) -> Asked | str | None:
    """What a request line asks for; the reason why it cannot; None: no list of models."""
    if path.startswith(b"//openai/"):
        path = path[1:]
    for base, shape in BASES:
        if path.startswith(base):
            rest = path[len(base) :]
            if rest and (rest[:1] != b"/" or len(rest) < 2 or b"/" in rest[1:] or len(rest) > LONGEST):
                return None
            if method != "GET":
                return "route.method"
            try:
                api_version(query, shape == AZURE)
            except ValueError:
                return "request.api_version"
            return Asked(shape, rest[1:].decode("latin-1") if rest else None)
    return None


def listed(shape: str, models: Iterable[Model]) -> bytes:
    """All of them."""
    each = [_one(shape, model) for model in models]
    if shape == ANTHROPIC:
        first, last = (each[0]["id"], each[-1]["id"]) if each else (None, None)
        return msgspec.json.encode({"data": each, "has_more": False, "first_id": first, "last_id": last})
    return msgspec.json.encode({"object": "list", "data": each})


def described(shape: str, model: Model) -> bytes:
    """One of them."""
    return msgspec.json.encode(_one(shape, model))


def _one(shape: str, model: Model) -> dict[str, Any]:
    name = model.name
    if shape == ANTHROPIC:
        return {"type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z"}
    said: dict[str, Any] = {"id": name, "object": "model", "created": 0, "owned_by": OWNER}
    if shape == AZURE:
        offers = model.operations
        said.update({
            "created_at": 0, "updated_at": 0, "status": "succeeded",
            "capabilities": {
                "fine_tune": False, "inference": True, "completion": "completions" in offers,
                "chat_completion": "chat_completions" in offers, "embeddings": "embeddings" in offers,
            },
        })  # fmt: skip
    return said
