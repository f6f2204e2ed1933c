"""The keeper's life: start the workers, take new configurations, replace workers, leave.

SIGTERM and SIGINT drain and end; SIGHUP loads the configuration again, as does a change of its files; SIGUSR2 replaces
the workers one at a time. If the keeper is killed, workers go on with what they have until somebody sends them SIGTERM
or the next keeper of the same `gateway.data` takes over (home.py).
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from typing import Any, Protocol

from sluicegate.core.entry import Entry
from sluicegate.core.kept import KeptKey
from sluicegate.core.secret import Secret
from sluicegate.core.settings import Gateway
from sluicegate.core.snapshot import ConsumerEntry, Directory, Snapshot
from sluicegate.keeper import drained, revoked
from sluicegate.keeper.alerts import Alerts, Sinks
from sluicegate.keeper.aside import Aside
from sluicegate.keeper.audit import Audit, Unwritable
from sluicegate.keeper.credentials import Credentials
from sluicegate.keeper.groups import Groups
from sluicegate.keeper.home import Home
from sluicegate.keeper.lending import TICK_S
from sluicegate.keeper.parcels import exchanged, for_workers, one, overdue, parcels, unexpired
from sluicegate.keeper.parts import Compiled, Log, Outcome, Published, Vault
from sluicegate.keeper.people import People
from sluicegate.keeper.questions import Questions
from sluicegate.keeper.supervisor import CannotStart, Supervisor
from sluicegate.keeper.validity import Validity
from sluicegate.keeper.watch import Watched
from sluicegate.link.channel import Alarm, Entries, Rejected, Token
from sluicegate.link.parcel import pack
from sluicegate.spec import places
from sluicegate.spec.diff import compare, told
from sluicegate.spec.fingerprint import fingerprint
from sluicegate.spec.fingerprint import people as summed
from sluicegate.spec.grants import keys_of
from sluicegate.spec.load import Loaded
from sluicegate.spec.moments import utc
from sluicegate.spec.places import Places
from sluicegate.spec.problems import render
from sluicegate.spec.references import Wrong

LOOK_S = 1.0
"""How often files are looked at."""

WATCH_S = 10.0
"""How often workers are asked whether they are alive."""

RESTART: dict[str, Callable[[Gateway], object]] = {
    "gateway.listen": lambda g: g.listen,
    "gateway.admin.address": lambda g: (g.admin.host, g.admin.port),
    "gateway.admin.tls": lambda g: g.admin.tls is None,
    "gateway.workers": lambda g: g.workers,
    "gateway.core_dumps": lambda g: g.core_dumps,
}
"""What takes effect at the next start only."""


class Beside(Protocol):
    """Something that lives in the keeper beside the workers: admin, access log, journal mover."""

    async def start(self, keeper: Keeper) -> None: ...
    async def stop(self) -> None: ...


class Keeper(Questions):
    """One gateway. `compile_` loads the configuration again; `files` are looked at for changes."""

    def __init__(
        self,
        loaded: Loaded,
        home: Home,
        sockets: Sequence[socket.socket],
        compile_: Callable[[], Loaded],
        files: Sequence[str] = (),
        beside: Sequence[Beside] = (),
        counters_fd: int = -1,
        log: Log | None = None,
        sent: Compiled | None = None,
        sinks: Sinks | None = None,
        published: Published | None = None,
        credentials: Credentials | None = None,
        people: People | None = None,
        audit: Audit | None = None,
        vault: Vault | None = None,
        groups: Groups | None = None,
    ) -> None:
        assert loaded.snapshot is not None and loaded.directory is not None
        super().__init__()
        self.home = home
        self.drained = drained.load(loaded.snapshot.gateway.data)
        self.revoked = revoked.load(loaded.snapshot.gateway.data)
        self.snapshot = loaded.snapshot
        self.whole = loaded.directory
        self.expires = dict(loaded.expires)
        self.directory = unexpired(self.whole, self.expires, time.time())
        self._askers: dict[str, None] = {}
        "Who wants the configuration to be loaded again."
        self._document = loaded.document
        self._key_names = loaded.key_names
        self.ground = loaded.ground
        self.made = loaded.made
        if loaded.document is not None:
            self._away(drained.renamed(self.drained, loaded.document))
        self.people = people
        if people is not None:
            people.gateway = self
        self.audit = audit
        self.vault = vault
        self._sent = sent
        self.source = self._own_files()
        self.compile = compile_
        self.watched = Watched(files, loaded.began)
        self.beside = beside
        self.sockets = sockets
        self.on_hangup: list[Callable[[], None]] = []
        "Called on SIGHUP before the configuration is loaded again: log files are opened anew."
        self.reloads = dict.fromkeys(("adopted", "unchanged", "refused"), 0)
        "Configurations loaded since the start, by what became of them."
        self.on_adopted: list[Callable[[], None]] = []
        "Called when another configuration is in force."
        self.supervisor = Supervisor(sockets, say, counters_fd)
        self.supervisor.on_change = self._remember
        self.supervisor.revoked = [d.hex() for d in self.revoked]
        self.published = published
        if published is not None:
            published.on_change = self.supervisor.tell_keys
            published.alarm = self.alarm
            published.over = self.over
            self.supervisor.on_lacks = published.lacks
        self.credentials = credentials
        if credentials is not None:
            credentials.tell = self._supply
            credentials.forget = lambda number: self.supervisor.tokens.pop(number, None)
            credentials.alarm = self._no_token
            self.supervisor.on_rejected = self._rejected
        self.groups = groups
        self._own: set[int] = set()
        "Numbers of identities whose tokens the keeper shows itself: workers never get them."
        if groups is not None:
            groups.tell = self.supervisor.belongs
            groups.alarm = self.alarm
            groups.over = self.over
            if credentials is not None:
                groups.rejected = credentials.rejected
            self.supervisor.on_wanted = groups.wanted
        self.on_refused: list[Callable[[Sequence[Entry]], None]] = []
        "Told of requests that were refused, where somebody wants to know."
        self.supervisor.on_entries = self._refused
        self.alerts = Alerts(say, sinks=sinks)
        self.validity = Validity()
        self.supervisor.on_alarm = self._alarm
        self.supervisor.on_gone = self._worker_gone
        self.on_adopted.append(self._configure_alerts)
        self._places: Places | None = None
        self.on_adopted.append(self._place)
        if log is not None:
            self.on_hangup.append(log.reopen)
            self.on_adopted.append(self._configure_log)
        self.log = log
        self.say = say
        self.began = time.time()
        self._told = asyncio.Event()
        self._loading = asyncio.Lock()
        self._keeping = asyncio.Lock()
        "The list of revoked keys is written by one at a time, and each writes all that are known."
        self._background: set[asyncio.Task[Any]] = set()
        self.aside = Aside()
        self._summed: tuple[Directory, int] | None = None
        "What the hash needs of all consumers of a directory."
        self._waiting: tuple[bool, asyncio.Future[Outcome]] | None = None
        "A reload that has not begun: whether only what is new is taken, and its outcome."

    async def run(self) -> int:
        """Until told to leave. The exit status."""
        loop = asyncio.get_running_loop()
        port = self.sockets[0].getsockname()[1]
        loop.add_signal_handler(signal.SIGCHLD, self.supervisor.reap)
        for sig in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(sig, self._told.set)
        for sig in (signal.SIGHUP, signal.SIGUSR2):  # not yet, but no reason to die
            loop.add_signal_handler(sig, lambda: None)
        self._configure_alerts()  # whoever starts may have something to say already
        await self._prepare_keys(self.snapshot)
        self._own = self._numbers(self.snapshot)
        if self.credentials is not None:
            await self.credentials.take(self.snapshot.identities)
        self._ask_directories()
        try:
            await self.supervisor.start(pack(self._effective(), self.directory), self.snapshot.hash)
        except CannotStart as e:
            print(f"sluicegate: a worker could not start: {e}", file=sys.stderr, flush=True)
            if self.alerts.sinks is not None:
                await self.alerts.sinks.stop()
            return 1
        started: list[Beside] = []
        self._configure_log()
        self._place()
        self.home.dismiss()
        try:
            for thing in self.beside:
                await thing.start(self)
                started.append(thing)
            loop.add_signal_handler(signal.SIGHUP, self._hang_up)
            loop.add_signal_handler(signal.SIGUSR2, lambda: self._go(self.restart()))
            workers = [w.pid for w in self.supervisor.workers]
            host = self.snapshot.gateway.listen.host
            say("ready", config=self.snapshot.hash, host=host, port=port, workers=workers, **self._shared())
            self._go(self._look())
            self._go(self._watch())
            if self.credentials is not None:
                self._go(self.credentials.run())
            if self.vault is not None:
                self._go(self._read_vaults(self.vault))
            if len(self.sockets) > 1:
                self._go(self._lend())
            await self._told.wait()
        finally:
            for sig in (signal.SIGTERM, signal.SIGINT):  # a second signal does not wait
                loop.add_signal_handler(sig, self._hurry)
            for task in self._background:
                task.cancel()
            if self.credentials is not None:
                self.credentials.stop()
            await self.supervisor.stop(self.snapshot.gateway.drain_s)
            if self.published is not None:
                await self.published.stop()
            if self.groups is not None:
                await self.groups.stop()
            for thing in reversed(started):
                await thing.stop()
            self.aside.close()
            if self.log is not None:
                self.log.stop()
            if self.alerts.sinks is not None:
                await self.alerts.sinks.stop()
        totals = {name: value for name, value in self.supervisor.totals.items() if name != "event"}
        say("totals", **totals)
        return 0

    # ------------------------------------------------------------------ configuration

    async def reload(self, only_if_new: bool = False, by: str = "SIGHUP") -> Outcome:
        """Load the configuration again; put it in force on all workers, or on none. Says so on stderr too. One that
        waits for another to end has not looked at the files yet: who asks meanwhile gets its outcome."""
        self._askers[by] = None
        waiting = self._waiting
        if waiting is None or (waiting[0] and not only_if_new):
            waiting = self._waiting = (only_if_new, asyncio.ensure_future(self._reload(only_if_new)))
        return await asyncio.shield(waiting[1])

    async def _reload(self, only_if_new: bool) -> Outcome:
        async with self._loading:
            self._waiting = None
            by, self._askers = ", ".join(self._askers), {}
            looked = self.watched.look()
            loaded = await self.aside.do(self.compile)
            self.watched.known(looked, loaded.files or list(looked), loaded.began)
            outcome = await self._take(loaded, only_if_new, by)
            if outcome.state == "adopted":
                self.source = self._own_files()
        self._tell(outcome)
        return outcome

    async def apply(self, texts: Sequence[tuple[str, bytes]], base: str, expect: str, by: str) -> Outcome:
        """Put a configuration that somebody sends in force on all workers, or on none. Its own files: a reload."""
        sent = self._sent
        assert sent is not None
        async with self._loading:
            if expect and expect != self.snapshot.hash:
                what = f"{self.snapshot.hash} is in force by now, not {expect}: look at the changes again"
                return Outcome("refused", self.snapshot.hash, what)
            own = await asyncio.to_thread(sent.own) == [text for _, text in texts]
            loaded = await self.aside.do(self.compile if own else partial(sent, texts, base, True))
            outcome = await self._take(loaded, False, by)
            if outcome.state == "adopted":
                applied = {"kind": "applied", "files": [name for name, _ in texts], "by": by, "at": now_utc()}
                self.source = self._own_files() if own else applied
        self._tell(outcome, by=by)
        return outcome

    # ------------------------------------------------------------------ alerts

    def alarm(self, kind: str, subject: str, detail: str) -> None:
        """Somebody should be told: one of core/alerts.py's kinds, of what, and what is the matter. In the loop only."""
        self.alerts.raised(kind, subject, detail)

    def over(self, kind: str, subject: str) -> None:
        """That is no more."""
        self.alerts.over(kind, subject)

    def _alarm(self, pid: int, alarm: Alarm) -> None:
        if alarm.over:
            self.alerts.over(alarm.kind, alarm.subject, pid)
        elif alarm.kind == "region.mismatch":  # it lasts beyond the worker that saw it
            self.alarm(alarm.kind, alarm.subject, alarm.detail)
            if alarm.drain and alarm.subject not in self.drained:
                self._go(self._take_out(alarm.subject))
        else:
            self.alerts.raised(alarm.kind, alarm.subject, alarm.detail, pid)

    async def _take_out(self, deployment: str) -> None:
        """Nobody knows where it sends prompts: out of all pools, until an operator brings it back."""
        if deployment not in self.drained:
            error = await self.drain(deployment, True)
            if error:
                say("drain.refused", deployment=deployment, error=error)

    def _worker_gone(self, pid: int, how: str) -> None:
        self.alerts.gone(pid)
        if how:
            self.alarm("worker.ended", "worker", how)

    def _configure_alerts(self) -> None:
        if self.alerts.sinks is not None:
            gateway = self.settings
            self.alerts.sinks.configure(gateway.telemetry.alerts, gateway.name, gateway.region)

    def _tell(self, outcome: Outcome, **facts: Any) -> None:
        self.reloads[outcome.state] += 1
        if outcome.state == "refused":
            self.alarm("config.refused", "configuration", (outcome.report.strip().splitlines() or [""])[0])
        else:
            self.over("config.refused", "configuration")
        if outcome.report:
            with suppress(OSError):  # nobody reads it any more
                print(outcome.report, file=sys.stderr)
        say(
            f"config.{outcome.state}",
            config=outcome.config,
            **({"restart": outcome.waiting} if outcome.waiting else {}),
            **facts,
        )

    def _own_files(self) -> dict[str, Any]:
        files = [os.path.basename(path) for path in self._sent.paths] if self._sent is not None else []
        return {"kind": "files", "files": files, "by": "", "at": now_utc()}

    async def _take(self, loaded: Loaded, only_if_new: bool, by: str) -> Outcome:
        """Put it in force, unless it is refused; either is written down."""
        before = self.snapshot.hash
        try:
            outcome = await self._taken(loaded, only_if_new, by)
        except Unwritable as e:
            what = f"nothing is changed: it cannot be written down ({e})"
            return Outcome("refused", self.snapshot.hash, f"{what}\nthe running configuration stays in force")
        if self.audit is not None and outcome.state != "unchanged":
            done = "done" if outcome.state == "adopted" else "refused"
            facts = {"who": {"name": by}, "outcome": done, "before": before, "after": outcome.config}
            with suppress(Unwritable):
                more = {"error": outcome.report[:2000]} if done == "refused" else {}
                await asyncio.to_thread(self.audit.append, "config", {**facts, **more})
        return outcome

    async def _note(self, loaded: Loaded, config: str, by: str) -> None:
        """What a configuration changes, in words, before it does. Raises Unwritable."""
        if self.audit is None or loaded.document is None or loaded.directory is None or self._document is None:
            return
        if config == self.snapshot.hash:
            return
        old = await self.aside.do(told, self._document, self.whole, self.snapshot.hash)
        new = await self.aside.do(told, loaded.document, loaded.directory, config)
        changes = await self.aside.do(compare, old, new)
        shown = [{"names": list(c.names[:20]), "count": len(c.names), "what": c.what[:1000]} for c in changes[:200]]
        facts = {"who": {"name": by}, "outcome": "begun", "before": self.snapshot.hash, "after": config}
        await asyncio.to_thread(self.audit.append, "config", {**facts, "changes": shown, "count": len(changes)})

    async def _taken(self, loaded: Loaded, only_if_new: bool, by: str) -> Outcome:
        if loaded.problems.fatal or loaded.snapshot is None or loaded.directory is None:
            end = f"the running configuration ({self.snapshot.hash}) stays in force"
            return Outcome("refused", self.snapshot.hash, render(loaded.problems, end))
        if loaded.snapshot.gateway.data != self.settings.data:
            # There is another secret there, other numbers and other people: everybody who is let in now would not be.
            what = "gateway.data changed: it takes effect at the next start, and nothing of this configuration before"
            end = f"the running configuration ({self.snapshot.hash}) stays in force"
            return Outcome("refused", self.snapshot.hash, f"{what}\n{end}")
        snapshot, waiting = self._live(loaded.snapshot, loaded.directory, loaded.expires)
        report = render(loaded.problems)
        for name in waiting:
            report += f"\n{name} changed: it takes effect at the next start; the rest does now"
        if only_if_new and snapshot.hash == self.snapshot.hash:
            return Outcome("unchanged", snapshot.hash, report.strip(), waiting)
        await self._note(loaded, snapshot.hash, by)
        await self._carry(loaded)
        await self._prepare_keys(snapshot)
        self._own |= self._numbers(snapshot) - self._numbers(self.snapshot, shown=True)
        if self.credentials is not None:
            await self.credentials.take(snapshot.identities)
        away = drained.renamed(self.drained, loaded.document) if loaded.document is not None else self.drained
        effective = self._for_workers(snapshot, away)
        directory = unexpired(loaded.directory, loaded.expires, time.time())
        whole, part = await self.aside.do(parcels, effective, self.directory, directory)
        error = await self.supervisor.adopt(whole, part, snapshot.hash)
        if self.credentials is not None:
            self.credentials.retire((self.snapshot if error else snapshot).identities)
        if error:
            if self.published is not None:
                self.published.adopt(self.snapshot.issuers)
            end = f"{error}\nthe running configuration ({self.snapshot.hash}) stays in force"
            return Outcome("refused", self.snapshot.hash, end)
        self.snapshot = snapshot
        self.validity.take(snapshot.gateway)
        self._ask_directories()
        self._away(away)
        if self.published is not None:
            self.published.adopt(snapshot.issuers)
        for kind, subject in list(self.alerts.matters):
            if kind == "region.mismatch" and subject not in self.drained:
                self.over(kind, subject)  # if it is so still, workers say it again
        self._document = loaded.document
        self._key_names = loaded.key_names
        self.whole, self.directory, self.expires = loaded.directory, directory, dict(loaded.expires)
        self.ground = loaded.ground
        self.made = loaded.made
        if self.people is not None:
            self.people.forget()
        for call in self.on_adopted:
            call()
        return Outcome("adopted", snapshot.hash, report.strip(), waiting)

    async def _prepare_keys(self, snapshot: Snapshot) -> None:
        """Workers know the keys of issuers before tokens are shown to them."""
        if self.published is not None and snapshot.issuers:
            await self.published.prepare(snapshot.issuers)
            self.supervisor.tell_keys(self.published.sets())

    def alone(self) -> asyncio.Lock:
        """One change at a time of what is in force."""
        return self._loading

    async def take_people(
        self, directory: Directory, made: frozenset[str], keys: Iterable[KeptKey], before: ConsumerEntry | None,
        after: ConsumerEntry | None,
    ) -> str:  # fmt: skip
        """Other consumers, all else as it is: this one instead of that one. The caller holds `alone`. Empty when all
        workers have them, else why none has. Of a hundred thousand only the two are looked at."""
        snapshot = self.snapshot
        told = tuple(keys)
        expires = {d: at for d, at in self.expires.items() if all(d != k.digest for k in told)}
        expires |= {k.digest: k.expires for k in told if k.expires}
        if self._summed is None or self._summed[0] is not self.whole:
            self._summed = (self.whole, await self.aside.do(summed, self.whole.consumers))
        total = self._summed[1] - summed(one(before)) + summed(one(after))
        snapshot = replace(snapshot, hash=await self.aside.do(fingerprint, snapshot, directory, expires, total))
        effective = self._for_workers(snapshot, self.drained)
        moment = time.time()
        now = unexpired(directory, expires, moment)
        if now.tenants == self.directory.tenants and not overdue(self.directory, self.expires, moment):
            part = pack(effective, exchanged(before, unexpired(replace(now, consumers=one(after)), expires, moment)))
        else:
            _, part = await self.aside.do(parcels, effective, self.directory, now)
        whole = partial(self.aside.do, pack, effective, now)
        error = await self.supervisor.adopt(whole, part, snapshot.hash)
        if error:
            return error
        self._summed = (directory, total)
        self.snapshot, self.directory, self.whole, self.made, self.expires = snapshot, now, directory, made, expires
        self._key_names = {**self._key_names, **{k.digest: k.id for k in told}}
        for call in self.on_adopted:
            call()
        return ""

    async def _expire(self) -> None:
        """Nobody gets in any more with keys whose time is up."""
        async with self._loading:
            now = unexpired(self.whole, self.expires, time.time())
            left = {d for c in now.consumers for d in c.digests}
            gone = [(c.name, d) for c in self.directory.consumers for d in c.digests if d not in left]
            if not gone:
                return
            parts = await self.aside.do(parcels, self._effective(), self.directory, now)
            error = await self.supervisor.adopt(*parts, self.snapshot.hash)
            if error:
                say("key.not_expired", error=error)  # asked again in a second
                return
            self.directory = now
            for name, d in gone:
                say("key.expired", consumer=name, key=self._key_names.get(d) or d[:4].hex())

    def _live(
        self, new: Snapshot, directory: Directory, expires: Mapping[bytes, float]
    ) -> tuple[Snapshot, tuple[str, ...]]:
        """The new configuration with what needs a restart left as it is, and the names of that."""
        running = self.snapshot.gateway
        waiting = tuple(name for name, part in RESTART.items() if part(new.gateway) != part(running))
        if not waiting:
            return new, ()
        tls = running.admin.tls if "gateway.admin.tls" in waiting else new.gateway.admin.tls
        admin = replace(new.gateway.admin, host=running.admin.host, port=running.admin.port, tls=tls)
        gateway = replace(new.gateway, listen=running.listen, admin=admin, workers=running.workers,
                          core_dumps=running.core_dumps)  # fmt: skip
        effective = replace(new, gateway=gateway)
        return replace(effective, hash=fingerprint(effective, directory, expires)), waiting

    # ------------------------------------------------------------------ told from outside

    async def restart(self) -> str:
        """Replace all workers, one at a time. Empty, or what was in the way."""
        error = await self.supervisor.roll(self.snapshot.gateway.drain_s)
        say("restart.refused" if error else "restarted", **({"error": error} if error else {}))
        return error

    async def revoke(self, consumer: str, key: str, by: str, tenant: str = "") -> dict[str, Any] | str:
        """Let nobody in with this key any more. What came of it, or what is wrong. Waits for no reload or restart."""
        entry = next((c for c in self._of(tenant) if c.name == consumer), None)
        if entry is None:
            near = get_close_matches(consumer, [c.name for c in self._of(tenant)], 1)
            return f'no consumer is called "{consumer}"' + (f'; did you mean "{near[0]}"?' if near else "")
        known = revoked.names(entry.digests, self._key_names)
        if key not in known:
            return f'{consumer} has no key "{key}". Its keys: {", ".join(known) or "none"}'
        one = revoked.Revoked(known[key].hex(), consumer, key, by, now_utc())
        kept, silent = await self._revoke({known[key]: one})
        say("key.revoked", consumer=consumer, key=key, by=by, kept=kept, **({"silent": silent} if silent else {}))
        return {"consumer": consumer, "key": key, "kept": kept, "silent": silent}

    async def _revoke(self, new: dict[bytes, revoked.Revoked]) -> tuple[bool, list[int]]:
        """Whether they are written down, and which workers did not say in time that they know."""
        self.revoked = {**new, **self.revoked}
        telling = asyncio.ensure_future(self.supervisor.revoke([d.hex() for d in new]))
        try:
            async with self._keeping:
                await asyncio.to_thread(revoked.keep, self.settings.data, list(self.revoked.values()))
            kept = True
        except OSError as e:
            say("key.not_kept", error=(e.strerror or "error").lower())
            kept = False
        return kept, await telling

    async def _carry(self, loaded: Loaded) -> None:
        """Another secret is the first: keys that the configuration refers to have other digests now."""
        if not self.revoked or loaded.document is None or loaded.directory is None:
            return
        held = {
            name: tuple(k for k in keys_of(spec) if isinstance(k, Secret))
            for name, spec in loaded.document.consumers.items()
        }
        new = {bytes.fromhex(one.digest): one for one in revoked.moved(self.revoked, loaded.directory, held)}
        if new:
            await self._revoke(new)

    def _refused(self, entries: Entries) -> None:
        if self.log is not None:
            self.log.take(entries.entries, entries.dropped)
        for call in self.on_refused:
            call(entries.entries)

    def watch_refused(self, for_s: float) -> None:
        """For so long, workers tell of requests that they refuse, whether or not there is an access log."""
        for worker in self.supervisor.workers:
            worker.tell("watch", for_s)

    async def drain(self, deployment: str, away: bool) -> str:
        """Take a deployment (instance/deployment) out of its pools, or bring it back. Empty, or what is wrong."""
        async with self._loading:
            known = drained.labels(self.snapshot)
            if deployment not in known and (away or deployment not in self.drained):
                near = get_close_matches(deployment, known, 1)
                return f'no deployment is called "{deployment}"' + (f'; did you mean "{near[0]}"?' if near else "")
            wanted = self.drained | {deployment} if away else self.drained - {deployment}
            effective = self._for_workers(self.snapshot, wanted)
            whole = pack(effective, self.directory)
            error = await self.supervisor.adopt(whole, pack(effective, None), self.snapshot.hash)
            if error:
                return error
            self.drained = wanted
            try:
                drained.keep(self.settings.data, wanted)
            except OSError as e:
                return f"in force, but not kept: the next start forgets it ({(e.strerror or 'error').lower()})"
            say("drained" if away else "undrained", deployment=deployment)
            if not away:
                self.over("region.mismatch", deployment)
            return ""

    def _away(self, names: frozenset[str]) -> None:
        """What is drained has other names now."""
        if names != self.drained:
            self.drained = names
            try:
                drained.keep(self.settings.data, names)
            except OSError as e:
                say("drain.not_kept", error=(e.strerror or "error").lower())

    def _place(self) -> None:
        """Reports by subscription and tier need to know what was declared when."""
        if self._document is None:
            return
        data = self.settings.data
        try:
            if self._places is None:
                self._places = places.known(data)
            if self._places.note(places.now(self._document, self.snapshot), time.time()):
                self._places.write(data)
        except (Wrong, OSError) as e:
            self._places = None  # read again with the next change
            say("places.not_kept", error=e.what if isinstance(e, Wrong) else (e.strerror or "error").lower())

    def _configure_log(self) -> None:
        if self.log is not None:
            self.log.configure(self.settings.telemetry.access_log)

    def _effective(self) -> Snapshot:
        return self._for_workers(self.snapshot, self.drained)

    def _for_workers(self, snapshot: Snapshot, away: Iterable[str]) -> Snapshot:
        """What workers get. Identities are called by the numbers that their tokens have."""
        numbers = [0, *(self.credentials.number(i) if self.credentials else 0 for i in snapshot.identities)]
        return for_workers(snapshot, away, numbers)

    def _numbers(self, snapshot: Snapshot, shown: bool = False) -> set[int]:
        """Of identities that are shown to directories only, by the keeper; `shown`: of those shown to instances."""
        if self.credentials is None:
            return set()
        instances = {i.auth.identity for i in snapshot.instances}
        places = instances if shown else {i.groups_by for i in snapshot.issuers} - instances
        return {self.credentials.number(snapshot.identities[place - 1]) for place in places if place}

    def _ask_directories(self) -> None:
        """As the configuration in force says."""
        self._own = self._numbers(self.snapshot)
        if self.groups is not None and self.credentials is not None:
            self.groups.adopt(
                self.snapshot.issuers, [0, *(self.credentials.number(i) for i in self.snapshot.identities)]
            )

    def _supply(self, token: Token) -> None:
        """There is another token, or none any more."""
        if self.groups is not None:
            self.groups.take(token)
        if token.number not in self._own:
            self.supervisor.supply(token)

    def _no_token(self, identity: str, why: str) -> None:
        """There is no token, or no new one, and why; empty: there is again."""
        if why:
            self.alarm("upstream.credential", identity, why)
        else:
            self.over("upstream.credential", identity)

    def _rejected(self, told: Rejected) -> None:
        """A deployment does not take what we show it."""
        if told.identity:
            if self.credentials is not None:
                self.credentials.rejected(told.identity, told.version)
        elif self.watched.stirred() and not self._loading.locked():  # a key that is being rotated
            self._go(self.reload(only_if_new=True))

    def _remember(self) -> None:
        self.home.remember(w.pid for w in self.supervisor.workers)

    def _hang_up(self) -> None:
        for call in self.on_hangup:
            call()
        self._go(self.reload())

    def _hurry(self) -> None:
        for worker in self.supervisor.workers:
            worker.kill()

    async def _lend(self) -> None:
        """Who waits for a share of a limit waits for a moment only."""
        while True:
            await asyncio.sleep(TICK_S)
            self.supervisor.lending.tick()

    async def _look(self) -> None:
        """Once a second: files that changed, children that ended unseen, certificates that end."""
        self.validity.take(self.snapshot.gateway)
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                self.supervisor.reap()
                self.alerts.tick()
                self.validity.look(time.time(), self.alarm, self.over)
                if self.expires and overdue(self.directory, self.expires, time.time()):
                    await self._expire()
                if self.watched.changed():
                    await self.reload(only_if_new=True, by="its files")
            except Exception as bug:  # told; keys have to end, and files to be seen, all the same
                asyncio.get_running_loop().call_exception_handler(
                    {"message": "keeper: a look failed", "exception": bug}
                )

    async def _read_vaults(self, vault: Vault) -> None:
        """Secrets of key vaults, read again now and then; another value is another configuration."""
        while True:
            await asyncio.sleep(LOOK_S)
            if not vault.due():
                continue
            changed = await asyncio.to_thread(vault.read_again)
            for reference, why in vault.failing.items():
                say("keyvault.failing", secret=reference, error=why)
            if changed and self.source["kind"] == "files":
                await self.reload(only_if_new=True)

    async def _watch(self) -> None:
        """Workers that stand still."""
        while True:
            await asyncio.sleep(WATCH_S)
            await self.supervisor.look_alive()

    def _go(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def now_utc() -> str:
    """The moment, to the second."""
    return utc(time.time())


def say(event: str, **facts: Any) -> None:
    """One line of JSON on stderr, with the time: a file that catches it knows none."""
    try:
        print(json.dumps({"event": event, **facts, "time": utc(time.time())}), file=sys.stderr, flush=True)
    except OSError:  # nobody reads it any more: no reason to stop
        pass
