"""What Foundry's inference API has of its own: the fields it knows, and the header that says what becomes of others."""

from __future__ import annotations

from typing import Final

from sluicegate.sim.answer import Answer
from sluicegate.sim.azure import refusals
from sluicegate.sim.azure.request import Request

KNOWN: Final = {
    "/chat/completions": frozenset((
        "messages", "frequency_penalty", "stream", "presence_penalty", "temperature", "top_p", "max_tokens",
        "response_format", "stop", "tools", "tool_choice", "seed", "model", "modalities",
    )),
    "/embeddings": frozenset(("input", "dimensions", "encoding_format", "input_type", "model")),
}  # fmt: skip


def unknown(request: Request) -> Answer | None:
    """`extra-parameters: pass-through` lets fields through to the model, `drop` takes them out, else it is an error."""
    more = set(request.document) - KNOWN[request.operation]
    if not more:
        return None
    what = (request.header(b"extra-parameters") or b"error").lower()
    if what == b"pass-through":
        return None
    if what == b"drop":
        for name in more:
            del request.document[name]
        return None
    details = [
        {"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted"}
        for name in sorted(more)
    ]
    said = {"code": "Invalid input", "status": 422, "message": "invalid input error", "details": details}
    return refusals.refusal(422, {"error": said})
