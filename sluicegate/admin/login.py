"""Logging in by a browser, the page that says who one is, and logging out. No script, no style: a console comes later.

There is one way back from the issuer, and from there to one page: nothing that is sent says where to go.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from html import escape
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit

from sluicegate.admin.base import OPEN, Asked, Audit, Reply, Route, Who, Wrong
from sluicegate.admin.sessions import COOKIE, FLAGS, PENDING, Sessions, looked_at, who_is
from sluicegate.admin.shapes import login as shapes
from sluicegate.core.operators import MAY
from sluicegate.core.principal import Principal
from sluicegate.core.settings import Login

MAY_SAYS = {
    "tenant": "see usage, requests, consumers and keys",
    "viewer": "see the whole gateway",
    "people": "make, change and remove consumers and keys",
    "audit": "read who changed what",
    "operator": "change what runs",
}


class Provider(Protocol):
    """The issuer that people log in at. Raises `failed`, fit to be shown."""

    @property
    def failed(self) -> type[Exception]: ...
    def words(self, claims: Mapping[str, object]) -> str: ...
    async def where(self, redirect: str, state: str, nonce: str, verifier: str) -> str: ...
    async def redeem(self, code: str, redirect: str, nonce: str, verifier: str) -> Principal: ...
    def program(self, token: bytes) -> Principal | str: ...


class Door:
    """What login needs of its surroundings."""

    def __init__(
        self,
        provider: Provider,
        sessions: Sessions,
        login: Callable[[], Login | None],
        url: Callable[[], str],
        audit: Audit | None,
        say: Callable[..., None],
        rarely: Callable[[], bool] = lambda: True,
    ) -> None:
        self.provider = provider
        self.sessions = sessions
        self.login = login
        self.url = url
        "How browsers call us, without a slash at its end."
        self.audit = audit
        self.say = say
        self.rarely = rarely
        "Whether one more attempt that failed is written down."

    async def note(self, peer: str, outcome: str, **facts: Any) -> None:
        """A login, or an attempt of one. Raises Wrong where it cannot be written down."""
        if self.audit is not None:
            await self.audit.write("login", {"from": peer, "outcome": outcome, **facts})


def routes(door: Door | None) -> list[Route]:
    """Resources of this file."""

    def open_door() -> Door:
        if door is None or door.login() is None:
            raise Wrong(404, "nobody logs in here: declare gateway.admin.login")
        return door

    async def begin(asked: Asked) -> Any:
        here = open_door()
        asked.guess()
        state, pending = here.sessions.begin(f"{here.url()}/login/callback")
        try:
            there = await here.provider.where(pending.redirect, state, pending.nonce, pending.verifier)
        except here.provider.failed as e:
            raise Wrong(503, str(e)) from None
        return Reply(302, b"", "text/plain", (("location", there), ("set-cookie", f"{PENDING}={state}; {FLAGS}")))

    async def callback(asked: Asked) -> Any:
        here = open_door()
        query = asked.query
        pending = here.sessions.finish(query.state)
        if pending is None or asked.cookies.get(PENDING) != query.state:
            asked.guess()
            await refused(here, asked, "this login was begun elsewhere, or took too long")
            raise Wrong(400, "this login was begun elsewhere, or took too long: begin anew at /login")
        if query.error or not query.code:
            await refused(here, asked, "the issuer refused it")
            raise Wrong(403, "the issuer refused it: begin anew at /login")
        try:
            found = await here.provider.redeem(query.code, pending.redirect, pending.nonce, pending.verifier)
        except here.provider.failed as e:
            asked.guess()
            await refused(here, asked, str(e))
            raise Wrong(403, f"{e}. Begin anew at /login") from None
        name, claims = here.provider.words(found.claims), looked_at(found.claims)
        who = who_is(name, claims, here.login(), "login")
        if who is None:
            await here.note(asked.peer, "refused", who={"name": name, "kind": "login"}, error="no role")
            here.say("admin.denied", peer=asked.peer, what="login", status=403, who=name)
            raise Wrong(403, "you have no role here: gateway.admin.login says who has")
        told = {"name": name, "role": who.role, "kind": "login", **({"tenant": who.tenant} if who.tenant else {})}
        await here.note(asked.peer, "done", who=told)
        cookie, _ = here.sessions.open(name, claims)
        here.say("admin.login", who=name, role=who.role, peer=asked.peer)
        headers = (
            ("location", f"{here.url()}/"), ("set-cookie", f"{COOKIE}={cookie}; {FLAGS}"),
            ("set-cookie", f"{PENDING}=; Max-Age=0; {FLAGS}"),
        )  # fmt: skip
        return Reply(303, b"", "text/plain", headers)

    async def page(asked: Asked) -> Any:
        here = open_door()
        cookie = asked.cookies.get(COOKIE, "")
        session = here.sessions.find(cookie) if cookie else None
        who = who_is(session.name, session.claims, here.login(), "login") if session is not None else None
        if session is None or who is None:
            return Reply(200, html('<p><a href="/login">Log in</a></p>'), "text/html; charset=utf-8")
        return Reply(200, html(about(who, session.csrf)), "text/html; charset=utf-8")

    async def leave(asked: Asked) -> Any:
        here = open_door()
        cookie = asked.cookies.get(COOKIE, "")
        session = here.sessions.find(cookie) if cookie else None
        if session is None:
            raise Wrong(403, "nobody is logged in")
        form = dict(parse_qsl(asked.body.decode("latin-1")[:4096]))
        if form.get("csrf") != session.csrf:
            raise Wrong(403, "this was not sent by our own page")
        here.sessions.close(cookie)
        with contextlib.suppress(Wrong):
            await here.note(asked.peer, "left", who={"name": session.name, "kind": "login"})
        gone = (("location", f"{here.url()}/"), ("set-cookie", f"{COOKIE}=; Max-Age=0; {FLAGS}"))
        return Reply(303, b"", "text/plain", gone)

    async def whoami(asked: Asked) -> Any:
        who = asked.who
        may = [what for what, roles in MAY.items() if who.role in roles]
        return {"name": who.name, "role": who.role, "tenant": who.tenant, "kind": who.kind, "may": may,
                "csrf": asked.csrf}  # fmt: skip

    none = {404: "nobody logs in here"}
    return [
        Route("GET", "/v1/whoami", "tenant", whoami,
              "Who one is, and what one may. `csrf`: what a browser that is logged in sends as x-csrf-token with every "
              "change.", answers=shapes.Whoami, id="whoami"),
        Route("GET", "/", OPEN, page, "Who is logged in: a page for people.", content_type="text/html; charset=utf-8",
              errors=none, id="login_page"),
        Route("GET", "/login", OPEN, begin, "Log in: leads to the issuer.", content_type="text/plain", status=302,
              errors={**none, 429: "too many logins from this address", 503: "the issuer cannot be asked"},
              id="login"),
        Route("GET", "/login/callback", OPEN, callback, "The way back from the issuer.", query=shapes.Callback,
              content_type="text/plain", status=303,
              errors={**none, 403: "nobody who has a role here", 429: "too many logins from this address",
                      503: "the audit log cannot be written"}, id="login_callback"),
        Route("POST", "/logout", OPEN, leave, "Log out; sent by our own page.", takes=shapes.Leave, status=303,
              content_type="text/plain",
              errors={**none, 403: "nobody is logged in, or it was not sent by our own page"}, id="login_leave"),
    ]  # fmt: skip


async def refused(door: Door, asked: Asked, why: str) -> None:
    """Written down, as far as that can be."""
    if door.rarely():
        with contextlib.suppress(Wrong):
            await door.note(asked.peer, "refused", error=why)
    door.say("admin.denied", peer=asked.peer, what="login", status=403, error=why)


def about(who: Who, csrf: str) -> str:
    """Who somebody is, and what they may."""
    may = "".join(f"<li>{escape(MAY_SAYS[what])}</li>" for what, roles in MAY.items() if who.role in roles)
    where = f" of tenant {escape(who.tenant)}" if who.tenant else ""
    return (
        f"<p>You are <b>{escape(who.name)}</b>, {escape(who.role)}{where}. You may:</p><ul>{may}</ul>"
        f'<form method="post" action="/logout"><input type="hidden" name="csrf" value="{escape(csrf)}">'
        "<button>Log out</button></form>"
    )


def html(body: str) -> bytes:
    """A page."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Sluicegate</title></head>'
        f"<body><h1>Sluicegate</h1>{body}</body></html>\n"
    ).encode()


def host_of_url(url: str) -> str:
    """The host that browsers call us by."""
    return (urlsplit(url).hostname or "").lower()
