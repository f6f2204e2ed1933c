"""Consumers and keys that are made while the gateway runs: judged, kept, and in force on all workers or on none.

Every change goes one way, one at a time and beside no reload: what is sent is judged against the configuration in
force; it is kept in the directory store; workers get the difference. If one of them cannot take it, the store gets
back what it had.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from sluicegate.core.booked import Unusable
from sluicegate.core.caller import digest
from sluicegate.core.kept import MOST_KEYS, Kept, KeptKey, Refused, Stale
from sluicegate.core.ports import Directory as Store
from sluicegate.core.snapshot import ConsumerEntry, Directory, TenantEntry
from sluicegate.spec.keys import new_key
from sluicegate.spec.made import Ground, canonical, no_consumer, parsed
from sluicegate.spec.moments import utc
from sluicegate.spec.numbers import Numbers, known
from sluicegate.spec.references import Wrong


class Gateway(Protocol):
    """The keeper, as this file needs it."""

    whole: Directory
    ground: Ground | None
    made: frozenset[str]

    def alone(self) -> asyncio.Lock: ...
    async def take_people(
        self, directory: Directory, made: frozenset[str], keys: Iterable[KeptKey], before: ConsumerEntry | None,
        after: ConsumerEntry | None,
    ) -> str: ...  # fmt: skip


Written = Callable[[dict[str, Any] | None, dict[str, Any] | None], Awaitable[None]]
"""Told what something is and what it will be, before it is so. Raises if that cannot be written down."""


class People:
    """The consumers of one gateway that no file declares."""

    def __init__(self, store: Store, data: str, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._data = data
        self._now = now
        self._numbers: Numbers | None = None
        self.gateway: Gateway
        "Whoever has them: the keeper, which says so itself."

    async def one(self, name: str) -> Kept | None:
        """One of them."""
        return await asyncio.to_thread(self._store.get, name)

    async def every(self) -> list[Kept]:
        """All of them, by name."""
        return list(await asyncio.to_thread(self._store.all))

    async def create(self, name: str, text: dict[str, Any], by: str, tenant: str, note: Written) -> Kept:
        """Make one. `tenant`: the only one that is allowed; empty: any. Raises Refused."""
        async with self.gateway.alone():
            taken = next((c for c in self.gateway.whole.consumers if c.name == name), None)
            if taken is not None or await self.one(name) is not None:
                where = "through the management API" if taken is None or name in self.gateway.made else "in a file"
                hidden = taken is not None and tenant and taken.tenant != tenant
                said = "" if hidden else f" {where}"
                raise Refused("exists", f'"{name}" is declared{said} already: a name belongs to one consumer')
            fields, disabled = _split(text)
            moment = utc(self._now())
            self._labels(fields, tenant)
            kept = Kept(name, _tenant(fields, tenant), canonical(fields), (), disabled, 1, moment, by, moment, by)
            return await self._put(None, kept, note)  # somebody else than who was called so before

    async def change(self, name: str, text: dict[str, Any], expect: int, by: str, tenant: str, note: Written) -> Kept:
        """Other fields for one of them; all it has to say, but for its keys. `expect`: in the place of this version; 0:
        of whatever is there. Raises Refused."""
        async with self.gateway.alone():
            before = await self._mine(name, expect, tenant)
            fields, disabled = _split(text)
            self._labels(fields, tenant)
            kept = replace(before, fields=canonical(fields), tenant=_tenant(fields, tenant), disabled=disabled)
            return await self._put(before, self._next(kept, by), note)

    async def remove(self, name: str, expect: int, tenant: str, note: Written) -> None:
        """Nobody is called so any more. Whoever is made under this name later is somebody else, with another number:
        usage, limits and what belongs to a number are not inherited. Raises Refused."""
        async with self.gateway.alone():
            before = await self._mine(name, expect, tenant)
            await self._replace(before, None, note)

    async def new_key(
        self, name: str, expires: float, by: str, tenant: str, note: Written
    ) -> tuple[Kept, KeptKey, str]:
        """A key for one of them; its text is known to whoever gets this, and to nobody else. Raises Refused."""
        async with self.gateway.alone():
            before = await self._mine(name, 0, tenant)
            now = self._now()
            if 0 < expires <= now:
                what = "is over already"
                raise Refused("invalid", f"/expires: {what}", (("/expires", what, "write a day or a time to come"),))
            live = [k for k in before.keys if not k.disabled and not 0 < k.expires <= now]
            if len(live) >= MOST_KEYS:
                names = " and ".join(k.id for k in live)
                raise Refused("keys", f"{name} has {MOST_KEYS} keys ({names}): remove one of them first")
            called, text = new_key()
            held = {k.id for k in before.keys}
            while called in held:
                called, text = new_key()
            secret = self.gateway.whole.secrets[0]
            key = KeptKey(called, digest(text.encode(), secret), utc(now), by, expires)
            kept = await self._put(before, self._next(replace(before, keys=(*before.keys, key)), by), note)
            return kept, key, text

    async def change_key(
        self, name: str, called: str, disabled: bool | None, expires: float | None, by: str,
        tenant: str, note: Written,
    ) -> tuple[Kept, KeptKey]:  # fmt: skip
        """Let a key rest, or wake it; say until when it holds. Raises Refused."""
        async with self.gateway.alone():
            before = await self._mine(name, 0, tenant)
            key = _key(before, called)
            key = replace(
                key, disabled=key.disabled if disabled is None else disabled,
                expires=key.expires if expires is None else expires,
            )  # fmt: skip
            keys = tuple(key if k.id == called else k for k in before.keys)
            now = self._now()
            if len([k for k in keys if not k.disabled and not 0 < k.expires <= now]) > MOST_KEYS:
                raise Refused("keys", f"{name} has {MOST_KEYS} other keys: remove one of them first")
            kept = await self._put(before, self._next(replace(before, keys=keys), by), note)
            return kept, key

    async def remove_key(self, name: str, called: str, by: str, tenant: str, note: Written) -> Kept:
        """Nobody gets in with it any more. Raises Refused."""
        async with self.gateway.alone():
            before = await self._mine(name, 0, tenant)
            _key(before, called)
            keys = tuple(k for k in before.keys if k.id != called)
            return await self._put(before, self._next(replace(before, keys=keys), by), note)

    def _labels(self, fields: dict[str, Any], only: str) -> None:
        """What a tenant is billed by is not its own people's to say. Raises Refused."""
        ground, said = self.gateway.ground, fields.get("labels")
        if not only or ground is None or not isinstance(said, dict) or only not in ground.document.tenants:
            return
        for name, text in ground.document.tenants[only].labels:
            if name in said and str(said[name]) != text:
                what = f"is {text} for all of {only}"
                raise Refused("invalid", f"/labels/{name}: {what}", ((f"/labels/{name}", what, "leave it out"),))

    def forget(self) -> None:
        """Numbers may have been given by somebody else: a load of the configuration."""
        self._numbers = None

    def close(self) -> None:
        """No more."""
        self._store.close()

    async def _mine(self, name: str, expect: int, tenant: str) -> Kept:
        """One that may be changed. Raises Refused."""
        kept = await self.one(name)
        if kept is None or (tenant and kept.tenant != tenant):
            declared = next((c for c in self.gateway.whole.consumers if c.name == name), None)
            if declared is not None and kept is None and tenant in ("", declared.tenant):
                raise Refused("file", f'"{name}" is declared in a file: change it there')
            mine = [c.name for c in self.gateway.whole.consumers if tenant in ("", c.tenant)]
            raise no_consumer(name, mine[:1000])
        if expect and kept.version != expect:
            raise Refused("stale", f"{name} is in version {kept.version} by now, not {expect}: look at it again")
        return kept

    def _next(self, kept: Kept, by: str) -> Kept:
        return replace(kept, version=kept.version + 1, changed=utc(self._now()), changed_by=by)

    async def _put(self, before: Kept | None, after: Kept, note: Written) -> Kept:
        await self._replace(before, after, note)
        return after

    async def _replace(self, before: Kept | None, after: Kept | None, note: Written) -> None:
        """Judge, write down, keep, put in force. Raises Refused."""
        assert self.gateway.ground is not None
        name = (after or before or Kept("", "", "")).name
        entry = None
        if after is not None:
            entry = await asyncio.to_thread(self._entry, self.gateway.ground, after, before is None)
        was = next((c for c in self.gateway.whole.consumers if c.name == name), None)
        directory = others(self.gateway.whole, name)
        if after is None or after.disabled:
            entry = None
        if entry is not None:
            directory = joined(directory, entry, partial(self._number, "tenant"))
        self.gateway.ground.together(directory.consumers)
        await note(told(before), told(after))
        made = self.gateway.made - {name} if after is None or after.disabled else self.gateway.made | {name}
        try:
            await asyncio.to_thread(self._keep, before, after)
        except Stale:
            raise Refused("stale", f"{name} was changed by somebody else: look at it again") from None
        except Unusable as e:
            raise Refused("full", str(e)) from None
        keys = after.keys if after is not None else ()
        error = await self.gateway.take_people(directory, made, keys, was, entry)
        if error:
            await asyncio.to_thread(self._keep, after, before)
            raise Refused("failed", f"a worker could not take it, everything is as it was: {error}")
        self.gateway.ground.settle(name, after)

    def _keep(self, before: Kept | None, after: Kept | None) -> None:
        version = before.version if before is not None else 0
        if after is None:
            assert before is not None
            self._store.remove(before.name, version)
        else:
            self._store.put(after, version)

    def _entry(self, ground: Ground, kept: Kept, new: bool) -> ConsumerEntry:
        try:
            if new:
                self._known().retire("consumer", kept.name)
            entry = ground.entry(kept, self._number)
            self._known().write(self._data)
        except Wrong as e:
            self._numbers = None
            raise Refused("full", f"gateway.data {e.what}") from None
        except Refused:
            self._numbers = None  # those on disk
            raise
        return entry

    def _known(self) -> Numbers:
        if self._numbers is None:
            self._numbers = known(self._data, True)
        return self._numbers

    def _number(self, kind: str, name: str) -> int:
        return self._known().of(kind, name)


