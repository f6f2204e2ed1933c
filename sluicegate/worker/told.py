"""What the keeper says to a worker, and what the worker says back.

When the keeper is gone the worker goes on with what it has, until somebody sends it SIGTERM.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

from sluicegate.core.breaker import ThrottleSpec
from sluicegate.core.caller import Callers
from sluicegate.core.entry import Entry
from sluicegate.core.pool import Member
from sluicegate.core.snapshot import Change, Snapshot
from sluicegate.link.channel import (
    Adopt,
    Alarm,
    Answer,
    Belongs,
    Channel,
    Down,
    Drain,
    Entries,
    Forget,
    Keys,
    Lacks,
    Leaving,
    Left,
    Lends,
    Needs,
    News,
    Offer,
    Query,
    Rejected,
    Taken,
    Token,
    Wanted,
    open_channel,
)  # fmt: skip
from sluicegate.link.groups import Elsewhere
from sluicegate.link.lending import Borrower
from sluicegate.link.parcel import Unreadable, unpack
from sluicegate.link.shut import TOPIC, Shut, ShutNews
from sluicegate.worker.worker import Worker, report

log = logging.getLogger("sluicegate")

ENTRIES_BYTES = 4 * 1024 * 1024
"""Lines for the access log that may wait for the keeper."""

HEARD = ThrottleSpec(longest=86_400.0)
"""What another worker heard it has cut to `throttle.longest` already."""


class Told:
    """One worker's end of the channel."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.channel: Channel | None = None
        self.leave = asyncio.Event()
        self.drain: Drain | None = None
        self.shut = ShutNews(self._tell_shut)
        self.on_news: dict[str, Callable[[Any], None]] = {TOPIC: self._hear_shut}
        "Who wants to know, by topic."
        self.answers: dict[str, Callable[[Any], Any]] = {
            "pools": lambda _: worker.pools(),
            "alive": lambda _: True,
            "explain": worker.explain,
            "revoke": worker.revoke,
            "watch": worker.watch_refused,
        }
        "Who answers a query, by what is asked."
        self.borrower: Borrower | None = None
        "Where limits are shared with other workers."
        self.elsewhere = Elsewhere(lambda: worker.prover, self._want, time.monotonic, worker.loop.call_later)
        "Groups that only directories know."
        self._dropped = 0
        self._offered: tuple[int, Snapshot, Callers, ssl.SSLContext | None] | None = None

    async def connect(self, end: socket.socket) -> None:
        """Listen to the keeper. Before anything is accepted: limits that others share begin with what it lends."""
        self.channel = await open_channel(end, Down, self.take, self.lost)
        worker = self.worker
        workers = worker.snapshot.gateway.workers
        if workers > 1:
            worker.world.policies.lent = True
            self.borrower = Borrower(worker.world.policies, self._need, time.monotonic, workers)
            worker.bound.lender = self.borrower
            worker.on_turn = self.turn
        worker.on_refused = self.refused
        worker.on_alarm = self._alarm
        for alarm in worker.untold:
            self._alarm(alarm)
        worker.untold.clear()
        worker.on_lacks = self.lacks
        worker.on_wants = self.elsewhere.want
        worker.bound.groups = self.elsewhere
        worker.world.on_rejected = self.rejected
        worker.listen_for_refused()

    def ready(self) -> None:
        """Say that this worker accepts."""
        self._say(0, "in force")

    def take(self, message: Down) -> None:
        """One message."""
        if isinstance(message, Offer):
            self._prepare(message)
        elif isinstance(message, Adopt):
            self._adopt(message.version)
        elif isinstance(message, Forget):
            self._offered = None
        elif isinstance(message, Query):
            self._answer(message)
        elif isinstance(message, Belongs):
            self.elsewhere.take(message)
        elif isinstance(message, Token):
            self.worker.supply(message)
        elif isinstance(message, Drain):
            self.drain = message
            self.leave.set()
        elif isinstance(message, Lends):
            if self.borrower is not None:
                self.borrower.take(message)
        elif isinstance(message, Keys):
            self.worker.take_keys(message.sets)
        elif (hear := self.on_news.get(message.topic)) is not None:
            hear(message.value)

    def _prepare(self, offer: Offer) -> None:
        try:
            snapshot, people = unpack(offer.parcel)
            callers = self.worker.world.callers
            if isinstance(people, Change):
                callers = callers.altered(people)
            elif people is not None:
                callers = Callers(people, snapshot.gateway.region)
            tls = self.worker.prepare(snapshot)
            if callers is not self.worker.world.callers:  # nobody was asked of it yet: no need for another copy
                callers.prover = self.worker.prover if snapshot.issuers else None
            self._offered = (offer.version, snapshot, callers, tls)
        except Exception as bad:
            self._offered = None
            self._say(offer.version, "refused", why(bad))
        else:
            self._say(offer.version, "prepared")

    def _adopt(self, version: int) -> None:
        if self._offered is None or self._offered[0] != version:
            self._say(version, "refused", "not prepared")
            return
        _, snapshot, callers, tls = self._offered
        self._offered = None
        self.worker.adopt(snapshot, callers, tls)
        self.elsewhere.adopted()
        self._say(version, "in force")

    def _answer(self, query: Query) -> None:
        answer = self.answers.get(query.what)
        value = None
        try:
            value = answer(query.value) if answer is not None else None
        except Exception as bug:
            report(bug)
        if self.channel is not None:
            self.channel.send(Answer(query.id, value))

    def _say(self, version: int, state: str, error: str = "") -> None:
        if self.channel is not None:
            self.channel.send(Taken(version, self.worker.snapshot.hash, state, error))

    def lost(self) -> None:
        """The keeper is gone."""
        self.channel = None
        if self.borrower is not None:
            self.borrower.lost()
        self.elsewhere.lost()
        log.warning("the keeper is gone; this worker goes on with what it has until SIGTERM")

    def turn(self, now: float) -> None:
        """What the other workers should know, or have."""
        self.shut.look(self.worker.world.members.values(), now)
        if self.borrower is not None:
            self.borrower.tick()

    def _want(self, wanted: Wanted) -> None:
        if self.channel is not None:
            self.channel.send(wanted)

    def _need(self, needs: Needs) -> None:
        if self.channel is not None:
            self.channel.send(needs)

    def _alarm(self, alarm: Alarm) -> None:
        if self.channel is not None:
            self.channel.send(alarm)

    def _tell_shut(self, news: list[Shut]) -> None:
        if self.channel is not None:
            self.channel.send(News(TOPIC, news))

    def _hear_shut(self, news: Any) -> None:
        members = self.worker.world.members.values()
        self.shut.heard(news, members, time.monotonic(), HEARD)

    def refused(self, entries: list[Entry]) -> None:
        """Requests that were refused. A keeper that does not keep up loses their lines, never a worker's time."""
        if self.channel is None:
            return
        if self.channel.waiting() > ENTRIES_BYTES:
            self._dropped += len(entries)
        else:
            self.channel.send(Entries(entries, self._dropped))
            self._dropped = 0

    def lacks(self, source: str) -> None:
        """A token names a key that this source has not."""
        if self.channel is not None:
            self.channel.send(Lacks(source))

    def rejected(self, member: Member, status: int) -> None:
        """A deployment does not take the credential that we show. Told once for each time that it is looked at: its
        door is shut from the first."""
        identity = member.instance.auth.identity
        token = self.worker.world.tokens.get(identity)
        if self.channel is not None:
            version = 0 if token is None else token.version
            self.channel.send(Rejected(member.label, identity, version, status))

    def leaving(self) -> None:
        """Say that nobody will accept here soon."""
        if self.channel is not None:
            self.channel.send(Leaving())

    def end(self, totals: dict[str, object]) -> bool:
        """Say the totals; False when there is nobody to say them to."""
        if self.channel is None:
            return False
        if self.borrower is not None:
            self.borrower.leave()
        self.channel.send(Left(totals))
        self.channel.close()
        return True


def why(bad: BaseException) -> str:
    """One line for the operator. Only errors of files say more than their kind: others may quote what is secret."""
    if isinstance(bad, OSError):
        return f"{(bad.strerror or type(bad).__name__).lower()}{': ' + str(bad.filename) if bad.filename else ''}"
    return str(bad) if isinstance(bad, Unreadable) else f"cannot use this configuration ({type(bad).__name__})"
