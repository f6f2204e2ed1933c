"""Azure OpenAI: a deployment is a path segment of a dated URL, or the `model` of an undated one."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from sluicegate.core.events import AnswerFacts
from sluicegate.core.ports import Headers
from sluicegate.core.secret import Secret
from sluicegate.core.snapshot import Deployment, Instance
from sluicegate.providers.base import MODELS, Plan
from sluicegate.providers.refusals import classify, text_of
from sluicegate.providers.request_head import request_head, shown

USAGE_SINCE: Final = "2024-09-01"
"""First dated version that takes `stream_options.include_usage`."""


class AzureOpenAI:
    """The row."""

    name: ClassVar[str] = "azure_openai"

    def plan(
        self, api: Any, deployment: Deployment, instance: Instance, api_version: str | None,
        token: Secret | None = None,
    ) -> Plan:  # fmt: skip
        """Dated goes up dated, with the client's version; undated to /openai/v1, unless the resource has none."""
        word = api_version in ("preview", "latest")
        dated = api_version is not None and not word and not api_version.startswith(MODELS)
        date = api_version if dated else instance.api_version
        if date and not api.deployment_path:
            path = f"{instance.base_path}/openai{api.model_path}?api-version={date}"
            model, usage = deployment.name, date[:10] >= USAGE_SINCE
        elif date:
            path = f"{instance.base_path}/openai/deployments/{deployment.name}{api.deployment_path}?api-version={date}"
            model, usage = None, date[:10] >= USAGE_SINCE
        else:
            path = f"{instance.base_path}/openai/v1{api.model_path}" + ("?api-version=preview" if word else "")
            model, usage = deployment.name, True
        credential = shown(instance, token, "api-key")
        return Plan(request_head(api.method, path, instance, credential), model, usage)

    def refusal(self, status: int, headers: Headers, body: bytes, wall: float) -> AnswerFacts:
        """Azure's codes."""
        return azure_refusal(status, headers, body, wall)


def azure_refusal(status: int, headers: Headers, body: bytes, wall: float) -> AnswerFacts:
    """A 404 without `DeploymentNotFound` is an api-version or path that does not exist: the client said it, and it must
    not be able to put a deployment out of service."""
    facts = classify(status, headers, body, wall)
    if status == 404 and facts.code == "404" and "resource not found" in text_of(body):
        facts.cause = ""
    return facts
