"""Groups that tokens leave out, asked for in the directory: Entra names at most 200 in a token.

One request at a time for each bearer, whichever workers wait; a few at once, and so many a second, for all; what was
said holds for ten minutes. While the directory fails it is left alone for longer and longer, and whoever needs it is
told so at once. Where the token itself says that groups are to be looked up is never read: the address is ours. No id
of a person or group is written anywhere.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from random import random
from typing import Final

from sluicegate.core.principal import Whose
from sluicegate.core.settings import Issuer
from sluicegate.link.channel import Belongs, Token, Wanted

KIND: Final = "issuer.groups"
LIFE_S: Final = 600.0
FRESH_S: Final = 120.0
"""What holds for less than that is asked for again: workers ask a minute ahead."""

WITHIN_S: Final = 4.0
"""The directory has answered by then, or it has not: requests wait for five seconds."""

AT_ONCE: Final = 8
EACH_S: Final = 0.05
"""Between the beginnings of two requests: twenty a second. Directories throttle far above that."""

QUEUED_S: Final = 3.0
"""Who would have to stand in line for longer is told to come again."""

BACKOFF_MOST_S: Final = 60.0
AGAIN_MOST_S: Final = 600.0
IDS: Final = 11_000
"""So many the directory names at most."""

PEOPLE: Final = 10_000
IDS_KEPT: Final = 200_000
"""What is kept, of all bearers together: about 18 MB."""

GUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
TOO_MANY: Final = "ResultSizeLimitExceeded"

Post = Callable[[str, Mapping[str, str], bytes], Awaitable[tuple[int, Mapping[str, str], bytes]]]


class Failed(Exception):
    """The directory does not say. `again_s`: not before that."""

    def __init__(self, what: str, again_s: float = 0.0) -> None:
        super().__init__(what)
        self.what = what
        self.again_s = again_s


class _State:
    """How it goes with one issuer's directory."""

    def __init__(self) -> None:
        self.failures = 0
        "In a row."
        self.rests_until = 0.0
        self.error = ""


