"""The keys that issuers publish, kept in the keeper: fetched ahead of time, never in a request's path.

Fetched hourly, and when a token names a key that is not there, at most once a minute for each source; a source that
fails is tried again each minute, and its last good set holds for `keep_s`. A copy lies in `gateway.data`, so that a
gateway that starts while a provider is down knows its keys all the same. Who can write there can add keys: the folder
is its owner's alone.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import asdict
from random import random
from typing import Any, Final
from urllib.parse import urlsplit

from sluicegate.core.keyset import KeySet
from sluicegate.core.settings import Issuer
from sluicegate.identity.fetch import LARGEST, Unreachable, get
from sluicegate.identity.jose import Malformed, keyset, object_of

KIND: Final = "issuer.keys"
FILE: Final = "issuers.json"
LEAST_S: Final = 60.0
"""Between two fetches from one source."""

LOOK_S: Final = 1.0
JITTER: Final = 0.2
"""Of the time between two fetches, taken off by chance: gateways that started together do not ask together."""

LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")

Get = Callable[[str, str | None], Awaitable[bytes]]
Say = Callable[..., None]


class _Source:
    """One place that keys come from."""

    def __init__(self, issuer: Issuer) -> None:
        self.issuer = issuer
        self.set: KeySet | None = None
        self.due = 0.0
        "When it is fetched next, monotonic."
        self.tried = float("-inf")
        self.error = ""
        "What was said of it last."
        self.stamp: tuple[float, int] | None = None
        "Of a file, as it was read."
        self.busy: asyncio.Task[None] | None = None


class Published:
    """All of them. `on_change` is called with the sets that are new."""

    def __init__(
        self, folder: str, say: Say, on_change: Callable[[Sequence[KeySet]], None] = lambda sets: None,
        fetch: Get = get, now: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time,
        chance: Callable[[], float] = random,
    ) -> None:  # fmt: skip
        self._path = os.path.join(folder, FILE)
        self._say = say
        self.alarm: Callable[[str, str, str], None] = lambda kind, subject, detail: None
        self.over: Callable[[str, str], None] = lambda kind, subject: None
        "Who is told that keys cannot be had, and that they can again."
        self.on_change = on_change
        self._fetch = fetch
        self._now = now
        self._wall = wall
        self._chance = chance
        self._sources: dict[str, _Source] = {}
        self._looking: asyncio.Task[None] | None = None
        self._keeping = asyncio.Lock()
        "One at a time: two would take each other's file away."

    # ------------------------------------------------------------------ told

    async def prepare(self, issuers: Sequence[Issuer]) -> None:
        """Know these too: from the copy on disk, else by asking now, which takes `fetch.WITHIN_S` twice at most."""
        new = [i for i in issuers if i.source not in self._sources]
        for issuer in issuers:
            if issuer.source in self._sources:
                self._sources[issuer.source].issuer = issuer
        kept = await asyncio.to_thread(self._kept) if new else {}
        lacking = []
        for issuer in new:
            source = self._sources.setdefault(issuer.source, _Source(issuer))
            held = kept.get(issuer.source)
            if held is not None and held.until > self._wall():
                source.set = held
            else:
                lacking.append(source)
        await asyncio.gather(*(self._ask(source) for source in lacking))
        if self._sources and self._looking is None:
            self._looking = asyncio.get_running_loop().create_task(self._look())

    def adopt(self, issuers: Sequence[Issuer]) -> None:
        """Only these are of interest now."""
        wanted = {i.source for i in issuers}
        for name in [name for name in self._sources if name not in wanted]:
            source = self._sources.pop(name)
            if source.busy is not None:
                source.busy.cancel()
            if source.error:
                self.over(KIND, source.issuer.name)

    def lacks(self, name: str) -> None:
        """A token names a key that this source has not."""
        source = self._sources.get(name)
        if source is not None:
            source.due = min(source.due, max(self._now(), source.tried + LEAST_S))

    def sets(self) -> list[KeySet]:
        """What is known."""
        return [s.set for s in self._sources.values() if s.set is not None]

    async def stop(self) -> None:
        """Ask nobody any more."""
        tasks = [t for t in (self._looking, *(s.busy for s in self._sources.values())) if t is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._looking = None

    # ------------------------------------------------------------------ by itself

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            self.look()

    def look(self) -> list[asyncio.Task[None]]:
        """Begin with what is due."""
        now = self._now()
        begun = []
        for source in self._sources.values():
            if source.busy is not None and not source.busy.done():
                continue
            changed = source.issuer.kind == "file" and _stamp(source.issuer.source) != source.stamp
            if now >= source.due or changed:
                source.busy = asyncio.get_running_loop().create_task(self._ask(source))
                begun.append(source.busy)
        return begun

    async def _ask(self, source: _Source) -> None:
        issuer = source.issuer
        source.tried = now = self._now()
        source.due = now + LEAST_S
        try:
            data = await self._read(source)
            found = keyset(issuer.source, data, self._wall() + issuer.keep_s)
        except (Unreachable, Malformed) as bad:
            self._failed(source, str(bad))
            return
        source.due = now + max(LEAST_S, issuer.refresh_s * (1.0 - JITTER * self._chance()))
        if source.error:
            self.over(KIND, issuer.name)
            source.error = ""
        source.set = found
        if self._sources.get(issuer.source) is source:
            self.on_change([found])
            async with self._keeping:
                await asyncio.to_thread(self._keep, self.sets())

    def _failed(self, source: _Source, why: str) -> None:
        """Told when it begins or is another trouble, not each minute."""
        if why != source.error:
            held = source.set
            left = max(0.0, held.until - self._wall()) if held is not None else 0.0
            then = f"those known hold for {left / 3600:.1f} h more" if left else "its tokens are refused until then"
            self.alarm(KIND, source.issuer.name, f"keys from {source.issuer.source}: {why}; {then}")
        source.error = why

    async def _read(self, source: _Source) -> bytes:
        issuer = source.issuer
        if issuer.kind == "file":
            source.stamp = _stamp(issuer.source)
            return await asyncio.to_thread(_file, issuer.source)
        if issuer.kind == "set":
            return await self._fetch(issuer.source, issuer.ca)
        told = object_of(await self._fetch(issuer.source, issuer.ca))
        says = told.get("issuer")
        if says not in [form.iss for form in issuer.says]:
            raise Malformed(f"its discovery document is of another issuer ({_shown(says)})")
        where = told.get("jwks_uri")
        if not isinstance(where, str) or not fit(where, loopback=_loopback(issuer.source)):
            raise Malformed(f"its discovery document names no place for keys that can be asked ({_shown(where)})")
        return await self._fetch(where, issuer.ca)

    # ------------------------------------------------------------------ on disk

    def _kept(self) -> dict[str, KeySet]:
        try:
            with open(self._path, "rb") as f:
                found = json.loads(f.read(LARGEST * 16))
            sets = {str(one["source"]): one for one in found}
            kept = {}
            for name, one in sets.items():  # read as if it had been published: the same strictness
                kept[name] = keyset(name, json.dumps({"keys": one["keys"]}).encode(), float(one["until"]))
            return kept
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, KeyError, RecursionError, Malformed):
            self._say("issuer.keys.kept", error=f"{self._path} cannot be read: keys are fetched anew")
            return {}

    def _keep(self, sets: Iterable[KeySet]) -> None:
        try:
            os.makedirs(os.path.dirname(self._path) or ".", mode=0o700, exist_ok=True)
            fd = os.open(f"{self._path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(fd, "w", encoding="utf-8") as f:
                json.dump([asdict(one) for one in sets], f)
            os.replace(f"{self._path}.new", self._path)
        except OSError as e:
            self._say("issuer.keys.kept", error=f"{self._path} cannot be written: {(e.strerror or 'error').lower()}")


def fit(url: str, loopback: bool) -> bool:
    """Whether a provider may send us there: TLS, or plain HTTP on this machine where it is here itself."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return False
    if not host or parts.username is not None or parts.fragment or port == 0 or len(url) > 2048:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and loopback and host in LOOPBACK)


def _loopback(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "http" and (parts.hostname or "") in LOOPBACK


def _file(path: str) -> bytes:
    try:
        with open(path, "rb") as f:
            data = f.read(LARGEST + 1)
    except OSError as e:
        raise Unreachable((e.strerror or "error").lower()) from None
    if len(data) > LARGEST:
        raise Unreachable(f"the file is larger than {LARGEST // 1024} KiB")
    return data


def _stamp(path: str) -> tuple[float, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime, found.st_size


def _shown(value: Any) -> str:
    """What a provider says, in one short line."""
    text = value if isinstance(value, str) else type(value).__name__
    return "".join(c if c.isprintable() else "?" for c in text[:200])
