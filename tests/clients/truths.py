"""What each operation must show a client's caller, whatever the client: a truth for each, empty if it holds.

The facts come from the programs in tests/clients-heavy; what was really said, from the simulator's ledger and the
gateway's records.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Facts = dict[str, Any]


@dataclass
class Saw:
    """What is known apart from the client."""

    echo: str
    word: str
    wait_s: float
    served: list[Facts]
    "Of the simulator's ledger: requests of this client that reached an instance."
    records: list[Facts]
    "Of the gateway, settled, oldest first."

    def booked_wrong(self) -> str:
        """The tokens of all records are those that the instances counted, request by request."""
        counted = sorted((e["usage"]["prompt"], e["usage"]["completion"]) for e in self.served if e["status"] == 200)
        booked = sorted((r["input"] + r["cached"] + r["cache_write"], r["output"] + r["reasoning"])
                        for r in self.records if r["status"] == 200)  # fmt: skip
        return "" if counted == booked else f"booked {booked}, the instances counted {counted}"

    def counted(self, prompt: int, completion: int) -> str:
        """Tokens that a client showed are those of some request."""
        pairs = [(e["usage"]["prompt"], e["usage"]["completion"]) for e in self.served if e["usage"]]
        return "" if (prompt, completion) in pairs else f"tokens {prompt} and {completion}: nobody counted that"


def said(facts: Facts, saw: Saw) -> str:
    if facts["text"].strip() != saw.echo:
        return f"said {facts['text']!r}"
    return saw.counted(facts["prompt"], facts["completion"]) if facts.get("prompt") is not None else ""


def streamed(facts: Facts, saw: Saw) -> str:
    if facts["pieces"] < 2:
        return f"came in {facts['pieces']} piece(s)"
    return said(facts, saw)


def tool(facts: Facts, saw: Saw) -> str:
    given = facts["arguments"]
    document = json.loads(given) if isinstance(given, str) else given
    right = facts["name"] == "weather" and isinstance(document, dict) and isinstance(document.get("place"), str)
    return "" if right else f"called {facts}"


def structured(facts: Facts, saw: Saw) -> str:
    right = set(facts) == {"city", "inhabitants"} and type(facts["inhabitants"]) is int and type(facts["city"]) is str
    return "" if right else f"parsed {facts}"


def _status(status: int) -> Callable[[Facts, Saw], str]:
    def truth(facts: Facts, saw: Saw) -> str:
        return "" if facts["status"] == status and facts["error"] else f"{facts}"

    return truth


def came_again(facts: Facts, saw: Saw) -> str:
    """Both members refused, the client was told so once, came again no sooner than told, and was served."""
    if facts["text"].strip() != saw.word:
        return f"said {facts['text']!r}"
    tries = [r for r in saw.records if r["model"].endswith("busy")]
    if [r["status"] for r in tries] != [429, 200]:
        return f"was answered {[r['status'] for r in tries]}, not 429 and then 200"
    gap = (_at(tries[1]) - _at(tries[0])).total_seconds()
    return "" if gap >= saw.wait_s - 0.02 else f"came again after {gap:.3f} s, told to wait {saw.wait_s}"


def _at(record: Facts) -> datetime.datetime:
    return datetime.datetime.fromisoformat(record["time"].replace("Z", "+00:00"))


TRUTHS: dict[str, Callable[[Facts, Saw], str]] = {
    "chat": said,
    "stream": streamed,
    "tools": tool,
    "structured": structured,
    "structured_tools": structured,
    "messages": said,
    "messages_stream": streamed,
    "messages_tools": tool,
    "wrong_key": _status(401),
    "unknown_model": _status(404),
    "throttled": came_again,
}