class Groups:
    """All of a keeper. `post` raises `unreachable`; `shows`: the number of an identity, by its place in a
    configuration."""

    def __init__(
        self,
        post: Post,
        unreachable: type[Exception],
        now: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._post = post
        self._unreachable = unreachable
        self._now = now
        self._chance = chance
        self._sleep = sleep
        self.tell: Callable[[int, Belongs], None] = lambda pid, belongs: None
        "Tells one worker."
        self.alarm: Callable[[str, str, str], None] = lambda kind, subject, detail: None
        self.over: Callable[[str, str], None] = lambda kind, subject: None
        self.rejected: Callable[[int, int], None] = lambda number, version: None
        "Told that the directory refused this version of an identity's token."
        self._issuers: dict[str, tuple[Issuer, int]] = {}
        self._tokens: dict[int, Token] = {}
        self._states: dict[str, _State] = {}
        self._known: dict[Whose, tuple[tuple[str, ...] | None, float]] = {}
        "None: the directory knows of nobody, or of too many groups. And until when that holds."
        self._ids = 0
        "In all of `_known`."
        self._waiting: dict[Whose, set[int]] = {}
        "Workers, by whom they want to know of."
        self._next = 0.0
        self._few = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    # ------------------------------------------------------------------ told

    def adopt(self, issuers: Sequence[Issuer], numbers: Sequence[int]) -> None:
        """These are in force, and identities by their place have these numbers."""
        before = self._issuers
        self._issuers = {i.name: (i, numbers[i.groups_by]) for i in issuers if i.groups == "resolve"}
        self._tokens = {n: t for n, t in self._tokens.items() if n in {number for _, number in self._issuers.values()}}
        for name, asked in before.items():
            if self._issuers.get(name) != asked:  # what the one before failed at may be over
                state = self._states.pop(name, None)
                if state is not None and state.error:
                    self.over(KIND, name)
                for whose in [w for w in self._known if w.issuer == name]:
                    self._forget(whose)

    def take(self, token: Token) -> None:
        """What is shown to a directory from now on; empty: nothing."""
        if token.text:
            self._tokens[token.number] = token
        else:
            self._tokens.pop(token.number, None)

    # ------------------------------------------------------------------ asked

    def wanted(self, pid: int, wanted: Wanted) -> None:
        """A worker wants to know somebody's groups. It is told in any case, now or within some seconds."""
        whose = Whose(wanted.issuer, wanted.tenant, wanted.kind, wanted.oid)
        found = self._issuers.get(whose.issuer)
        now = self._now()
        if found is None or found[0].says[0].tenant != whose.tenant or not GUID.fullmatch(whose.oid):
            self.tell(pid, _unavailable(whose, now))
            return
        kept = self._known.get(whose)
        if kept is not None and kept[1] - now > FRESH_S:
            self.tell(pid, _said(whose, *kept))
            return
        waiting = self._waiting.get(whose)
        if waiting is not None:
            waiting.add(pid)
            return
        rests = self._states.setdefault(whose.issuer, _State()).rests_until
        if now < rests:
            self.tell(pid, _unavailable(whose, rests))
            return
        if found[1] not in self._tokens:  # its own alarm says so (upstream.credential); one may come any moment
            self.tell(pid, _unavailable(whose, now + 1.0))
            return
        begin = max(now, self._next)
        if begin - now > QUEUED_S:
            self.tell(pid, _unavailable(whose, now + 1.0))
            return
        self._next = begin + EACH_S
        self._waiting[whose] = {pid}
        task = asyncio.get_running_loop().create_task(self._look(whose, *found, begin - now))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Ask nobody any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _look(self, whose: Whose, issuer: Issuer, number: int, wait_s: float) -> None:
        state = self._states[whose.issuer]
        belongs = None
        try:
            if wait_s > 0:
                await self._sleep(wait_s)
            async with self._few:
                if self._now() < state.rests_until:
                    belongs = _unavailable(whose, state.rests_until)
                    return
                groups = await self._ask(whose, issuer, number)
            until = self._now() + LIFE_S
            if self._issuers.get(whose.issuer) == (issuer, number):
                self._keep(whose, groups, until)
            belongs = _said(whose, groups, until)
            if state.error:
                self.over(KIND, whose.issuer)
            state.failures, state.error = 0, ""
        except Failed as e:
            belongs = _unavailable(whose, self._failed(whose.issuer, state, e))
        except Exception as bug:
            failed = Failed(f"a bug: {type(bug).__name__}")
            belongs = _unavailable(whose, self._failed(whose.issuer, state, failed))
        finally:
            pids = self._waiting.pop(whose, set())
            for pid in pids:
                self.tell(pid, _unavailable(whose, self._now()) if belongs is None else belongs)

    async def _ask(self, whose: Whose, issuer: Issuer, number: int) -> tuple[str, ...] | None:
        """Their groups; None: nobody there is called so, or there are too many. Raises Failed."""
        token = self._tokens.get(number)
        if token is None:
            raise Failed("there is no token to ask it with")
        url = f"{issuer.graph}/v1.0/{whose.kind}/{whose.oid}/getMemberObjects"
        headers = {"authorization": f"Bearer {token.text}", "content-type": "application/json"}
        try:
            async with asyncio.timeout(WITHIN_S):
                status, said, body = await self._post(url, headers, b'{"securityEnabledOnly": false}')
        except TimeoutError:
            raise Failed(f"no answer within {WITHIN_S:g} s") from None
        except self._unreachable as e:
            raise Failed(str(e)) from None
        if status == 200:
            return ids(body)
        if status == 404 or (status == 400 and TOO_MANY in _code(body)):
            return None
        if status == 401:
            self.rejected(number, token.version)
        hint = ": the identity needs GroupMember.Read.All and User.Read.All" if status == 403 else ""
        raise Failed(f"the directory answered {status}{hint}", _seconds(said.get("retry-after", "")))

    def _failed(self, name: str, state: _State, e: Failed) -> float:
        """Until when it is left alone. What was asked before, and failed meanwhile, counts once."""
        now = self._now()
        if now >= state.rests_until:
            state.failures += 1
            wait = min(2.0 ** min(state.failures - 1, 10), BACKOFF_MOST_S) * (0.5 + self._chance() / 2)
            state.rests_until = now + max(wait, min(e.again_s, AGAIN_MOST_S))
        if e.what != state.error:
            state.error = e.what
            self.alarm(KIND, name, f"groups of those who are in too many: {e.what}; their requests are refused")
        return state.rests_until

    # ------------------------------------------------------------------ kept

    def _keep(self, whose: Whose, groups: tuple[str, ...] | None, until: float) -> None:
        self._forget(whose)
        self._known[whose] = (groups, until)
        self._ids += len(groups or ())
        while len(self._known) > PEOPLE or (self._ids > IDS_KEPT and len(self._known) > 1):
            self._forget(next(iter(self._known)))  # the oldest

    def _forget(self, whose: Whose) -> None:
        kept = self._known.pop(whose, None)
        if kept is not None:
            self._ids -= len(kept[0] or ())


def ids(body: bytes) -> tuple[str, ...] | None:
    """What the directory names; None: more than it names at once. Raises Failed."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    value = found.get("value") if isinstance(found, dict) else None
    if not isinstance(found, dict) or not isinstance(value, list):
        raise Failed("the directory's answer is no list of groups")
    if len(value) > IDS or "@odata.nextLink" in found:
        return None
    if not all(isinstance(one, str) and GUID.fullmatch(one) for one in value):
        raise Failed("the directory's answer is no list of ids")
    return tuple(value)


def _said(whose: Whose, groups: tuple[str, ...] | None, until: float) -> Belongs:
    how = "unknown" if groups is None else "known"
    return Belongs(whose.issuer, whose.tenant, whose.kind, whose.oid, how, until, list(groups or ()))


def _unavailable(whose: Whose, until: float) -> Belongs:
    return Belongs(whose.issuer, whose.tenant, whose.kind, whose.oid, "unavailable", until)


def _code(body: bytes) -> str:
    try:
        error = json.loads(body)["error"]
        return str(error["code"])
    except (ValueError, RecursionError, LookupError, TypeError):
        return ""


def _seconds(text: str) -> float:
    return float(text) if text.isdigit() and len(text) < 6 else 0.0
