"""The kinds of servers we can reach, one row each."""

from __future__ import annotations

from typing import Final

from sluicegate.providers.anthropic import Anthropic
from sluicegate.providers.azure_openai import AzureOpenAI
from sluicegate.providers.base import Provider
from sluicegate.providers.foundry import Foundry
from sluicegate.providers.openai_compatible import OpenAICompatible

_ROWS: tuple[Provider, ...] = (AzureOpenAI(), OpenAICompatible(), Foundry(), Anthropic())

PROVIDERS: Final[dict[str, Provider]] = {row.name: row for row in _ROWS}
