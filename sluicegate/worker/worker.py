"""What a worker has, wired in its loop: the world, the clients' side, the upstreams' side, the journal, the counters.

A configuration comes into force here, between two turns of the loop.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Sequence
from math import inf
from random import random
from typing import Any

from sluicegate.apis import Paths, rows
from sluicegate.core.caller import Callers
from sluicegate.core.credentials import Token as Shown
from sluicegate.core.entry import Entry, entry
from sluicegate.core.explain import Unknown, asked, explain
from sluicegate.core.keyset import KeySet
from sluicegate.core.ports import Certificates, Resolver
from sluicegate.core.principal import Whose
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
from sluicegate.link.bugs import place
from sluicegate.link.channel import Alarm, Token
from sluicegate.link.counters import Counters
from sluicegate.link.counting import Counting
from sluicegate.link.journal import Journal as Written
from sluicegate.providers import PROVIDERS
from sluicegate.stores.memory.journal import Journal
from sluicegate.upstream.client import Client
from sluicegate.worker.gauges import Gauges

log = logging.getLogger("sluicegate")

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
        self.bound.added = self.counting.added
        listen = snapshot.gateway.listen
        tls = server_context(listen.tls) if listen.tls else None
        self.server = Server(self.bound, paths(snapshot), listen, snapshot.hash, tls)
        self.server.shared = self.counters.shared
        self.server.stand(
            snapshot.gateway.front, self.certificates(snapshot), snapshot.gateway.telemetry.client_address
        )
        self.gauges = Gauges(self.counters, self.world, self.server, self.upstream, self.written)
        self._turns = 0
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self.on_turn: Callable[[float], None] | None = None
        "Called with each turn of the wheel."
        self.on_refused: Callable[[list[Entry]], None] | None = None
        "Who wants to know of requests that were refused (the access log, in the keeper)."
        self.revoked: set[bytes] = set()
        "Digests of keys that nobody gets in with, whatever a configuration says."
        self._watched = 0.0
        "Until then somebody looks at refused requests."

    def start(self, sockets: list[socket.socket]) -> None:
        """Begin: accept on these listening sockets, turn the wheel."""
        self.server.listen(sockets)
        self.upstream.warm(self.snapshot.instances)
        self._turn()

    def _turn(self) -> None:
        """Just after each tick: at any other moment everything would be late by up to one tick more."""
        now = time.monotonic()
        if self._due:
            self.gauges.late_s = max(self.gauges.late_s, now - self._due)
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
            if self.counting.refused or self.server.early.wanted:
                self.tell_refused()
            if self.written is not None:
                self.written.tend()
            if self.on_turn is not None:
                self.on_turn(now)
        except Exception as bug:
            report(bug)

    def publish(self) -> None:
        """Once a second."""
        self.gauges.publish(time.monotonic())

    def journal_alarm(self, why: str) -> None:
        """The journal cannot be written; empty: it can again."""
        alarm(why)
        if why:
            self.alarms.raised("journal.failing", "journal", why)
        else:
            self.alarms.over("journal.failing", "journal")

    def tell_refused(self, last: bool = False) -> None:
        """Twenty times a second, and only when somebody wants to know. `last`: nothing comes after it."""
        refused, self.counting.refused = self.counting.refused or (), []
        now = time.monotonic()
        early = self.server.early.take(inf if last else now)
        if self._watched and now > self._watched:
            self._watched = 0.0
            self.listen_for_refused()
        if (refused or early) and self.on_refused is not None:
            offset = time.time() - now
            self.on_refused([*(entry(record, offset) for record in refused), *early])

    def watch_refused(self, for_s: float) -> bool:
        """For so long somebody looks at requests as they end: tell of refused ones, too."""
        self._watched = time.monotonic() + for_s
        self.listen_for_refused()
        return True

    def listen_for_refused(self) -> None:
        """As the configuration in force says, or whoever watches."""
        watched = time.monotonic() < self._watched
        wanted = self.on_refused is not None and (watched or bool(self.snapshot.gateway.telemetry.access_log))
        self.server.early.want(wanted)
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
        again who it is; an answer that streams ends, any other goes on."""
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

    def withdraw(self, before: Certificates | None, now: Certificates | None) -> bool:
        """Whether somebody whose answer is on its way showed a certificate that these lists say is revoked."""
        if now is None or now is before:
            return False
        found = False
        for drive in self.bound.live:
            shown = drive.head.credentials.certificate
            if shown is not None and now.revoked(shown):
                shown.withdrawn = found = True
        return found

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
        self.gauges.forget()
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
        front, certificates = self.server.front, self.certificates(snapshot)
        others = self.withdraw(front.certificates if front is not None else None, certificates) or others
        self.server.stand(snapshot.gateway.front, certificates, snapshot.gateway.telemetry.client_address)
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
        if self.server.early.wanted:
            self.tell_refused(last=True)
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


def paths(snapshot: Snapshot) -> Paths:
    """The operations that we know, and those that this configuration names."""
    return Paths(rows(name for model in snapshot.models for name in model.operations))
