"""Tokens for what is upstream: fetched once for each identity, ahead of time, and told to every worker.

One request at a time for each identity, whoever waits and however many instances and workers show its token. A token
is used until it ends and never past it; the next one is asked for between half and four fifths of its life, each
identity at another moment, so that nothing comes due for all at once. While none comes it is asked for again, less and
less often. When an instance refuses a token, the next one is asked for at once, but once a minute at most.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from math import inf
from typing import Any, Protocol

from sluicegate.core.secret import Secret
from sluicegate.core.settings import Identity
from sluicegate.link.channel import Token

EARLY_S = 10.0
"""A token is not shown in the last seconds of its life: a request takes a while to arrive, and clocks differ."""

FETCH_S = 30.0
"""Whatever source: it has answered by then, or it has not."""

FIRST_S = 10.0
"""A start, or a new configuration, waits so long for tokens that are new to it, and goes on without."""

LEAST_S = 5.0
"""Between two requests that were both answered."""

SHARE = (0.5, 0.8)
"""Of a token's life, when the next one is asked for."""

BACKOFF_MOST_S = 60.0
AGAIN_MOST_S = 600.0
"""What a source may ask us to wait."""

HURRY_S = 60.0
"""An instance that refuses our token makes us ask for another one so often at most."""

FAILURES = 5
"""So many in a row are worth a word while the last token still holds: one is not, metadata services have their days."""

TICK_S = 0.25
IDLE_S = 1.0
"""Where nobody shows a token."""


class Got(Protocol):
    """What a source hands out."""

    @property
    def token(self) -> Secret: ...
    @property
    def life_s(self) -> float: ...
    @property
    def refresh_s(self) -> float | None: ...


class Lease:
    """The token of one identity, and when the next one is asked for. Times are monotonic; chance: in [0, 1)."""

    def __init__(self, identity: Identity, number: int, now: float) -> None:
        self.identity = identity
        self.number = number
        self.secret: Secret | None = None
        self.version = 0
        "Counts its tokens."
        self.ends = 0.0
        self.due = now
        "When the next request may go out."
        self.asked_at = -inf
        self.busy = False
        "A request is under way."
        self.requests = 0
        self.failures = 0
        "In a row."
        self.error = ""
        self.hurried_at = -inf

    def __repr__(self) -> str:
        return f"Lease({self.identity}, version={self.version})"

    def wants(self, now: float) -> bool:
        """Whether a request should go out."""
        return not self.busy and now >= self.due

    def begin(self, now: float) -> None:
        """It goes out."""
        assert not self.busy
        self.busy = True
        self.asked_at = now
        self.requests += 1

    def came(self, got: Got, now: float, chance: float) -> bool:
        """Its answer. Whether there is something to tell: a token that can be shown."""
        usable = self.asked_at + got.life_s - EARLY_S - now
        if usable <= 0:
            self.failed("the source hands out a token that has ended", None, now, chance)
            return False
        self.busy = False
        self.failures = 0
        self.error = ""
        if self.secret != got.token:
            self.version += 1
        self.secret = got.token
        self.ends = now + usable
        least, most = SHARE
        ahead = usable * (least + (most - least) * chance)
        if got.refresh_s is not None and 0 < got.refresh_s < usable * most:
            ahead = min(got.refresh_s * (1 + chance / 10), usable * most)
        self.due = now + max(ahead, LEAST_S)
        return True

    def failed(self, what: str, again_s: float | None, now: float, chance: float) -> None:
        """There was none."""
        self.busy = False
        self.failures += 1
        self.error = what
        wait = min(2.0 ** min(self.failures - 1, 10), BACKOFF_MOST_S) * (0.5 + chance / 2)
        if again_s is not None:
            wait = max(wait, min(again_s, AGAIN_MOST_S) * (1 + chance / 4))
        self.due = now + wait

    def over(self, now: float) -> bool:
        """Whether its token ended just now."""
        if self.secret is None or now < self.ends:
            return False
        self.secret = None
        return True

    def rejected(self, version: int, now: float) -> None:
        """An instance refused this token of ours: perhaps the next one is better."""
        if version == self.version and self.secret is not None:
            at = max(now, self.hurried_at + HURRY_S)
            if at < self.due:
                self.due = at
                self.hurried_at = at

    def inherit(self, other: Lease) -> None:
        """The same principal with another secret: what the old one was given holds until it ends."""
        if other.secret is not None:
            self.secret, self.ends, self.version = other.secret, other.ends, 1

    def state(self, now: float) -> dict[str, Any]:
        """For people. No token."""
        return {
            "identity": str(self.identity), "held": self.secret is not None,
            "ends_in_s": round(self.ends - now, 1) if self.secret is not None else 0.0,
            "next_in_s": 0.0 if self.busy else round(max(0.0, self.due - now), 1), "error": self.error,
            "requests": self.requests,
        }  # fmt: skip


