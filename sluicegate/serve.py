"""What `sluicegate serve` is: the keeper, and what lives beside it. main.py loads this file for that verb alone."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import click

from sluicegate.admin.base import Wrong
from sluicegate.admin.ledger import Tail
from sluicegate.admin.plane import Beside as Shown
from sluicegate.admin.plane import Plane
from sluicegate.core.booked import Settled, Unusable
from sluicegate.core.entry import Entry
from sluicegate.identity.door import Issuers
from sluicegate.identity.fetch import Unreachable as IssuerUnreachable
from sluicegate.identity.published import Published
from sluicegate.keeper import drained, revoked
from sluicegate.keeper.audit import Audit, Unwritable
from sluicegate.keeper.credentials import Credentials
from sluicegate.keeper.facts import facts
from sluicegate.keeper.groups import Groups
from sluicegate.keeper.home import Home, Taken
from sluicegate.keeper.keeper import Beside, Keeper, say
from sluicegate.keeper.mover import Moving
from sluicegate.keeper.parts import Compiled
from sluicegate.keeper.people import People
from sluicegate.keeper.sockets import CannotListen, anonymous, listen
from sluicegate.keeper.supervisor import regions
from sluicegate.link.bugs import place, tell
from sluicegate.link.counters import Board, Samples
from sluicegate.link.sealed import seal
from sluicegate.spec.load import Loaded
from sluicegate.stores.sqlite.directory import DIRECTORY, Directory
from sluicegate.stores.sqlite.ledger import Ledger
from sluicegate.stores.sqlite.reader import Reader
from sluicegate.stores.sqlite.schema import LEDGER
from sluicegate.telemetry import accesslog, prometheus
from sluicegate.telemetry.accesslog import AccessLog
from sluicegate.telemetry.alerts import Poster
from sluicegate.upstream.credentials.keyvault import Vault
from sluicegate.upstream.credentials.sources import Sources
from sluicegate.upstream.credentials.token import Failed
from sluicegate.upstream.fetch import Unreachable, fetch
from sluicegate.upstream.tls import Contexts


class Book:
    """The audit log, as the admin plane knows it."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit
        self.alarms: Keeper | None = None
        "Who is told whether it can be written: the keeper, once there is one."

    async def write(self, what: str, facts: Mapping[str, Any]) -> int:
        try:
            number = await asyncio.to_thread(self._audit.append, what, dict(facts))
            if self.alarms is not None:
                self.alarms.over("audit.failing", "audit")
            return number
        except Unwritable as e:
            if self.alarms is not None:
                self.alarms.alarm("audit.failing", "audit", str(e))
            raise Wrong(503, f"nothing is changed: it cannot be written down ({e})") from None

    def read(self, after: int, most: int) -> tuple[list[dict[str, Any]], bool]:
        return self._audit.page(after, most)

    def verified(self) -> dict[str, Any]:
        head, flaws = self._audit.verified()
        told = [{"line": flaw.line, "what": flaw.what} for flaw in flaws]
        return {"whole": not told, "seq": head.seq, "hash": head.hash, "flaws": told}


class Outside:
    """Whom the keeper asks over the network: issuers, and directories of groups."""

    def __init__(self) -> None:
        self._contexts = Contexts()

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, ca: str | None) -> tuple[int, bytes]:
        """As identity/ asks for it."""
        try:
            answer = await fetch("POST", url, headers, body, contexts=self._contexts, ca=ca)
        except Unreachable as e:
            raise IssuerUnreachable(str(e)) from None
        return answer.status, answer.body

    async def directory(
        self, url: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Mapping[str, str], bytes]:
        """As keeper/groups.py asks. 11,000 groups are 430 KB."""
        answer = await fetch("POST", url, headers, body, contexts=self._contexts, largest=1024 * 1024)
        return answer.status, answer.headers, answer.body


