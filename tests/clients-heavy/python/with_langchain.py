"""langchain-openai: AzureChatOpenAI, AzureOpenAIEmbeddings, AzureOpenAI."""

from typing import Any

import httpx
import pydantic
from asked import TEXTS, TOOL, raised, user, vectors
from langchain_openai import AzureChatOpenAI, AzureOpenAI, AzureOpenAIEmbeddings


class City(pydantic.BaseModel):
    """Where something is."""

    city: str
    inhabitants: int


class Client:
    def __init__(self, place: Any) -> None:
        self.place = place
        self.http = httpx.Client(verify=place.verify())
        self.common = {"azure_endpoint": place.url, "api_version": place.version, "http_client": self.http}
        self.model = self.made("chat")

    def made(self, deployment: str, key: str = "", **more: Any) -> Any:
        return AzureChatOpenAI(azure_deployment=deployment, api_key=key or self.place.key, **self.common, **more)

    def close(self) -> None:
        self.http.close()

    def chat(self) -> Any:
        answer = self.model.invoke(user(self.place.words["echo"]))
        return {"text": answer.content, "prompt": answer.usage_metadata["input_tokens"],
                "completion": answer.usage_metadata["output_tokens"]}  # fmt: skip

    def stream(self) -> Any:
        pieces = [chunk.content for chunk in self.model.stream(user(self.place.words["echo"])) if chunk.content]
        return {"text": "".join(pieces), "pieces": len(pieces)}

    def tools(self) -> Any:
        (call,) = self.model.bind_tools([TOOL]).invoke(user(self.place.words["tool"])).tool_calls
        return {"name": call["name"], "arguments": call["args"]}

    def structured(self) -> Any:
        found = self.model.with_structured_output(City, method="json_schema").invoke(user("where"))
        return found.model_dump()

    def structured_tools(self) -> Any:
        return self.model.with_structured_output(City, method="function_calling").invoke(user("where")).model_dump()

    def embeddings_base64(self) -> Any:
        embed = AzureOpenAIEmbeddings(
            azure_deployment="embed", api_key=self.place.key, check_embedding_ctx_length=False, **self.common
        )
        return vectors(embed.embed_documents(TEXTS))

    def completions(self) -> Any:
        model = AzureOpenAI(azure_deployment="instruct", api_key=self.place.key, **self.common)
        return {"text": model.invoke(self.place.words["echo"])}

    def wrong_key(self) -> Any:
        return raised(lambda: self.made("chat", key="nobody's").invoke(user("hello")))

    def unknown_model(self) -> Any:
        return raised(lambda: self.made("unknown").invoke(user("hello")))

    def refused(self) -> Any:
        return raised(lambda: self.made("jammed").invoke(user(self.place.words["refused"])))

    def throttled(self) -> Any:
        return {"text": self.made("busy").invoke(user(self.place.words["throttled"])).content}
