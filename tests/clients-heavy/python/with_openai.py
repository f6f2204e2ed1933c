"""openai for Python: AzureOpenAI, the class of the dated paths."""

import hashlib
from typing import Any

import openai
import pydantic
from asked import TEXTS, TOKENS, TOOL, raised, user


class City(pydantic.BaseModel):
    city: str
    inhabitants: int


class Client:
    def __init__(self, place: Any) -> None:
        self.place = place
        self.client = self.made()

    def made(self, **more: Any) -> Any:
        http = openai.DefaultHttpxClient(verify=self.place.verify())
        values = {"api_key": self.place.key, "http_client": http, **more}
        return openai.AzureOpenAI(azure_endpoint=self.place.url, api_version=self.place.version, **values)

    def close(self) -> None:
        self.client.close()

    def chat(self) -> Any:
        answer = self.client.chat.completions.create(model="chat", messages=user(self.place.words["echo"]))
        return {"text": answer.choices[0].message.content, "prompt": answer.usage.prompt_tokens,
                "completion": answer.usage.completion_tokens}  # fmt: skip

    def stream(self) -> Any:
        pieces = []
        usage = None
        for event in self.client.chat.completions.create(
            model="chat", messages=user(self.place.words["echo"]), stream=True, stream_options={"include_usage": True}
        ):
            usage = event.usage or usage
            pieces += [c.delta.content for c in event.choices if c.delta.content]
        return {"text": "".join(pieces), "pieces": len(pieces), "prompt": usage.prompt_tokens,
                "completion": usage.completion_tokens}  # fmt: skip

    def tools(self) -> Any:
        answer = self.client.chat.completions.create(
            model="chat", messages=user(self.place.words["tool"]), tools=[TOOL]
        )
        call = answer.choices[0].message.tool_calls[0].function
        return {"name": call.name, "arguments": call.arguments}

    def structured(self) -> Any:
        answer = self.client.chat.completions.parse(model="chat", messages=user("where"), response_format=City)
        return answer.choices[0].message.parsed.model_dump()

    def embeddings(self) -> Any:
        return self.embedded(TEXTS, encoding_format="float")

    def embeddings_base64(self) -> Any:
        return self.embedded(TEXTS)  # what the SDK asks for by itself, and decodes

    def embeddings_tokens(self) -> Any:
        return self.embedded(TOKENS)

    def embedded(self, given: Any, **more: Any) -> Any:
        answer = self.client.embeddings.create(model="embed", input=given, **more)
        return {
            "count": len(answer.data), "lengths": sorted({len(d.embedding) for d in answer.data}),
            "begin": [[round(x, 5) for x in d.embedding[:3]] for d in answer.data],
            "tokens": answer.usage.prompt_tokens,
        }  # fmt: skip

    def completions(self) -> Any:
        answer = self.client.completions.create(model="instruct", prompt=self.place.words["echo"])
        return {"text": answer.choices[0].text, "prompt": answer.usage.prompt_tokens,
                "completion": answer.usage.completion_tokens}  # fmt: skip

    def models(self) -> Any:
        return {"ids": sorted(model.id for model in self.client.models.list())}

    def moderations(self) -> Any:
        answer = self.client.moderations.create(model="moderation", input="a friendly word")
        return {"flagged": [result.flagged for result in answer.results]}

    def images(self) -> Any:
        answer = self.client.images.generate(model="image", prompt="a lighthouse", size="1024x1024")
        return {"images": len(answer.data), "base64": len(answer.data[0].b64_json or "")}

    def speech(self) -> Any:
        with self.client.audio.speech.with_streaming_response.create(
            model="speech", voice="alloy", input="say this"
        ) as answer:
            heard = b"".join(answer.iter_bytes())
        return {"size": len(heard), "sha256": hashlib.sha256(heard).hexdigest()}

    def transcription(self) -> Any:
        with open(self.place.audio, "rb") as audio:
            answer = self.client.audio.transcriptions.create(model="transcribe", file=audio)
        return {"text": answer.text}

    def translation(self) -> Any:
        answer = self.client.audio.translations.create(model="transcribe", file=self.place.recording())
        return {"text": answer.text}

    def image_edits(self) -> Any:
        given = [(f"{n}.png", self.place.recording()[1], "image/png") for n in (1, 2)]
        answer = self.client.images.edit(model="image", image=given, prompt="brighter")
        return {"images": len(answer.data), "base64": len(answer.data[0].b64_json or "")}

    def wrong_key(self) -> Any:
        with self.made(api_key="nobody's") as stranger:
            return raised(lambda: stranger.chat.completions.create(model="chat", messages=user("hello")))

    def unknown_model(self) -> Any:
        return raised(lambda: self.client.chat.completions.create(model="unknown", messages=user("hello")))

    def refused(self) -> Any:
        said = user(self.place.words["refused"])
        return raised(lambda: self.client.chat.completions.create(model="jammed", messages=said))

    def throttled(self) -> Any:
        answer = self.client.chat.completions.create(model="busy", messages=user(self.place.words["throttled"]))
        return {"text": answer.choices[0].message.content}
