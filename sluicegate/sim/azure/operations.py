"""What an instance can be asked for: the table from the end of a URL's path to whoever understands such a request.

One row = one operation. `make` understands a sound request and knows what will be said, what it costs and how it is
written; `wrong` is what the API refuses about the body. Capacity, quotas, keys, faults and headers are the same for
all of them and stand in instance.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol

from sluicegate.sim.answer import Answer, Claim
from sluicegate.sim.azure.audio import Heard, Speech, wrong_heard, wrong_speech
from sluicegate.sim.azure.chat import Chat, wrong_chat
from sluicegate.sim.azure.completions import Completion, wrong_completion
from sluicegate.sim.azure.embeddings import Embedding, wrong_embedding
from sluicegate.sim.azure.images import Edits, Images, wrong_edits, wrong_images
from sluicegate.sim.azure.messages import Count, Message, wrong_count, wrong_message
from sluicegate.sim.azure.moderations import Moderation, wrong_moderation
from sluicegate.sim.azure.request import ANTHROPIC, COMPATIBLE, DATED, MESSAGES, MODELS, V1, Request
from sluicegate.sim.spec import DeploymentSpec


class Said(Protocol):
    """One request, understood."""

    claim: Claim
    cap: int | None
    "Token maximum of each choice, None without."
    choices: int
    "How many of them are generated."
    marks: dict[str, str]
    "What the prompt asks of the simulator."
    stream: bool

    def answer(self, identity: bytes, wall: float, speed: float) -> Answer:
        """`identity`: of what is made; `wall`: now; `speed`: factor on all waiting, from the jitter."""


class Operation(NamedTuple):
    """One row."""

    make: Callable[[dict[str, Any], bytes | bytearray, DeploymentSpec, bool, int], Said]
    "Document, its bytes, the deployment, whether it is Azure's, the seed."
    wrong: Callable[[Request], Answer | None]
    called: str
    "As Azure's messages call it."
    prefix: bytes
    "How the ids of what it makes begin."
    family: str
    "The model book's word for models that can do it; a model that the book does not know can do everything."
    azure: bool = True
    "Azure OpenAI has it, too."
    inference: bool = False
    "Foundry's inference API has it, too."
    anthropic: bool = False
    "It is one of Anthropic's, and nobody else's."

    def lies(self, surface: str) -> bool:
        """Whether this surface has it."""
        if self.anthropic:
            return surface in (ANTHROPIC, MESSAGES)
        if surface in (DATED, V1):
            return self.azure
        return surface == COMPATIBLE or (surface == MODELS and self.inference)


OPERATIONS: Final[dict[str, Operation]] = {
    "/chat/completions": Operation(Chat, wrong_chat, "ChatCompletions_Create", b"chatcmpl-", "chat", inference=True),
    "/completions": Operation(Completion, wrong_completion, "Completions_Create", b"cmpl-", "completions"),
    "/embeddings": Operation(Embedding, wrong_embedding, "Embeddings_Create", b"embd-", "embeddings", inference=True),
    "/images/generations": Operation(Images, wrong_images, "ImageGenerations_Create", b"img-", "images.generations"),
    "/images/edits": Operation(Edits, wrong_edits, "ImageEdits_Create", b"img-", "images.edits"),
    "/audio/speech": Operation(Speech, wrong_speech, "AudioSpeech_Create", b"spch-", "audio.speech"),
    "/audio/transcriptions": Operation(
        Heard, wrong_heard, "AudioTranscriptions_Create", b"trsc-", "audio.transcriptions"
    ),
    "/audio/translations": Operation(Heard, wrong_heard, "AudioTranslations_Create", b"trsl-", "audio.translations"),
    "/moderations": Operation(Moderation, wrong_moderation, "Moderations_Create", b"modr-", "moderations", azure=False),
    "/messages": Operation(Message, wrong_message, "Messages_Create", b"msg_01", "messages", anthropic=True),
    "/messages/count_tokens": Operation(Count, wrong_count, "Messages_Count", b"", "messages", anthropic=True),
}
