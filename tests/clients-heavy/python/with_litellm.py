"""litellm as a client: `azure/DEPLOYMENT`."""

import hashlib
import os
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it fetches one from the internet when it is imported

import litellm
import pydantic
from asked import TEXTS, TOKENS, TOOL, raised, user, vectors


class City(pydantic.BaseModel):
    city: str
    inhabitants: int


class Client:
    def __init__(self, place: Any) -> None:
        self.place = place
        self.common = {"api_base": place.url, "api_version": place.version, "api_key": place.key}
        litellm.ssl_verify = place.ca or True
        litellm.suppress_debug_info = True

    def complete(self, content: str, model: str = "azure/chat", **more: Any) -> Any:
        return litellm.completion(**{"model": model, "messages": user(content), **self.common, **more})

    def chat(self) -> Any:
        answer = self.complete(self.place.words["echo"])
        return {"text": answer.choices[0].message.content, "prompt": answer.usage.prompt_tokens,
                "completion": answer.usage.completion_tokens}  # fmt: skip

    def stream(self) -> Any:
        events = self.complete(self.place.words["echo"], stream=True)
        pieces = [c.delta.content for event in events for c in event.choices if c.delta.content]
        return {"text": "".join(pieces), "pieces": len(pieces)}

    def tools(self) -> Any:
        call = self.complete(self.place.words["tool"], tools=[TOOL]).choices[0].message.tool_calls[0].function
        return {"name": call.name, "arguments": call.arguments}

    def structured(self) -> Any:
        answer = self.complete("where", response_format=City)
        return City.model_validate_json(answer.choices[0].message.content).model_dump()

    def embeddings(self) -> Any:
        return self.embedded(TEXTS, encoding_format="float")

    def embeddings_tokens(self) -> Any:
        return self.embedded(TOKENS)

    def embedded(self, given: Any, **more: Any) -> Any:
        answer = litellm.embedding(model="azure/embed", input=given, **self.common, **more)
        return vectors([d["embedding"] for d in answer.data], answer.usage.prompt_tokens)

    def completions(self) -> Any:
        answer = litellm.text_completion(model="azure_text/instruct", prompt=self.place.words["echo"], **self.common)
        return {"text": answer.choices[0].text}

    def images(self) -> Any:
        answer = litellm.image_generation(model="azure/image", prompt="a lighthouse", **self.common)
        return {"images": len(answer.data), "base64": len(answer.data[0].b64_json or "")}

    def speech(self) -> Any:
        heard = litellm.speech(model="azure/speech", voice="alloy", input="say this", **self.common).content
        return {"size": len(heard), "sha256": hashlib.sha256(heard).hexdigest()}

    def transcription(self) -> Any:
        with open(self.place.audio, "rb") as audio:
            return {"text": litellm.transcription(model="azure/transcribe", file=audio, **self.common).text}

    def wrong_key(self) -> Any:
        return raised(lambda: self.complete("hello", api_key="nobody's"))

    def unknown_model(self) -> Any:
        return raised(lambda: self.complete("hello", model="azure/unknown"))

    def refused(self) -> Any:
        return raised(lambda: self.complete(self.place.words["refused"], model="azure/jammed"))

    def throttled(self) -> Any:
        answer = self.complete(self.place.words["throttled"], model="azure/busy")
        return {"text": answer.choices[0].message.content}
