"""Embeddings as Azure answers them: a vector for each input, drawn from its bytes: the same text, the same one.

A vector has length 1 and holds 32-bit floats, as numbers or as base64 of their bytes, whichever was asked for.
"""

from __future__ import annotations

import base64
import struct
from hashlib import shake_256
from typing import Any, Final

import msgspec

from sluicegate.sim.answer import Answer, Claim
from sluicegate.sim.azure import refusals
from sluicegate.sim.azure.request import Request
from sluicegate.sim.azure.text import marks
from sluicegate.sim.spec import DeploymentSpec

SIZES: Final = {"text-embedding-3-large": 3072}
SIZE: Final = 1536
"""Numbers of a vector, of models that have no other size."""

MOST_INPUTS: Final = 2048
LONGEST: Final = 8192
"""Tokens of one input."""

encode = msgspec.json.encode


class Embedding:
    """One request, understood."""

    stream = False
    cap: int | None = 0
    choices = 1

    def __init__(
        self, document: dict[str, Any], body: bytes | bytearray, deployment: DeploymentSpec, azure: bool, seed: int
    ) -> None:
        self.deployment = deployment
        self.inputs = inputs(document["input"])
        first = self.inputs[0]
        self.marks = marks(first) if isinstance(first, str) else {}
        sizes = [tokens(said) for said in self.inputs]
        if max(sizes) > LONGEST:
            self.marks["too_long"] = ""
        self.claim = Claim(int(self.marks.get("prompt_tokens") or sum(sizes)), 0)
        self.seed = seed
        wanted = document.get("dimensions")
        self.size = wanted if isinstance(wanted, int) else SIZES.get(deployment.model, SIZE)
        self.base64 = document.get("encoding_format") == "base64"

    def answer(self, identity: bytes, wall: float, speed: float) -> Answer:
        """All vectors, in order."""
        model = self.deployment.answers_as or self.deployment.model
        count = self.claim.prompt
        body = b'{"object":"list","data":[%b],"model":%b,"usage":{"prompt_tokens":%d,"total_tokens":%d}}' % (
            b",".join(
                b'{"object":"embedding","index":%d,"embedding":%b}' % (n, self._written(said))
                for n, said in enumerate(self.inputs)
            ),
            encode(model), count, count,
        )  # fmt: skip
        delay = self.deployment.latency.first_token_s * speed
        return Answer(200, [refusals.JSON], [(delay, body)], claim=self.claim, usage_piece=0)

    def _written(self, said: str | list[int]) -> bytes:
        numbers = vector(said, self.size, self.seed)
        packed = struct.pack(f"<{self.size}f", *numbers)
        if self.base64:
            return b'"' + base64.b64encode(packed) + b'"'
        return encode(list(struct.unpack(f"<{self.size}f", packed)))


def vector(said: str | list[int], size: int, seed: int = 0) -> list[float]:
    """Always the same for the same input."""
    text = said.encode("utf-8", "surrogatepass") if isinstance(said, str) else encode(said)
    drawn = struct.unpack(f"<{size}i", shake_256(b"%d " % seed + text).digest(4 * size))
    length = sum(n * n for n in drawn) ** 0.5 or 1.0
    return [n / length for n in drawn]


def tokens(said: str | list[int]) -> int:
    """A quarter of the bytes of a text; ids are tokens."""
    return -(-len(said.encode("utf-8", "surrogatepass")) // 4) if isinstance(said, str) else len(said)


def inputs(given: Any) -> list[str | list[int]]:
    """One text, several, one list of token ids, or several."""
    if isinstance(given, str) or (given and isinstance(given[0], int)):
        return [given]
    return list(given)


def sound(given: Any) -> bool:
    """Whether it is one of these, and nothing in it is empty."""
    if not isinstance(given, list) or not given:
        return bool(given) and isinstance(given, str)
    if isinstance(given[0], int):
        return all(isinstance(n, int) for n in given)
    if isinstance(given[0], str):
        return all(isinstance(text, str) and text for text in given)
    return all(isinstance(ids, list) and ids and all(isinstance(n, int) for n in ids) for ids in given)


def wrong_embedding(request: Request) -> Answer | None:
    """What the API refuses about a body."""
    document = request.document
    if "input" not in document:
        return refusals.bad_request("Missing required parameter: 'input'.", "input", "missing_required_parameter")
    if not sound(document["input"]) or len(inputs(document["input"])) > MOST_INPUTS:
        return refusals.bad_request("'$.input' is invalid. Please check the API reference.", "input")
    size = document.get("dimensions")
    if size is not None and (not isinstance(size, int) or not 1 <= size <= 3072):
        return refusals.bad_request("Invalid value for 'dimensions'.", "dimensions")
    if document.get("encoding_format") not in (None, "float", "base64"):
        return refusals.bad_request("Invalid value for 'encoding_format'.", "encoding_format", "invalid_value")
    return None
