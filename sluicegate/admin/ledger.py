"""Usage and requests, from the ledger, and requests as they end.

The ledger is read beside the gateway's own work, in a thread and over a connection of its own. A tail is made from the
same lines as the access log: a request that was let in is there about half a second after its end, one that was
refused at once. Who takes them too slowly misses some, and is told how many.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

from sluicegate.admin.base import Asked, Route, Stream, Wrong
from sluicegate.admin.shapes import ledger as shapes
from sluicegate.core.booked import Unusable
from sluicegate.spec.accounts import BY, MOST, STATES, Names, Unclear, minute, named, span, usage_of
from sluicegate.spec.residency import counted, evidence

AT_ONCE = 2
"""Questions that read the ledger: each may go through all of it, in threads that what is written down needs, too."""

WAITING = 1000
"""Lines that one tail may be behind."""
COMMENT_S = 10.0
"""After so long without a request a comment says that the connection lives."""
REFUSED_S = 5.0
"""How often workers are reminded that somebody wants to see refused requests."""

FILTERS = ("consumer", "tenant", "model", "deployment", "state", "reason", "status")


class Tail:
    """Who listens. `lines` come from any thread."""

    def __init__(self) -> None:
        self._queues: dict[asyncio.Queue[bytes], int] = {}
        "With how many lines each has missed."
        self._loop: asyncio.AbstractEventLoop | None = None
        self.remind: Callable[[], None] = lambda: None
        "Called while somebody listens."

    @property
    def wanted(self) -> bool:
        """Whether anybody listens."""
        return bool(self._queues)

    def take(self, lines: list[bytes]) -> None:
        """Requests that are over, each a line of JSON."""
        loop = self._loop
        if loop is not None and self._queues and lines:
            loop.call_soon_threadsafe(self._put, lines)

    def _put(self, lines: list[bytes]) -> None:
        for queue in self._queues:
            for line in lines:
                try:
                    queue.put_nowait(line)
                except asyncio.QueueFull:
                    self._queues[queue] += 1

    async def listen(self) -> AsyncIterator[bytes]:
        """Server-sent events: `request`, and `missed` with a count."""
        self._loop = asyncio.get_running_loop()
        queue: asyncio.Queue[bytes] = asyncio.Queue(WAITING)
        self._queues[queue] = 0
        try:
            yield b": requests as they end\n\n"
            quiet = 0.0
            while True:
                self.remind()
                try:
                    async with asyncio.timeout(REFUSED_S):
                        line = await queue.get()
                except TimeoutError:
                    quiet += REFUSED_S
                    if quiet >= COMMENT_S:
                        yield b": nothing\n\n"
                        quiet = 0.0
                    continue
                quiet = 0.0
                yield b"event: request\ndata: " + line + b"\n\n"
                if self._queues[queue] and queue.empty():
                    missed, self._queues[queue] = self._queues[queue], 0
                    yield b'event: missed\ndata: {"missed": %d}\n\n' % missed
        finally:
            del self._queues[queue]


class OfTenant:
    """A reader of the ledger for whoever sees one tenant only."""

    def __init__(self, reader: Any, tenant: str) -> None:
        self._reader = reader
        self._tenant = tenant

    def usage(self, since: int, until: int, by: Sequence[str]) -> list[Any]:
        """Sums of that tenant: what many others have does not push its own out of what is told one by one."""
        found: list[Any] = self._reader.usage(since, until, by, self._tenant)
        return found

    def told_apart(self, since: int, until: int) -> tuple[int, int]:
        """As it can be told."""
        found: tuple[int, int] = self._reader.told_apart(since, until)
        return found

    def kept_since(self) -> int | None:
        """From when on there are records."""
        since: int | None = self._reader.kept_since()
        return since


def routes(read: Callable[[], Any], data: Callable[[], str], tail: Tail) -> list[Route]:
    """Resources of this file. `read` opens the ledger."""

    async def usage(asked: Asked) -> Any:
        by = tuple(dict.fromkeys(asked.query.by)) or ("consumer",)
        for key in by:
            if key not in BY:
                raise Wrong(400, f'by is one of {", ".join(BY)}, not "{key[:64]}"')
        during = span(asked.query.since, asked.query.until, datetime.now(UTC))
        tenant = asked.who.tenant

        def summed() -> dict[str, Any]:
            with closing(read()) as reader:
                return usage_of(OfTenant(reader, tenant) if tenant else reader, by, during, Names(data()))

        return await asyncio.to_thread(summed)

    async def evidence_of(asked: Asked) -> Any:
        during = span(asked.query.since, asked.query.until, datetime.now(UTC))

        def found() -> dict[str, Any]:
            names = Names(data())
            with closing(read()) as reader:
                records = (named(r, names) for r in reader.between(during.begin, during.end, asked.query.tenant))
                return {"since": minute(during.begin), "until": minute(during.end), **counted(evidence(records))}

        return await asyncio.to_thread(found)

    async def requests(asked: Asked) -> Any:
        query = asked.query
        if not 1 <= query.last <= MOST:
            raise Wrong(400, f"last is from 1 to {MOST}")
        for state in query.state:
            if state not in STATES:
                raise Wrong(400, f'state is one of {", ".join(STATES)}, not "{state[:64]}"')
        given = {key: getattr(query, key) for key in FILTERS if getattr(query, key)}
        tenant = asked.who.tenant
        if tenant and tenant not in given.setdefault("tenant", [tenant]):
            return {"requests": []}
        if tenant:
            given["tenant"] = [tenant]

        def listed() -> dict[str, Any]:
            names = Names(data())
            try:
                wanted = {key: names.numbers(key, values) for key, values in given.items()}
            except Unclear:
                if tenant:  # it says who there is
                    return {"requests": []}
                raise
            with closing(read()) as reader:
                return {"requests": [named(r, names) for r in reader.requests(query.last, wanted)]}

        return await asyncio.to_thread(listed)

    async def one(asked: Asked) -> Any:
        def found() -> dict[str, Any] | None:
            with closing(read()) as reader:
                record = reader.record(asked.path[0].lower())
            return None if record is None else named(record, Names(data()))

        record = await asyncio.to_thread(found)
        if record is None or not asked.who.sees(record["tenant"]):
            raise Wrong(404, "no such request in the ledger: refused before admission, too old, or not there yet")
        return record

    async def live(asked: Asked) -> Any:
        return Stream(tail.listen())

    few = asyncio.Semaphore(AT_ONCE)

    def told(handler: Callable[[Asked], Any]) -> Callable[[Asked], Any]:
        async def answered(asked: Asked) -> Any:
            try:
                async with few:
                    return await handler(asked)
            except Unclear as e:
                raise Wrong(400, str(e)) from None
            except OverflowError:
                raise Wrong(400, "a time or a number is out of range: years from 1970 to 9998") from None
            except Unusable as e:
                raise Wrong(503, str(e)) from None

        return answered

    lost = {503: "the ledger cannot be read"}
    return [
        Route("GET", "/v1/usage", "tenant", told(usage), "What was used, in tokens and money; whole minutes.",
              query=shapes.UsageAsked, answers=shapes.Usage, errors=lost, id="usage"),
        Route("GET", "/v1/residency/report", "viewer", told(evidence_of),
              "Where calls were processed, as it was declared and as answers named it.",
              query=shapes.EvidenceAsked, answers=shapes.Evidence, errors=lost, id="residency_report"),
        Route("GET", "/v1/requests", "tenant", told(requests), "The last requests that were let in, newest first.",
              query=shapes.RequestsAsked, answers=shapes.Requests, errors=lost, id="requests"),
        Route("GET", "/v1/requests/tail", "viewer", live,
              "Requests as they end, refused ones too: server-sent events `request` with a line as in the access log, "
              "and `missed` with a count where somebody read too slowly.", content_type="text/event-stream",
              errors={503: "16 tails are open already"}, id="requests_tail"),
        Route("GET", "/v1/requests/{id}", "tenant", told(one), "One request, with attempts and decisions.",
              answers=dict, errors={404: "no such request", **lost}, id="request"),
    ]  # fmt: skip
