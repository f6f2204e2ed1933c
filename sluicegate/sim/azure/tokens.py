"""Who hands out tokens in Azure, as far as a gateway meets them: the metadata service of a machine, App Service, Azure
Arc, Entra's token end point, and a key vault that wants one of its tokens. On loopback, each behind a door of its own.

One `Issuer` makes all tokens and remembers them, so an instance can be asked whether it would take one, and a test how
many there were. What is asked wrongly is refused as the real ones do; `fault` makes the next answers what it says.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable
from itertools import count
from secrets import token_urlsafe
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import msgspec
import uvloop

from sluicegate.sim.answer import Answer
from sluicegate.sim.azure.refusals import refusal
from sluicegate.sim.azure.request import Request
from sluicegate.sim.door import Door
from sluicegate.sim.ledger import Entry

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
HANG_S = 3600.0


class Made(NamedTuple):
    """A token that was handed out."""

    client: str
    "Whose it is; empty: the machine's own identity."
    audience: str
    ends: float
    "Wall time."


class Issuer:
    """Every token, and how often each desk was asked."""

    def __init__(self, life_s: float = 86_400.0, wall: Callable[[], float] = time.time) -> None:
        self.life_s = life_s
        self.wall = wall
        self.made: dict[str, Made] = {}
        self.revoked: set[str] = set()
        self.secrets: dict[str, set[str]] = {}
        "Of applications, by client id."
        self.vault: dict[str, list[str]] = {}
        "Secrets of the vault, by name: versions, oldest first."
        self.asked: Counter[str] = Counter()
        "Requests by desk."
        self.heads: list[bytes] = []
        "Of all requests, as they came."
        self.wrong: list[str] = []
        "What was asked wrongly."
        self.answers: list[Answer | str] = []
        "What is said next, instead of the truth; `hang`: nothing at all."
        self.form: Callable[[dict[str, Any]], dict[str, Any]] = lambda document: document
        "Makes something else of an answer that holds a token."
        self._numbers = count(1)

    def make(self, client: str, audience: str) -> dict[str, Any]:
        """A new token, as answers tell it."""
        text = f"token-{next(self._numbers)}-{token_urlsafe(24)}"
        self.made[text] = Made(client, audience, self.wall() + self.life_s)
        return {"access_token": text, "token_type": "Bearer", "expires_in": int(self.life_s)}

    def takes(self, audience: str, client: str | None = None) -> Callable[[str], bool]:
        """What an instance asks about a token: is it one of ours, for it, and not over?"""

        def takes(text: str) -> bool:
            found = self.made.get(text)
            if found is None or text in self.revoked or found.ends <= self.wall():
                return False
            return found.audience.rstrip("/") == audience and client in (None, found.client)

        return takes


class Desk:
    """Behind one door (sim/server.py Desk)."""

    def __init__(self, name: str, issuer: Issuer, answer: Callable[[Issuer, Request], Answer]) -> None:
        self.name = name
        self.issuer = issuer
        self._answer = answer
        self.door: Door

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.door.port}"

    def accepting(self, now: float) -> str:
        return ""

    def arrived(self, entry: Entry) -> None: ...
    def hung(self, entry: Entry) -> None: ...
    def ended(self, entry: Entry, how: str, now: float) -> None: ...

    def early(self, request: Request, entry: Entry, now: float, wall: float) -> Answer | None:
        return None

    def answer(self, request: Request, entry: Entry, now: float, wall: float) -> Answer:
        issuer = self.issuer
        issuer.asked[self.name] += 1
        issuer.heads.append(request.head)
        if issuer.answers:
            told = issuer.answers.pop(0)
            if isinstance(told, Answer):
                return told
            return Answer(200, [], [(HANG_S, b"{}")])
        return self._answer(issuer, request)


def _query(request: Request) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(urlsplit(request.target).query).items()}


def _json(issuer: Issuer, document: dict[str, Any]) -> Answer:
    return refusal(200, issuer.form(document))


def _wrong(issuer: Issuer, status: int, error: str, what: str, **more: Any) -> Answer:
    issuer.wrong.append(what)
    return refusal(status, {"error": error, "error_description": what, **more})


def imds(issuer: Issuer, request: Request) -> Answer:
    """The instance metadata service of a virtual machine. Numbers stand in quotes."""
    query = _query(request)
    if request.header(b"metadata") != b"true":
        return _wrong(issuer, 400, "bad_request_102", "Required metadata header not specified")
    if request.header(b"x-forwarded-for") is not None or request.method != "GET":
        return _wrong(issuer, 400, "bad_request", "a proxy asks")
    if not request.target.startswith("/metadata/identity/oauth2/token?") or "api-version" not in query:
        return _wrong(issuer, 404, "not_found", f"no such path: {request.target}")
    if not query.get("resource") or query["resource"].endswith("/.default"):
        return _wrong(issuer, 400, "invalid_resource", "AADSTS500011: the resource principal was not found")
    found = issuer.make(query.get("client_id", ""), query["resource"])
    life = found["expires_in"]
    return _json(issuer, {
        **found, "client_id": query.get("client_id", "system"), "expires_in": str(life), "ext_expires_in": str(life),
        "expires_on": str(int(issuer.wall()) + life), "not_before": "0", "resource": query["resource"],
    })  # fmt: skip


HEADER = "the-header-of-app-service"


def app_service(issuer: Issuer, request: Request) -> Answer:
    """App Service, Functions, Container Apps: the end in quotes, and no expires_in."""
    query = _query(request)
    if (request.header(b"x-identity-header") or b"").decode() != HEADER:
        return _wrong(issuer, 401, "Unauthorized", "wrong X-IDENTITY-HEADER")
    if query.get("api-version") != "2019-08-01" or not query.get("resource"):
        return _wrong(issuer, 400, "bad_request", f"asked as {request.target}")
    found = issuer.make(query.get("client_id", ""), query["resource"])
    return _json(issuer, {
        "access_token": found["access_token"], "expires_on": str(int(issuer.wall()) + found["expires_in"]),
        "resource": query["resource"], "token_type": "Bearer", "client_id": query.get("client_id", "system"),
    })  # fmt: skip


def entra(issuer: Issuer, request: Request) -> Answer:
    """The token end point of a tenant: client credentials with a secret or an assertion."""
    path = urlsplit(request.target).path.split("/")
    if request.method != "POST" or len(path) != 5 or path[2:] != ["oauth2", "v2.0", "token"]:
        return _wrong(issuer, 404, "invalid_request", f"no such path: {request.target}")
    form = {k: v[-1] for k, v in parse_qs(bytes(request.body).decode()).items()}
    if form.get("grant_type") != "client_credentials" or not form.get("scope", "").endswith("/.default"):
        return _wrong(issuer, 400, "invalid_scope", "AADSTS1002012: the scope is not valid")
    client = form.get("client_id", "")
    shown = form.get("client_secret") or form.get("client_assertion", "")
    if "client_secret" not in form and form.get("client_assertion_type") != ASSERTION:
        return _wrong(issuer, 400, "invalid_request", "AADSTS900144: no client_assertion_type")
    if "client_assertion" in form and shown.count(".") == 2:
        issuer.asked["assertion"] += 1
    elif shown not in issuer.secrets.get(client, ()):
        return _wrong(issuer, 401, "invalid_client", f"AADSTS7000215: Invalid client secret provided: {shown}")
    return _json(issuer, issuer.make(client, form["scope"].removesuffix("/.default")))


def vault(issuer: Issuer, request: Request) -> Answer:
    """A key vault: secrets by name and version."""
    bearer = (request.header(b"authorization") or b"").decode().removeprefix("Bearer ")
    if not issuer.takes("https://vault.azure.net")(bearer):
        return refusal(401, {"error": {"code": "Unauthorized", "message": f"AKV10000: token {bearer} is not ours"}})
    path = urlsplit(request.target).path.split("/")
    versions = issuer.vault.get(path[2] if len(path) > 2 else "", [])
    if request.method != "GET" or path[1] != "secrets" or _query(request).get("api-version") != "7.4" or not versions:
        return refusal(404, {"error": {"code": "SecretNotFound", "message": "no such secret"}})
    number = len(versions) - 1
    if len(path) > 3 and path[3]:
        number = int(path[3], 16)
        if number >= len(versions):
            return refusal(404, {"error": {"code": "SecretNotFound", "message": "no such version"}})
    return refusal(200, {
        "value": versions[number], "id": f"https://kv.vault.azure.net/secrets/{path[2]}/{number:032x}",
        "attributes": {"enabled": True},
    })  # fmt: skip


DESKS: dict[str, Callable[[Issuer, Request], Answer]] = {
    "imds": imds, "app_service": app_service, "entra": entra, "vault": vault,
}  # fmt: skip


class Cloud:
    """`with Cloud() as cloud`: every desk on a port of its own, in a thread. `cloud["imds"].origin` is its address."""

    def __init__(self, life_s: float = 86_400.0) -> None:
        self.issuer = Issuer(life_s)
        self._desks = {name: Desk(name, self.issuer, answer) for name, answer in DESKS.items()}
        self._up = threading.Event()
        self._stop: asyncio.Event
        self._loop: asyncio.AbstractEventLoop
        self._thread = threading.Thread(target=self._run, name="simulated cloud", daemon=True)

    def __getitem__(self, name: str) -> Desk:
        return self._desks[name]

    def __enter__(self) -> Cloud:
        self._thread.start()
        self._up.wait()
        return self

    def __exit__(self, *exc: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def call(self, function: Callable[[], Any]) -> Any:
        """Run something in its loop and wait for its value."""

        async def run() -> Any:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(20)

    def mode(self, name: str, mode: str) -> None:
        """up, down or stall, as of an instance."""
        self.call(lambda: self._desks[name].door.set_mode(mode))

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._main())

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        for desk in self._desks.values():
            desk.door = Door(desk, self._loop, "127.0.0.1", 0, None)
            desk.door.set_mode("up")
        self._up.set()
        await self._stop.wait()
        for desk in self._desks.values():
            await desk.door.stop()


def garbage(text: bytes, status: int = 200) -> Answer:
    """An answer that is none."""
    return Answer(status, [(b"content-type", b"text/html")], [(0.0, text)])


def says(status: int, **document: Any) -> Answer:
    """An answer as given."""
    return Answer(status, [(b"content-type", b"application/json")], [(0.0, msgspec.json.encode(document))])
