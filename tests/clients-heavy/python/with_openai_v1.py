"""openai for Python: AsyncOpenAI at /openai/v1, the undated path."""

import hashlib
from typing import Any

import openai
import pydantic
from asked import TEXTS, TOKENS, TOOL, raised_by, user


class City(pydantic.BaseModel):
    city: str
    inhabitants: int


class Client:
    def __init__(self, place: Any) -> None:
        self.place = place
        self.client = self.made()

    def made(self, **more: Any) -> Any:
        http = openai.DefaultAsyncHttpxClient(verify=self.place.verify())
        values = {"api_key": self.place.key, "http_client": http, **more}
        return openai.AsyncOpenAI(base_url=f"{self.place.url}/openai/v1", **values)

    async def close(self) -> None:
        await self.client.close()

    async def chat(self) -> Any:
        answer = await self.client.chat.completions.create(model="chat", messages=user(self.place.words["echo"]))
        return {"text": answer.choices[0].message.content, "prompt": answer.usage.prompt_tokens,
                "completion": answer.usage.completion_tokens}  # fmt: skip

    async def stream(self) -> Any:
        pieces = []
        async for event in await self.client.chat.completions.create(
            model="chat", messages=user(self.place.words["echo"]), stream=True
        ):
            pieces += [c.delta.content for c in event.choices if c.delta.content]
        return {"text": "".join(pieces), "pieces": len(pieces)}

    async def tools(self) -> Any:
        answer = await self.client.chat.completions.create(
            model="chat", messages=user(self.place.words["tool"]), tools=[TOOL]
        )
        call = answer.choices[0].message.tool_calls[0].function
        return {"name": call.name, "arguments": call.arguments}

    async def structured(self) -> Any:
        answer = await self.client.chat.completions.parse(model="chat", messages=user("where"), response_format=City)
        return answer.choices[0].message.parsed.model_dump()

    async def embeddings(self) -> Any:
        return await self.embedded(TEXTS, encoding_format="float")

    async def embeddings_base64(self) -> Any:
        return await self.embedded(TEXTS)  # what the SDK asks for by itself, and decodes

    async def embeddings_tokens(self) -> Any:
        return await self.embedded(TOKENS)

    async def embedded(self, given: Any, **more: Any) -> Any:
        answer = await self.client.embeddings.create(model="embed", input=given, **more)
        return {
            "count": len(answer.data), "lengths": sorted({len(d.embedding) for d in answer.data}),
            "begin": [[round(x, 5) for x in d.embedding[:3]] for d in answer.data],
            "tokens": answer.usage.prompt_tokens,
        }  # fmt: skip

    async def completions(self) -> Any:
        answer = await self.client.completions.create(model="instruct", prompt=self.place.words["echo"])
        return {"text": answer.choices[0].text, "prompt": answer.usage.prompt_tokens,
                "completion": answer.usage.completion_tokens}  # fmt: skip

    async def models(self) -> Any:
        return {"ids": sorted([model.id async for model in self.client.models.list()])}

    async def moderations(self) -> Any:
        answer = await self.client.moderations.create(model="moderation", input="a friendly word")
        return {"flagged": [result.flagged for result in answer.results]}

    async def images(self) -> Any:
        answer = await self.client.images.generate(model="image", prompt="a lighthouse", size="1024x1024")
        return {"images": len(answer.data), "base64": len(answer.data[0].b64_json or "")}

    async def speech(self) -> Any:
        async with self.client.audio.speech.with_streaming_response.create(
            model="speech", voice="alloy", input="say this"
        ) as answer:
            heard = b"".join([piece async for piece in answer.iter_bytes()])
        return {"size": len(heard), "sha256": hashlib.sha256(heard).hexdigest()}

    async def transcription(self) -> Any:
        answer = await self.client.audio.transcriptions.create(model="transcribe", file=self.place.recording())
        return {"text": answer.text}

    async def translation(self) -> Any:
        answer = await self.client.audio.translations.create(model="transcribe", file=self.place.recording())
        return {"text": answer.text}

    async def image_edits(self) -> Any:
        given = [(f"{n}.png", self.place.recording()[1], "image/png") for n in (1, 2)]
        answer = await self.client.images.edit(model="image", image=given, prompt="brighter")
        return {"images": len(answer.data), "base64": len(answer.data[0].b64_json or "")}

    async def wrong_key(self) -> Any:
        async with self.made(api_key="nobody's") as stranger:
            return await raised_by(stranger.chat.completions.create(model="chat", messages=user("hello")))

    async def unknown_model(self) -> Any:
        return await raised_by(self.client.chat.completions.create(model="unknown", messages=user("hello")))

    async def refused(self) -> Any:
        said = user(self.place.words["refused"])
        return await raised_by(self.client.chat.completions.create(model="jammed", messages=said))

    async def throttled(self) -> Any:
        answer = await self.client.chat.completions.create(model="busy", messages=user(self.place.words["throttled"]))
        return {"text": answer.choices[0].message.content}
