"""Why an upstream refused: whose fault it is decides what happens next."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.core.events import AnswerFacts
from sluicegate.providers import PROVIDERS

WALL = 1_700_000_000.0


def refusal(
    status: int, body: Any = b"", headers: dict[str, str] | None = None, provider: str = "azure_openai"
) -> AnswerFacts:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    pairs = [(n.encode(), v.encode()) for n, v in (headers or {}).items()]
    return PROVIDERS[provider].refusal(status, pairs, raw, WALL)


def error(code: Any, message: str = "") -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}


RATE = error("429", "Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2024-10-21 have exceeded "
             "token rate limit of your current OpenAI S0 pricing tier. Please retry after 22 seconds.")  # fmt: skip
ANTHROPICS = {
    ("anthropic", 529): "upstream.throttled.capacity", ("foundry", 529): "upstream.throttled.capacity",
    ("anthropic", 402): "upstream.credential",
}  # fmt: skip
"""By provider and status, where Anthropic's are read otherwise."""
SIZE = error("429", "Your request exceeds the maximum usage size allowed during peak load.")


@pytest.mark.parametrize("provider", sorted(PROVIDERS))
@pytest.mark.parametrize(
    ("status", "body", "cause"),
    [
        (429, RATE, "upstream.throttled.rate"),
        (429, b"", "upstream.throttled.rate"),
        (429, b"<html>", "upstream.throttled.rate"),
        (429, error("NoCapacity", "x"), "upstream.throttled.capacity"),
        (429, error("429", "The system is currently experiencing high demand."), "upstream.throttled.capacity"),
        (429, SIZE, "upstream.throttled.size"),
        (401, error("401", "Access denied due to invalid subscription key"), "upstream.credential"),
        (401, error("PermissionDenied", "Principal does not have access"), "upstream.credential"),
        (403, error("AccessDenied", "Virtual Network/Firewall rules"), "upstream.credential"),
        (404, error("DeploymentNotFound", "The API deployment for this resource does not exist."), "upstream.deployment"),
        (404, error("model_not_found", "x"), "upstream.deployment"),
        (404, b"", "upstream.deployment"),
        (410, error("ModelDeprecated", "x"), "upstream.deployment"),
        *[(s, b"", "upstream.status_5xx") for s in (500, 502, 503, 504, 529, 599, 408, 409, 424, 499)],
        *[(s, b"", "upstream.redirect") for s in (301, 302, 303, 304, 307, 308)],
        *[(s, b"", "upstream.status") for s in (201, 202, 204, 402, 405, 406, 415, 418, 431, 451)],
        (400, error("content_filter", "The response was filtered"), ""),
        (400, error("context_length_exceeded", "x"), ""),
        (400, b"", ""), (413, b"", ""), (422, b"", ""),
    ],
)  # fmt: skip
def test_every_status_has_one_cause(provider: str, status: int, body: Any, cause: str) -> None:
    assert refusal(status, body, provider=provider).cause == ANTHROPICS.get((provider, status), cause)


def anthropics(kind: str, message: str = "") -> bytes:
    return json.dumps({"type": "error", "error": {"type": kind, "message": message}}, separators=(",", ":")).encode()


