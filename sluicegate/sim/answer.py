"""An answer before it is bytes: head, pieces of body with the time between them, and how it ends on the wire.

Faults are edits of it. Where none edits the bytes, the virtual form hands the pieces over as they are; the server, and
the virtual form under byte faults, go through `Wire` (sim/wire.py), which is where bytes are made.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

Framing = Literal["length", "chunked", "close", "both"]
"""How the body's end is told: content-length, chunks, the end of the connection; `both`: CL and TE, as an attacker."""

Ending = Literal["keep", "fin", "rst", "hang", "bare"]
"""What follows the last byte: the connection stays; is closed; is reset; nothing, ever. `bare`: TCP's end without
TLS's own goodbye (a truncation attack); without TLS the same as `fin`."""

Headers = list[tuple[bytes, bytes]]
Piece = tuple[float, bytes]
"""Seconds after the piece before it, and body bytes: one event of a stream, or a whole plain body."""


class Claim:
    """What an answer says it used. Tokens as the provider counts: `prompt` holds `cached`, `completion` `reasoning`."""

    __slots__ = ("cached", "completion", "prompt", "reasoning")

    def __init__(self, prompt: int, completion: int, cached: int = 0, reasoning: int = 0) -> None:
        self.prompt = prompt
        self.completion = completion
        self.cached = cached
        self.reasoning = reasoning

    def __repr__(self) -> str:
        return f"Claim(prompt={self.prompt}, completion={self.completion})"


class Answer:
    """What an instance is going to say."""

    __slots__ = (
        "burst", "claim", "cut_at", "cut_of", "ending", "faults", "framing", "headers", "interim", "length_by",
        "pieces", "retry_s", "split_at", "split_gap_s", "split_size", "status", "stream", "surplus", "usage_piece",
    )  # fmt: skip

    def __init__(
        self,
        status: int,
        headers: Headers,
        pieces: Iterable[Piece],
        stream: bool = False,
        claim: Claim | None = None,
        usage_piece: int = -1,
    ) -> None:
        self.status = status
        self.headers = headers
        "All but the framing."
        self.pieces = pieces
        "A list, or an iterator where the answer never ends."
        self.stream = stream
        self.framing: Framing = "chunked" if stream else "length"
        self.ending: Ending = "keep"
        self.claim = claim
        "Tokens that were computed, whether or not the answer got as far as saying so."
        self.usage_piece = usage_piece
        "Index of the piece that states the claim; -1: none does."
        self.burst = 1
        self.retry_s: float | None = None
        "The wait that this refusal announced, for the ledger."
        self.faults: list[int] = []
        "Numbers of the faults that had a hand in it."
        # edits of the bytes
        self.interim = b""
        "Before the head: 1xx answers."
        self.surplus = b""
        "After the answer."
        self.length_by = 0
        "Error of the content-length."
        self.cut_at: int | None = None
        self.cut_of: Literal["body", "raw"] = "body"
        "What `cut_at` counts: bytes of body content, or every byte of the answer, its head included."
        self.split_size = 0
        self.split_at: tuple[int, ...] = ()
        self.split_gap_s = 0.0
        "Writes of that many bytes (or ending at these raw offsets), each a turn of the loop or so many seconds apart."

    @property
    def as_pieces(self) -> bool:
        """Nothing was done to its bytes: a reader of HTTP would see exactly its head and pieces."""
        return (
            self.cut_at is None and self.framing in ("length", "chunked") and self.ending in ("keep", "hang")
            and not (self.interim or self.surplus or self.length_by or self.split_size or self.split_at)
        )  # fmt: skip

    def body(self) -> bytes:
        """The whole body, of an answer that ends."""
        return b"".join(data for _, data in self.pieces)

    def events(self) -> list[Piece]:
        """The pieces as a list that may be edited."""
        if not isinstance(self.pieces, list):
            self.pieces = list(self.pieces)
        return self.pieces

    def replace_body(self, body: bytes, content_type: bytes | None = None) -> None:
        """Another body, at the time of the first piece."""
        first = self.events()[0][0] if self.events() else 0.0
        self.pieces = [(first, body)]
        self.usage_piece = -1
        if content_type is not None:
            self.set_header(b"content-type", content_type)

    def set_header(self, name: bytes, value: bytes) -> None:
        self.headers = [(n, v) for n, v in self.headers if n.lower() != name.lower()]
        self.headers.append((name, value))


def bursts(pieces: Iterable[Piece], size: int) -> Iterable[Piece]:
    """Pieces joined by `size`, each burst at the time of its last piece. The first, which commits, stays alone."""
    if size <= 1:
        yield from pieces
        return
    delay = 0.0
    held: list[bytes] = []
    for index, (after, data) in enumerate(pieces):
        delay += after
        held.append(data)
        if len(held) == size or index == 0:
            yield delay, b"".join(held)
            delay = 0.0
            held.clear()
    if held:
        yield delay, b"".join(held)
