"""instructor over AzureOpenAI: structured output by a tool, by a JSON schema, and piece by piece."""

from typing import Any, Literal

import instructor
import openai
import pydantic
from asked import raised, user


class City(pydantic.BaseModel):
    """Where something is."""

    city: str
    inhabitants: int


class Client:
    def __init__(self, place: Any) -> None:
        self.place = place
        self.opened: list[openai.AzureOpenAI] = []

    def close(self) -> None:
        for client in self.opened:
            client.close()

    def create(self, content: str, mode: Any, model: str = "chat", key: str = "", kind: Any = City) -> Any:
        client = openai.AzureOpenAI(
            azure_endpoint=self.place.url, api_version=self.place.version, api_key=key or self.place.key,
            http_client=openai.DefaultHttpxClient(verify=self.place.verify()),
        )  # fmt: skip
        self.opened.append(client)
        patched = instructor.from_openai(client, mode=mode)
        return patched.chat.completions.create(model=model, messages=user(content), response_model=kind, max_retries=1)

    def structured_tools(self) -> Any:
        """It makes a tool of the class it wants, and reads the arguments."""
        return self.create("where", instructor.Mode.TOOLS).model_dump()

    def structured(self) -> Any:
        return self.create("where", instructor.Mode.JSON_SCHEMA).model_dump()

    def wrong_key(self) -> Any:
        return raised(lambda: self.create("hello", instructor.Mode.JSON_SCHEMA, key="nobody's"))

    def unknown_model(self) -> Any:
        return raised(lambda: self.create("hello", instructor.Mode.JSON_SCHEMA, model="unknown"))

    def refused(self) -> Any:
        said = self.place.words["refused"]
        return raised(lambda: self.create(said, instructor.Mode.JSON_SCHEMA, model="jammed"))

    def throttled(self) -> Any:
        """The schema decides what is said: here it leaves no choice."""
        word = self.place.words["throttled"].partition("] ")[2]
        only = pydantic.create_model("Only", said=(Literal[word], ...))
        found = self.create(self.place.words["throttled"], instructor.Mode.JSON_SCHEMA, model="busy", kind=only)
        return {"text": found.said}
