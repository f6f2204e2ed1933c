"""What the keeper tells who asks: the half of it that only looks."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sluicegate import __version__
from sluicegate.core.caller import Callers
from sluicegate.core.explain import Unknown, key_of
from sluicegate.core.pricing import Tariffs
from sluicegate.core.settings import Gateway, Prices
from sluicegate.core.snapshot import ConsumerEntry, Directory, Model, Snapshot
from sluicegate.core.whose import NoQuestion, principal, whose
from sluicegate.keeper import drained, revoked
from sluicegate.keeper.alerts import Alerts
from sluicegate.keeper.aside import Aside
from sluicegate.keeper.credentials import Credentials
from sluicegate.keeper.parts import Compiled
from sluicegate.keeper.revoked import Revoked
from sluicegate.keeper.supervisor import Supervisor
from sluicegate.spec.diff import compare, grant, seen, told, words
from sluicegate.spec.diff import pack as pack_told
from sluicegate.spec.language import Document
from sluicegate.spec.moments import utc
from sluicegate.spec.problems import plain, render
from sluicegate.spec.residency import prove


class Questions:
    """What is in force, as whoever asks is told it. Plain data, nothing secret; nothing here changes anything."""

    snapshot: Snapshot
    "As it is declared; what is drained is still in its pools here."
    whole: Directory
    "As it is declared, with keys whose time is up."
    directory: Directory
    "In force."
    expires: dict[bytes, float]
    "Until when keys hold, by digest."
    revoked: dict[bytes, Revoked]
    "By digest."
    drained: frozenset[str]
    made: frozenset[str]
    "Names of consumers that no file declares."
    source: dict[str, Any]
    "Where the configuration in force came from."
    began: float
    sockets: Sequence[socket.socket]
    supervisor: Supervisor
    alerts: Alerts
    credentials: Credentials | None
    aside: Aside

    _document: Document | None
    _key_names: Mapping[bytes, str]
    _sent: Compiled | None

    def __init__(self) -> None:
        self._named: Directory | None = None
        self._names: dict[int, str] = {}
        self._labelled: Snapshot | None = None
        self._labels: dict[int, str] = {}
        self._table: tuple[Directory, Callers] | None = None
        self._tariffs: tuple[Prices, Tariffs] | None = None

    async def check(self, texts: Sequence[tuple[str, bytes]], base: str) -> dict[str, Any]:
        """Everything that is wrong with a configuration that somebody sends."""
        assert self._sent is not None
        loaded = await self.aside.do(self._sent, texts, base, False)
        valid = loaded.snapshot is not None and not loaded.problems.fatal
        report = render(loaded.problems)
        return {
            "valid": valid,
            "config": loaded.hash if valid else "",
            "problems": plain(loaded.problems),
            "report": report,
        }

    async def diff(self, texts: Sequence[tuple[str, bytes]], base: str) -> dict[str, Any]:
        """What a configuration that somebody sends would change, if it is valid; `report` says what is wrong."""
        assert self._sent is not None and self._document is not None
        document, directory, config = self._document, self.directory, self.snapshot.hash
        loaded = await self.aside.do(self._sent, texts, base, False)
        if loaded.problems.fatal or loaded.document is None or loaded.directory is None:
            report = render(loaded.problems, "nothing was compared")
            return {"valid": False, "before": config, "after": "", "changes": [], "words": "", "report": report}
        new, new_directory = loaded.document, loaded.directory
        before = await self.aside.do(told, document, directory, config)
        after = await self.aside.do(told, new, new_directory, loaded.hash)
        changes = compare(before, after)
        shown = [{"names": list(c.names), "what": c.what, "effect": c.effect} for c in changes]
        return {
            "valid": True, "before": config, "after": loaded.hash, "changes": shown, "words": words(changes),
            "report": render(loaded.problems),
        }  # fmt: skip

    def subscription(self, instance: str) -> str:
        """That an instance says it belongs to; empty: none."""
        found = self._document.instances.get(instance) if self._document is not None else None
        return "" if found is None else found.subscription

    def told_credentials(self) -> list[dict[str, Any]]:
        """Identities whose tokens are shown upstream: plain data, no token."""
        if self.credentials is None:
            return []
        told = {}
        for place, identity in enumerate(self.snapshot.identities, 1):
            names = [i.name for i in self.snapshot.instances if i.auth.identity == place]
            told[self.credentials.number(identity)] = names
        return [
            {"instances": told[number], **state}
            for number, state in self.credentials.states().items()
            if number in told
        ]  # fmt: skip

    def told_alerts(self) -> dict[str, Any]:
        """What is the matter, and what was: plain data."""
        return self.alerts.told()

    @property
    def settings(self) -> Gateway:
        """Of the process itself."""
        return self.snapshot.gateway

    def status(self) -> dict[str, Any]:
        """How the gateway is: plain data."""
        workers = []
        for worker in sorted(self.supervisor.workers, key=lambda w: (w.seat.number, w.began)):
            workers.append({
                "seat": worker.seat.number, "pid": worker.pid, "state": worker.state, "config": worker.config,
                "restarts": worker.seat.restarts, "up_s": round(time.monotonic() - worker.began, 1),
            })  # fmt: skip
        gateway = self.settings
        return {
            "name": gateway.name, "region": gateway.region, "version": __version__, "pid": os.getpid(),
            "up_s": round(time.time() - self.began, 1), "config": self.snapshot.hash,
            "listen": f"{gateway.listen.host}:{self.sockets[0].getsockname()[1] if self.sockets else 0}",
            "models": len(self.snapshot.models), "deployments": len(self.snapshot.deployments),
            "consumers": len(self.directory.consumers), "drained": sorted(self.drained),
            "revoked": len(self.revoked), "source": self.source, "workers": workers,
            "alerts": len(self.alerts.matters),
        }  # fmt: skip

    async def declared(self) -> bytes:
        """The configuration in force as `sluicegate diff` compares it with files: without consumers that no file
        declares. No secret is in it."""
        document, whole, config, made = self._document, self.whole, self.snapshot.hash, self.made
        assert document is not None
        of_files = replace(whole, consumers=tuple(c for c in whole.consumers if c.name not in made)) if made else whole
        return await self.aside.do(lambda: pack_told(told(document, of_files, config)))

    async def residency(self) -> dict[str, Any]:
        """The proof that nothing leaves its boundary, of what is in force."""
        document, snapshot, away = self._document, self.snapshot, self.drained
        assert document is not None
        return await asyncio.to_thread(prove, document, snapshot, away)

    async def effective(self) -> dict[str, Any]:
        """What is in force: every field of every object as it would be written, secrets as ***."""
        document, directory, config = self._document, self.directory, self.snapshot.hash
        assert document is not None
        found = await self.aside.do(told, document, directory, config)
        objects = {path: {name: seen(text) for name, text in of.items()} for path, of in found.objects.items()}
        return {"config": config, "source": self.source, "objects": objects}

    async def consumers(
        self, after: str, most: int, tenant: str = "", name: str = ""
    ) -> tuple[list[dict[str, Any]], bool]:
        """By name, those after this one; and whether there are more. Of one tenant, of one name, or all."""
        found = sorted((c for c in self._of(tenant) if c.name > after and name in ("", c.name)), key=lambda c: c.name)
        shown = [
            {"name": c.name, "tenant": c.tenant, "models": list(c.models), "grant": grant(c), "keys": self._keys(c),
             "origin": "api" if c.name in self.made else "file"}
            for c in found[:most]
        ]  # fmt: skip
        return shown, len(found) > most

    def _of(self, tenant: str) -> Iterable[ConsumerEntry]:
        """Consumers of one tenant; empty: all."""
        return (c for c in self.directory.consumers if tenant in ("", c.tenant))

    async def keys(self, consumer: str, after: str, most: int, tenant: str = "") -> tuple[list[dict[str, Any]], bool]:
        """Of consumers after this one, or of one: every key, declared or revoked; and whether there are more. Of one
        tenant, revoked keys of consumers that are gone are not shown: nobody knows whose they were."""
        rows: dict[tuple[str, str], dict[str, Any]] = {}
        every = (c for c in self.whole.consumers if tenant in ("", c.tenant))
        declared = {c.name: c for c in every if c.name > after and consumer in ("", c.name)}
        before = [] if tenant else [r.consumer for r in self.revoked.values() if r.consumer > after]
        names = sorted({*declared, *before})
        names = [name for name in names if consumer in ("", name)]
        shown = set(names[:most])
        for gone in self.revoked.values():
            if gone.consumer in shown:
                rows[gone.consumer, gone.key] = {
                    "consumer": gone.consumer, "key": gone.key, "revoked": True, "declared": False, "by": gone.by,
                    "at": gone.at, "expires": "",
                }  # fmt: skip
        for name in shown & declared.keys():
            c = declared[name]
            for key, digest in revoked.names(c.digests, self._key_names).items():
                was = self.revoked.get(digest)
                rows[c.name, key] = {
                    "consumer": c.name, "key": key, "revoked": was is not None, "declared": True,
                    "by": was.by if was else "", "at": was.at if was else "",
                    "expires": utc(self.expires.get(digest, 0.0)),
                }  # fmt: skip
        return [rows[at] for at in sorted(rows)], len(names) > most

    def _keys(self, consumer: ConsumerEntry) -> list[str]:
        names = revoked.names(consumer.digests, self._key_names)
        return [name for name, digest in names.items() if digest not in self.revoked]

    async def pools(self) -> list[dict[str, Any]]:
        """Every model's deployments, in the order in which they are tried, with what each worker sees of them."""
        instances = {i.number: i.name for i in self.snapshot.instances}
        deployments = {d.number: d for d in self.snapshot.deployments}
        seen = await self.supervisor.ask("pools")
        found = []
        for model in self.snapshot.models:
            members = []
            for number in model.deployments:
                d = deployments[number]
                label = f"{instances[d.instance]}/{d.name}"
                states = [{"worker": w.pid, **answer[label]} for w, answer in seen if label in answer]
                members.append({
                    "deployment": label, "model": f"{d.model}@{d.version}", "sku": d.sku, "tier": d.tier,
                    "drained": label in self.drained, "workers": states,
                })  # fmt: skip
            found.append({"model": model.name, "balance": model.balance, "deployments": members})
        return found

    async def explain(self, question: Any) -> dict[str, Any] | str:
        """What would become of a request, by each worker; who of them did not answer. Or what is wrong with it."""
        if isinstance(question, dict) and ("claims" in question or "certificate" in question):
            try:
                found = await asyncio.to_thread(lambda: whose(self._callers(), principal(question)))
            except NoQuestion as e:
                return str(e)
            return {"workers": [], "silent": [], "match": found}
        name = question.get("consumer") if isinstance(question, dict) else None
        if not isinstance(name, str):
            return "the question names no consumer"
        directory = self.directory
        if self.revoked:
            gone = set(self.revoked)
            left = [replace(c, digests=tuple(d for d in c.digests if d not in gone)) for c in directory.consumers
                    if c.name == name]  # fmt: skip
            directory = replace(directory, consumers=tuple(left)) if left else directory
        try:
            key = await asyncio.to_thread(key_of, name, directory)
        except Unknown as e:
            return str(e)
        away = {n for label, n in drained.labels(self.snapshot).items() if label in self.drained}
        out = {m.name: [n for n in members(m) if n in away] for m in self.snapshot.models} if away else {}
        ready = {w.pid for w in self.supervisor.workers if w.state == "ready"}
        question = {**question, "key": key.hex(), "drained": out, "rests": {}}
        answers = await self.supervisor.ask("explain", question)
        for _, answer in answers:
            if "error" in answer:
                return str(answer["error"])
        # What the others have of a limit a worker learns when it asks for it: a second question brings it along.
        rests = self.supervisor.lending.elsewhere({worker.pid: answer["limits"] for worker, answer in answers})
        if rests:
            workers = [worker for worker, _ in answers]
            again = await asyncio.gather(
                *(w.ask("explain", {**question, "rests": rests.get(w.pid, {})}) for w in workers)
            )
            answers = [(w, a) for w, a in zip(workers, again, strict=True) if a is not None and "error" not in a]
        if not answers:
            return "no worker answers"
        told = [{"worker": worker.pid, "seat": worker.seat.number, **answer} for worker, answer in answers]
        return {"workers": told, "silent": sorted(ready - {worker.pid for worker, _ in answers})}

    def _callers(self) -> Callers:
        """The table of the directory in force, made when it is first asked: a second for 100,000 consumers."""
        directory = self.directory
        if self._table is None or self._table[0] is not directory:
            self._table = (directory, Callers(directory))
        return self._table[1]

    def _shared(self) -> dict[str, Any]:
        """Where several workers hold one limit: how many, and how much more than the limit they may admit together."""
        workers = len(self.sockets)
        return {"limits": {"shared_by": workers, "over": 0}} if workers > 1 else {}

    def consumer(self, number: int) -> str:
        """The name of a consumer; empty for nobody."""
        if self._named is not self.directory:
            directory = self.directory
            self._names = {c.number: c.name for c in directory.consumers}
            self._named = directory  # last: threads ask, too
        return self._names.get(number, "")

    def deployment(self, number: int) -> str:
        """What a deployment is called: instance/deployment; of one that is not there any more its number."""
        if self._labelled is not self.snapshot:
            snapshot = self.snapshot
            instances = {i.number: i.name for i in snapshot.instances}
            self._labels = {d.number: f"{instances[d.instance]}/{d.name}" for d in snapshot.deployments}
            self._labelled = snapshot
        return self._labels.get(number, f"#{number}")

    def tariffs(self) -> Tariffs:
        """The prices in force."""
        prices = self.snapshot.prices
        held = self._tariffs
        if held is None or held[0] is not prices:
            held = self._tariffs = (prices, Tariffs(prices))
        return held[1]


def members(model: Model) -> tuple[int, ...]:
    """Of a model, those of its rollout among them."""
    return model.deployments + (model.rollout.deployments if model.rollout is not None else ())
