"""People who are logged in, and those about to be: in memory, so that a restart logs everybody out.

A session is known by a cookie of 256 random bits, of which only the digest is held. What its bearer may is asked of the
configuration in force whenever it is used: who is taken out of it is out.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from sluicegate.admin.base import Who
from sluicegate.core.settings import Login

IDLE_S = 30 * 60.0
TOTAL_S = 12 * 3600.0
MOST = 1000
"""Sessions; the one that was used longest ago makes room."""
PENDING_S = 600.0
MOST_PENDING = 256

COOKIE = "__Host-sluicegate"
PENDING = "__Host-sluicegate-login"
FLAGS = "Path=/; Secure; HttpOnly; SameSite=Lax"
CSRF = "x-csrf-token"


@dataclass(slots=True)
class Session:
    """Somebody who is logged in."""

    name: str
    claims: Mapping[str, tuple[str, ...]]
    "Those that roles are looked up by."
    csrf: str
    began: float
    used: float


@dataclass(slots=True)
class Pending:
    """A login that has begun."""

    nonce: str
    verifier: str
    redirect: str
    began: float


class Sessions:
    """All of them. `now` is monotonic."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._held: OrderedDict[bytes, Session] = OrderedDict()
        self._pending: OrderedDict[bytes, Pending] = OrderedDict()

    def begin(self, redirect: str) -> tuple[str, Pending]:
        """A login: its state, and what its end is checked by."""
        state = secrets.token_urlsafe(32)
        pending = Pending(secrets.token_urlsafe(32), secrets.token_urlsafe(48), redirect, self._now())
        self._pending[_mark(state)] = pending
        while len(self._pending) > MOST_PENDING:
            self._pending.popitem(last=False)
        return state, pending

    def finish(self, state: str) -> Pending | None:
        """The login of this state, once; None: there is none, or it took too long."""
        found = self._pending.pop(_mark(state), None)
        return found if found is not None and self._now() - found.began < PENDING_S else None

    def open(self, name: str, claims: Mapping[str, tuple[str, ...]]) -> tuple[str, Session]:
        """Somebody is logged in: the cookie, and the session."""
        cookie = secrets.token_urlsafe(32)
        now = self._now()
        session = self._held[_mark(cookie)] = Session(name, claims, secrets.token_urlsafe(32), now, now)
        while len(self._held) > MOST:
            self._held.popitem(last=False)
        return cookie, session

    def find(self, cookie: str) -> Session | None:
        """The session of this cookie, if its time is not up."""
        mark = _mark(cookie)
        session = self._held.get(mark)
        if session is None:
            return None
        now = self._now()
        if now - session.used >= IDLE_S or now - session.began >= TOTAL_S:
            del self._held[mark]
            return None
        session.used = now
        self._held.move_to_end(mark)
        return session

    def close_all(self) -> None:
        """Everybody is logged out, and who is about to log in begins anew."""
        self._held.clear()
        self._pending.clear()

    def close(self, cookie: str) -> None:
        """Logged out."""
        self._held.pop(_mark(cookie), None)


def looked_at(claims: Mapping[str, object]) -> dict[str, tuple[str, ...]]:
    """Of somebody's claims, those that roles are looked up by."""
    found = {"groups": _texts(claims.get("groups")), "roles": _texts(claims.get("roles"))}
    found["users"] = (*_texts(claims.get("oid")), *_texts(claims.get("sub")))
    return found


def who_is(name: str, claims: Mapping[str, Sequence[str]], login: Login | None, kind: str) -> Who | None:
    """What somebody of these claims is here; None: nobody."""
    for rule in login.rules if login is not None else ():
        if not set(rule.values).isdisjoint(claims.get(rule.claim, ())):
            return Who(name, rule.role, rule.tenant, kind)
    return None


def _texts(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,) if value else ()
    return tuple(v for v in value if isinstance(v, str) and v) if isinstance(value, list) else ()


def _mark(text: str) -> bytes:
    return sha256(text.encode("utf-8", "replace")).digest()
