"""The door of a deployment: whether a request may go in now, and how much is inside.

Live state by identity, so that it outlives a configuration (core/state.py). A fault is the breaker's matter, a 429 the
throttle's; there are three kinds of it: `rate` shuts all that share the quota, `capacity` this deployment, `size`
only requests as large as the one refused, for a minute.

Rule for whoever edits it: `clear` is true exactly when a request of any size may go in, as far as this deployment
alone is concerned; the hot path looks at nothing else.
"""

from __future__ import annotations

from math import inf
from typing import Final

from sluicegate.core.breaker import REJECTED, Breaker, BreakerSpec, ThrottleSpec
from sluicegate.core.throttle import Throttle

SIZE_S: Final = 60.0
"""How long the size of a request that was too large "during peak load" is remembered."""

RECENT_S: Final = 10.0
"""Tokens that were settled weigh for so long when the load of members is compared."""

FIRST_AS: Final = 20
"""Output tokens that the first one is counted as, where an answer does not tell when it began."""

ANSWER: Final = 200
"""Output tokens of an ordinary answer: by its time members are compared, and so much weighs one that never came."""

GAIN: Final = 0.2
"""Weight of the newest answer in the averages of time."""

UNDER_LOAD: Final = "upstream.throttled."
RATE: Final = "upstream.throttled.rate"
SIZE: Final = "upstream.throttled.size"
EXHAUSTED: Final = "upstream.throttled.quota_exhausted"


