"""Whatever speaks OpenAI's dialect below an endpoint of its own: vLLM, llama.cpp, OpenAI itself, another gateway."""

from __future__ import annotations

from typing import Any, ClassVar

from sluicegate.core.events import AnswerFacts
from sluicegate.core.ports import Headers
from sluicegate.core.secret import Secret
from sluicegate.core.snapshot import Deployment, Instance
from sluicegate.providers.base import Plan
from sluicegate.providers.refusals import classify
from sluicegate.providers.request_head import request_head, shown


class OpenAICompatible:
    """The row. The endpoint ends in /v1 already; the model stands in the body; api-versions mean nothing."""

    name: ClassVar[str] = "openai_compatible"

    def plan(
        self, api: Any, deployment: Deployment, instance: Instance, api_version: str | None,
        token: Secret | None = None,
    ) -> Plan:  # fmt: skip
        """The same for every version."""
        credential = shown(instance, token, "authorization")
        head = request_head(api.method, instance.base_path + api.model_path, instance, credential)
        return Plan(head, deployment.name, True)

    def refusal(self, status: int, headers: Headers, body: bytes, wall: float) -> AnswerFacts:
        """The common reading."""
        return classify(status, headers, body, wall)
