"""Proves tokens: who signed this, for whom, for how long. In the worker, synchronously, from memory.

From cheap to dear, and nothing of a token is believed before its signature: how large it is, its three parts, the
header and its algorithm, which issuer it claims to be of (only to find whose keys to look among), the key, the
signature; then its claims. Where a header says that the key is to be found (`jku`, `x5u`, `jwk`, `x5c`) is never read.

What was proved is remembered by a keyed digest of the whole token, and judged by wall time whenever it is used; so is
what was refused, apart, so that a flood of one cannot push out the other. Nothing outlives its key or configuration.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from math import inf
from typing import Any, Final

from sluicegate.core.keyset import KeySet
from sluicegate.core.principal import Principal
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

UNAVAILABLE: Final = "credential.issuer_unavailable"
NO_KEY: Final = "credential.token.key"


class _Set:
    """The keys of one source."""

    __slots__ = ("asked", "keys", "until")

    def __init__(self) -> None:
        self.keys: tuple[Key, ...] = ()
        self.until = -inf
        self.asked = -inf
        "When the keeper was told that one is lacking."


class _Proved:
    __slots__ = ("key", "not_before", "principal", "set")

    def __init__(self, principal: Principal, not_before: float, key: Key, set_: _Set) -> None:
        self.principal = principal
        self.not_before = not_before
        self.key = key
        self.set = set_


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
    """core/ports.Prover. `lacks` is told the source whose keys lack one that a token names."""

    def __init__(
        self, wall: Callable[[], float], now: Callable[[], float], lacks: Callable[[str], None] = lambda source: None
    ) -> None:
        self._wall = wall
        self._now = now
        self.lacks = lacks
        self._secret = os.urandom(32)
        self._issuers: tuple[Issuer, ...] = ()
        self._by_iss: dict[str, tuple[Issuer, Says]] = {}
        self._sets: dict[str, _Set] = {}
        self._proved: Recent[_Proved] = Recent(PROVED, PROVED_BYTES)
        self._refused: Recent[_Refused] = Recent(REFUSED, REFUSED_BYTES)

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
                return proved.principal
            self._proved.drop(mark)
        refused = self._refused.get(mark)
        if refused is not None and refused.since <= wall < refused.until:
            if refused.source:
                self._lacks(refused.source)
            return refused.reason
        found = self._judge(token, mark, wall)
        if isinstance(found, _Proved):
            self._proved.put(mark, found, HELD * len(token))
            return found.principal
        self._refused.put(mark, found, REFUSED_EACH)
        return found.reason

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
        not_before = max(_number(claims.get("nbf")) or -inf, _number(claims.get("iat")) or -inf) - issuer.leeway_s
        expires = (_number(claims["exp"]) or 0.0) + issuer.leeway_s
        return _Proved(Principal(issuer.name, claims, mark, expires), not_before, key, held)


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
    if issuer.groups == "refuse" and more_groups(claims):
        return _Refused("credential.token.groups")
    return None


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
