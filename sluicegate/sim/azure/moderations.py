"""Moderations as OpenAI answers them: a verdict for each input. `[sim:filter]` in a text makes it harmful."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from sluicegate.sim.answer import Answer, Claim
from sluicegate.sim.azure import refusals
from sluicegate.sim.azure.request import Request
from sluicegate.sim.azure.text import marks
from sluicegate.sim.spec import DeploymentSpec

CATEGORIES: Final = (
    "harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent", "self-harm",
    "self-harm/instructions", "self-harm/intent", "sexual", "sexual/minors", "violence", "violence/graphic",
)  # fmt: skip


class Moderation:
    """One request, understood. It costs nothing."""

    stream = False
    cap: int | None = 0
    choices = 1

    def __init__(
        self, document: dict[str, Any], body: bytes | bytearray, deployment: DeploymentSpec, azure: bool, seed: int
    ) -> None:
        self.deployment = deployment
        given = document["input"]
        texts: list[Any] = [given] if isinstance(given, str) else given
        if isinstance(texts[0], dict):  # parts of one input
            texts = [" ".join(part.get("text", "") for part in texts)]
        self.harmful = ["filter" in marks(text) for text in texts]
        self.marks = {name: value for text in texts for name, value in marks(text).items() if name != "filter"}
        self.claim = Claim(0, 0)

    def answer(self, identity: bytes, wall: float, speed: float) -> Answer:
        """All verdicts, in order."""
        results = [
            {
                "flagged": harmful,
                "categories": {name: harmful and name == "violence" for name in CATEGORIES},
                "category_scores": {name: 0.97 if harmful and name == "violence" else 0.0001 for name in CATEGORIES},
                "category_applied_input_types": {name: ["text"] for name in CATEGORIES},
            }
            for harmful in self.harmful
        ]
        model = self.deployment.answers_as or self.deployment.model
        body = msgspec.json.encode({"id": identity.decode(), "model": model, "results": results})
        return Answer(200, [refusals.JSON], [(self.deployment.latency.first_token_s * speed, body)], claim=self.claim)


def wrong_moderation(request: Request) -> Answer | None:
    """What the API refuses about a body."""
    given = request.document.get("input")
    if isinstance(given, str) and given:
        return None
    if isinstance(given, list) and given and all(isinstance(part, type(given[0])) for part in given):
        if isinstance(given[0], str | dict):
            return None
    return refusals.bad_request("'$.input' is invalid. Please check the API reference.", "input")
