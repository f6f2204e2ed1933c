"""Proves tokens: who signed this, for whom, for how long. In the worker, synchronously, from memory.

From cheap to dear, and nothing of a token is believed before its signature: how large it is, its three parts, the
header and its algorithm, which issuer it claims to be of (only to find whose keys to look among), the key, the
signature; then its claims. Where a header says that the key is to be found (`jku`, `x5u`, `jwk`, `x5c`) is never read,
nor where a token says that groups are: these are told by the keeper (`told`).

What was proved is remembered by a keyed digest of the whole token, and judged by wall time whenever it is used; so is
what was refused, apart, so that a flood of one cannot push out the other. Nothing outlives its key or configuration.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from math import inf
from typing import Any, Final

from sluicegate.core.keyset import KeySet
from sluicegate.core.principal import ELSEWHERE, Principal, Whose
from sluicegate.core.settings import Issuer, Says
from sluicegate.identity.jose import LARGEST, LARGEST_HEADER, LONGEST_KID, TYPES, Malformed, decoded, object_of
from sluicegate.identity.keys import Key, key_of
from sluicegate.identity.recent import Recent

PROVED: Final = 20_000
PROVED_BYTES: Final = 32 * 1024 * 1024
"""What is remembered of tokens that were proved: about so much memory, estimated as HELD times their size."""

HELD: Final = 3
REFUSED: Final = 20_000
REFUSED_BYTES: Final = 4 * 1024 * 1024
REFUSED_EACH: Final = 200

ASK_S: Final = 60.0
"""The keeper is asked for a key that is not known at most so often, for each issuer."""

KNOWN: Final = 10_000
KNOWN_BYTES: Final = 16 * 1024 * 1024
"""What is remembered of groups that tokens leave out."""

ID_BYTES: Final = 96
"""Of one group."""

AHEAD_S: Final = 60.0
"""Groups are asked for again before they are over, so that nobody waits twice."""

UNAVAILABLE: Final = "credential.issuer_unavailable"
NO_KEY: Final = "credential.token.key"
GROUPS: Final = "credential.token.groups"
OID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class _Set:
    """The keys of one source."""

    __slots__ = ("asked", "keys", "until")

    def __init__(self) -> None:
        self.keys: tuple[Key, ...] = ()
        self.until = -inf
        self.asked = -inf
        "When the keeper was told that one is lacking."


class _Known:
    """Somebody's groups; None: who it is, or which they are, the directory cannot say."""

    __slots__ = ("again", "groups", "until")

    def __init__(self, groups: list[str] | None, until: float) -> None:
        self.groups = groups
        self.until = until
        self.again = False
        "They were asked for again."


class _Proved:
    __slots__ = ("groups", "key", "not_before", "principal", "set", "whose")

    def __init__(self, principal: Principal, not_before: float, key: Key, set_: _Set, whose: Whose | None) -> None:
        self.principal = principal
        self.not_before = not_before
        self.key = key
        self.set = set_
        self.whose = whose
        "Whose groups are left to the directory; None: the token says all."
        self.groups: _Known | None = None
        "Those that the principal has."


class _Refused:
    """Why, and the wall time during which that holds."""

    __slots__ = ("reason", "set", "since", "source", "until")

    def __init__(self, reason: str, since: float = -inf, until: float = inf, source: str = "") -> None:
        self.reason = reason
        self.since = since
        self.until = until
        self.source = source
        "Whose keys lack the one it names."


