"""A Foundry resource (services.ai.azure.com): models of many makers behind one address, each named in the body.

Three surfaces. `/openai/v1` has every operation of OpenAI's dialect; `/models` is the inference API that
azure-ai-inference speaks, and who comes by it goes up by it; `/anthropic` has Claude.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

from sluicegate.core.events import AnswerFacts
from sluicegate.core.ports import Headers
from sluicegate.core.secret import Secret
from sluicegate.core.snapshot import Deployment, Instance
from sluicegate.providers.anthropic import messages_plan, messages_refusal
from sluicegate.providers.azure_openai import azure_refusal
from sluicegate.providers.base import MODELS, Plan
from sluicegate.providers.request_head import request_head, shown

VERSION: Final = "2024-05-01-preview"
"""Of the inference API, where nobody says another: the only one that azure-ai-inference knows."""

INFERENCE: Final = ("chat_completions", "embeddings")
"""What the inference API has."""

UNKNOWN: Final = ("unknown_model", "unavailable_model")
"""How the inference API calls a deployment that does not exist, whatever the status."""


class Foundry:
    """The row."""

    name: ClassVar[str] = "foundry"

    def plan(
        self, api: Any, deployment: Deployment, instance: Instance, api_version: str | None,
        token: Secret | None = None,
    ) -> Plan:  # fmt: skip
        """By the surface that the client came by; a date of Azure OpenAI's means nothing here. An instance with an
        `api_version` has no /openai/v1: all goes up by the inference API, with that version.

        Usage is not asked for there: the API refuses fields it does not know unless a header of the client allows it.
        """
        base = instance.base_path
        if api.dialect == "anthropic":
            return messages_plan(api, deployment, instance, base + "/anthropic", token)
        credential = shown(instance, token, "api-key")
        theirs = api_version is not None and api_version.startswith(MODELS)
        if api.name in INFERENCE and (theirs or instance.api_version):
            said = api_version[len(MODELS) :] if theirs and api_version is not None else ""
            version = said or instance.api_version or VERSION
            path = f"{base}/models{api.model_path}?api-version={version}"
            return Plan(request_head(api.method, path, instance, credential), deployment.name, False)
        path = f"{base}/openai/v1{api.model_path}" + ("?api-version=preview" if api_version in _WORDS else "")
        return Plan(request_head(api.method, path, instance, credential), deployment.name, True)

    def refusal(self, status: int, headers: Headers, body: bytes, wall: float) -> AnswerFacts:
        """In the words of whichever surface answered."""
        if body.startswith(b'{"type":"error"') or status == 529:
            return messages_refusal(status, headers, body, wall)
        facts = azure_refusal(status, headers, body, wall)
        if facts.code in UNKNOWN:  # the name was ours
            facts.cause = "upstream.deployment"
        return facts


_WORDS: Final = ("preview", "latest")
