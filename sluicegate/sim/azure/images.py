"""Images as Azure answers them: bytes drawn from the request, as base64 or behind a URL, whole or in events.

`[sim:bytes=3000000]` in a prompt makes each that large.
"""

from __future__ import annotations

import base64
from hashlib import blake2b, shake_256
from typing import Any, Final

import msgspec

from sluicegate.sim.answer import Answer, Claim, Piece
from sluicegate.sim.azure import refusals
from sluicegate.sim.azure.chat import SSE
from sluicegate.sim.azure.forms import FILES
from sluicegate.sim.azure.request import Request
from sluicegate.sim.azure.text import marks
from sluicegate.sim.spec import DeploymentSpec

PNG: Final = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
BYTES: Final = 3000
TOKENS: Final = {"low": 272, "medium": 1056, "high": 4160}
GIVEN: Final = 323
"""Tokens of an image that came with the request."""

BY_THE_IMAGE: Final = ("FLUX", "flux", "dall-e")
"""Models whose answers say no tokens."""

encode = msgspec.json.encode


class Images:
    """One request, understood."""

    cap: int | None = 0
    happening = "image_generation"

    def __init__(
        self, document: dict[str, Any], body: bytes | bytearray, deployment: DeploymentSpec, azure: bool, seed: int
    ) -> None:
        self.deployment = deployment
        self.document = document
        prompt = str(document.get("prompt", ""))
        self.marks = marks(prompt)
        self.draw = b"%d %b" % (seed, blake2b(body).digest())
        self.stream = document.get("stream") is True
        n = document.get("n")
        self.choices = n if isinstance(n, int) and n else 1
        self.tokens = TOKENS.get(str(document.get("quality")), TOKENS["medium"])
        self.given = GIVEN * len(document.get(FILES, ()))
        self.text = -(-len(prompt.encode()) // 4)
        self.partial = int(document.get("partial_images") or 0) if self.stream else 0
        self.claim = Claim(self.text + self.given, (self.tokens + 100 * self.partial) * self.choices)

    def image(self, number: int) -> bytes:
        """Its bytes: the same for the same request."""
        size = int(self.marks.get("bytes") or BYTES)
        return PNG + shake_256(self.draw + b" %d" % number).digest(max(size - len(PNG), 0))

    def answer(self, identity: bytes, wall: float, speed: float) -> Answer:
        """All of them."""
        latency = self.deployment.latency
        delay = latency.first_token_s * speed
        if self.stream:
            events: list[Piece] = []
            for n in range(self.choices):
                for part in range(self.partial):
                    more = {"partial_image_index": part}
                    events.append((delay, self._event("partial_image", n * 100 + part + 10_000, int(wall), more)))
                    delay = latency.per_token_s * 100 * speed
                events.append((delay, self._event("completed", n, int(wall), {"usage": self._usage(self.choices)})))
                delay = latency.per_token_s * self.tokens * speed
            return Answer(200, [SSE], events, stream=True, claim=self.claim, usage_piece=len(events) - 1)
        if self.document.get("response_format") == "url":
            data = [{"url": f"https://images.invalid/{identity.decode()}-{n}.png"} for n in range(self.choices)]
        else:
            data = [{"b64_json": base64.b64encode(self.image(n)).decode()} for n in range(self.choices)]
        said: dict[str, Any] = {"created": int(wall), "data": data, "output_format": "png"}
        if not self.deployment.model.startswith(BY_THE_IMAGE):
            said["usage"] = self._usage(1)
        body = encode(said)
        delay += latency.per_token_s * self.tokens * speed
        return Answer(200, [refusals.JSON], [(delay, body)], claim=self.claim, usage_piece=0)

    def _usage(self, shares: int) -> dict[str, Any]:
        prompt, output = self.claim.prompt // shares, self.claim.completion // shares
        return {
            "input_tokens": prompt, "input_tokens_details": {"image_tokens": self.given // shares,
            "text_tokens": prompt - self.given // shares}, "output_tokens": output,
            "output_tokens_details": {"image_tokens": output, "text_tokens": 0}, "total_tokens": prompt + output,
        }  # fmt: skip

    def _event(self, kind: str, number: int, created: int, more: dict[str, Any]) -> bytes:
        name = f"{self.happening}.{kind}"
        said = {
            "type": name, "b64_json": base64.b64encode(self.image(number)).decode(), "created_at": created,
            "background": "opaque", "output_format": "png", "quality": "medium", "size": "1024x1024", **more,
        }  # fmt: skip
        return b"event: %b\ndata: %b\n\n" % (name.encode(), encode(said))


class Edits(Images):
    """The same from images."""

    happening = "image_edit"


def wrong_images(request: Request) -> Answer | None:
    """What the API refuses about a body."""
    document = request.document
    if not isinstance(document.get("prompt"), str) or not document["prompt"]:
        return refusals.bad_request("Missing required parameter: 'prompt'.", "prompt", "missing_required_parameter")
    n = document.get("n")
    if n is not None and (not isinstance(n, int) or not 1 <= n <= 10):
        return refusals.bad_request("Invalid 'n': integer out of range.", "n", "integer_out_of_range")
    return None


def wrong_edits(request: Request) -> Answer | None:
    """The same, and where there is no image."""
    if not request.document.get(FILES) and not request.document.get("images"):
        return refusals.bad_request("Missing required parameter: 'image'.", "image", "missing_required_parameter")
    return wrong_images(request)
