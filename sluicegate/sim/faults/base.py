"""What every fault has: where it strikes, how often, and what it makes of an answer."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from sluicegate.sim.answer import Answer
from sluicegate.sim.azure.request import Request


class Fault(msgspec.Struct, tag_field="kind", tag="", forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """Without any of these it strikes every request of the fleet until it is lifted. All given ones must agree."""

    instance: str | None = None
    deployment: str | None = None
    marker: str | None = None
    "Only requests that hold this text anywhere in head or body."
    above_tokens: int | None = None
    "Only requests that count as more tokens at their arrival: prompt and maximum."
    times: int | None = None
    "Only so many times."
    skip: int = 0
    "Not the first so many that it could strike."
    share: float = 1.0
    "Only this share of them, drawn from the seed."
    for_s: float | None = None
    "Only so long from now."

    stage: ClassVar[int] = 1
    "Faults of one request act in this order: 0 instead of the answer, 1 on its content, 2 on its bytes."

    def act(self, answer: Answer, request: Request, age_s: float, wall: float) -> Answer:
        """The answer, edited, or another one. `age_s`: since the fault was put in force."""
        raise NotImplementedError
