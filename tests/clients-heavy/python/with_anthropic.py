"""anthropic for Python: its own class, at the gateway."""

from typing import Any

import anthropic
from asked import raised, user

TOOL = {
    "name": "weather",
    "description": "Weather of a place",
    "input_schema": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
}


class Client:
    def __init__(self, place: Any) -> None:
        self.place = place
        self.client = self.made()

    def made(self, **more: Any) -> Any:
        http = anthropic.DefaultHttpxClient(verify=self.place.verify())
        values = {"api_key": self.place.key, "http_client": http, **more}
        return anthropic.Anthropic(base_url=self.place.url, **values)

    def close(self) -> None:
        self.client.close()

    def create(self, content: str, client: Any = None, **more: Any) -> Any:
        values = {"model": "claude", "max_tokens": 200, "messages": user(content), **more}
        return (client or self.client).messages.create(**values)

    def messages(self) -> Any:
        answer = self.create(self.place.words["echo"])
        return {"text": answer.content[0].text, "prompt": answer.usage.input_tokens,
                "completion": answer.usage.output_tokens}  # fmt: skip

    def messages_stream(self) -> Any:
        pieces = []
        with self.client.messages.stream(
            model="claude", max_tokens=200, messages=user(self.place.words["echo"])
        ) as stream:
            pieces += list(stream.text_stream)
            usage = stream.get_final_message().usage
        return {"text": "".join(pieces), "pieces": len(pieces), "prompt": usage.input_tokens,
                "completion": usage.output_tokens}  # fmt: skip

    def messages_tools(self) -> Any:
        answer = self.create(self.place.words["tool"], tools=[TOOL])
        (call,) = [block for block in answer.content if block.type == "tool_use"]
        return {"name": call.name, "arguments": call.input}

    def count_tokens(self) -> Any:
        answer = self.client.messages.count_tokens(model="claude", messages=user("how many"))
        return {"tokens": answer.input_tokens}

    def models(self) -> Any:
        found = list(self.client.models.list())
        return {"ids": sorted(model.id for model in found if (model.type, model.display_name) == ("model", model.id))}

    def wrong_key(self) -> Any:
        with self.made(api_key="nobody's") as stranger:
            return raised(lambda: self.create("hello", client=stranger))

    def unknown_model(self) -> Any:
        return raised(lambda: self.create("hello", model="unknown"))

    def refused(self) -> Any:
        return raised(lambda: self.create(self.place.words["refused"], model="claude-jammed"))

    def throttled(self) -> Any:
        return {"text": self.create(self.place.words["throttled"], model="claude-busy").content[0].text}
