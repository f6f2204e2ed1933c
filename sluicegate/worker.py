"""A worker: the process that carries traffic, wired from a parcel and listening sockets it inherits.

Started as a program of its own (`python -m sluicegate.worker`), so that it never has the configuration language, the
admin plane or a database loaded: about 40 MB. Nothing imports this file but the tests that say so.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import signal
import socket
import ssl
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from random import random
from typing import Any

import uvloop

from sluicegate.apis import Paths, rows
from sluicegate.core.breaker import ThrottleSpec
from sluicegate.core.caller import Callers
from sluicegate.core.credentials import Token as Shown
from sluicegate.core.entry import Entry, entry
from sluicegate.core.explain import Unknown, asked, explain
from sluicegate.core.families import (
    CLIENTS,
    DEPLOYMENT_IN_FLIGHT,
    DEPLOYMENT_STATE,
    IN_FLIGHT,
    JOURNAL_FAILING,
    JOURNAL_LOST,
    JOURNAL_STALLED,
    LAG,
    REQUESTS,
    UPSTREAMS,
)
from sluicegate.core.keyset import KeySet
from sluicegate.core.pool import Member
from sluicegate.core.ports import Certificates, Resolver
from sluicegate.core.principal import Whose
from sluicegate.core.refusals import status_of
from sluicegate.core.secret import Secret
from sluicegate.core.settings import Issuer
from sluicegate.core.snapshot import Change, Directory, Snapshot
from sluicegate.core.state import World
from sluicegate.core.wheel import TICK_S, Wheel
from sluicegate.drive import Bound
from sluicegate.edge.listener import STILL_LISTEN_S, Server
from sluicegate.edge.tls import server_context
from sluicegate.identity import door
from sluicegate.link.alarms import Alarms
from sluicegate.link.bugs import place, tell
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
from sluicegate.link.counters import Counters
from sluicegate.link.counting import Counting
from sluicegate.link.groups import Elsewhere
from sluicegate.link.journal import Journal as Written
from sluicegate.link.lending import Borrower
from sluicegate.link.parcel import Unreadable, unpack
from sluicegate.link.sealed import seal
from sluicegate.link.shut import TOPIC, Shut, ShutNews
from sluicegate.providers import PROVIDERS
from sluicegate.stores.memory.journal import Journal
from sluicegate.upstream.client import Client

log = logging.getLogger("sluicegate")

GC_THRESHOLD = (50_000, 20, 50)
"""A request leaves no cycles behind, so looking for them every 700 objects (the default) is 4 % for nothing."""


ENTRIES_BYTES = 4 * 1024 * 1024
"""Lines for the access log that may wait for the keeper."""

HEARD = ThrottleSpec(longest=86_400.0)
"""What another worker heard it has cut to `throttle.longest` already."""

PUBLISH_TURNS = 20
"""Of the wheel: counters are published once a second."""


class Worker:
    """Everything a worker has, built in the running loop."""

    def __init__(
        self, snapshot: Snapshot, directory: Directory, counters: Counters | None = None, records: str = ""
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.snapshot = snapshot
        self.wheel = Wheel()
        self.counters = counters or Counters()
        self.untold: deque[Alarm] = deque(maxlen=100)
        self.on_alarm: Callable[[Alarm], None] = self.untold.append
        "Who hears of what somebody should be told."
        self.alarms = Alarms(lambda alarm: self.on_alarm(alarm), time.monotonic)
        self.written: Written | None = None
        "The journal in files; None: records are counted only."
        if records:
            gateway = snapshot.gateway
            self.written = Written(records, gateway.name, snapshot.hash, snapshot.prices, alarm=self.journal_alarm)
        self.journal: Journal | Written = self.written or Journal()
        self.counting = Counting(self.journal, self.counters, self.deployment, self.consumer)
        self.world = World(snapshot, directory, self.counting)
        self.world.alarms = self.alarms
        self.key_sets: dict[str, KeySet] = {}
        "Of issuers, by source."
        self.on_lacks: Callable[[str], None] = lambda source: None
        "Who wants to know that a token names a key that a source has not."
        self.on_wants: Callable[[Whose], object] = lambda whose: None
        "Who wants to know whose groups a token leaves to the directory."
        self._certificates: dict[object, Certificates] = {}
        "By what they were made of."
        self._overdue: set[str] = set()
        self.prover: Resolver | None = None
        self.prove_for(snapshot.issuers)
        self.upstream = Client(self.loop, self.wheel, time.monotonic, random)
        self.bound = Bound(self.world, self.upstream, PROVIDERS, self.wheel, time.monotonic, time.time, report)
        listen = snapshot.gateway.listen
        tls = server_context(listen.tls) if listen.tls else None
        self.server = Server(self.bound, paths(snapshot), listen, snapshot.hash, tls)
        self.server.stand(
            snapshot.gateway.front, self.certificates(snapshot), snapshot.gateway.telemetry.client_address
        )
        self._turns = 0
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._late = 0.0
        self.on_turn: Callable[[float], None] | None = None
        "Called with each turn of the wheel."
        self.on_refused: Callable[[list[Entry]], None] | None = None
        "Who wants to know of requests that were refused (the access log, in the keeper)."
        self.revoked: set[bytes] = set()
        "Digests of keys that nobody gets in with, whatever a configuration says."
        self._watched = 0.0
        "Until then somebody looks at refused requests."
        self._states: dict[str, str] = {}
        "Of deployments, as the counters have them."
        self._counted: Counter[str] = Counter()
        "Early refusals that the counters know of."
        self._lost = self._stalled_us = 0
        "Of the journal, as the counters have it."

    def start(self, sockets: list[socket.socket]) -> None:
        """Begin: accept on these listening sockets, turn the wheel."""
        self.server.listen(sockets)
        self.upstream.warm(self.snapshot.instances)
        self._turn()

    def _turn(self) -> None:
        """Just after each tick: at any other moment everything would be late by up to one tick more."""
        now = time.monotonic()
        if self._due:
            self._late = max(self._late, now - self._due)
        wait = TICK_S - now % TICK_S + 0.001
        self._due = now + wait
        self._timer = self.loop.call_later(wait, self._turn)
        try:
            self.wheel.turn(now)
            self._turns += 1
            if self._turns % 2 == 0:
                self.server.tick()
            if self._turns % PUBLISH_TURNS == 0:
                if self.world.look_at_tokens(now):
                    self.bound.adopted()
                self.server.health.look(now)
                self.alarms.look(self.world.members.values(), now)
                self.look_at_lists()
                self.publish()
            if self.counting.refused:
                self.tell_refused()
            if self.written is not None:
                self.written.tend()
            if self.on_turn is not None:
                self.on_turn(now)
        except Exception as bug:
            report(bug)

    def publish(self) -> None:
        """Once a second: what is now, and what was refused before any exchange, into the counters for all to see."""
        counters = self.counters
        cells, row = counters.cells, counters.row
        cells[row(IN_FLIGHT)] = self.world.in_flight
        cells[row(CLIENTS)] = len(self.server.connections)
        cells[row(LAG)] = int(self._late * 1e6)
        self._late = 0.0
        upstream = self.upstream.counts()
        for state, number in (("idle", upstream.idle), ("busy", upstream.busy), ("connecting", upstream.connecting)):
            cells[row(UPSTREAMS, state)] = number
        now = time.monotonic()
        for member in self.world.members.values():
            cells[row(DEPLOYMENT_IN_FLIGHT, member.label)] = member.in_flight
            state = member.door.state(now)[0]
            before = self._states.get(member.label)
            if before != state:
                if before is not None:
                    cells[row(DEPLOYMENT_STATE, member.label, before)] = 0
                self._states[member.label] = state
                cells[row(DEPLOYMENT_STATE, member.label, state)] = 1
        if self.written is not None:
            lost, stalled_us = self.written.lost, int(self.written.stalled_s * 1e6)
            cells[row(JOURNAL_LOST)] += lost - self._lost
            cells[row(JOURNAL_STALLED)] += stalled_us - self._stalled_us
            self._lost, self._stalled_us = lost, stalled_us
            cells[row(JOURNAL_FAILING)] = 1 if self.written.failing else 0
        for reason, number in self.server.refusals.items():
            new = number - self._counted[reason]
            if new:
                self._counted[reason] = number
                cells[row(REQUESTS, "", str(status_of(reason)), reason)] += new
        counters.publish()

    def journal_alarm(self, why: str) -> None:
        """The journal cannot be written; empty: it can again."""
        alarm(why)
        if why:
            self.alarms.raised("journal.failing", "journal", why)
        else:
            self.alarms.over("journal.failing", "journal")

    def tell_refused(self) -> None:
        """Twenty times a second, and only when somebody wants to know."""
        refused, self.counting.refused = self.counting.refused, []
        if self._watched and time.monotonic() > self._watched:
            self._watched = 0.0
            self.listen_for_refused()
        if refused and self.on_refused is not None:
            offset = time.time() - time.monotonic()
            self.on_refused([entry(record, offset) for record in refused])

    def watch_refused(self, for_s: float) -> bool:
        """For so long somebody looks at requests as they end: tell of refused ones, too."""
        self._watched = time.monotonic() + for_s
        self.listen_for_refused()
        return True

    def listen_for_refused(self) -> None:
        """As the configuration in force says, or whoever watches."""
        watched = time.monotonic() < self._watched
        wanted = self.on_refused is not None and (watched or bool(self.snapshot.gateway.telemetry.access_log))
        if not wanted:
            self.counting.refused = None
        elif self.counting.refused is None:
            self.counting.refused = []

    def pools(self) -> dict[str, dict[str, object]]:
        """What this worker sees of each deployment."""
        return {str(told["deployment"]): told for told in self.world.pools(time.monotonic())}

    def explain(self, question: Any) -> dict[str, object]:
        """What would become of a request here and now (core/explain.py); `error` where it cannot be said."""
        try:
            return explain(self.world, asked(question), time.monotonic())
        except Unknown as e:
            return {"error": str(e)}

    def deployment(self, number: int) -> str:
        """What a deployment is called in metrics: instance/deployment."""
        member = self.world.members.get(number)
        return member.label if member else f"#{number}"

    def consumer(self, number: int) -> str:
        """The name of a consumer. Looks at all of them: for a place that is kept."""
        return self.world.callers.name(number) or f"#{number}"

    def revoke(self, digests: Sequence[str]) -> bool:
        """Nobody gets in any more with keys that have these digests (hex). A request whose body is on its way is asked
        again who it is; what is being answered goes on."""
        new = {bytes.fromhex(d) for d in digests} - self.revoked
        if new:
            self.revoked |= new
            self.adopt(self.snapshot, self.world.callers, self.server.tls)
        return True

    def supply(self, token: Token) -> None:
        """What is shown upstream for an identity, from now on."""
        if token.text:
            self.world.supply(token.number, Shown(Secret(token.text), token.version, token.ends, time.monotonic()))
        else:
            self.world.withdraw(token.number)
        self.bound.adopted()

    def prepare(self, snapshot: Snapshot) -> ssl.SSLContext | None:
        """What can fail about a new configuration, done before anything changes. Raises OSError (ssl.SSLError is one)
        or LookupError."""
        for instance in snapshot.instances:
            PROVIDERS[instance.provider]
        if snapshot.issuers and self.prover is None:
            self.prover = self.proving()
        self.certificates(snapshot)
        listen = snapshot.gateway.listen
        return server_context(listen.tls) if listen.tls else None

    def look_at_lists(self) -> None:
        """Of revoked certificates."""
        front = self.server.front
        overdue = front.certificates.overdue() if front is not None and front.certificates is not None else ()
        for path in self._overdue - set(overdue):
            self.alarms.over("certificate.list", path)
        for path in overdue:
            self.alarms.raised("certificate.list", path, "it was to be renewed by now")
        self._overdue = set(overdue)

    def certificates(self, snapshot: Snapshot) -> Certificates | None:
        """Who reads client certificates, made once for the same files. What that takes is loaded only where there may
        be some. Raises OSError."""
        front, tls = snapshot.gateway.front, snapshot.gateway.listen.tls
        if not front.certificates and front.forwarded is None:
            return None
        own = tls.client_ca if tls is not None else ""
        key = (own, front.crl, front.forwarded)
        if key not in self._certificates:
            passed = front.forwarded.ca.path if front.forwarded is not None and front.forwarded.ca is not None else ""
            authorities = [path for path in (own, passed) if path]
            lists = [one.path for one in front.crl]
            made = door.certificates(time.time, authorities, lists, passed)
            now = self.server.front.certificates if self._certificates and self.server.front is not None else None
            kept = {of: one for of, one in self._certificates.items() if one is now}
            self._certificates = {**kept, key: made}  # what is in force, and what may come
        return self._certificates[key]

    def prove_for(self, issuers: Sequence[Issuer]) -> None:
        """Tokens of these are let in from now on. What that takes is loaded where one is declared only."""
        if self.prover is None and issuers:
            self.prover = self.proving()
        if self.prover is not None:
            self.prover.adopt(issuers)
            self.prover.take(self.key_sets.values())
        self.world.know(self.prover if issuers else None)

    def proving(self) -> Resolver:
        return door.prover(
            time.time, time.monotonic, lambda source: self.on_lacks(source), lambda whose: self.on_wants(whose)
        )

    def take_keys(self, sets: Sequence[KeySet]) -> None:
        """As issuers publish them now."""
        self.key_sets |= {one.source: one for one in sets}
        if self.prover is not None:
            self.prover.take(sets)

    def adopt(self, snapshot: Snapshot, callers: Callers, tls: ssl.SSLContext | None) -> None:
        """Put a configuration in force, between two turns of the loop. Running exchanges end as they began; live state
        goes on by identity."""
        world = self.world
        for label, state in self._states.items():  # some may be gone
            self.counters.cells[self.counters.row(DEPLOYMENT_STATE, label, state)] = 0
            self.counters.cells[self.counters.row(DEPLOYMENT_IN_FLIGHT, label)] = 0
        self._states.clear()
        gone = {i.number for i in self.snapshot.instances} - {i.number for i in snapshot.instances}
        if self.revoked:
            callers = callers.altered(Change(tuple(self.revoked), ()))
        self.prove_for(snapshot.issuers)
        others = callers is not world.callers
        self.alarms.forget("region.mismatch")
        world.adopt(snapshot, callers)
        self.snapshot = snapshot
        self.bound.adopted()
        self.counting.adopted()
        if self.written is not None:
            self.written.adopt(snapshot.hash, snapshot.prices, snapshot.gateway.name)
        self.listen_for_refused()
        self.server.config_hash = snapshot.hash
        self.server.know(paths(snapshot))
        self.server.stand(
            snapshot.gateway.front, self.certificates(snapshot), snapshot.gateway.telemetry.client_address
        )
        self.server.health.look(time.monotonic())
        self.server.tls = tls
        self.upstream.warm(snapshot.instances)
        self.upstream.retire(gone)
        if others:
            now = time.monotonic()
            for drive in list(self.bound.live):
                drive.turn(now)
        gc.collect(1)
        gc.freeze()

    async def stop(self, limit_s: float, still_listen_s: float = STILL_LISTEN_S, replaced: bool = False) -> None:
        """Drain, then close what is left."""
        await self.server.drain(limit_s, still_listen_s, replaced)
        self.upstream.close()
        self.publish()
        if self.counting.refused:
            self.tell_refused()
        if self._timer is not None:
            self._timer.cancel()
        if self.written is not None:
            self.written.close()

    def totals(self) -> dict[str, object]:
        """What this worker did, for the line it prints when it ends."""
        totals = dict(self.journal.totals())
        refused = totals.get("refused", 0)
        early = sum(self.server.refusals.values())
        totals["refused"] = (refused if isinstance(refused, int) else 0) + early
        if self.written is not None:
            totals["unwritten"] = self.written.lost
        return {"event": "totals", **totals, "refused_early": dict(self.server.refusals)}


def report(bug: BaseException) -> None:
    """A bug or a broken machine: logged with its place, never with a request's text."""
    log.error("unexpected %s\n%s", type(bug).__name__, place(bug))


