"""Rules for request parameters: default, max, force, allow."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ParamSpec:
    """One rule about one field of request bodies. Values are JSON texts, because a field may hold anything."""

    field: str
    "Name of a top-level field; `max_tokens` stands for its whole family."
    default: str | None = None
    "Put where the request has none."
    max: float | None = None
    "Larger numbers are cut to it."
    force: str | None = None
    "Put whatever the request says."
    allow: tuple[str, ...] | None = None
    "Anything else is refused."
    mode: str = "enforce"
    origin: str = ""