@pytest.mark.parametrize("provider", ["anthropic", "foundry"])
@pytest.mark.parametrize(
    ("status", "kind", "message", "cause", "code"),
    [
        (529, "overloaded_error", "Overloaded", "upstream.throttled.capacity", "overloaded_error"),
        (503, "overloaded_error", "Overloaded", "upstream.throttled.capacity", "overloaded_error"),
        (500, "api_error", "Internal server error", "upstream.status_5xx", "api_error"),
        (429, "rate_limit_error", "This request would exceed your rate limit of 50,000 input tokens per minute.",
         "upstream.throttled.rate", "rate_limit_error"),
        (400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum", "", "context_length_exceeded"),
        (400, "invalid_request_error",
         "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000, decrease them", "", "context_length_exceeded"),
        (400, "invalid_request_error", "max_tokens: Field required", "", "invalid_request_error"),
        (400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API.", "upstream.credential",
         "invalid_request_error"),
        (402, "billing_error", "x", "upstream.credential", "billing_error"),
        (401, "authentication_error", "invalid x-api-key", "upstream.credential", "authentication_error"),
        (403, "permission_error", "x", "upstream.credential", "permission_error"),
        (404, "not_found_error", "model: claude-x", "upstream.deployment", "not_found_error"),
        (413, "request_too_large", "x", "", "request_too_large"),
    ],
)  # fmt: skip
def test_anthropics_types_say_whose_fault_it_is(
    provider: str, status: int, kind: str, message: str, cause: str, code: str
) -> None:
    facts = refusal(status, anthropics(kind, message), provider=provider)
    assert (facts.cause, facts.code) == (cause, code)


def test_anthropics_limits_reset_at_an_instant_and_the_one_that_is_used_up_counts() -> None:
    def wait(**headers: str) -> float | None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return refusal(429, anthropics("rate_limit_error"), named, "anthropic").retry_after

    soon, late = "2023-11-14T22:13:30Z", "2023-11-14T22:14:20.5Z"
    used = {"anthropic_ratelimit_requests_remaining": "0", "anthropic_ratelimit_requests_reset": late}
    free = {"anthropic_ratelimit_tokens_remaining": "7", "anthropic_ratelimit_tokens_reset": soon}
    assert wait(**used, **free) == 60.0
    assert wait(**free) == 10.0
    assert wait(**used, **free, retry_after="3") == 3.0
    assert wait(**used, date="Tue, 14 Nov 2023 22:14:00 GMT") == 20.0, "its clock, not ours"
    for odd in ("", "soon", "2023-11-14", "2023-13-14T22:13:30Z", "0000-01-01T00:00:00Z", "2023-11-14T22:13:30+09:00",
                "9999-11-14T22:13:30Z", "2023-11-14T22:13:10Z", "2023-11-14T25:13:30Z", "-1", "nan"):  # fmt: skip
        assert wait(anthropic_ratelimit_requests_reset=odd) is None, odd


def test_a_version_that_azure_does_not_know_cannot_put_a_deployment_out_of_service() -> None:
    unknown = error("404", "Resource not found")
    assert refusal(404, unknown).cause == ""
    assert refusal(404, unknown, provider="foundry").cause == ""
    assert refusal(404, unknown, provider="openai_compatible").cause == "upstream.deployment"


def test_times_are_read_from_every_header_that_says_them() -> None:
    assert refusal(429, RATE, {"retry-after-ms": "150", "retry-after": "1"}).retry_after == 0.15
    assert refusal(429, RATE, {"Retry-After": "Tue, 14 Nov 2023 22:13:50 GMT"}).retry_after == 30.0
    assert refusal(429, RATE, {"x-ratelimit-reset-tokens": "6m0s"}).retry_after == 360.0
    assert refusal(429, RATE, {"retry-after": "soon"}).retry_after is None
    assert refusal(503, b"", {"retry-after": "3"}).retry_after == 3.0
    assert refusal(400, b"", {"retry-after": "3"}).retry_after is None


def test_region_and_utilisation_are_read() -> None:
    facts = refusal(429, RATE, {"X-MS-Region": "East US 2", "azure-openai-deployment-utilization": "101.5%"})
    assert (facts.region, facts.utilisation) == ("East US 2", pytest.approx(1.015))


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (error("content_filter"), "content_filter"), (error(429), "429"), ({"error": {"type": "server_error"}}, "server_error"),
        ({"code": 400, "message": "x", "object": "error"}, "400"), (error("a b\nc"), ""), (error("x" * 65), ""), (error(["x"]), ""),
        (b"", ""), (b"[]", ""), (b'{"error":"x"}', ""), (b'{"error":null}', ""), (b"[" * 100_000, ""), (b'{"error":{"code":"\xff"}}', ""),
    ],
)  # fmt: skip
def test_a_code_is_a_plain_word_or_nothing(body: Any, code: str) -> None:
    assert refusal(400, body).code == code


@given(
    st.integers(100, 999),
    st.lists(st.tuples(st.binary(max_size=30) | st.sampled_from([b"retry-after", b"x-ms-region"]), st.binary(max_size=30)), max_size=8),
    st.binary(max_size=200) | st.recursive(st.none() | st.text() | st.integers(), lambda v: st.lists(v) | st.dictionaries(
        st.sampled_from(["error", "code", "type", "message"]), v)).map(lambda v: json.dumps(v).encode()),
    st.sampled_from(sorted(PROVIDERS)),
)  # fmt: skip
def test_no_answer_raises(status: int, headers: list[tuple[bytes, bytes]], body: bytes, provider: str) -> None:
    facts = PROVIDERS[provider].refusal(status, headers, body, WALL)
    assert facts.cause == "" or facts.cause.startswith("upstream.")


@pytest.mark.parametrize("status", [400, 404])
def test_a_model_that_foundry_does_not_know_is_no_fault_of_the_client(status: int) -> None:
    assert (
        refusal(status, error("unknown_model", "Unknown model: x"), provider="foundry").cause == "upstream.deployment"
    )