class Prover:
    """core/ports.Prover. `lacks` is told the source whose keys lack one that a token names, `wants` whose groups are
    not known."""

    def __init__(
        self,
        wall: Callable[[], float],
        now: Callable[[], float],
        lacks: Callable[[str], None] = lambda source: None,
        wants: Callable[[Whose], object] = lambda whose: None,
    ) -> None:
        self._wall = wall
        self._now = now
        self.lacks = lacks
        self.wants = wants
        self._secret = os.urandom(32)
        self._issuers: tuple[Issuer, ...] = ()
        self._by_iss: dict[str, tuple[Issuer, Says]] = {}
        self._sets: dict[str, _Set] = {}
        self._proved: Recent[_Proved] = Recent(PROVED, PROVED_BYTES)
        self._refused: Recent[_Refused] = Recent(REFUSED, REFUSED_BYTES)
        self._known: Recent[_Known] = Recent(KNOWN, KNOWN_BYTES)
        "Of those whose tokens leave them out."

    # ------------------------------------------------------------------ told

    def adopt(self, issuers: Sequence[Issuer]) -> None:
        """A configuration is in force: what was found under another one is forgotten."""
        if tuple(issuers) == self._issuers:
            return
        self._issuers = tuple(issuers)
        self._by_iss = {says.iss: (issuer, says) for issuer in issuers for says in issuer.says}
        self._sets = {i.source: self._sets.get(i.source) or _Set() for i in issuers}
        self._proved.clear()
        self._refused.clear()
        self._known.clear()

    def told(self, whose: Whose, groups: list[str] | None, until: float) -> None:
        """What the directory says. Of an issuer that is another one by now it is worth nothing."""
        if any(
            i.name == whose.issuer and i.groups == "resolve" and i.says[0].tenant == whose.tenant for i in self._issuers
        ):
            self._known.put(_place(whose), _Known(groups, until), ID_BYTES * (2 + len(groups or ())))

    def whose(self, token: bytes) -> Whose | None:
        """As core/ports.py has it."""
        proved = self._proved.get(blake2b(token, digest_size=16, key=self._secret).digest())
        if proved is None or proved.whose is None:
            return None
        known = self._known.get(_place(proved.whose))
        return None if known is not None and self._now() < known.until else proved.whose

    def take(self, sets: Iterable[KeySet]) -> None:
        """Keys as they are published now. Tokens signed with one that is gone prove nothing any more."""
        for new in sets:
            held = self._sets.get(new.source)
            if held is None:
                continue
            known = {tuple(sorted(key.jwk.items())): key for key in held.keys}
            keys = tuple(
                key for jwk in new.keys if (key := known.get(tuple(sorted(jwk.items()))) or key_of(jwk)) is not None
            )
            for key in held.keys:
                key.live = key in keys
            if keys != held.keys or self._wall() >= held.until:
                self._refused.clear()
            held.keys = keys
            held.until = new.until

    # ------------------------------------------------------------------ asked

    def prove(self, token: bytes, mark: bytes = b"") -> Principal | str:
        """Who its bearer is, or the reason to refuse."""
        if len(token) > LARGEST:
            return "credential.token.too_large"
        if not mark:
            mark = blake2b(token, digest_size=16, key=self._secret).digest()
        wall = self._wall()
        proved = self._proved.get(mark)
        if proved is not None:
            if proved.key.live and proved.not_before <= wall < proved.principal.expires and wall < proved.set.until:
                if proved.whose is None:
                    return proved.principal
                return self._with_groups(proved, proved.whose, mark, len(token))
            self._proved.drop(mark)
        refused = self._refused.get(mark)
        if refused is not None and refused.since <= wall < refused.until:
            if refused.source:
                self._lacks(refused.source)
            return refused.reason
        found = self._judge(token, mark, wall)
        if isinstance(found, _Proved):
            self._proved.put(mark, found, HELD * len(token))
            if found.whose is not None:
                return self._with_groups(found, found.whose, mark, len(token))
            return found.principal
        self._refused.put(mark, found, REFUSED_EACH)
        return found.reason

    def _with_groups(self, proved: _Proved, whose: Whose, mark: bytes, size: int) -> Principal | str:
        """Its bearer with the groups that the directory named. A principal of its own for each time that it was asked:
        whose it is, is looked for anew."""
        known = self._known.get(_place(whose))
        left = -inf if known is None else known.until - self._now()
        if known is None or left <= 0:
            self.wants(whose)
            return ELSEWHERE
        if left < AHEAD_S and not known.again:
            known.again = True
            self.wants(whose)
        if known.groups is None:
            return GROUPS
        if proved.groups is not known:
            before = proved.principal
            claims = {**before.claims, "groups": known.groups}
            proved.principal = Principal(before.issuer, claims, before.mark, before.expires)
            proved.groups = known
            self._proved.put(mark, proved, HELD * size + ID_BYTES * len(known.groups))
        return proved.principal

    def _lacks(self, source: str) -> None:
        held = self._sets[source]
        now = self._now()
        if now - held.asked >= ASK_S:
            held.asked = now
            self.lacks(source)

    def _judge(self, token: bytes, mark: bytes, wall: float) -> _Proved | _Refused:
        parts = token.split(b".")
        if len(parts) != 3:
            return _Refused("credential.token.encrypted" if len(parts) == 5 else "credential.token.malformed")
        try:
            if len(parts[0]) > LARGEST_HEADER:
                raise Malformed("a header of that size")
            header = object_of(decoded(parts[0]))
            algorithm, kid = header.get("alg"), header.get("kid")
            if "crit" in header:
                return _Refused("credential.token.critical")
            type_ = header.get("typ", "JWT")
            if not isinstance(type_, str) or type_.lower() not in TYPES:
                raise Malformed("another kind of token")
            if kid is not None and (not isinstance(kid, str) or len(kid) > LONGEST_KID):
                raise Malformed("a key id that is none")
            claims = object_of(decoded(parts[1]))
            signature = decoded(parts[2])
        except Malformed:
            return _Refused("credential.token.malformed")
        iss = claims.get("iss")
        found = self._by_iss.get(iss) if isinstance(iss, str) else None
        if found is None:
            return _Refused("credential.token.issuer")
        issuer, says = found
        if not isinstance(algorithm, str) or algorithm not in issuer.algorithms:
            return _Refused("credential.token.algorithm")
        held = self._sets[issuer.source]
        if wall >= held.until:
            return _Refused(UNAVAILABLE)
        named = [key for key in held.keys if (key.kid == kid if kid is not None else len(held.keys) == 1)]
        if not named:
            self._lacks(issuer.source)
            return _Refused(NO_KEY, source=issuer.source)
        fitting = [key for key in named if algorithm in key.algorithms]
        if not fitting:
            return _Refused("credential.token.algorithm")
        signed = token[: len(parts[0]) + 1 + len(parts[1])]
        for key in fitting:
            if key.checks(algorithm, signature, signed):
                break
        else:
            return _Refused("credential.token.signature")
        refused = _claims(claims, issuer, says, wall)
        if refused is not None:
            return refused
        whose = None
        if more_groups(claims):
            whose = _whose(claims, issuer, says)
            if whose is None:
                return _Refused(GROUPS)
            for name in ("_claim_names", "_claim_sources", "hasgroups"):  # no matter any more
                claims.pop(name, None)
        not_before = max(_number(claims.get("nbf")) or -inf, _number(claims.get("iat")) or -inf) - issuer.leeway_s
        expires = (_number(claims["exp"]) or 0.0) + issuer.leeway_s
        return _Proved(Principal(issuer.name, claims, mark, expires), not_before, key, held, whose)


