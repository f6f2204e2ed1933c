"""llama-index: AzureOpenAI and AzureOpenAIEmbedding."""

from typing import Any

import httpx
import pydantic
from asked import TEXTS, raised, vectors
from llama_index.core.llms import ChatMessage
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.azure_openai import AzureOpenAIEmbedding
from llama_index.llms.azure_openai import AzureOpenAI


class City(pydantic.BaseModel):
    """Where something is."""

    city: str
    inhabitants: int


def weather(place: str) -> str:
    """Weather of a place."""
    return place


def user(content: str) -> list[ChatMessage]:
    return [ChatMessage(role="user", content=content)]


class Client:
    def __init__(self, place: Any) -> None:
        self.place = place
        self.http = httpx.Client(verify=place.verify())
        self.common = {"azure_endpoint": place.url, "api_version": place.version, "http_client": self.http}
        self.model = self.made("chat")

    def made(self, deployment: str, key: str = "") -> AzureOpenAI:
        return AzureOpenAI(model="gpt-4o", engine=deployment, api_key=key or self.place.key, **self.common)

    def close(self) -> None:
        self.http.close()

    def chat(self) -> Any:
        answer = self.model.chat(user(self.place.words["echo"]))
        return {"text": answer.message.content, "prompt": answer.raw.usage.prompt_tokens,
                "completion": answer.raw.usage.completion_tokens}  # fmt: skip

    def stream(self) -> Any:
        pieces = [event.delta for event in self.model.stream_chat(user(self.place.words["echo"])) if event.delta]
        return {"text": "".join(pieces), "pieces": len(pieces)}

    def tools(self) -> Any:
        answer = self.model.chat_with_tools(
            [FunctionTool.from_defaults(fn=weather)], chat_history=user(self.place.words["tool"])
        )
        (call,) = self.model.get_tool_calls_from_response(answer)
        return {"name": call.tool_name, "arguments": call.tool_kwargs}

    def structured_tools(self) -> Any:
        return self.model.structured_predict(City, PromptTemplate(self.place.words["tool"])).model_dump()

    def embeddings_base64(self) -> Any:
        embed = AzureOpenAIEmbedding(
            model="text-embedding-3-small", deployment_name="embed", api_key=self.place.key, **self.common
        )
        return vectors(embed.get_text_embedding_batch(TEXTS))

    def wrong_key(self) -> Any:
        return raised(lambda: self.made("chat", key="nobody's").chat(user("hello")))

    def unknown_model(self) -> Any:
        return raised(lambda: self.made("unknown").chat(user("hello")))

    def refused(self) -> Any:
        return raised(lambda: self.made("jammed").chat(user(self.place.words["refused"])))

    def throttled(self) -> Any:
        return {"text": self.made("busy").chat(user(self.place.words["throttled"])).message.content}
