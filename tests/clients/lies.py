"""Upstreams that lie: every way known to us in which an answer can be less than it seems, and the truth beside each.

A lie is asked for by the text of the request, `lie: NAME` or `lie: NAME OFFSET`, so that many can be asked at once of
one upstream. A healthy member that is asked the same tells the truth: what a failed-over client must see.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tests.clients import upstream as u
from tests.clients.upstream import DONE, EVENTS, JSON, LAST_CHUNK, Asked, Wire, chunk, event, head, piece

TEXT = "Grüße aus 東京 🗼"
FIRST, SECOND = "Grüße aus", " 東京 🗼"
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"place":"Paris"}'}}

# What is said, as tests/clients/asking.py puts it: of each choice text, finish reason, arguments.
Truth = list[list[str]]
SAYS: Truth = [[TEXT, "stop", ""]]
SAYS_TWICE: Truth = [[TEXT, "stop", ""], [TEXT, "stop", ""]]
CALLS: Truth = [["", "tool_calls", '{"place":"Paris"}']]

BEFORE, AFTER, WHOLE = "refused", "cut", "complete"
"""What a client of a lying member alone sees: a refusal by the gateway, a break that raises, or all of it after all.
What is cut may be refused, too, when the lie came in one read with the truth before it: then nothing is committed yet."""


def first_words(first: str = FIRST) -> bytes:
    return event(piece(first, role="assistant"))


LAST_WORDS = event(piece(SECOND, "stop"))
USAGE = event(u.usage_event())
EVENTS_OF = [first_words(), LAST_WORDS, USAGE, DONE]
"""Three events and the last word."""

PLAIN = json.dumps(u.whole(TEXT), separators=(",", ":"), ensure_ascii=False).encode()


def truthful(asked: Asked) -> bytes:
    """What a healthy member says to the same request."""
    fields = asked.fields
    choices = range(fields.get("n") or 1)
    if not fields.get("stream"):
        if fields.get("tools"):
            return u.plain(u.whole("", finish="tool_calls", tools=[CALL]))
        if "large" in asked.text:
            return u.plain(u.whole(LARGE))
        return u.plain(u.whole(*[TEXT for _ in choices]))
    if fields.get("tools"):
        return u.streamed(*tool_events(), DONE)
    events = [event(piece(FIRST, index=i, role="assistant")) for i in choices]
    events += [event(piece(SECOND, "stop", index=i)) for i in choices]
    return u.streamed(*events, USAGE, DONE)


def tool_events() -> list[bytes]:
    whole = str(CALL["function"]["arguments"])  # type: ignore[index]
    begin = {**CALL, "index": 0, "function": {"name": "weather", "arguments": ""}}
    parts: list[bytes] = [event(piece(role="assistant", content=None, tool_calls=[begin]))]
    for part in (whole[:8], whole[8:]):
        parts.append(event(piece(tool_calls=[{"index": 0, "function": {"arguments": part}}])))
    return [*parts, event(piece(finish="tool_calls"))]


# ---------------------------------------------------------------------- lies

Play = Callable[[Wire], Awaitable[None]]


@dataclass(frozen=True)
class Lie:
    """One way to lie."""

    name: str
    play: Play
    stream: bool
    alone: str
    "BEFORE, AFTER or WHOLE: what a client sees when there is nobody else to ask."
    truth: Truth
    more: tuple[tuple[str, Any], ...] = ()
    "Parameters of the job."

    def may(self, helped: bool) -> tuple[str, ...]:
        """Outcomes that are right. `helped`: there is a healthy member, too."""
        if helped:
            return (WHOLE, AFTER) if self.alone == AFTER else (WHOLE,)
        return (BEFORE, AFTER) if self.alone == AFTER else (self.alone,)

    def job(self, model: str) -> dict[str, Any]:
        return {"model": model, "content": f"lie: {self.name}", "stream": self.stream, **dict(self.more)}


def bytes_then(how: str, *parts: bytes) -> Play:
    """These bytes, then `clean` (the framing's own end), `fin`, `rst`, or `keep` (nothing, the connection stays)."""

    async def play(wire: Wire) -> None:
        wire.write(*parts)
        if how == "clean":
            wire.write(LAST_CHUNK)
        elif how == "fin":
            wire.fin()
        elif how == "rst":
            wire.rst()

    return play


def stream_then(how: str, *events: bytes, headers: bytes = EVENTS) -> Play:
    return bytes_then(how, head(headers), *map(chunk, events))


def forever(first: bytes, more: bytes, times: int, then: bytes = b"") -> Play:
    """A beginning, then the same again and again, for as long as it is taken."""

    async def play(wire: Wire) -> None:
        wire.write(head(EVENTS), chunk(first))
        for _ in range(times):
            if wire.lost.is_set():
                return
            wire.write(chunk(more))
            await wire.drained()
            await asyncio.sleep(0)
        wire.write(chunk(then), LAST_CHUNK)

    return play


QUADRATIC = "a line of 64 MB in the middle"
"""16 MB of it reach the client, which openai for Node reads in seconds of CPU time: not asked through it."""

HTML = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
SAID_ERROR = event({"error": {"message": "The server had an error", "type": "server_error", "code": "500"}})
LARGE = "Wasser " * 200_000
LARGE_PLAIN = json.dumps(u.whole(LARGE), separators=(",", ":")).encode()
ERROR_JSON = json.dumps({"error": {"code": "500", "message": "internal"}}).encode()
CUT_IN_UTF8 = first_words("Grü").split("ü".encode())[0] + "ü".encode()[:1]
CUT_IN_JSON = LAST_WORDS[: len(LAST_WORDS) // 2]
TWO_DOCUMENTS = first_words()[:-2] + b" " + LAST_WORDS[6:]


def _stream_lies() -> Iterable[Lie]:
    def lie(name: str, play: Play, alone: str, truth: Truth = SAYS, **more: Any) -> Lie:
        return Lie(name, play, True, alone, truth, tuple(more.items()))

    for how in ("clean", "fin", "rst"):
        yield lie(f"nothing but a head, {how}", stream_then(how), BEFORE)
        yield lie(f"cut between events, {how}", stream_then(how, first_words()), AFTER)
        yield lie(f"cut inside JSON, {how}", stream_then(how, first_words(), CUT_IN_JSON), AFTER)
        yield lie(f"cut inside UTF-8, {how}", stream_then(how, CUT_IN_UTF8), BEFORE)
        yield lie(f"cut after a tool call began, {how}", stream_then(how, *tool_events()[:2]), AFTER, CALLS, tools=True)
        yield lie(f"only one of two choices ended, {how}",
                  stream_then(how, first_words(), event(piece(FIRST, index=1)), LAST_WORDS), AFTER, SAYS_TWICE, n=2)  # fmt: skip
    yield lie("all but the last word, clean", stream_then("clean", *EVENTS_OF[:3]), WHOLE)
    yield lie("all but the last word, fin", stream_then("fin", *EVENTS_OF[:3]), AFTER)
    yield lie("all, then no end of the message, fin", stream_then("fin", *EVENTS_OF), WHOLE)
    yield lie("all, then no end of the message, rst", stream_then("rst", *EVENTS_OF), WHOLE)
    yield lie("cut inside the last word, clean", stream_then("clean", *EVENTS_OF[:2], DONE[:9]), AFTER)
    yield lie("nothing but the last word", stream_then("clean", DONE), BEFORE)
    yield lie("close-delimited, cut", bytes_then("fin", head(EVENTS).replace(u.CHUNKED, b""), first_words()), AFTER)
    yield lie("close-delimited, whole", bytes_then("fin", head(EVENTS).replace(u.CHUNKED, b""), *EVENTS_OF), WHOLE)
    yield lie("an error event first", stream_then("clean", SAID_ERROR), BEFORE)
    yield lie("an error event in the middle", stream_then("clean", first_words(), SAID_ERROR), AFTER)
    yield lie("HTML with status 200", stream_then("clean", HTML, headers=b"content-type: text/html\r\n"), BEFORE)
    yield lie("HTML called an event stream", stream_then("clean", HTML), BEFORE)
    yield lie("HTML in the middle", stream_then("clean", first_words(), b"data: " + HTML + b"\n\n"), AFTER)
    yield lie(
        "a JSON error with status 200", bytes_then("keep", head(JSON, length=len(ERROR_JSON)), ERROR_JSON), BEFORE
    )
    yield lie("an error called an event stream", stream_then("clean", b"data: " + ERROR_JSON + b"\n\n"), BEFORE)
    yield lie("a plain answer to a streamed question", bytes_then("keep", u.plain(u.whole(TEXT))), BEFORE)
    yield lie(
        "the wrong content type", stream_then("clean", *EVENTS_OF, headers=b"content-type: text/plain\r\n"), BEFORE
    )
    yield lie("no content type", stream_then("clean", *EVENTS_OF, headers=b""), BEFORE)
    yield lie("two documents in one event", stream_then("clean", TWO_DOCUMENTS, DONE), BEFORE)
    yield lie("two documents in a later event",
              stream_then("clean", first_words(), b"data: " + ERROR_JSON + LAST_WORDS[6:], DONE), AFTER)  # fmt: skip
    yield lie("an event that is a list", stream_then("clean", b"data: []\n\n", DONE), BEFORE)
    yield lie("a broken chunk size", bytes_then("keep", head(EVENTS), chunk(first_words()), b"zz\r\n"), AFTER)
    yield lie("a chunk without its line end",
              bytes_then("keep", head(EVENTS), chunk(first_words()), b"4\r\nabcdef\r\n"), AFTER)  # fmt: skip
    yield lie("a content-length larger than the stream",
              bytes_then("fin", head(EVENTS, length=9999), first_words()), AFTER)  # fmt: skip
    yield lie("a content-length smaller than the stream",
              bytes_then("keep", head(EVENTS, length=len(first_words()) + 20), *EVENTS_OF), AFTER)  # fmt: skip
    yield lie("gzip nobody asked for",
              stream_then("clean", gzip.compress(b"".join(EVENTS_OF)), headers=EVENTS + b"content-encoding: gzip\r\n"),
              BEFORE)  # fmt: skip
    yield lie("another protocol", bytes_then("keep", head(b"upgrade: websocket\r\nconnection: upgrade\r\n",
              b"101 Switching Protocols", 0)), BEFORE)  # fmt: skip
    yield lie("no HTTP at all", bytes_then("fin", b"SSH-2.0-OpenSSH_9.2\r\n"), BEFORE)
    yield lie("a line of 64 MB at first", forever(b"data: ", b"x" * 65536, 1024), BEFORE)
    yield lie(QUADRATIC, forever(first_words(), b"x" * 65536, 1024), AFTER)
    yield lie("a million empty comments", forever(b": \n\n", b": \n\n" * 5000, 200, LAST_WORDS + DONE), BEFORE)
    yield lie("a million empty comments in the middle",
              forever(first_words(), b": \n\n" * 5000, 200, LAST_WORDS + DONE), AFTER)  # fmt: skip


def _plain_lies() -> Iterable[Lie]:
    def lie(name: str, play: Play, alone: str = BEFORE, truth: Truth = SAYS, **more: Any) -> Lie:
        return Lie(name, play, False, alone, truth, tuple(more.items()))

    half = PLAIN[: len(PLAIN) // 2]
    in_utf8 = PLAIN[: PLAIN.index("ü".encode()) + 1]
    for how in ("fin", "rst"):
        yield lie(f"plain: nothing but a head, {how}", bytes_then(how, head(JSON, length=len(PLAIN))))
        yield lie(f"plain: cut inside JSON, {how}", bytes_then(how, head(JSON, length=len(PLAIN)), half))
        yield lie(f"plain: cut inside UTF-8, {how}", bytes_then(how, head(JSON, length=len(PLAIN)), in_utf8))
        yield lie(f"plain: no answer at all, {how}", bytes_then(how))
        yield lie(f"plain: a large answer cut, {how}",
                  bytes_then(how, head(JSON, length=len(LARGE_PLAIN)), LARGE_PLAIN[:-70_000]), AFTER,
                  [[LARGE, "stop", ""]])  # fmt: skip
    for framing, data in (("JSON", half), ("UTF-8", in_utf8)):
        yield lie(f"plain: cut inside {framing}, clean", bytes_then("clean", head(JSON), chunk(data)))
        yield lie(f"plain: cut inside {framing}, close-delimited",
                  bytes_then("fin", head(JSON).replace(u.CHUNKED, b""), data))  # fmt: skip
    yield lie("plain: whole, close-delimited", bytes_then("fin", head(JSON).replace(u.CHUNKED, b""), PLAIN), WHOLE)
    yield lie("plain: a large answer cut, clean",
              bytes_then("clean", head(JSON), chunk(LARGE_PLAIN[:-70_000])), AFTER, [[LARGE, "stop", ""]])  # fmt: skip
    yield lie("plain: an empty body", bytes_then("keep", head(JSON, length=0)))
    yield lie("plain: a status without a body", bytes_then("keep", b"HTTP/1.1 204 No Content\r\n\r\n"))
    yield lie("plain: a content-length too small", bytes_then("keep", head(JSON, length=len(PLAIN) - 9), PLAIN))
    yield lie("plain: two documents", bytes_then("keep", head(JSON, length=2 * len(PLAIN)), PLAIN, PLAIN))
    yield lie("plain: HTML", bytes_then("keep", head(b"content-type: text/html\r\n", length=len(HTML)), HTML))
    yield lie("plain: HTML called JSON", bytes_then("keep", head(JSON, length=len(HTML)), HTML))
    yield lie("plain: an error with status 200", bytes_then("keep", head(JSON, length=len(ERROR_JSON)), ERROR_JSON))
    yield lie("plain: the wrong content type",
              bytes_then("keep", head(b"content-type: text/plain\r\n", length=len(PLAIN)), PLAIN))  # fmt: skip
    yield lie("plain: an event stream", bytes_then("keep", u.streamed(*EVENTS_OF)))
    yield lie("plain: no choices", bytes_then("keep", u.plain({**u.whole(), "choices": []})))
    yield lie("plain: a list", bytes_then("keep", u.plain([u.whole(TEXT)])))
    yield lie("plain: a broken chunk size", bytes_then("keep", head(JSON), chunk(half), b"-1\r\n"))
    yield lie("plain: gzip nobody asked for",
              bytes_then("keep", head(JSON + b"content-encoding: gzip\r\n", length=len(gzip.compress(PLAIN))),
                         gzip.compress(PLAIN)))  # fmt: skip
    yield lie("plain: another protocol", bytes_then("keep", b"HTTP/1.1 101 Switching Protocols\r\n"
              b"upgrade: x\r\nconnection: upgrade\r\n\r\n", PLAIN))  # fmt: skip
    yield lie(
        "plain: a redirect",
        bytes_then("keep", u.error(b"302 Found", "x", "go away", b"location: http://127.0.0.1/\r\n")),
    )
    yield lie("plain: no HTTP at all", bytes_then("fin", b"220 smtp.example ESMTP\r\n"))
    yield lie("plain: a head without end", bytes_then("keep", b"HTTP/1.1 200 OK\r\n", b"x-padding: y\r\n" * 8000))


LIES: dict[str, Lie] = {lie.name: lie for lie in (*_stream_lies(), *_plain_lies())}


# ---------------------------------------------------------------------- a cut at every offset

RAW = {True: u.streamed(*EVENTS_OF), False: head(JSON, length=len(PLAIN)) + PLAIN}
BODY = {True: b"".join(EVENTS_OF), False: PLAIN}
HOWS = ("clean", "fin", "rst")


def offsets(stream: bool, how: str) -> range:
    """Every offset: of the body where the message ends in order, of head and framing too where it does not."""
    return range(len(BODY[stream]) if how == "clean" else len(RAW[stream]))


def cut_at(stream: bool, how: str, offset: int) -> Play:
    if how == "clean":
        return bytes_then("clean", head(EVENTS if stream else JSON), chunk(BODY[stream][:offset]))
    return bytes_then(how, RAW[stream][:offset])


def cut_job(model: str, stream: bool, how: str, offset: int) -> dict[str, Any]:
    return {"model": model, "content": f"cut: {how} {offset}", "stream": stream}


# ---------------------------------------------------------------------- the two members


async def liar(asked: Asked, wire: Wire) -> None:
    """Script of the member that lies as it is told to."""
    kind, _, rest = asked.text.partition(": ")
    if kind == "lie":
        await LIES[rest].play(wire)
    else:
        how, offset = rest.split()
        await cut_at(bool(asked.fields.get("stream")), how, int(offset))(wire)


async def honest(asked: Asked, wire: Wire) -> None:
    """Script of the healthy member."""
    wire.write(truthful(asked))
