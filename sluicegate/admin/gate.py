"""Who may come in by TCP: keys of operators, names by which we may be called, and how often somebody may guess.

On the Unix socket nobody is asked: whoever can open it is the gateway's own user.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

from sluicegate.admin.base import OPEN, Who, Wrong
from sluicegate.admin.login import Door, host_of_url
from sluicegate.admin.sessions import COOKIE, CSRF, Session, looked_at, who_is
from sluicegate.core.operators import MAY, may, operator_digest
from sluicegate.core.secret import Secret
from sluicegate.core.settings import Admin

GUESSES = 10
"""Wrong keys from one address before it has to wait, and how many it gets back:"""
GUESS_S = 6.0
PEERS = 1024
"""Addresses whose guesses are counted; the one that was quiet longest makes room."""
LONGEST_KEY = 512


class Denied(Wrong):
    """With the header that says how to come back."""

    def __init__(self, status: int, message: str, *headers: tuple[str, str], told: bool = False, who: str = "") -> None:
        super().__init__(status, message)
        self.headers = headers
        self.told = told
        "To be written down: a wrong key, of which there are few, or a role that does not suffice."
        self.who = who


class Gate:
    """One listener's. `settings` and `secrets` as they are in force now."""

    def __init__(
        self, settings: Callable[[], Admin], secrets: Callable[[], Sequence[Secret]], now: Callable[[], float],
        door: Door | None = None,
    ) -> None:  # fmt: skip
        self._door = door
        self._settings = settings
        self._secrets = secrets
        self._now = now
        self._guesses: OrderedDict[str, tuple[float, float]] = OrderedDict()
        "Guesses left, and when that was, by address."

    def called(self, host: str | None) -> None:
        """Whether we may be called so; a page in somebody's browser that had its own name lead here is not let in.
        Raises Wrong."""
        name = host_of(host or "")
        settings = self._settings()
        if (
            name == "localhost"
            or name in settings.hosts
            or (settings.public_url and name == host_of_url(settings.public_url))
        ):
            return
        try:
            ipaddress.ip_address(name)
        except ValueError:
            what = "the Host header names nobody we know: call us by address, or list the name in gateway.admin.hosts"
            raise Wrong(421, what) from None

    def who(self, peer: str, authorization: Sequence[str], role: str) -> Who:
        """Whoever shows this credential, if the role suffices. Raises Denied."""
        if role == OPEN:
            return Who("", OPEN)
        if not authorization:
            what = "this needs a key: authorization: Bearer sga_... Keys are declared under gateway.admin.keys"
            raise Denied(401, what, CHALLENGE)
        wait = self._wait(peer)
        if wait:
            raise Denied(429, f"too many wrong keys from {peer}: wait {wait} s", ("retry-after", str(wait)))
        found = self._find(authorization) or self._program(authorization)
        if found is None:
            self._guessed(peer)
            what = (
                "this is no operator's key here. Keys of consumers are none; keys are declared under gateway.admin.keys"
            )
            raise Denied(401, what, CHALLENGE, told=True)
        return self._may(found, role)

    def session(self, cookies: Mapping[str, str]) -> Session | None:
        """Somebody who is logged in."""
        cookie = cookies.get(COOKIE)
        return self._door.sessions.find(cookie) if cookie and self._door is not None else None

    def logged_in(self, session: Session, role: str, changes: bool, csrf: str | None, origin: str | None) -> Who:
        """Whoever is logged in, if the role suffices. A change has to come from our own page. Raises Denied."""
        assert self._door is not None
        who = who_is(session.name, session.claims, self._door.login(), "login")
        if who is None:
            raise Denied(403, "you have no role here any more: gateway.admin.login says who has", told=True,
                         who=session.name)  # fmt: skip
        if changes:
            ours = origin is None or origin == self._door.url()
            if not ours or csrf is None or not hmac.compare_digest(csrf.encode("latin-1"), session.csrf.encode()):
                what = f"a change by a browser needs the header {CSRF}: GET /v1/whoami says it"
                raise Denied(403, what, told=True, who=who.name)
        return self._may(who, role)

    def guess(self, peer: str) -> None:
        """One more login begun, or one that failed. Raises Denied where there were too many. They are counted apart
        from keys, so that nobody who tries to log in shuts out a program behind the same proxy."""
        peer = f"{peer} (login)"
        wait = self._wait(peer)
        if wait:
            raise Denied(429, f"too many attempts from {peer}: wait {wait} s", ("retry-after", str(wait)))
        self._guessed(peer)

    def _may(self, who: Who, role: str) -> Who:
        if not may(who.role, role):
            what = f"{who.name} has the role {who.role}: this needs {' or '.join(MAY[role])}"
            raise Denied(403, what, told=True, who=who.name)
        return who

    def _program(self, authorization: Sequence[str]) -> Who | None:
        """A program that shows a token of the issuer. Raises Denied when it is somebody without a role."""
        if self._door is None or self._door.login() is None or len(authorization) != 1:
            return None
        scheme, _, token = authorization[0].partition(" ")
        if scheme.lower() != "bearer" or token.count(".") != 2:
            return None
        found = self._door.provider.program(token.strip().encode("latin-1"))
        if isinstance(found, str):
            return None
        name = self._door.provider.words(found.claims)
        who = who_is(name, looked_at(found.claims), self._door.login(), "token")
        if who is None:
            raise Denied(403, "this token's bearer has no role here: gateway.admin.login says who has", told=True,
                         who=name)  # fmt: skip
        return who

    def _find(self, authorization: Sequence[str]) -> Who | None:
        """All keys are compared, whichever fits: the time says nothing about them."""
        scheme, _, key = authorization[0].partition(" ")
        raw = key.strip().encode("latin-1")
        if len(authorization) != 1 or scheme.lower() != "bearer" or not 0 < len(raw) <= LONGEST_KEY:
            return None
        shown = [operator_digest(raw, secret) for secret in self._secrets()]
        found = None
        for key_ in self._settings().keys:
            for digest in shown:
                if hmac.compare_digest(digest, key_.digest):
                    found = Who(key_.name, key_.role, key_.tenant)
        return found

    def _left(self, peer: str) -> float:
        left, at = self._guesses.get(peer, (float(GUESSES), self._now()))
        return min(GUESSES, left + (self._now() - at) / GUESS_S)

    def _wait(self, peer: str) -> int:
        left = self._left(peer)
        return 0 if left >= 1 else int((1 - left) * GUESS_S) + 1

    def _guessed(self, peer: str) -> None:
        self._guesses[peer] = (self._left(peer) - 1, self._now())
        self._guesses.move_to_end(peer)
        while len(self._guesses) > PEERS:
            self._guesses.popitem(last=False)


CHALLENGE = ("www-authenticate", 'Bearer realm="sluicegate admin"')


def host_of(header: str) -> str:
    """The host of a Host header, without port and brackets, in lower case."""
    text = header.strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text


def loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