def serve(
    loaded: Loaded,
    compile_: Callable[[], Loaded],
    files: Sequence[str],
    sent: Compiled | None,
    sources: Sources,
    vault: Vault,
    ledger: Callable[[str], Reader],
) -> int:
    """Be the keeper until told to leave. The exit status. Raises ClickException where it cannot begin."""
    assert loaded.snapshot is not None
    gateway = loaded.snapshot.gateway
    if not gateway.core_dumps:
        seal()
    try:
        home = Home(gateway.data)
        drained.load(gateway.data)
        revoked.load(gateway.data)
        people = People(Directory(os.path.join(gateway.data, DIRECTORY)), gateway.data)
        audit = Audit(gateway.data, lambda head: say("audit.anchor", seq=head.seq, hash=head.hash))
        sockets = listen(gateway.listen, gateway.workers, shared=bool(home.orphans))
    except (CannotListen, Taken, Unusable, Unwritable, ValueError) as e:
        raise click.ClickException(str(e)) from None
    except OSError as e:
        what = f"cannot use gateway.data {gateway.data}: {(e.strerror or 'error').lower()}"
        raise click.ClickException(what) from None

    async def run() -> int:
        with anonymous("counters") as shared:
            board = Board(shared.fileno(), regions(gateway.workers))

            def samples() -> Samples:
                return board.read(keeper.supervisor.live_regions())

            def page() -> str:
                return prometheus.render(samples(), facts(keeper, mover))

            tail = Tail()

            def settled(records: Sequence[Settled]) -> None:
                log.settled(records)
                if tail.wanted:
                    tail.take([
                        accesslog.encoded(accesslog.line(r, keeper.consumer(r.consumer), keeper.deployment))
                        for r in records
                    ])  # fmt: skip

            def refused(entries: Sequence[Entry]) -> None:
                if tail.wanted:
                    tail.take([accesslog.encoded(accesslog.refused(e, keeper.consumer(e.consumer))) for e in entries])

            log = AccessLog(lambda number: keeper.consumer(number), lambda number: keeper.deployment(number))
            loop = asyncio.get_running_loop()

            def told(event: str, **facts: Any) -> None:
                """By the mover, in a thread of its own."""
                say(event, **facts)
                if event == "ledger.gone":
                    what = "its file was moved or removed; another one is begun with what the journals hold"
                    loop.call_soon_threadsafe(keeper.alarm, "ledger.failing", "ledger", what)
                    loop.call_soon_threadsafe(keeper.over, "ledger.failing", "ledger")
                elif event == "ledger.failing":
                    loop.call_soon_threadsafe(keeper.alarm, event, "ledger", str(facts["error"]))
                elif event == "journal.damaged":
                    loop.call_soon_threadsafe(keeper.alarm, event, str(facts["segment"]), "a part cannot be read")
                elif event == "ledger.well":
                    loop.call_soon_threadsafe(keeper.over, "ledger.failing", "ledger")

            mover = Moving(
                os.path.join(gateway.data, "journal"), partial(Ledger, os.path.join(gateway.data, LEDGER)),
                (Unusable,), lambda: keeper.settings.retention, told, on_moved=settled,
                tariffs=lambda: keeper.tariffs(),
            )  # fmt: skip
            book = Book(audit)
            outside = Outside()
            published = Published(gateway.data, say)
            issuers = Issuers(outside.post, published.sets, published.lacks, time.time, time.monotonic)
            shown = Shown(page, prometheus.CONTENT_TYPE, samples, ledger, tail, book, issuers)
            beside: list[Beside] = [mover, Plane(shown)]
            keeper = Keeper(
                loaded, home, sockets, compile_, files, beside, shared.fileno(), log, sent, Poster(say), published,
                Credentials(sources.fetch, Failed), people, audit, vault, Groups(outside.directory, Unreachable),
            )  # fmt: skip
            book.alarms = keeper
            keeper.on_refused.append(refused)
            tell(lambda bug: say("bug", kind=type(bug).__name__, place=place(bug)))
            return await keeper.run()

    try:
        return asyncio.run(run())
    finally:
        audit.close()
        people.close()
        home.close()