def others(directory: Directory, name: str) -> Directory:
    """Without this consumer."""
    return replace(directory, consumers=tuple(c for c in directory.consumers if c.name != name))


def joined(directory: Directory, entry: ConsumerEntry, number: Callable[[str], int]) -> Directory:
    """With this one, and its tenant if nobody had it yet."""
    tenants = directory.tenants
    if all(t.name != entry.tenant for t in tenants):
        tenants = (*tenants, TenantEntry(number(entry.tenant), entry.tenant))
    return replace(directory, consumers=(*directory.consumers, entry), tenants=tenants)


def told(kept: Kept | None) -> dict[str, Any] | None:
    """What is shown and written down of one: of keys what they are called, nothing else."""
    if kept is None:
        return None
    keys = [
        {"key": k.id, "made": k.made, "by": k.by, "expires": utc(k.expires),
         "disabled": k.disabled}
        for k in kept.keys
    ]  # fmt: skip
    return {
        "name": kept.name, "tenant": kept.tenant, "fields": parsed(kept.fields.encode()), "disabled": kept.disabled,
        "version": kept.version, "keys": keys,
    }  # fmt: skip


def _key(kept: Kept, called: str) -> KeptKey:
    for key in kept.keys:
        if key.id == called:
            return key
    names = ", ".join(k.id for k in kept.keys) or "none"
    raise Refused("missing", f'{kept.name} has no key "{called[:20]}". Its keys: {names}')


def _split(text: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """The fields, and whether it rests. Raises Refused."""
    fields = {key: value for key, value in text.items() if key != "disabled"}
    disabled = text.get("disabled", False)
    if not isinstance(disabled, bool):
        what = "is not a truth value"
        raise Refused("invalid", f"/disabled: {what}", (("/disabled", what, "write true or false"),))
    return fields, disabled


def _tenant(fields: dict[str, Any], only: str) -> str:
    """Whose it is. Who may speak for one tenant only makes consumers of that one. Raises Refused."""
    said = fields.get("tenant", only or "default")
    for field in ("match", "each"):
        if only and field in fields:
            what = "is not yours to say: whose tokens these are concerns others, too"
            raise Refused("invalid", f"/{field}: {what}", ((f"/{field}", what, "ask an operator"),))
    if only and said != only:
        what = f"is not {only}"
        raise Refused("invalid", f"/tenant: {what}", (("/tenant", what, "leave it out: it is yours"),))
    if only:
        fields["tenant"] = only
    return said if isinstance(said, str) else ""
