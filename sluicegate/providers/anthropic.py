"""Anthropic's own API, and Claude in Foundry, whose endpoint ends in /anthropic: the model stands in the body."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from sluicegate.core.events import AnswerFacts
from sluicegate.core.ports import Headers
from sluicegate.core.secret import Secret
from sluicegate.core.snapshot import Deployment, Instance
from sluicegate.providers.base import Plan
from sluicegate.providers.refusals import classify, text_of
from sluicegate.providers.request_head import request_head, shown
from sluicegate.wire.retry import resets_at

OVERLOADED: Final = 529
TOO_LONG: Final = ("prompt is too long", "exceed context limit")
NO_CREDIT: Final = "credit balance is too low"


class Anthropic:
    """The row. Versions of Azure's APIs mean nothing here."""

    name: ClassVar[str] = "anthropic"

    def plan(
        self, api: Any, deployment: Deployment, instance: Instance, api_version: str | None,
        token: Secret | None = None,
    ) -> Plan:  # fmt: skip
        """The same for every version."""
        return messages_plan(api, deployment, instance, instance.base_path, token)

    def refusal(self, status: int, headers: Headers, body: bytes, wall: float) -> AnswerFacts:
        """Anthropic's types."""
        return messages_refusal(status, headers, body, wall)


def messages_plan(api: Any, deployment: Deployment, instance: Instance, base: str, token: Secret | None) -> Plan:
    """Below `base`, which ends before /v1."""
    credential = shown(instance, token, "x-api-key")
    head = request_head(api.method, f"{base}/v1{api.model_path}", instance, credential)
    return Plan(head, deployment.name, False)


def messages_refusal(status: int, headers: Headers, body: bytes, wall: float) -> AnswerFacts:
    """What is overloaded is throttled, not broken; an account without money is our fault and not the client's; a
    prompt that is too long has the code that OpenAI's dialect has for it, so that a larger member is asked."""
    facts = classify(status, headers, body, wall)
    if status == OVERLOADED or facts.code == "overloaded_error":
        facts.cause = "upstream.throttled.capacity"
    elif status == 400:
        text = text_of(body)
        if any(words in text for words in TOO_LONG):
            facts.code = "context_length_exceeded"
        elif NO_CREDIT in text:
            facts.cause = "upstream.credential"
    elif status == 402:
        facts.cause = "upstream.credential"
    if status == 429 and facts.retry_after is None:
        facts.retry_after = resets_at(headers, wall)
    return facts
