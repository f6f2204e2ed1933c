"""Clients as they are: they try again as the OpenAI SDKs do, lose patience, or wait for an answer before they go on."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from sluicegate.sim.clock import Timer
from sluicegate.sim.stage import Client, Stage

LONGEST_S: Final = 120.0
"""An SDK that is told to wait longer does not try again at all."""
FIRST_S: Final = 0.5
SLOWEST_S: Final = 8.0
"""Without being told, it waits FIRST_S, then twice as long each time up to this, each less up to a quarter."""
AGAIN: Final = frozenset({408, 409, 429})


def retry_wait(client: Client, tries: int, chance: float) -> float | None:
    """Seconds until openai-python tries again after this answer, its `tries`-th; None: it does not.

    `x-should-retry` comes before any rule of status; then retry-after-ms, retry-after in seconds, and its own back-off.
    """
    if client.reset_at is None or client.status:
        asked = client.header("x-should-retry")
        if asked == "false" or (asked != "true" and client.status not in AGAIN and client.status < 500):
            return None
    wait_s = _told(client)
    if wait_s is not None and wait_s > LONGEST_S:
        return None
    if wait_s is not None and wait_s > 0:
        return wait_s
    longest: float = min(FIRST_S * 2.0 ** (tries - 1), SLOWEST_S)
    return longest * (1.0 - 0.25 * chance)


def _told(client: Client) -> float | None:
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = client.header(name)
        if value is not None:
            try:
                return float(value) / unit
            except ValueError:
                continue
    return None


class Asking:
    """One request as its caller sees it: every try, until an answer is good, hopeless, or no longer waited for."""

    __slots__ = (
        "_over", "_patience", "_stage", "asked_at", "body", "chance", "client", "consumer", "ended_at", "first_at",
        "headers", "left", "model", "reason", "retries", "status", "streamed", "tries",
    )  # fmt: skip

    def __init__(
        self, stage: Stage, body: bytes, consumer: str, model: str, headers: tuple[tuple[bytes, bytes], ...],
        retries: int, patience_s: float, chance: Random, over: Callable[[Asking], None],
    ) -> None:  # fmt: skip
        self._stage = stage
        self._over = over
        self.body = body
        self.consumer = consumer
        self.model = model
        self.headers = headers
        self.retries = retries
        self.chance = chance
        self.asked_at = stage.clock.now()
        self.first_at: float | None = None
        "First byte of the answer that counts."
        self.ended_at: float | None = None
        self.streamed = False
        self.status = 0
        "Of the last try; 0: the connection broke before there was one."
        self.reason = ""
        "Why not: x-sluicegate-reason of the last try, `upstream` for a refusal that was passed on, `cut` where the "
        "answer broke off; empty: answered."
        self.left = False
        "The client lost patience."
        self.tries = 0
        self.client: Client | None = None
        "Of the try under way."
        self._patience: Timer | None = None
        if patience_s:
            self._patience = stage.clock.after(patience_s, self._leave)
        self._try()

    def _try(self) -> None:
        if self.left:
            return
        self.tries += 1
        client = self._stage.ask(
            self.body, consumer=self.consumer, model=self.model, headers=self.headers, retry=self.tries - 1,
            over=self._answered,
        )  # fmt: skip
        if client.ended_at is None and client.reset_at is None:
            self.client = client

    def _answered(self, client: Client) -> None:
        del client.drive  # they hold each other: left alone, only the garbage collector would free them
        self.client = client.over = None
        self.status = client.status
        if client.reset_at is not None:
            self.reason = "cut"
        elif client.status == 200:
            self.reason = "cut" if b'"error":{' in client.body[-2000:] else ""
        else:
            self.reason = client.header("x-sluicegate-reason") or "upstream"
        committed = client.status == 200
        if self.reason and not committed and self.tries <= self.retries:
            wait_s = retry_wait(client, self.tries, self.chance.random())
            if wait_s is not None:
                self._stage.clock.after(wait_s, self._try)
                return
        if committed:
            self.first_at = client.first_at
            self.streamed = client.length is None
        self._end()

    def _leave(self) -> None:
        """Patience is at its end."""
        self._patience = None
        if self.ended_at is None:
            self.left = True
            if self.client is not None:
                self.client.over = None
                self.client.leave()
            self._end()

    def _end(self) -> None:
        self.ended_at = self._stage.clock.now()
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        self._over(self)
