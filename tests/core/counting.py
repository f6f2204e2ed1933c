"""What providers call usage, in disjoint classes: the two families count what was cached in opposite ways.

OpenAI: cached and written tokens lie inside the input count, reasoning inside the output count, and audio is a part
of each. Anthropic: the input count excludes both, and writes come in two kinds by their time to live. For examples of
what is priced; what the gateway reads itself is in sluicegate/apis/chat_usage.py and beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def openai(usage: Mapping[str, Any]) -> dict[str, int]:
    """Chat completions, responses, embeddings and realtime. Classes that are 0 are left out, `input` never."""
    said = usage.get("prompt_tokens", usage.get("input_tokens")) or 0
    made = usage.get("completion_tokens", usage.get("output_tokens")) or 0
    into = _details(usage, "prompt_tokens_details", "input_tokens_details", "input_token_details")
    out = _details(usage, "completion_tokens_details", "output_tokens_details", "output_token_details")
    cached = into.get("cached_tokens") or 0
    written = into.get("cache_write_tokens") or 0
    held = into.get("cached_tokens_details") or {}
    found = {"cached_input": cached, "cache_write": written}
    rest = said - cached - written
    for kind in ("audio", "image"):
        of, kept = into.get(f"{kind}_tokens") or 0, held.get(f"{kind}_tokens") or 0
        found[f"{kind}_input"], found[f"cached_{kind}_input"] = of - kept, kept
        found[f"{kind}_output"] = out.get(f"{kind}_tokens") or 0
        found["cached_input"] -= kept
        rest -= of - kept
        made -= found[f"{kind}_output"]
    return {"input": rest, **{c: n for c, n in found.items() if n}, **({"output": made} if made else {})}


def anthropic(usage: Mapping[str, Any]) -> dict[str, int]:
    """Messages."""
    written = usage.get("cache_creation_input_tokens") or 0
    hour = (usage.get("cache_creation") or {}).get("ephemeral_1h_input_tokens") or 0
    found = {
        "cached_input": usage.get("cache_read_input_tokens") or 0, "cache_write": written - hour,
        "cache_write_1h": hour, "output": usage.get("output_tokens") or 0,
    }  # fmt: skip
    return {"input": usage.get("input_tokens") or 0, **{c: n for c, n in found.items() if n}}


def _details(usage: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    for name in names:
        if usage.get(name):
            details: Mapping[str, Any] = usage[name]
            return details
    return {}
