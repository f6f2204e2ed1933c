"""Speech and what is heard in it, as Azure answers them. Nothing is spoken and nothing is heard: sound is bytes drawn
from the request, and what is heard says how many bytes came and what their digest begins with.
"""

from __future__ import annotations

import base64
from hashlib import sha256, shake_256
from typing import Any, Final

import msgspec

from sluicegate.sim.answer import Answer, Claim, Piece
from sluicegate.sim.azure import refusals
from sluicegate.sim.azure.chat import DONE, SSE
from sluicegate.sim.azure.forms import FILES
from sluicegate.sim.azure.request import Request
from sluicegate.sim.azure.text import marks
from sluicegate.sim.spec import DeploymentSpec

KINDS: Final = {
    "mp3": b"audio/mpeg", "opus": b"audio/opus", "aac": b"audio/aac", "flac": b"audio/flac", "wav": b"audio/wav",
    "pcm": b"audio/pcm",
}  # fmt: skip
BYTES_A_CHARACTER: Final = 300
PIECE: Final = 8192
TOKEN_BYTES: Final = 1600

encode = msgspec.json.encode


class Speech:
    """One request, understood."""

    cap: int | None = 0
    choices = 1
    stream = True
    "It is made while it is sent."

    def __init__(
        self, document: dict[str, Any], body: bytes | bytearray, deployment: DeploymentSpec, azure: bool, seed: int
    ) -> None:
        self.deployment = deployment
        self.document = document
        text = document["input"]
        self.marks = marks(text)
        size = int(self.marks.get("bytes") or BYTES_A_CHARACTER * len(text))
        self.sound = spoken(text, size, seed)
        self.claim = Claim(-(-len(text.encode()) // 4), max(1, size // 768))

    def answer(self, identity: bytes, wall: float, speed: float) -> Answer:
        """Its bytes, in pieces, or events that hold them."""
        latency = self.deployment.latency
        parts = [self.sound[at : at + PIECE] for at in range(0, len(self.sound), PIECE)]
        pace = latency.per_token_s * speed
        first = latency.first_token_s * speed
        if self.document.get("stream_format") == "sse":
            events: list[Piece] = [
                (pace if n else first, _event({"type": "speech.audio.delta", "audio": base64.b64encode(p).decode()}))
                for n, p in enumerate(parts)
            ]
            events.append((0.0, _event({"type": "speech.audio.done", "usage": _tokens(self.claim)})))
            return Answer(200, [SSE], events, stream=True, claim=self.claim, usage_piece=len(events) - 1)
        kind = KINDS.get(self.document.get("response_format", "mp3"), b"audio/mpeg")
        pieces = [(pace if n else first, part) for n, part in enumerate(parts)]
        return Answer(200, [(b"content-type", kind)], pieces, stream=True, claim=self.claim)


def spoken(text: str, size: int, seed: int = 0) -> bytes:
    """What such a request sounds like: always the same."""
    return b"\xff\xf3\x84\xc4" + shake_256(b"%d " % seed + text.encode()).digest(max(size - 4, 0))


class Heard:
    """One request, understood."""

    cap: int | None = 0
    choices = 1

    def __init__(
        self, document: dict[str, Any], body: bytes | bytearray, deployment: DeploymentSpec, azure: bool, seed: int
    ) -> None:
        self.deployment = deployment
        sound = document[FILES][0][1]
        self.marks = marks(str(document.get("prompt", "")))
        self.text = heard(sound)
        self.form = document.get("response_format", "json")
        self.whisper = deployment.model.startswith("whisper")
        self.stream = document.get("stream") is True and not self.whisper
        self.seconds = len(sound) // 16_000 + 1
        self.words = self.text.split(" ")
        self.claim = Claim(len(sound) // TOKEN_BYTES + 1, len(self.words))

    def answer(self, identity: bytes, wall: float, speed: float) -> Answer:
        """In the form that was asked for."""
        latency = self.deployment.latency
        first, pace = latency.first_token_s * speed, latency.per_token_s * speed
        if self.stream:
            events: list[Piece] = [
                (pace if n else first, _event({"type": "transcript.text.delta", "delta": f" {word}" if n else word}))
                for n, word in enumerate(self.words)
            ]
            done = {"type": "transcript.text.done", "text": self.text, "usage": self._usage()}
            events += [(0.0, _event(done)), (0.0, DONE)]
            return Answer(200, [SSE], events, stream=True, claim=self.claim, usage_piece=len(events) - 2)
        delay = first + pace * len(self.words)
        if self.form in ("text", "srt", "vtt"):
            return Answer(
                200, [(b"content-type", b"text/plain; charset=utf-8")], [(delay, self._written())], claim=self.claim
            )
        said: dict[str, Any] = {"text": self.text}
        if self.form == "verbose_json":
            said |= {"task": "transcribe", "language": "english", "duration": float(self.seconds), "segments": []}
        said["usage"] = self._usage()
        return Answer(200, [refusals.JSON], [(delay, encode(said))], claim=self.claim, usage_piece=0)

    def _usage(self) -> dict[str, Any]:
        if self.whisper:
            return {"type": "duration", "seconds": self.seconds}
        details = {"text_tokens": 0, "audio_tokens": self.claim.prompt}
        return {"type": "tokens", **_tokens(self.claim), "input_token_details": details}

    def _written(self) -> bytes:
        text, end = self.text.encode(), b"00:00:%02d" % min(self.seconds, 59)
        if self.form == "srt":
            return b"1\n00:00:00,000 --> %b,000\n%b\n\n" % (end, text)
        if self.form == "vtt":
            return b"WEBVTT\n\n00:00:00.000 --> %b.000\n%b\n\n" % (end, text)
        return text + b"\n"


def heard(sound: bytes) -> str:
    """What is heard in these bytes."""
    return f"{len(sound)} bytes that begin to digest as {sha256(sound).hexdigest()[:16]}"


def _tokens(claim: Claim) -> dict[str, int]:
    return {
        "input_tokens": claim.prompt, "output_tokens": claim.completion,
        "total_tokens": claim.prompt + claim.completion,
    }  # fmt: skip


def _event(said: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % encode(said)


def wrong_speech(request: Request) -> Answer | None:
    """What the API refuses about a body."""
    document = request.document
    for name in ("input", "voice"):
        if not isinstance(document.get(name), str) or not document[name]:
            return refusals.bad_request(f"Missing required parameter: '{name}'.", name, "missing_required_parameter")
    if document.get("response_format", "mp3") not in KINDS:
        return refusals.bad_request("Invalid value for 'response_format'.", "response_format", "invalid_value")
    return None


def wrong_heard(request: Request) -> Answer | None:
    """What the API refuses about a form."""
    files = request.document.get(FILES) or ()
    if [name for name, _ in files] != ["file"]:
        return refusals.bad_request("Missing required parameter: 'file'.", "file", "missing_required_parameter")
    if request.document.get("response_format", "json") not in ("json", "verbose_json", "text", "srt", "vtt"):
        return refusals.bad_request("Invalid value for 'response_format'.", "response_format", "invalid_value")
    return None
