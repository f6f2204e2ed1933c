"""openai-agents: an agent on chat completions of an AsyncAzureOpenAI."""

from typing import Any

import openai
import pydantic
from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    Runner,
    StopAtTools,
    function_tool,
    set_tracing_disabled,
)
from asked import raised_by
from openai.types.responses import ResponseTextDeltaEvent


class City(pydantic.BaseModel):
    city: str
    inhabitants: int


class Client:
    def __init__(self, place: Any) -> None:
        self.place = place
        set_tracing_disabled(True)  # it would be sent to OpenAI
        self.client = self.made()

    def made(self, key: str = "") -> openai.AsyncAzureOpenAI:
        return openai.AsyncAzureOpenAI(
            azure_endpoint=self.place.url, api_version=self.place.version, api_key=key or self.place.key,
            http_client=openai.DefaultAsyncHttpxClient(verify=self.place.verify()),
        )  # fmt: skip

    async def close(self) -> None:
        await self.client.close()

    def agent(self, model: str = "chat", client: Any = None, **more: Any) -> Agent:
        used = OpenAIChatCompletionsModel(model=model, openai_client=client or self.client)
        return Agent(name="tried", model=used, model_settings=ModelSettings(include_usage=True), **more)

    async def chat(self) -> Any:
        ran = await Runner.run(self.agent(), self.place.words["echo"])
        usage = ran.raw_responses[0].usage
        return {"text": ran.final_output, "prompt": usage.input_tokens, "completion": usage.output_tokens}

    async def stream(self) -> Any:
        ran = Runner.run_streamed(self.agent(), self.place.words["echo"])
        pieces = []
        async for event in ran.stream_events():
            if event.type == "raw_response_event" and isinstance(event.data, ResponseTextDeltaEvent):
                pieces.append(event.data.delta)
        usage = ran.raw_responses[0].usage
        return {"text": "".join(pieces), "pieces": len(pieces), "prompt": usage.input_tokens,
                "completion": usage.output_tokens}  # fmt: skip

    async def tools(self) -> Any:
        called: dict[str, Any] = {}

        @function_tool
        def weather(place: str) -> str:
            """Weather of a place."""
            called.update(name="weather", arguments={"place": place})
            return place

        agent = self.agent(tools=[weather], tool_use_behavior=StopAtTools(stop_at_tool_names=["weather"]))
        await Runner.run(agent, self.place.words["tool"])
        return called

    async def structured(self) -> Any:
        return (await Runner.run(self.agent(output_type=City), "where")).final_output.model_dump()

    async def wrong_key(self) -> Any:
        async with self.made(key="nobody's") as stranger:
            return await raised_by(Runner.run(self.agent(client=stranger), "hello"))

    async def unknown_model(self) -> Any:
        return await raised_by(Runner.run(self.agent(model="unknown"), "hello"))

    async def refused(self) -> Any:
        return await raised_by(Runner.run(self.agent(model="jammed"), self.place.words["refused"]))

    async def throttled(self) -> Any:
        return {"text": (await Runner.run(self.agent(model="busy"), self.place.words["throttled"])).final_output}
