"""The dry run: the same exchange on a fork of the World, its actions answered instead of performed.

Nothing is sent, taken or written down. What an upstream would answer nobody knows; whoever asks says it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from sluicegate.core.actions import Ask, Read, Relay, Reply, Send
from sluicegate.core.events import Answered, AnswerFacts, Body, Ended, Event, Failed, Head, Refused, Responded, Usage
from sluicegate.core.exchange import exchange
from sluicegate.core.fork import Forked, Kept
from sluicegate.core.limits.lender import Lend
from sluicegate.core.pool import Look
from sluicegate.core.record import UsageRecord
from sluicegate.core.state import World

_NO_RESTS: Final[Mapping[str, int]] = {}
Answers = Callable[[Send, float], Event]
"""What the attempt comes to, sent at that time: Responded, Failed or Gone."""


class Run:
    """What a dry run came to."""

    __slots__ = ("looks", "models", "record", "reply", "rules", "said", "sends")

    def __init__(
        self, record: UsageRecord, reply: Reply | None, sends: list[Send], looks: list[Look], forked: Forked
    ) -> None:
        self.record = record
        self.reply = reply
        "The refusal; None: an upstream's answer was relayed, or the client left."
        self.sends = sends
        self.looks = looks
        "At every candidate, until the first attempt was made or there was nobody to make it with."
        self.said = forked.said
        self.rules = forked.rules()
        self.models = forked.models
        "The public name under which each candidate stands."


def dry_run(
    world: World, head: Head, body: Body | Refused, answers: Answers, key: bytes = b"", usage: Usage | None = None,
    rests: Mapping[str, int] = _NO_RESTS,
) -> Run:  # fmt: skip
    """What would become of this request now. `key`: digest of the key that it is taken to show, see fork.Named;
    `usage`: what an answer that is relayed says it used; `rests`: what there is of limits that workers share."""
    forked = Forked(world, key, rests)
    own = forked.world
    looks = own.why
    assert looks is not None
    gen = exchange(own)
    next(gen)
    e: Any = head
    now = head.at
    first: list[Look] | None = None
    sends: list[Send] = []
    reply: Reply | None = None
    while True:
        try:
            action = gen.send(e)
        except StopIteration:
            break
        if isinstance(action, Read):
            e = _fitting(body, action)
            now = e.at
        elif isinstance(action, Send):
            if first is None:
                first = list(looks)
            sends.append(action)
            e = answers(action, now)
            now = e.at
        elif isinstance(action, Ask):
            for want in action.wants:  # as the keeper will answer, as far as this worker knows what it has
                limit = own.policies.limit(want.key)
                rest = 0 if limit is None else limit.elsewhere
                lent = min(want.need, rest)
                own.policies.got(Lend(want.key, lent, lent == want.need, rest - lent), now)
            e = Answered(now)
        elif isinstance(action, Relay):
            e = Ended(now, usage, "done")
        elif isinstance(action, Reply):
            reply = action
            e = None
        else:
            raise NotImplementedError(f"a dry run cannot answer {type(action).__name__}")
    journal = own.journal
    assert isinstance(journal, Kept) and journal.record is not None
    return Run(journal.record, reply, sends, looks if first is None else first, forked)


def _fitting(body: Body | Refused, read: Read) -> Body | Refused:
    """As the edge has it: a body that is too large is not read."""
    special = None if isinstance(body, Refused) else body.facts.special
    most = read.max_bytes if special is None or not special.form else read.upload
    if isinstance(body, Body) and body.size > most:
        return Refused(
            body.at, "request.body_too_large", f"The request body is larger than the {most} bytes this gateway accepts."
        )
    return body


def serves(send: Send, now: float) -> Event:
    """Whoever is asked serves."""
    return Responded(now, 200, AnswerFacts(), True)


def throttles(send: Send, now: float) -> Event:
    """Whoever is asked is at its rate limit."""
    return Responded(now, 429, AnswerFacts("upstream.throttled.rate"), True)


def fails(send: Send, now: float) -> Event:
    """Whoever is asked is broken."""
    return Failed(now, "upstream.status_5xx", "all")
