"""What the model "says": words from a seed, an echo, JSON that fits a schema. Each token's JSON form is made once."""

from __future__ import annotations

import re
from math import ceil
from typing import Any, Final

import msgspec

_PROSE: Final = """
Voilà — the water rises behind the gate and waits. A keeper in the café reads the gauge, notes the level, and
lifts the boards by a hand's breadth; what follows is 12.5 m³ of brown water each second, loud and even. Über
the weir it thins to glass. Nobody hurries: the canal is naïve about clocks, and the señor with the barge
knows it. “Is it time?” asks the girl. It is not. First the upper pond must settle, then the lower; only when
both agree do the gates open – slowly, the way they were built to. By evening 3 barges have passed, and the
gauge reads what it read at dawn 🌊 as if nothing had been let through at all.
"""

WORDS: Final[tuple[str, ...]] = tuple(re.findall(r"\S+\s?", " ".join(_PROSE.split()) + " "))
"""Tokens: words with the blank after them. Some are not ASCII, so that a cut inside UTF-8 can be had."""

_ROUND: Final = WORDS * 40
LONGEST: Final = len(_ROUND) - len(WORDS)
ENCODED: Final[dict[str, bytes]] = {word: msgspec.json.encode(word) for word in WORDS}

_MARK: Final = re.compile(r"\[sim:([a-z_]+)(?:=([^\]]*))?\]")
_PIECE: Final = 4
"""Characters of a token where the text is not ours."""


def prose(chance: int, count: int) -> tuple[str, ...]:
    """`count` tokens, the same for the same number."""
    start = chance % len(WORDS)
    if count <= LONGEST:
        return _ROUND[start : start + count]
    return tuple(WORDS[(start + i) % len(WORDS)] for i in range(count))


def pieces(text: str) -> tuple[str, ...]:
    """Any text as tokens."""
    return tuple(text[i : i + _PIECE] for i in range(0, len(text), _PIECE))


def marks(text: str) -> dict[str, str]:
    """What a prompt asks of the simulator: `[sim:tool]`, `[sim:tokens=50]`. Later ones win."""
    return dict(_MARK.findall(text)) if "[sim:" in text else {}


def unmarked(text: str) -> str:
    return _MARK.sub("", text).strip() if "[sim:" in text else text


def prompt_tokens(messages: list[Any], extra: int = 0) -> int:
    """A quarter of the bytes, and a few tokens for each message; images at their low-detail price."""
    total = 3
    for message in messages:
        total += 4
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, str):
            size = len(content) if content.isascii() else len(content.encode("utf-8", "surrogatepass"))
            total += -(-size // 4)
        elif isinstance(content, list):
            for part in content:
                if isinstance(part, dict):
                    text = part.get("text")
                    total += ceil(len(text.encode("utf-8", "surrogatepass")) / 4) if isinstance(text, str) else 85
    return total + extra


def last_user_text(messages: list[Any]) -> str:
    """Text of the last user message; the last message's where there is no user."""
    users = [m for m in messages if isinstance(m, dict) and m.get("role") == "user"]
    for message in reversed(users or messages):
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, str):
            return content
        if isinstance(content, list):
            return "".join(p["text"] for p in content if isinstance(p, dict) and isinstance(p.get("text"), str))
    return ""


# ---------------------------------------------------------------- JSON that fits a schema

_DEEPEST = 8
_FORMATS: Final = {
    "date-time": "2026-01-01T12:00:00Z", "date": "2026-01-01", "time": "12:00:00Z", "duration": "PT5M",
    "email": "keeper@sluice.example", "hostname": "sluice.example", "ipv4": "192.0.2.1", "ipv6": "2001:db8::1",
    "uuid": "00000000-0000-4000-8000-000000000001", "uri": "https://sluice.example/",
}  # fmt: skip


def fitting(schema: Any, chance: int, root: Any = None, depth: int = 0) -> Any:
    """A value that a simple JSON schema accepts. Keywords it does not know are ignored."""
    root = schema if root is None else root
    if not isinstance(schema, dict):
        return None
    if "$ref" in schema:
        return fitting(_resolved(schema["$ref"], root), chance, root, depth + 1)
    for constant in ("const", "default"):
        if constant in schema:
            return schema[constant]
    if schema.get("enum"):
        return schema["enum"][chance % len(schema["enum"])]
    for choice in ("anyOf", "oneOf", "allOf"):
        if schema.get(choice):
            return fitting(_simplest(schema[choice], depth), chance, root, depth + 1)
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = "null" if depth > _DEEPEST and "null" in kind else next((k for k in kind if k != "null"), "null")
    if kind == "object" or "properties" in schema:
        properties = schema.get("properties") or {}
        wanted: Any = schema.get("required", properties) if depth > _DEEPEST else properties
        return {
            key: fitting(sub, chance + 7 * i, root, depth + 1)
            for i, (key, sub) in enumerate(properties.items())
            if key in wanted
        }
    if kind == "array":
        least = schema.get("minItems", 0)
        count = least if depth > _DEEPEST else min(max(least, 2), schema.get("maxItems", 2))
        return [fitting(schema.get("items", {}), chance + i, root, depth + 1) for i in range(count)]
    if kind in ("integer", "number"):
        return _number(schema, chance, kind == "integer")
    if kind == "boolean":
        return bool(chance % 2)
    if kind == "null":
        return None
    return _string(schema, chance)


def _resolved(ref: Any, root: Any) -> Any:
    node = root
    for step in str(ref).removeprefix("#").strip("/").split("/"):
        if step:
            node = node.get(step.replace("~1", "/").replace("~0", "~"), {}) if isinstance(node, dict) else {}
    return node


def _simplest(options: list[Any], depth: int) -> Any:
    """The first that is not null; deep down null, so that a schema that holds itself comes to an end."""
    null = next((o for o in options if isinstance(o, dict) and o.get("type") == "null"), None)
    if depth > _DEEPEST and null is not None:
        return null
    return next((o for o in options if o is not null), null)


def _number(schema: dict[str, Any], chance: int, integer: bool) -> int | float:
    low: float = schema.get("minimum", schema.get("exclusiveMinimum", 0))
    high: float = schema.get("maximum", schema.get("exclusiveMaximum", low + 100))
    if "exclusiveMinimum" in schema:
        low += 1 if integer else (high - low) / 1000
    if "exclusiveMaximum" in schema:
        high -= 1 if integer else (high - low) / 1000
    if integer:
        step = int(schema.get("multipleOf", 1)) or 1
        first = -(-ceil(low) // step) * step
        return int(first + step * (chance % (max(0, int(high) - first) // step + 1)))
    return round(low + (high - low) * (chance % 101) / 101, 3) if high - low >= 1 else float(low)


def _string(schema: dict[str, Any], chance: int) -> str:
    if schema.get("format") in _FORMATS:
        return _FORMATS[schema["format"]]
    text = WORDS[chance % len(WORDS)].strip()
    least = schema.get("minLength", 0)
    while len(text) < least:
        text += "-" + WORDS[(chance + len(text)) % len(WORDS)].strip()
    return text[: schema.get("maxLength", len(text))]
