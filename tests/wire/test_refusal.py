"""Refusals in the words of the client's dialect."""

import json
from typing import Any

import pytest

from sluicegate.core.refusals import REFUSALS
from sluicegate.wire.refusal import ANTHROPIC, refusal, refused_upstream

TYPES = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    405: "invalid_request_error", 408: "invalid_request_error", 413: "request_too_large", 414: "invalid_request_error",
    415: "invalid_request_error", 417: "invalid_request_error", 429: "rate_limit_error", 431: "invalid_request_error",
    500: "api_error", 503: "overloaded_error",
}  # fmt: skip


@pytest.mark.parametrize("reason", REFUSALS)
def test_anthropics_clients_read_every_refusal_in_their_envelope(reason: str) -> None:
    status, lines, body = refusal(reason, 'a "message"\nwith é', 1.5, "0123", ANTHROPIC)
    assert json.loads(body) == {
        "type": "error",
        "error": {"type": TYPES[status], "message": 'a "message"\nwith é', "reason": reason},
        "request_id": "0123",
    }
    fields = dict(line.split(": ") for line in lines.decode().strip().split("\r\n"))
    assert fields["request-id"] == fields["x-sluicegate-request-id"] == "0123"
    assert fields["x-sluicegate-reason"] == reason


@pytest.mark.parametrize("reason", REFUSALS)
def test_status_and_what_is_said_of_retrying_are_the_same_in_every_dialect(reason: str) -> None:
    plain, theirs = refusal(reason, "m", 2.0, ""), refusal(reason, "m", 2.0, "", ANTHROPIC)
    assert plain[:2] == theirs[:2]
    assert json.loads(theirs[2])["request_id"] is None


@pytest.mark.parametrize(
    ("dialect", "kind"),
    [("openai", {"type": "invalid_request_error", "code": "400", "param": None, "status": 400}),
     (ANTHROPIC, {"type": "invalid_request_error"})],
)  # fmt: skip
def test_what_is_no_error_of_an_api_is_put_into_the_envelope(dialect: str, kind: dict[str, Any]) -> None:
    error = json.loads(refused_upstream(400, "0123", dialect))["error"]
    assert error == {"message": "The model's server refused the request.", "reason": "upstream.refused", **kind}