class Credentials:
    """All of a keeper. `fetch` raises an exception that has `what` and `again_s` where there is no token."""

    def __init__(
        self,
        fetch: Callable[[Identity], Awaitable[Got]],
        failed: type[Exception],
        now: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._fetch = fetch
        self._failed = failed
        self._now = now
        self._chance = chance
        self.tell: Callable[[Token], None] = lambda token: None
        "Told of every token, and of every end of one."
        self.forget: Callable[[int], object] = lambda number: None
        "Told of numbers that nothing shows any more but what began before, which may until the token ends."
        self.alarm: Callable[[str, str], None] = lambda subject, detail: None
        "Told when an identity has no token, or no new one, and why; empty: there is one again."
        self._numbers: dict[Identity, int] = {}
        "Of every identity that ever was: a number is never used again."
        self._leases: dict[int, Lease] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._came = asyncio.Event()

    def number(self, identity: Identity) -> int:
        """What it is called."""
        return self._numbers.setdefault(identity, len(self._numbers) + 1)

    async def take(self, identities: Sequence[Identity], within_s: float = FIRST_S) -> None:
        """These are about to be shown: wait for their tokens, but not for long."""
        now = self._now()
        new = []
        for identity in identities:
            number = self.number(identity)
            if number not in self._leases:
                lease = self._leases[number] = Lease(identity, number, now)
                new.append(lease)
                for other in list(self._leases.values()):
                    if other.identity not in identities and _principal(other.identity) == _principal(identity):
                        lease.inherit(other)
                        self._say(lease)
        if not new:
            return
        self.tick()
        deadline = now + within_s
        # Who failed is not waited for, but for a second try after what passes by itself.
        while any(x.secret is None and (x.busy or x.due < deadline) for x in new):
            self._came.clear()
            left = deadline - self._now()
            if left <= 0:
                break
            try:
                async with asyncio.timeout(min(left, TICK_S)):
                    await self._came.wait()
            except TimeoutError:
                pass
            self.tick()
        for lease in new:
            if lease.secret is None:
                self.alarm(str(lease.identity), lease.error or f"no answer within {within_s:g} s")

    def retire(self, identities: Iterable[Identity]) -> None:
        """Only these are shown from now on."""
        wanted = set(identities)
        for number, lease in list(self._leases.items()):
            if lease.identity not in wanted:
                del self._leases[number]
                self.forget(number)

    def rejected(self, number: int, version: int) -> None:
        """An instance refused this version of the token."""
        lease = self._leases.get(number)
        if lease is not None:
            lease.rejected(version, self._now())

    def states(self) -> dict[int, dict[str, Any]]:
        """Of every identity that is shown, for people, by its number."""
        now = self._now()
        return {number: lease.state(now) for number, lease in self._leases.items()}

    def tick(self) -> None:
        """To be called now and then: ask for what is due, drop what ended."""
        now = self._now()
        for lease in self._leases.values():
            if lease.over(now):
                self._say(lease)
                self.alarm(str(lease.identity), lease.error or "its token ended, and the next one has not come")
            if lease.wants(now):
                lease.begin(now)
                task = asyncio.get_running_loop().create_task(self._ask(lease))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def run(self) -> None:
        """For as long as the keeper lives."""
        while True:
            await asyncio.sleep(TICK_S if self._leases else IDLE_S)
            self.tick()

    def stop(self) -> None:
        """Nobody waits for an answer any more."""
        for task in self._tasks:
            task.cancel()

    async def _ask(self, lease: Lease) -> None:
        what, again_s = "", None
        try:
            async with asyncio.timeout(FETCH_S):
                got = await self._fetch(lease.identity)
            if lease.came(got, self._now(), self._chance()) and lease.number in self._leases:
                self._say(lease)
                self.alarm(str(lease.identity), "")
        except TimeoutError:
            what = f"no answer within {FETCH_S:g} s"
        except asyncio.CancelledError:
            lease.busy = False
            raise
        except self._failed as e:
            what, again_s = getattr(e, "what", str(e)), getattr(e, "again_s", None)
        except Exception as bug:
            what = f"a bug: {type(bug).__name__}"
        if what:
            lease.failed(what, again_s, self._now(), self._chance())
            if lease.failures == FAILURES and lease.secret is not None and lease.number in self._leases:
                self.alarm(str(lease.identity), what)
        self._came.set()

    def _say(self, lease: Lease) -> None:
        secret = lease.secret
        self.tell(Token(lease.number, lease.version, "" if secret is None else secret.reveal(), lease.ends))


def _principal(identity: Identity) -> Identity:
    """Who it is, whatever it shows to prove that."""
    return replace(identity, secret=None, certificate="")
