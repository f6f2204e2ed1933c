"""Who is tried against the gateway by `./dev clients`: each client, where it lives, and the operations that it has.

The programs are tests/clients-heavy/python/MODULE.py and tests/clients-heavy/node/MODULE.mjs: a method for each
operation. Versions are those of the locks. docs/clients.md is written from this and from what a run saw.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ROOT / "tests" / "clients-heavy"

SPOKEN = (
    "chat_completions", "completions", "embeddings", "models", "moderations", "images_generations", "audio_speech",
    "audio_transcriptions", "audio_translations", "images_edits", "messages", "count_tokens",
)  # fmt: skip
"""Rows of APIS that are tried, and lists of models, which the gateway answers itself. What another row would serve is
`not yet` on the page."""


@dataclass(frozen=True)
class Operation:
    """A column of the table."""

    title: str
    api: str
    "The row of APIS without which it cannot be had."


OPERATIONS = {
    "chat": Operation("chat", "chat_completions"),
    "stream": Operation("stream", "chat_completions"),
    "tools": Operation("tools", "chat_completions"),
    "structured": Operation("structured output", "chat_completions"),
    "structured_tools": Operation("structured output by a tool", "chat_completions"),
    "responses": Operation("responses", "responses"),
    "messages": Operation("messages", "messages"),
    "messages_stream": Operation("messages, stream", "messages"),
    "messages_tools": Operation("messages, tools", "messages"),
    "count_tokens": Operation("count tokens", "count_tokens"),
    "embeddings": Operation("embeddings", "embeddings"),
    "embeddings_base64": Operation("embeddings, base64", "embeddings"),
    "embeddings_tokens": Operation("embeddings of tokens", "embeddings"),
    "completions": Operation("completions", "completions"),
    "models": Operation("models", "models"),
    "moderations": Operation("moderations", "moderations"),
    "images": Operation("images", "images_generations"),
    "image_edits": Operation("image edits", "images_edits"),
    "speech": Operation("speech", "audio_speech"),
    "transcription": Operation("transcription", "audio_transcriptions"),
    "translation": Operation("translation", "audio_translations"),
    "wrong_key": Operation("wrong key: 401", ""),
    "unknown_model": Operation("unknown model: 404", ""),
    "throttled": Operation("throttled once: comes again", ""),
    "refused": Operation("throttled always: 429", ""),
}
REFUSALS = ("wrong_key", "unknown_model", "throttled", "refused")
GROUPS = {
    "Conversations": ("chat", "stream", "tools", "structured", "structured_tools", "responses", "messages",
                      "messages_stream", "messages_tools"),
    "Other operations": (
        "embeddings", "embeddings_base64", "embeddings_tokens", "completions", "models", "moderations", "images",
        "image_edits", "speech", "transcription", "translation", "count_tokens",
    ),
    "Refusals": REFUSALS,
}  # fmt: skip
CHAT = ("chat", "stream", "tools", "structured", *REFUSALS)
MESSAGES = (
    "messages", "messages_stream", "messages_tools", "count_tokens", *REFUSALS
)  # fmt: skip
OPENAI = (
    *CHAT, "embeddings", "embeddings_base64", "embeddings_tokens", "completions", "models", "moderations", "images",
    "image_edits", "speech", "transcription", "translation", "responses",
)  # fmt: skip
AI = (*CHAT, "embeddings", "completions", "images", "speech", "transcription", "responses")


@dataclass(frozen=True)
class Client:
    """A row of the table."""

    title: str
    runtime: str
    "python or node."
    lock: str
    "Of requirements/, for python."
    module: str
    packages: tuple[str, ...]
    "Whose versions stand in the row."
    operations: tuple[str, ...]
    short: bool = False
    "In the short form, for CI."
    needs: str = "chat_completions"
    "The row of APIS by which it is refused, where an operation names none."
    tries: int = 3
    "How often it asks before it gives up, left to itself."
    notes: dict[str, str] = field(default_factory=dict)
    "Why an operation that looks as if it could be had is not tried: what this client does wrong, or needs."

    @property
    def name(self) -> str:
        return f"{'Node' if self.runtime == 'node' else 'Python'}: {self.title}"

    @property
    def id(self) -> str:
        return f"{self.runtime}-{self.module.removeprefix('with_').replace('_', '-')}"


CLIENTS = (
    Client("openai, `AzureOpenAI`", "python", "clients", "with_openai", ("openai",), OPENAI, short=True),
    Client("openai, `AsyncOpenAI` at `/openai/v1`", "python", "clients", "with_openai_v1", ("openai",), OPENAI,
           short=True),
    Client("azure-ai-inference at `/openai/deployments`", "python", "clients", "with_azure_ai_inference_dated",
           ("azure-ai-inference",), (*CHAT, "embeddings"), short=True, tries=4),
    Client("azure-ai-inference at `/models`", "python", "clients", "with_azure_ai_inference",
           ("azure-ai-inference",), (*CHAT, "embeddings"), short=True, tries=4),
    Client("anthropic, `Anthropic`", "python", "clients", "with_anthropic", ("anthropic",), (*MESSAGES, "models"),
           short=True),
    Client("anthropic, `AnthropicFoundry` at `/anthropic`", "python", "clients", "with_anthropic_foundry",
           ("anthropic",), MESSAGES, short=True),
    Client("langchain-openai, `AzureChatOpenAI`", "python", "clients", "with_langchain", ("langchain-openai",),
           (*CHAT, "structured_tools", "embeddings_base64", "completions"), short=True),
    Client("llama-index, `AzureOpenAI`", "python", "clients-older", "with_llama_index",
           ("llama-index-llms-azure-openai", "llama-index-embeddings-azure-openai"),
           ("chat", "stream", "tools", "structured_tools", *REFUSALS, "embeddings_base64"), tries=12),
    Client("semantic-kernel, `AzureChatCompletion`", "python", "clients-agents", "with_semantic_kernel",
           ("semantic-kernel",), (*CHAT, "embeddings")),
    Client("openai-agents", "python", "clients-agents", "with_openai_agents", ("openai-agents",),
           (*CHAT, "responses")),
    Client("instructor", "python", "clients-agents", "with_instructor", ("instructor",),
           ("structured", "structured_tools", *REFUSALS)),
    Client("litellm, `azure/...`", "python", "clients-older", "with_litellm", ("litellm",),
           (*CHAT, "embeddings", "embeddings_tokens", "completions", "images", "speech", "transcription")),
    Client("openai, `AzureOpenAI`", "node", "node", "with_openai", ("openai",), OPENAI, short=True),
    Client("openai, `OpenAI` at `/openai/v1`", "node", "node", "with_openai_v1", ("openai",), OPENAI),
    Client("@anthropic-ai/sdk, `Anthropic`", "node", "node", "with_anthropic", ("@anthropic-ai/sdk",),
           (*MESSAGES, "models"), short=True),
    Client("@anthropic-ai/foundry-sdk, `AnthropicFoundry` at `/anthropic`", "node", "node", "with_anthropic_foundry",
           ("@anthropic-ai/foundry-sdk", "@anthropic-ai/sdk"), MESSAGES),
    Client("@langchain/openai, `AzureChatOpenAI`", "node", "node", "with_langchain", ("@langchain/openai",),
           (*CHAT, "structured_tools", "embeddings_base64", "completions"), tries=7),
    Client("@ai-sdk/azure", "node", "node", "with_ai_azure", ("@ai-sdk/azure", "ai"), AI),
    Client("@ai-sdk/openai at `/openai/v1`", "node", "node", "with_ai_openai", ("@ai-sdk/openai", "ai"), AI),
    Client("@azure-rest/ai-inference at `/openai/deployments`", "node", "node", "with_azure_rest",
           ("@azure-rest/ai-inference",), ("chat", "tools", "structured", *REFUSALS, "embeddings"), tries=4),
)  # fmt: skip


def available(client: Client) -> list[str]:
    """The operations to try: those of the client that the gateway speaks."""
    return [name for name in client.operations if (OPERATIONS[name].api or client.needs) in SPOKEN]


def locked(client: Client) -> dict[str, str]:
    """The versions of its packages, as locked."""
    if client.runtime == "node":
        packages = json.loads((HEAVY / "node" / "package-lock.json").read_text())["packages"]
        return {name: packages[f"node_modules/{name}"]["version"] for name in client.packages}
    text = (ROOT / "requirements" / f"{client.lock}.lock").read_text()
    found = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))
    return {name: found[name] for name in client.packages}
