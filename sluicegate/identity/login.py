"""People who log in at an issuer, and programs that show its tokens: OpenID Connect, the code flow with PKCE.

In the keeper, for the management API alone. Tokens are judged by the same code and the same keys as those of consumers
(prover.py); one that a login brings is for this gateway's own client id and carries the nonce of that login. Where
people go and where codes are redeemed is in the issuer's discovery document, read when somebody logs in.
"""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from hmac import compare_digest
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from sluicegate.core.keyset import KeySet
from sluicegate.core.principal import Principal
from sluicegate.core.settings import Issuer, Login
from sluicegate.identity.door import Post
from sluicegate.identity.fetch import Unreachable, get
from sluicegate.identity.jose import Malformed, object_of
from sluicegate.identity.prover import Prover

DISCOVERED_S: Final = 600.0
"""So long a discovery document is believed."""

SCOPE: Final = "openid profile"

Get = Callable[[str, str | None], Awaitable[bytes]]


class Failed(Exception):
    """Nobody is logged in. Fit to be shown: it quotes nothing that was sent."""


class Logins:
    """One issuer, as the management API uses it. `adopt` whenever a configuration is in force."""

    def __init__(
        self, post: Post, sets: Callable[[], Iterable[KeySet]], lacks: Callable[[str], None],
        wall: Callable[[], float], now: Callable[[], float], fetch: Get = get,
    ) -> None:  # fmt: skip
        self._post = post
        self._sets = sets
        self._now = now
        self._fetch = fetch
        self._people = Prover(wall, now, lacks)
        self._programs = Prover(wall, now, lacks)
        self._issuer: Issuer | None = None
        self._login: Login | None = None
        self._found: dict[str, Any] = {}
        self._until = 0.0

    def adopt(self, issuers: Sequence[Issuer], login: Login | None) -> None:
        """What is in force now."""
        issuer = next((i for i in issuers if login is not None and i.name == login.issuer), None)
        if issuer != self._issuer:
            self._until = 0.0
        self._issuer, self._login = issuer, login
        if issuer is not None and login is not None:
            says = tuple(replace(form, audiences=(login.client_id,)) for form in issuer.says)
            # Who is in too many groups is refused here: nobody waits for a directory to let an operator in.
            self._people.adopt([replace(issuer, says=says, groups="refuse")])
            self._programs.adopt([replace(issuer, groups="refuse")])

    async def where(self, redirect: str, state: str, nonce: str, verifier: str) -> str:
        """The address at which somebody logs in. Raises Failed."""
        found = await self._discovered()
        assert self._login is not None
        query = {
            "response_type": "code", "response_mode": "query", "client_id": self._login.client_id,
            "redirect_uri": redirect, "scope": SCOPE, "state": state, "nonce": nonce,
            "code_challenge": urlsafe_b64encode(sha256(verifier.encode()).digest()).decode().rstrip("="),
            "code_challenge_method": "S256",
        }  # fmt: skip
        there = str(found["authorization_endpoint"])
        return f"{there}{'&' if urlsplit(there).query else '?'}{urlencode(query, quote_via=quote)}"

    async def redeem(self, code: str, redirect: str, nonce: str, verifier: str) -> Principal:
        """Whoever comes back with this code. Raises Failed."""
        found = await self._discovered()
        login, issuer = self._login, self._issuer
        assert login is not None and issuer is not None
        form = {
            "grant_type": "authorization_code", "code": code, "redirect_uri": redirect, "code_verifier": verifier,
            "client_id": login.client_id,
        }  # fmt: skip
        headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
        if login.client_secret is not None:
            said = found.get("token_endpoint_auth_methods_supported")
            if isinstance(said, list) and "client_secret_post" not in said and "client_secret_basic" in said:
                pair = f"{quote(login.client_id, safe='')}:{quote(login.client_secret.reveal(), safe='')}"
                headers["authorization"] = "Basic " + b64encode(pair.encode()).decode()
            else:
                form["client_secret"] = login.client_secret.reveal()
        try:
            status, body = await self._post(str(found["token_endpoint"]), headers, urlencode(form).encode(), issuer.ca)
        except Unreachable as e:
            raise Failed(f"the issuer cannot be asked: {e}") from None
        if status != 200:
            raise Failed(f"the issuer takes the code for nothing (it answers {status})")
        try:
            token = object_of(body).get("id_token")
        except Malformed:
            token = None
        if not isinstance(token, str):
            raise Failed("the issuer's answer holds no id token")
        return self._checked(token, nonce)

    def _checked(self, token: str, nonce: str) -> Principal:
        assert self._login is not None
        self._people.take(self._sets())
        found = self._people.prove(token.encode("utf-8", "replace"))
        if isinstance(found, str):
            raise Failed(f"the issuer's token is refused: {found}")
        claims = found.claims
        said = claims.get("nonce")
        if not isinstance(said, str) or not compare_digest(said.encode(), nonce.encode()):
            raise Failed("the issuer's token is of another login")
        audience = claims.get("aud")
        if isinstance(audience, list) and len(audience) > 1 and claims.get("azp") != self._login.client_id:
            raise Failed("the issuer's token is for somebody else, too")
        return found

    def program(self, token: bytes) -> Principal | str:
        """Whose token a program shows, or why it shows nobody's. One that a login brought is not for showing."""
        if self._issuer is None:
            return "credential.token.issuer"
        self._programs.take(self._sets())
        found = self._programs.prove(token)
        if isinstance(found, Principal) and "nonce" in found.claims:
            return "credential.token.claims"
        return found

    async def _discovered(self) -> dict[str, Any]:
        """The issuer's own words. Raises Failed."""
        issuer = self._issuer
        if issuer is None:
            raise Failed("nobody logs in here: declare gateway.admin.login")
        if self._now() < self._until:
            return self._found
        try:
            found = object_of(await self._fetch(issuer.source, issuer.ca))
        except (Unreachable, Malformed) as e:
            raise Failed(f"the issuer cannot be asked: {e}") from None
        if found.get("issuer") not in [form.iss for form in issuer.says]:
            raise Failed("the discovery document is of another issuer")
        own = urlsplit(issuer.source)
        for name in ("authorization_endpoint", "token_endpoint"):
            parts = urlsplit(str(found.get(name)))
            if parts.scheme != "https" and (parts.scheme, parts.hostname) != (own.scheme, own.hostname):
                raise Failed(f"the discovery document names no {name} that can be used")
            if not str(found[name]).isascii() or not str(found[name]).isprintable() or parts.fragment:
                raise Failed(f"the discovery document names no {name} that can be used")
        self._found, self._until = found, self._now() + DISCOVERED_S
        return found


def words(claims: Mapping[str, object]) -> str:
    """Who that is, for the audit log: what does not change, and for readers what does."""
    who = claims.get("oid") or claims.get("sub") or ""
    shown = claims.get("preferred_username") or claims.get("name") or ""
    return json.dumps(f"{who} ({shown})" if shown else str(who), ensure_ascii=True)[1:-1][:200]
