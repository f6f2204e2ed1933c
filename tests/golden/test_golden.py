"""Wire bytes as they are: <api>/<provider>/<case>/ holds what came, what goes up, what came back and what goes down.

`request` and `upstream_response` are the given; `upstream_request`, `response` and `facts.json` must come out, byte
for byte (`python tests/golden/test_golden.py` writes them anew: read the diff). Framing headers are the shores' and
not in here, nor are our own response headers.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from sluicegate.apis import APIS, Paths
from sluicegate.core.events import Usage
from sluicegate.core.exchange import estimated
from sluicegate.core.secret import Secret
from sluicegate.core.snapshot import Auth, Deployment, Instance
from sluicegate.providers import PROVIDERS
from sluicegate.wire.headers import REQUEST_PASS, STATUS_LINES, answer
from sluicegate.wire.multipart import Form, boundary_of, edited, edits, is_form
from tests.attributes import attributes

HERE = Path(__file__).parent
CASES = sorted(path.parent for path in HERE.glob("*/*/*/request"))
PATHS = Paths(APIS.values())
INSTANCES = {
    "azure_openai": Instance(
        1, "east", "azure_openai", "https", "east.openai.azure.com", 443, "", Auth("key", Secret("upstream-key"))
    ),
    "openai_compatible": Instance(
        2, "local", "openai_compatible", "http", "127.0.0.1", 8000, "/v1", Auth("key", Secret("upstream-key"))
    ),
    "foundry": Instance(
        3, "hub", "foundry", "https", "hub.services.ai.azure.com", 443, "", Auth("key", Secret("upstream-key"))
    ),
    "anthropic": Instance(
        4, "claude", "anthropic", "https", "api.anthropic.com", 443, "", Auth("key", Secret("upstream-key"))
    ),
}
DEPLOYMENT = Deployment(1, "gpt-4o-ptu", 1, "gpt-4o", "2024-11-20", "provisioned", 0)
WALL = 1_764_000_000.0


def outcome(case: Path) -> dict[str, bytes]:
    """The files that must come out of this case."""
    api_name, provider_name = case.parts[-3:-1]
    line, headers, body = http((case / "request").read_bytes())
    method, target, _ = line.split(b" ")
    path, _, query = target.partition(b"?")
    match = PATHS.match(method.decode(), path, query)
    assert not isinstance(match, str) and match.api.name == api_name
    api, provider = match.api, PROVIDERS[provider_name]
    plan = provider.plan(api, DEPLOYMENT, INSTANCES[provider_name], match.api_version)
    passed = b"".join(b"%b: %b\r\n" % (n.lower(), v) for n, v in headers if n.lower() in REQUEST_PASS)
    kind = {n.lower(): v for n, v in headers}[b"content-type"]
    if is_form(kind):
        form = Form(boundary_of(kind), api.decides)  # type: ignore[attr-defined]
        form.feed(body)
        form.end()
        facts = api.form(form.fields, form.names, len(body))  # type: ignore[attr-defined]
        model = {} if plan.model is None else {"model": plan.model.encode()}
        up_head = plan.head.replace(b"content-type: application/json", b"content-type: " + kind)
        up = up_head + passed + b"\r\n" + edited(body, edits(form, model))
    else:
        fields = api.fields(body)
        facts = api.facts(fields, body)
        up = plan.head + passed + b"\r\n" + bytes(api.body(body, fields, facts, plan.model, plan.usage))

    line, headers, body = http((case / "upstream_response").read_bytes())
    status = int(line.split(b" ")[1])
    head = answer(headers)
    said: dict[str, Any] = {"facts": {n: getattr(facts, n) for n in attributes(facts) if n != "special"}}
    if facts.special is not None:
        said["special"] = {name: getattr(facts.special, name) for name in attributes(facts.special)}
    if status != 200:
        refusal = provider.refusal(status, headers, body, WALL)
        said["refusal"] = {name: getattr(refusal, name) for name in attributes(refusal)}
        down = body
    elif facts.stream:
        meter = api.meter(facts, facts.stream and plan.usage and not facts.asked_usage)
        down = meter.feed(body, 0.0)
        said |= {"usage": counts(meter.usage), "end": meter.end(), "error": meter.error, "delivered": meter.delivered}
        if meter.tier:
            said["tier"] = meter.tier
    elif head.content_type != b"application/json":
        size = len(body) // facts.special.a_token if facts.special is not None else 0
        said["usage"] = counts(estimated(facts, size))
        down = body
    else:
        said["usage"] = counts(api.answer(body))
        down = body
    return {
        "upstream_request": up,
        "response": STATUS_LINES[status] + head.lines + head.limits() + b"\r\n" + down,
        "facts.json": (json.dumps(said, indent=2) + "\n").encode(),
    }


def http(message: bytes) -> tuple[bytes, list[tuple[bytes, bytes]], bytes]:
    """First line, headers, body."""
    head, _, body = message.partition(b"\r\n\r\n")
    line, *headers = head.split(b"\r\n")
    return line, [(n, v.strip()) for n, _, v in (h.partition(b":") for h in headers)], body


def counts(usage: Usage | None) -> dict[str, int] | None:
    if usage is None:
        return None
    return {n: v for n in attributes(usage) if (v := getattr(usage, n)) or n not in ("tier", "hour", "media")}


@pytest.mark.parametrize("case", CASES, ids=lambda c: "/".join(c.parts[-3:]))
def test_the_bytes_are_these(case: Path) -> None:
    for name, content in outcome(case).items():
        assert content == (case / name).read_bytes(), name


def test_every_row_has_golden_files() -> None:
    there = {case.parts[-3:-1] for case in CASES}
    assert there == {(row.name, provider) for row in APIS.values() for provider in row.providers}
    assert {provider for _, provider in there} == set(PROVIDERS)


@pytest.mark.parametrize("case", CASES, ids=lambda c: "/".join(c.parts[-3:]))
def test_no_credential_of_a_client_goes_up_and_none_of_ours_comes_down(case: Path) -> None:
    sent = {name: (case / name).read_bytes() for name in ("upstream_request", "response")}
    assert b"client-key" not in sent["upstream_request"]
    assert b"upstream-key" not in sent["response"] and b"client-key" not in sent["response"]


if __name__ == "__main__":
    for each in CASES:
        for name, content in outcome(each).items():
            (each / name).write_bytes(content)