class Door:
    """Of one deployment."""

    __slots__ = (
        "barred", "before", "breaker", "clear", "first_s", "in_flight", "quota", "recent", "size", "size_until",
        "target", "throttle", "token_s", "tokens", "turn",
    )  # fmt: skip

    def __init__(self, target: tuple[object, ...] = (), quota: Throttle | None = None) -> None:
        self.target = target
        "Where it leads: another target is another door."
        self.clear = True
        self.barred = False
        "It answered from where it must not: nothing goes in until the next configuration."
        self.breaker = Breaker()
        self.throttle = Throttle()
        self.quota = quota
        "Of those that share a quota."
        self.size = 0
        "Requests of so many estimated tokens are too large until `size_until`; 0: none is."
        self.size_until = 0.0
        self.in_flight = 0
        self.tokens = 0
        "Estimated, of what is in flight."
        self.recent = 0.0
        "Settled in this step of RECENT_S."
        self.before = 0.0
        "In the one before it."
        self.turn = 0.0
        self.first_s = 0.0
        "Average time to the first token; 0.0: not known."
        self.token_s = 0.0
        "Average time of an output token after it."

    # ------------------------------------------------------------------ before a request

    def ready(self, now: float, estimate: int) -> tuple[float, str]:
        """Monotonic time from which a request of so many tokens may go in, `now` if one may, and what keeps it out."""
        if self.barred:
            return inf, "residency"
        at, why = self.breaker.ready(now), ""
        if at > now:
            return at, "half_open" if self.breaker.half_open else "open"
        shut = self.throttle.ready(now)
        if shut > now:
            at, why = shut, "throttled"
        if self.quota is not None:
            shut = self.quota.ready(now)
            if shut > at:
                at, why = shut, "quota"
        if self.size:
            if now >= self.size_until:
                self.size = 0
            elif estimate >= self.size and self.size_until > at:
                at, why = self.size_until, "size"
        if not self.clear:
            self._look()
        return at, why

    def enter(self, now: float, tokens: int) -> int:
        """A request goes in, now, with so many estimated tokens: its ticket. Call only when `ready`, and `leave`."""
        self.in_flight += 1
        self.tokens += tokens
        ticket = self.breaker.ticket
        if not self.clear:
            ticket = self.breaker.enter(now)
            if not self.throttle.calm:
                self.throttle.enter(now)
            self._look()
        quota = self.quota
        if quota is not None and not quota.calm:
            quota.enter(now)
        return ticket

    def leave(self, ticket: int, sent_at: float, tokens: int, now: float) -> None:
        """It is over. Whatever was taken is given back here, also the right to look again if nothing was seen."""
        self.in_flight -= 1
        self.tokens -= tokens
        if not self.clear:
            self.breaker.give_back(ticket, now)
            self.throttle.give_back(now, sent_at)
            self._look()
        if self.quota is not None:
            self.quota.give_back(now, sent_at)

    # ------------------------------------------------------------------ news

    def answered(self, ticket: int, sent_at: float, now: float, spec: BreakerSpec) -> int:
        """An answer is there that is neither a fault nor a refusal for want of capacity. The ticket for more news."""
        ticket = self.breaker.answered(ticket, now, spec)
        if not self.clear:
            self.throttle.served(now, sent_at)
            self._look()
        if self.quota is not None:
            self.quota.served(now, sent_at)
        return ticket

    def ended(self, ticket: int, sent_at: float, now: float, how: str, used: int, spec: BreakerSpec) -> None:
        """The answer is over; `how` as in events.How, `used`: its tokens."""
        if now >= self.turn:
            self.roll(now)
        self.recent += used
        if how == "done":
            if self.breaker.cuts or not self.clear:
                self.breaker.whole(ticket)
                self._look()
        elif how == "cut" or how == "idle":
            self.breaker.broke_off(ticket, now, f"answer.{how}", spec)
            self._look()

    def unanswered(self, estimate: int, now: float) -> None:
        """A request of so many tokens was sent there, and nothing was made of it: a fault, or its client left. That
        weighs as an ordinary answer, or who fails would be the least loaded, and asked more than all others."""
        if now >= self.turn:
            self.roll(now)
        self.recent += estimate + ANSWER

    def failed(self, ticket: int, sent_at: float, now: float, cause: str, spec: BreakerSpec) -> None:
        """A fault, before anything of an answer could be committed."""
        self.breaker.failed(ticket, now, now - sent_at, cause, spec)
        self._look()

    def throttled(
        self, ticket: int, sent_at: float, now: float, cause: str, retry_after: float | None, estimate: int,
        breaker: BreakerSpec, spec: ThrottleSpec,
    ) -> str:  # fmt: skip
        """A 429, which is an answer. The cause, more precisely."""
        self.breaker.answered(ticket, now, breaker)
        if cause == SIZE:
            self.size = min(self.size, estimate) if self.size and now < self.size_until else estimate
            self.size_until = now + SIZE_S
        else:
            throttle = self.quota if self.quota is not None and cause == RATE else self.throttle
            throttle.refused(now, sent_at, retry_after, spec)
            if throttle.exhausted:
                cause = EXHAUSTED
        self._look()
        return cause

    def heard(self, quota: bool, wait: float, now: float, spec: ThrottleSpec) -> None:
        """Another worker was refused, and told to come back in so many seconds: we need not ask to know it."""
        throttle = self.quota if quota and self.quota is not None else self.throttle
        throttle.refused(now, now, wait, spec)
        self._look()

    def supplied(self, there: bool) -> None:
        """There is a credential to show here, perhaps another one; or there is none any more."""
        if there:
            self.breaker.supply()
        else:
            self.breaker.withhold(REJECTED)
        self._look()

    def bar(self) -> None:
        """Nothing goes in any more."""
        self.barred = True
        self.clear = False

    def unbar(self) -> None:
        """Somebody looked at it."""
        if self.barred:
            self.barred = False
            self._look()

    def timed(self, took: float, first: float | None, output: int) -> None:
        """A whole answer of so many output tokens took so many seconds, its first token `first` of them."""
        if first is None:
            token = took / (FIRST_AS + output)
            first = FIRST_AS * token
        else:
            token = (took - first) / output if output > 1 else self.token_s
        known = self.first_s > 0.0
        self.first_s += (first - self.first_s) * (GAIN if known else 1.0)
        self.token_s += (token - self.token_s) * (GAIN if known else 1.0)

    # ------------------------------------------------------------------ for comparing

    def load(self, now: float) -> float:
        """Tokens in flight and settled of late: about those of RECENT_S."""
        if now >= self.turn:
            self.roll(now)
        return self.tokens + self.recent + self.before * ((self.turn - now) / RECENT_S)

    def answer_s(self) -> float:
        """Seconds that an ordinary answer takes here; 0.0: not known."""
        return self.first_s + ANSWER * self.token_s

    def state(self, now: float) -> tuple[str, float]:
        """For people: closed, open, half_open, shut, paced or barred; the monotonic time until which, 0.0: none."""
        if self.barred:
            return "barred", 0.0
        breaker = self.breaker
        if breaker.ready(now) > now or not breaker.closed:
            return ("half_open", 0.0) if breaker.half_open else ("open", 0.0 if breaker.withheld else breaker.until)
        for throttle in (self.throttle, self.quota):
            if throttle is not None and not throttle.calm:
                return ("shut", throttle.shut_until) if now < throttle.shut_until else ("paced", 0.0)
        return "closed", 0.0

    def exhausted(self) -> bool:
        """A quota is used up, by what the upstream said."""
        return self.throttle.exhausted or (self.quota is not None and self.quota.exhausted)

    def _look(self) -> None:
        self.clear = self.breaker.closed and self.throttle.calm and not self.size and not self.barred

    def roll(self, now: float) -> None:
        """The next step of RECENT_S."""
        self.before = self.recent if now < self.turn + RECENT_S else 0.0
        self.recent = 0.0
        self.turn = (now // RECENT_S + 1.0) * RECENT_S