def alarm(why: str) -> None:
    """About the journal."""
    if why:
        log.error("%s; records wait in memory, then are lost and counted", why)
    else:
        log.warning("the journal can be written again")


class Told:
    """What the keeper says to this worker, and what it says back.

    When the keeper is gone the worker goes on with what it has, until somebody sends it SIGTERM.
    """

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


async def serve(
    snapshot: Snapshot,
    directory: Directory,
    sockets: list[socket.socket],
    end: socket.socket | None = None,
    counters: Counters | None = None,
    records: str = "",
) -> dict[str, object]:
    """Carry traffic until SIGTERM, SIGINT or the keeper's word, then drain. Returns the totals that nobody was told."""
    try:
        worker = Worker(snapshot, directory, counters, records)
    except OSError as bad:
        if end is None:
            raise
        channel = await open_channel(end, Down, lambda _: None, lambda: None)
        channel.send(Taken(0, "", "refused", why(bad)))
        channel.close()
        await asyncio.sleep(0)
        return {}
    del directory
    tell(report)
    told = Told(worker)
    if end is not None:
        await told.connect(end)
    worker.start(sockets)
    for sig in (signal.SIGTERM, signal.SIGINT):
        worker.loop.add_signal_handler(sig, told.leave.set)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLD)
    if end is not None:
        told.ready()
    else:
        host, port = snapshot.gateway.listen.host, sockets[0].getsockname()[1]
        ready = {"event": "ready", "config": snapshot.hash, "host": host, "port": port}
        print(json.dumps(ready), file=sys.stderr, flush=True)
    await told.leave.wait()
    for sig in (signal.SIGTERM, signal.SIGINT):  # a second signal does not wait
        worker.loop.remove_signal_handler(sig)
    drain = told.drain
    if drain is None:  # a signal
        told.leaving()
        drain = Drain(worker.snapshot.gateway.drain_s, STILL_LISTEN_S, False)
    await worker.stop(drain.limit_s, drain.still_listen_s, drain.replaced)
    totals = worker.totals()
    if not told.end(totals):
        return totals
    await asyncio.sleep(0)  # the channel writes at once or in this turn
    return {}


