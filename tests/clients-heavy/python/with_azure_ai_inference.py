"""azure-ai-inference, whose transport is azure-core on requests: endpoint of a resource, `/models`."""

import json
from typing import Any

from asked import TEXTS, TOOL, raised, user, vectors
from azure.ai.inference import ChatCompletionsClient, EmbeddingsClient
from azure.ai.inference.models import JsonSchemaFormat
from azure.core.credentials import AzureKeyCredential

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "inhabitants": {"type": "integer"}},
    "required": ["city", "inhabitants"],
    "additionalProperties": False,
}


class Client:
    path = "/models"
    dated = ""

    def __init__(self, place: Any) -> None:
        self.place = place
        self.client = self.made(ChatCompletionsClient, "chat")

    def made(self, kind: Any, model: str, key: str = "") -> Any:
        more = {"api_version": self.dated} if self.dated else {}
        return kind(
            endpoint=self.place.url + self.path.format(model=model), credential=AzureKeyCredential(key or self.place.key),
            model=model, connection_verify=self.place.ca or True, **more,
        )  # fmt: skip

    def close(self) -> None:
        self.client.close()

    def chat(self) -> Any:
        answer = self.client.complete(messages=user(self.place.words["echo"]))
        return {"text": answer.choices[0].message.content, "prompt": answer.usage.prompt_tokens,
                "completion": answer.usage.completion_tokens}  # fmt: skip

    def stream(self) -> Any:
        events = self.client.complete(messages=user(self.place.words["echo"]), stream=True)
        pieces = [c.delta.content for event in events for c in event.choices or () if c.delta.content]
        return {"text": "".join(pieces), "pieces": len(pieces)}

    def tools(self) -> Any:
        answer = self.client.complete(messages=user(self.place.words["tool"]), tools=[TOOL])
        call = answer.choices[0].message.tool_calls[0].function
        return {"name": call.name, "arguments": call.arguments}

    def structured(self) -> Any:
        form = JsonSchemaFormat(name="city", schema=SCHEMA, strict=True)
        answer = self.client.complete(messages=user("where"), response_format=form)
        return json.loads(answer.choices[0].message.content)

    def embeddings(self) -> Any:
        with self.made(EmbeddingsClient, "embed") as client:
            answer = client.embed(input=TEXTS)
        return vectors([d.embedding for d in answer.data], answer.usage.prompt_tokens)

    def wrong_key(self) -> Any:
        with self.made(ChatCompletionsClient, "chat", key="nobody's") as client:
            return raised(lambda: client.complete(messages=user("hello")))

    def unknown_model(self) -> Any:
        with self.made(ChatCompletionsClient, "unknown") as client:
            return raised(lambda: client.complete(messages=user("hello")))

    def refused(self) -> Any:
        with self.made(ChatCompletionsClient, "jammed") as client:
            return raised(lambda: client.complete(messages=user(self.place.words["refused"])))

    def throttled(self) -> Any:
        with self.made(ChatCompletionsClient, "busy") as client:
            answer = client.complete(messages=user(self.place.words["throttled"]))
        return {"text": answer.choices[0].message.content}