def _claims(claims: dict[str, Any], issuer: Issuer, says: Says, wall: float) -> _Refused | None:
    """What is wrong with them."""
    audience = claims.get("aud")
    named = [audience] if isinstance(audience, str) else audience
    if not isinstance(named, list) or not all(isinstance(one, str) for one in named):
        return _Refused("credential.token.claims")
    if not any(one in says.audiences for one in named):
        return _Refused("credential.token.audience")
    expires, begins, made = (_number(claims.get(name)) for name in ("exp", "nbf", "iat"))
    if expires is None or (begins is None and "nbf" in claims) or (made is None and "iat" in claims):
        return _Refused("credential.token.claims")
    if says.tenant and claims.get("tid") != says.tenant:
        return _Refused("credential.token.tenant")
    if says.version and claims.get("ver") != says.version:
        return _Refused("credential.token.version")
    over = expires + issuer.leeway_s
    if wall >= over:
        return _Refused("credential.token.expired", since=over)
    begin = max(begins if begins is not None else -inf, made if made is not None else -inf) - issuer.leeway_s
    if wall < begin:
        return _Refused("credential.token.not_yet", until=begin)
    return None


def _whose(claims: dict[str, Any], issuer: Issuer, says: Says) -> Whose | None:
    """Whose groups are to be asked for; None: such a token is refused. Roles of the directory (`wids`) are not asked
    for, since Microsoft Graph names them otherwise than tokens do."""
    elsewhere = claims.get("_claim_names")
    oid = claims.get("oid")
    if issuer.groups != "resolve" or not isinstance(oid, str) or not OID.fullmatch(oid) or not says.tenant:
        return None
    if isinstance(elsewhere, dict) and "wids" in elsewhere:
        return None
    # Tokens say `idtyp` where they were told to. Without it: an application by itself has no scope, and is its subject.
    kind = claims.get("idtyp", "app" if "scp" not in claims and claims.get("sub") == oid else "user")
    kind = "servicePrincipals" if kind == "app" else "users"
    return Whose(issuer.name, says.tenant, kind, oid.lower())


def _place(whose: Whose) -> bytes:
    return f"{whose.issuer}\0{whose.tenant}\0{whose.kind}\0{whose.oid}".encode()


def more_groups(claims: dict[str, Any]) -> bool:
    """Whether Entra left groups out because there are too many: then it says where to ask for them, or only that."""
    elsewhere = claims.get("_claim_names")
    if isinstance(elsewhere, dict) and ("groups" in elsewhere or "wids" in elsewhere):
        return True
    return "hasgroups" in claims and claims["hasgroups"] not in (False, "false")


def _number(value: object) -> float | None:
    """A time as JSON has it: no truth value, no text."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if -1e12 < number < 1e12 else None