def paths(snapshot: Snapshot) -> Paths:
    """The operations that we know, and those that this configuration names."""
    return Paths(rows(name for model in snapshot.models for name in model.operations))


def main(argv: list[str]) -> int:
    """`--parcel-fd N --listen-fd M [--channel-fd C] [--counters-fd D --region R]`: all inherited."""
    given = dict(zip(argv[::2], argv[1::2], strict=False))
    names = ("parcel", "listen", "channel", "counters")
    parcel_fd, listen_fd, channel_fd, counters_fd = (int(given.get(f"--{n}-fd", -1)) for n in names)
    if parcel_fd < 0 or listen_fd < 0:
        print("a worker is started by `sluicegate serve`, not by hand", file=sys.stderr)
        return 2
    for sig in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):  # meant for the keeper, but a terminal tells everybody
        signal.signal(sig, signal.SIG_IGN)
    end = socket.socket(fileno=channel_fd) if channel_fd >= 0 else None
    # Not read(): several workers share this file, and with it one position in it.
    snapshot, directory = unpack(os.pread(parcel_fd, os.fstat(parcel_fd).st_size, 0))
    os.close(parcel_fd)
    if not snapshot.gateway.core_dumps:
        seal()
    counters = None
    if counters_fd >= 0:
        counters = Counters(counters_fd, int(given["--region"]))
        os.close(counters_fd)
    assert isinstance(directory, Directory)
    records = os.path.join(snapshot.gateway.data, "journal")
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        serving = serve(snapshot, directory, [socket.socket(fileno=listen_fd)], end, counters, records)
        del directory  # as it came it is of no more use: 200 bytes for each consumer
        totals = runner.run(serving)
    if totals:
        print(json.dumps(totals), file=sys.stderr, flush=True)
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(code)
