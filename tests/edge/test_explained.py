"""For every operation: explain names the deployments that a live request then asks, one after the other, and what its
client hears at last."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sluicegate.apis import APIS, Paths, rows
from sluicegate.cli.explain import _question
from sluicegate.core.caller import digest
from sluicegate.core.explain import asked, explain
from tests.edge.forms import BOUNDARY, END, field, file, house
from tests.gateway import KEY, SECRET

CHAT = {"model": "chat", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 50}
WORDS = {"model": "chat", "input": "some words"}
BODIES: dict[str, Any] = {
    "chat_completions": CHAT, "messages": CHAT, "count_tokens": CHAT, "embeddings": WORDS, "moderations": WORDS,
    "completions": {"model": "chat", "prompt": "hello", "max_tokens": 50}, "audio_speech": {**WORDS, "voice": "alloy"},
    "images_generations": {"model": "chat", "prompt": "a ship", "n": 2},
    "POST /responses/compact": {"model": "chat", "input": [], "previous_response_id": "r"},
}  # fmt: skip
"""Those without are forms."""
OPERATIONS = (*APIS, "POST /responses/compact")
SOUND = bytes(range(256)) * 40
WRONG = b'{"error":{"code":"x","message":"no"}}'


def raw(operation: str) -> tuple[bytes, bytes | None]:
    """A request, and its body if that is JSON."""
    (api,) = (row for row in rows([operation]) if row.name == operation)
    path = next(base for base, dated in api.bases if not dated) + api.model_path
    given = BODIES.get(operation)
    body = field(b"model", b"chat") + file(SOUND, b"image" if "image" in operation else b"file") + END
    kind = b"multipart/form-data; boundary=" + BOUNDARY
    if given is not None:
        body, kind = json.dumps(given).encode(), b"application/json"
    lines = [b"POST " + path.encode() + b" HTTP/1.1", b"Host: g", b"api-key: " + KEY.encode(), b"Content-Type: " + kind]
    head = b"\r\n".join([*lines, b"Content-Length: %d" % len(body)]) + b"\r\n\r\n"
    return head + body, None if given is None else body


def told(h: Any, operation: str, body: bytes | None) -> dict[str, Any]:
    question = _question("app", "chat" if body is None else None, None, None, False, body, operation, None, 0.5)
    question.key = digest(KEY.encode(), SECRET)
    return explain(h.world, asked(json.loads(json.dumps(question.plain()))), h.time)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(("outcome", "status"), [("if_throttled", 429), ("if_failed", 500)])
def test_explain_names_what_a_live_request_of_any_operation_then_does(operation: str, outcome: str, status: int):
    provider = "anthropic" if operation in ("messages", "count_tokens") else "azure_openai"
    h = house(members=3, provider=provider, attempts=3)
    object.__setattr__(h.snapshot.models[0], "operations", OPERATIONS)
    h.world.adopt(h.snapshot, h.world.callers)
    h.server.know(Paths(rows(OPERATIONS)))
    request, body = raw(operation)
    said = told(h, operation, body)
    assert said["outcome"]["sent"] and said["offers"] == list(OPERATIONS)
    line = h.line().send(request)
    seen = 0
    while len(h.upstream.calls) > seen:
        seen += 1
        assert seen < 9
        h.upstream.calls[-1].answer(WRONG, status)
    named = [said["outcome"]["deployment"], *(then["deployment"] for then in said[outcome]["then"])]
    assert [f"i{c.call.instance.number}/gpt-4o-{c.call.instance.number}" for c in h.upstream.calls] == named
    record = h.journal.recent[-1]
    assert (line.answers()[0].status, record.reason) == (said[outcome]["status"], said[outcome]["reason"])
    if outcome == "if_throttled":  # every door is shut now
        again = told(h, operation, body)["outcome"]
        asked_before = len(h.upstream.calls)
        last = h.line().send(request).answers()[0]
        assert (last.status, h.journal.recent[-1].reason) == (again["status"], again["reason"])
        assert not again["sent"] and len(h.upstream.calls) == asked_before
