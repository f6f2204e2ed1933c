"""semantic-kernel: AzureChatCompletion and AzureTextEmbedding over a client that trusts our authority."""

from typing import Any

import openai
import pydantic
from asked import TEXTS, raised_by, vectors
from semantic_kernel import Kernel
from semantic_kernel.connectors.ai.function_choice_behavior import FunctionChoiceBehavior
from semantic_kernel.connectors.ai.open_ai import (
    AzureChatCompletion,
    AzureChatPromptExecutionSettings,
    AzureTextEmbedding,
)
from semantic_kernel.contents import ChatHistory, FunctionCallContent
from semantic_kernel.functions import kernel_function


class City(pydantic.BaseModel):
    city: str
    inhabitants: int


class Weather:
    @kernel_function(name="weather", description="Weather of a place")
    def weather(self, place: str) -> str:
        return place


def history(content: str) -> ChatHistory:
    made = ChatHistory()
    made.add_user_message(content)
    return made


class Client:
    def __init__(self, place: Any) -> None:
        self.place = place
        self.opened: list[openai.AsyncAzureOpenAI] = []
        self.service = self.made("chat")

    def client(self, key: str = "") -> openai.AsyncAzureOpenAI:
        client = openai.AsyncAzureOpenAI(
            azure_endpoint=self.place.url, api_version=self.place.version, api_key=key or self.place.key,
            http_client=openai.DefaultAsyncHttpxClient(verify=self.place.verify()),
        )  # fmt: skip
        self.opened.append(client)
        return client

    def made(self, deployment: str, key: str = "") -> AzureChatCompletion:
        return AzureChatCompletion(deployment_name=deployment, async_client=self.client(key))

    async def close(self) -> None:
        for client in self.opened:
            await client.close()

    async def say(self, content: str, service: Any = None, **more: Any) -> Any:
        settings = AzureChatPromptExecutionSettings(**more)
        return await (service or self.service).get_chat_message_content(history(content), settings, kernel=Kernel())

    async def chat(self) -> Any:
        answer = await self.say(self.place.words["echo"])
        usage = answer.metadata["usage"]
        return {"text": answer.content, "prompt": usage.prompt_tokens, "completion": usage.completion_tokens}

    async def stream(self) -> Any:
        settings = AzureChatPromptExecutionSettings()
        pieces = []
        async for event in self.service.get_streaming_chat_message_content(history(self.place.words["echo"]), settings):
            pieces += [event.content] if event is not None and event.content else []
        return {"text": "".join(pieces), "pieces": len(pieces)}

    async def tools(self) -> Any:
        kernel = Kernel()
        kernel.add_plugin(Weather(), "forecast")
        settings = AzureChatPromptExecutionSettings(
            function_choice_behavior=FunctionChoiceBehavior.Auto(auto_invoke=False)
        )
        answer = await self.service.get_chat_message_content(history(self.place.words["tool"]), settings, kernel=kernel)
        (call,) = [item for item in answer.items if isinstance(item, FunctionCallContent)]
        return {"name": call.function_name, "arguments": call.arguments}

    async def structured(self) -> Any:
        answer = await self.say("where", response_format=City)
        return City.model_validate_json(answer.content).model_dump()

    async def embeddings(self) -> Any:
        service = AzureTextEmbedding(deployment_name="embed", async_client=self.client())
        return vectors([[float(x) for x in v] for v in await service.generate_embeddings(TEXTS)])

    async def wrong_key(self) -> Any:
        return await raised_by(self.say("hello", self.made("chat", key="nobody's")))

    async def unknown_model(self) -> Any:
        return await raised_by(self.say("hello", self.made("unknown")))

    async def refused(self) -> Any:
        return await raised_by(self.say(self.place.words["refused"], self.made("jammed")))

    async def throttled(self) -> Any:
        return {"text": (await self.say(self.place.words["throttled"], self.made("busy"))).content}
