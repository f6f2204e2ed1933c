"""Every reason with which the gateway refuses, its status and whether a client should come again. The only such place.

The dotted names are part of the interface: header `x-sluicegate-reason`, records, metrics, docs/reference/reasons.md.
`should_retry` becomes `x-should-retry`, which the openai SDKs obey before any status rule; azure-core clients need
whole-second `retry-after` on everything that may be retried.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Refusal(NamedTuple):
    """What the client is told: HTTP status, `error.code`, `error.type`, and whether trying again can help."""

    status: int
    code: str
    type: str
    should_retry: bool = False
    least_retry_after: float | None = None
    "Seconds: the smallest `retry-after` to send; None: no such header, nothing will change."
    limit_source: str = ""
    "Whose limit it is, shown as x-sluicegate-limit-source: gateway or upstream."


_REQUEST = "invalid_request_error"
_SERVER = "server_error"

REFUSALS: dict[str, Refusal] = {
    # the front, before anybody looks who asks
    "front.address": Refusal(403, "Forbidden", "permission_error"),
    "front.door": Refusal(403, "Forbidden", "permission_error"),
    "front.origin": Refusal(403, "Forbidden", "permission_error"),
    "credential.too_many_failures": Refusal(429, "429", "rate_limit_error", True, 1.0, "gateway"),
    # who asks, and for what
    "credential.certificate": Refusal(403, "Forbidden", "permission_error"),
    "credential.revoked": Refusal(403, "Forbidden", "permission_error"),
    "credential.missing": Refusal(401, "401", "authentication_error"),
    "credential.unknown": Refusal(401, "401", "authentication_error"),
    "credential.token": Refusal(401, "401", "authentication_error"),
    "credential.issuer_unavailable": Refusal(503, "service_unavailable", _SERVER, True, 5.0),
    "credential.groups_unavailable": Refusal(503, "service_unavailable", _SERVER, True, 1.0),
    "credential.ambiguous": Refusal(400, "ambiguous_credential", _REQUEST),
    "identity.unmatched": Refusal(403, "PermissionDenied", "permission_error"),
    "identity.ambiguous": Refusal(403, "PermissionDenied", "permission_error"),
    "grant.operation": Refusal(403, "PermissionDenied", "permission_error"),
    "boundary.mismatch": Refusal(403, "PermissionDenied", "permission_error"),
    "route.path": Refusal(404, "404", _REQUEST),
    "route.method": Refusal(405, "405", _REQUEST),
    "route.model": Refusal(404, "DeploymentNotFound", _REQUEST),
    "passthrough.no_token": Refusal(401, "401", "authentication_error"),
    "passthrough.refused": Refusal(403, "PermissionDenied", "permission_error"),
    # the request itself
    "request.malformed": Refusal(400, "bad_request", _REQUEST),
    "request.host": Refusal(400, "bad_request", _REQUEST),
    "request.target": Refusal(400, "bad_request", _REQUEST),
    "request.api_version": Refusal(400, "bad_request", _REQUEST),
    "request.header": Refusal(400, "bad_request", _REQUEST),
    "request.transfer_encoding": Refusal(400, "bad_request", _REQUEST),
    "request.headers_too_large": Refusal(431, "request_header_fields_too_large", _REQUEST),
    "request.target_too_long": Refusal(414, "uri_too_long", _REQUEST),
    "request.body_too_large": Refusal(413, "request_too_large", _REQUEST),
    "request.content_encoding": Refusal(415, "unsupported_media_type", _REQUEST),
    "request.content_type": Refusal(415, "unsupported_media_type", _REQUEST),
    "request.expect": Refusal(417, "expectation_failed", _REQUEST),
    "request.timeout": Refusal(408, "request_timeout", _REQUEST),
    "request.invalid_form": Refusal(400, "invalid_form", _REQUEST),
    "request.invalid_json": Refusal(400, "invalid_json", _REQUEST),
    "request.duplicate_key": Refusal(400, "duplicate_key", _REQUEST),
    "request.too_many_keys": Refusal(400, "too_many_keys", _REQUEST),
    "request.invalid_field": Refusal(400, "invalid_value", _REQUEST),
    "request.private_url": Refusal(400, "invalid_value", _REQUEST),
    "request.no_model": Refusal(400, "missing_model", _REQUEST),
    "request.context_length": Refusal(400, "context_length_exceeded", _REQUEST),
    "params.not_allowed": Refusal(400, "invalid_value", _REQUEST),
    # limits of the consumer and its tenant
    "limit.token_rate": Refusal(429, "429", "rate_limit_error", True, 0.001, "gateway"),
    "limit.token_rate.too_large": Refusal(429, "429", "rate_limit_error", False, None, "gateway"),
    "limit.request_rate": Refusal(429, "429", "rate_limit_error", True, 0.001, "gateway"),
    "limit.request_rate.too_large": Refusal(429, "429", "rate_limit_error", False, None, "gateway"),
    "limit.concurrency": Refusal(429, "429", "rate_limit_error", True, 0.001, "gateway"),
    "limit.concurrency.too_large": Refusal(429, "429", "rate_limit_error", False, None, "gateway"),
    # members of the pool
    "pool.throttled": Refusal(429, "429", "rate_limit_error", True, 0.001, "upstream"),
    "pool.failed": Refusal(503, "service_unavailable", _SERVER, False, 1.0),
    "pool.body_passed": Refusal(503, "service_unavailable", _SERVER, True, 1.0),
    "pool.empty": Refusal(503, "service_unavailable", _SERVER, False, 1.0),
    # the same, where the boundary of the consumer's tenant leaves members out
    "boundary.throttled": Refusal(429, "429", "rate_limit_error", True, 0.001, "upstream"),
    "boundary.failed": Refusal(503, "service_unavailable", _SERVER, False, 1.0),
    "boundary.empty": Refusal(503, "service_unavailable", _SERVER, False, 1.0),
    # ourselves
    "gateway.busy": Refusal(503, "service_unavailable", _SERVER, True, 1.0),
    "gateway.error": Refusal(500, "internal_error", _SERVER, False, 1.0),
}

NO_PATH: Final = (
    "Resource not found. This gateway has no operation at this path. Base URLs of OpenAI's SDKs end in /openai/v1 or "
    "/v1; Azure's take the gateway's address alone."
)
"""What clients read of a path that is none: a base URL that ends too early or too late, mostly."""

TOKEN: Final = "credential.token"
TOKENS: Final[dict[str, str]] = {
    "credential.token.too_large": "larger than any token that is read",
    "credential.token.malformed": "not three parts, or its header or claims are no plain JSON objects",
    "credential.token.encrypted": "an encrypted token: five parts",
    "credential.token.algorithm": "its algorithm is not on the issuer's list, or not one of the key that it names",
    "credential.token.critical": "it names extensions that a reader has to understand (`crit`)",
    "credential.token.issuer": "of an issuer that is not declared",
    "credential.token.key": "signed by a key that the issuer does not publish; it is looked up again within a minute",
    "credential.token.signature": "the signature is not that of these claims by this key",
    "credential.token.audience": "meant for somebody else",
    "credential.token.tenant": "of another directory than the one declared",
    "credential.token.version": "the issuer says one version of Entra's tokens, the token another",
    "credential.token.binding": "bound to a certificate or key (`cnf`) that its bearer did not show",
    "credential.token.claims": "a claim that decides is missing or no claim of its kind: `exp`, `nbf`, `iat`, `aud`",
    "credential.token.expired": "`exp` is over",
    "credential.token.not_yet": "`nbf` or `iat` is still to come",
    "credential.token.groups": "its bearer is in more groups than the token holds, which `groups_overage` refuses; or "
    "the directory does not know who that is, or names more than 11,000 groups",
}
"""Why a token was refused, for records, metrics and the access log. Whoever shows one reads `credential.token` only."""


def shown(reason: str) -> str:
    """The reason as the one who is refused reads it."""
    return TOKEN if reason in TOKENS else reason


def status_of(reason: str) -> int:
    """Of the answer; 0 for what is no refusal."""
    refusal = REFUSALS.get(shown(reason))
    return refusal.status if refusal else 0
