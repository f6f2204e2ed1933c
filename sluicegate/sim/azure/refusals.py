"""What an instance says when it says no: status, headers and JSON as Azure writes them, and as OpenAI does."""

from __future__ import annotations

from email.utils import formatdate
from math import ceil
from typing import Any, Final, Literal

import msgspec

from sluicegate.sim.answer import Answer, Headers

JSON: Final = (b"content-type", b"application/json")

RetryForm = Literal["both", "s", "ms", "date", "none"]
"""Which headers tell the wait: retry-after and retry-after-ms, one of them, retry-after as an HTTP date, or none."""

Reason = Literal["rate", "capacity", "size"]

SAFE: Final = {
    "hate": {"filtered": False, "severity": "safe"},
    "self_harm": {"filtered": False, "severity": "safe"},
    "sexual": {"filtered": False, "severity": "safe"},
    "violence": {"filtered": False, "severity": "safe"},
}
BLOCKED: Final = {**SAFE, "violence": {"filtered": True, "severity": "high"}}
JAILBREAK: Final = {"jailbreak": {"detected": False, "filtered": False}}


def refusal(status: int, document: Any, headers: Headers | None = None) -> Answer:
    """An error answer with a JSON body."""
    return Answer(status, [JSON, *(headers or [])], [(0.0, msgspec.json.encode(document))])


def error(status: int, code: str | None, message: str, **more: Any) -> Answer:
    """The plain envelope: code, message, then what else there is."""
    return refusal(status, {"error": {"code": code, "message": message, **more}})


def wrong_key(compatible: bool) -> Answer:
    if compatible:
        return error(401, "invalid_api_key", "Incorrect API key provided.", type="invalid_request_error", param=None)
    return error(
        401,
        "401",
        "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an "
        "active subscription and use a correct regional API endpoint for your resource.",
    )


def no_permission() -> Answer:
    """What a managed identity without the role hears: 401, not 403."""
    return error(401, "PermissionDenied", "Principal does not have access to API/Operation.")


def not_from_this_network() -> Answer:
    return error(403, "AccessDenied", "Access denied due to Virtual Network/Firewall rules.")


def no_deployment(compatible: bool, name: str) -> Answer:
    if compatible:
        return error(
            404, "model_not_found", f"The model `{name}` does not exist.", type="invalid_request_error", param=None
        )
    return error(
        404,
        "DeploymentNotFound",
        "The API deployment for this resource does not exist. If you created the deployment within the last 5 minutes, "
        "please wait a moment and try again.",
    )


def not_supported(operation: str, model: str) -> Answer:
    """The deployment is there, and cannot do that."""
    named = operation.partition("_")[0].lower()
    message = f"The {named} operation does not work with the specified model, {model}. Please choose different model."
    return error(400, "OperationNotSupported", message)


def no_resource() -> Answer:
    return error(404, "404", "Resource not found")


def bad_request(message: str, param: str | None = None, code: str | None = None) -> Answer:
    return refusal(400, {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}})


def filtered_prompt(spelling: int = 0) -> Answer:
    """The prompt was blocked. Two spellings of two keys are in the wild; 1 gives the other."""
    inner, result = (
        ("innererror", "content_filter_result") if not spelling else ("inner_error", "content_filter_results")
    )
    return refusal(
        400,
        {
            "error": {
                "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management "
                "policy. Please modify your prompt and retry. To learn more about our content filtering policies "
                "please read our documentation: https://go.microsoft.com/fwlink/?linkid=2198766",
                "type": None,
                "param": "prompt",
                "code": "content_filter",
                "status": 400,
                inner: {"code": "ResponsibleAIPolicyViolation", result: {**BLOCKED, **JAILBREAK}},
            }
        },
    )


def too_long(limit: int, tokens: int) -> Answer:
    return bad_request(
        f"This model's maximum context length is {limit} tokens. However, your messages resulted in {tokens} tokens. "
        "Please reduce the length of the messages.",
        "messages",
        "context_length_exceeded",
    )


def throttled(
    wait_s: float, wall: float, reason: Reason = "rate", form: RetryForm = "both", version: str | None = None,
    of: str = "tokens", operation: str = "ChatCompletions_Create",
) -> Answer:  # fmt: skip
    """429. `wait_s`: seconds until the next call is accepted; `wall`: now, for the date form; `of`: tokens or requests,
    whichever there were too many of."""
    seconds = max(1, ceil(wait_s))
    if reason == "rate":
        text = (
            f"Requests to the {operation} Operation under Azure OpenAI API version {version or 'v1'} have "
            f"exceeded {'token' if of == 'tokens' else 'call'} rate limit of your current OpenAI S0 pricing tier. "
            f"Please retry after {seconds} second{'s' if seconds > 1 else ''}. "
            "Please go here: https://aka.ms/oai/quotaincrease if you would like to further increase the default "
            "rate limit."
        )
        code = "429"
    elif reason == "capacity":
        text = (
            "The system is currently experiencing high demand and cannot process your request. Please try again later."
        )
        code = "NoCapacity"
    else:
        text = (
            "The system is experiencing high demand. Your request exceeds the maximum usage size allowed during peak "
            "load. Please try again with a smaller request, or later."
        )
        code = "429"
    answer = error(429, code, text)
    if form in ("both", "s"):
        answer.set_header(b"retry-after", b"%d" % seconds)
    if form in ("both", "ms"):
        answer.set_header(b"retry-after-ms", b"%d" % ceil(wait_s * 1000))
    if form == "date":
        answer.set_header(b"retry-after", formatdate(ceil(wall + wait_s), usegmt=True).encode())
    if form in ("both", "s", "ms") and reason == "rate":
        answer.set_header(b"x-ratelimit-reset-" + of.encode(), b"%d" % seconds)
    answer.retry_s = None if form == "none" else float(seconds) if form == "s" else wait_s
    return answer


def server_error(status: int = 500) -> Answer:
    messages = {
        408: ("Timeout", "The operation was timeout."),
        500: ("InternalServerError", "The server had an error while processing your request. Sorry about that!"),
        502: ("BadGateway", "Bad gateway."),
        503: (
            "ServiceUnavailable",
            "The service is temporarily unable to process your request. Please try again later.",
        ),
        504: ("GatewayTimeout", "The request timed out. Please try again later."),
    }
    code, message = messages.get(status, (str(status), "The request could not be processed."))
    return error(status, code, message)
