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

from sluicegate.sim.azure.audio import heard
from tests.clients.ground import MODELS

Facts = dict[str, Any]
COUNTED = ("completions", "embeddings", "messages", "generations", "edits")
"""Operations whose tokens are counted, by the ends of their paths,"""
BOOKED = ("chat_completions", "completions", "embeddings", "messages", "images_generations", "images_edits")
"""and as they are booked."""


@dataclass
class Saw:
    """What is known apart from the client."""

    echo: str
    word: str
    wait_s: float
    tries: int
    "How often this client asks in all, by its own rules, before it gives up."
    served: list[Facts]
    "Of the simulator's ledger: requests of this client that reached an instance."
    records: list[Facts]
    "Of the gateway, settled, oldest first."
    recording: bytes
    "What was sent to be transcribed."
    agreed: dict[str, Any]
    "What clients before this one were told, where all must be told the same."

    def booked_wrong(self) -> str:
        """The tokens of all records are those that the instances counted, request by request, where tokens are what
        is counted: speech and whisper's transcriptions say none, moderations have none, counting tokens uses none."""
        counted = sorted(
            (e["usage"]["prompt"], e["usage"]["completion"])
            for e in self.served
            if e["status"] == 200 and e["path"].rpartition("/")[2] in COUNTED
        )
        booked = sorted((r["input"] + r["cached"] + r["cache_write"], r["output"] + r["reasoning"])
                        for r in self.records if r["status"] == 200 and r["api"] in BOOKED)  # fmt: skip
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


def gave_up(facts: Facts, saw: Saw) -> str:
    """Refused whenever it came, it showed its caller a 429 after as many tries as are its habit, and no others."""
    if facts["status"] != 429 or not facts["error"]:
        return f"{facts}"
    tries = [r for r in saw.records if r["model"].endswith("jammed")]
    if {r["status"] for r in tries} != {429}:
        return f"was answered {[r['status'] for r in tries]}"
    return "" if len(tries) == saw.tries else f"tried {len(tries)} times, not {saw.tries}"


def _at(record: Facts) -> datetime.datetime:
    return datetime.datetime.fromisoformat(record["time"].replace("Z", "+00:00"))


def vectors(facts: Facts, saw: Saw) -> str:
    """Two texts, and the same vectors however they travelled and whoever asked."""
    if facts["count"] != 2 or facts["lengths"] != [1536]:
        return f"{facts['count']} vectors of lengths {facts['lengths']}"
    first = saw.agreed.setdefault("vectors", facts["begin"])
    if facts["begin"] != first:
        return f"begin with {facts['begin']}, those of others with {first}"
    return _prompt_counted(facts["tokens"], saw)


def vectors_of_tokens(facts: Facts, saw: Saw) -> str:
    if facts["count"] != 2 or facts["lengths"] != [1536]:
        return f"{facts['count']} vectors of lengths {facts['lengths']}"
    return "" if facts["tokens"] == 5 else f"five tokens went up, {facts['tokens']} were counted"


def _prompt_counted(tokens: int | None, saw: Saw) -> str:
    prompts = [e["usage"]["prompt"] for e in saw.served if e["usage"]]
    return "" if tokens is None or tokens in prompts else f"{tokens} tokens: nobody counted that"


def listed(facts: Facts, saw: Saw) -> str:
    return "" if facts["ids"] == sorted(MODELS) else f"listed {facts['ids']}"


def judged(facts: Facts, saw: Saw) -> str:
    return "" if facts["flagged"] == [False] else f"{facts}"


def drawn(facts: Facts, saw: Saw) -> str:
    """One image of 3,000 bytes, in base64."""
    return "" if facts == {"images": 1, "base64": 4000} else f"{facts}"


def sounded(facts: Facts, saw: Saw) -> str:
    """The very bytes, for whoever asks for the same words."""
    first = saw.agreed.setdefault("speech", facts["sha256"])
    return "" if facts["size"] == 300 * len("say this") and facts["sha256"] == first else f"{facts}"


def understood(facts: Facts, saw: Saw) -> str:
    """The recording came up whole: the simulator says how long it was and how it digests."""
    return "" if facts["text"] == heard(saw.recording) else f"heard {facts['text']!r}, not {heard(saw.recording)!r}"


def counted(facts: Facts, saw: Saw) -> str:
    return "" if type(facts["tokens"]) is int and facts["tokens"] > 0 else f"{facts}"


TRUTHS: dict[str, Callable[[Facts, Saw], str]] = {
    "chat": said,
    "stream": streamed,
    "tools": tool,
    "structured": structured,
    "structured_tools": structured,
    "messages": said,
    "messages_stream": streamed,
    "messages_tools": tool,
    "count_tokens": counted,
    "embeddings": vectors,
    "embeddings_base64": vectors,
    "embeddings_tokens": vectors_of_tokens,
    "completions": said,
    "models": listed,
    "moderations": judged,
    "images": drawn,
    "speech": sounded,
    "image_edits": drawn,
    "transcription": understood,
    "translation": understood,
    "wrong_key": _status(401),
    "unknown_model": _status(404),
    "throttled": came_again,
    "refused": gave_up,
}
