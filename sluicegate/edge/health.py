"""Health on the data listener: is the process alive, should it get new work, can its region serve, how is one model?

Four questions, four paths. `live` and `ready` never look at deployments: a readiness that did would remove every
replica at once when one model is throttled. `region` does, for routers in front of several regions; it changes its
mind only after ten seconds of the contrary, because each change moves the traffic of a region. These three need no
credential and say states and times only. `models/{name}` says more, to whoever may use that model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, unquote

from sluicegate.core.exchange import unknown
from sluicegate.core.pool import Member
from sluicegate.core.route import Route
from sluicegate.wire.refusal import refusal

if TYPE_CHECKING:
    from sluicegate.edge.listener import Server
    from sluicegate.edge.request import Request

HYSTERESIS_S: Final = 10.0

REST_S: Final = 30.0
"""After so long without a look a broken deployment counts as worth a try: when routers have left a region, nobody
looks, and without this they would never come back."""

DOWN: Final = "model.down"
"""The kind of alert."""

_WORDS: Final = {"throttled": "throttled", "quota": "throttled", "size": "throttled", "residency": "barred"}

LIVE: Final = b"/health/live"
READY: Final = b"/health/ready"
REGION: Final = (b"/health/region", b"/status-0123456789abcdef")
"""The second is where routers of API Management instances look."""

MODELS: Final = b"/health/models/"

_HEADERS: Final = b"content-type: application/json\r\ncache-control: no-store\r\n"


def ready_at(member: Member, now: float) -> float:
    """Monotonic time from which it may be asked for something small: `now` if it may. A broken one that is looked at
    every few seconds is not well for that: nobody knows when it will be, until a look succeeds or nobody tries."""
    door = member.door
    at = door.ready(now, 0)[0]
    if at <= now and not door.breaker.closed and now < max(door.breaker.until, door.breaker.looked_at) + REST_S:
        return inf
    return at


def why(members: Sequence[Member], now: float) -> str:
    """What keeps everybody out, in words: `broken (connect.refused) 1, throttled 2`."""
    counts: dict[str, int] = {}
    for member in members:
        breaker = member.door.breaker
        word = f"broken ({breaker.cause})" if not breaker.closed else _WORDS.get(member.door.ready(now, 0)[1], "shut")
        counts[word] = counts.get(word, 0) + 1
    if not counts:
        return "no deployment is left in its pool"
    return ", ".join([f"{word} {counts[word]}" for word in sorted(counts)])


class Seen:
    """One model, as it was looked at."""

    __slots__ = ("able", "since", "up")

    def __init__(self, now: float) -> None:
        self.up = True
        "What is said: follows `able` when that has lasted."
        self.able = True
        self.since = now
        "When `able` became what it is."

    def look(self, able: bool, now: float) -> None:
        """It can be served, or cannot."""
        if able is not self.able:
            self.able = able
            self.since = now
        if able is not self.up and now - self.since >= HYSTERESIS_S:
            self.up = able


class Health:
    """Answers the paths of this page."""

    __slots__ = ("_seen", "ready_at", "server")

    def __init__(self, server: Server, ready_at: Callable[[Member, float], float] = ready_at) -> None:
        self.server = server
        self.ready_at = ready_at
        self._seen: dict[str, Seen] = {}
        self.look(server.now())

    def look(self, now: float) -> None:
        """Once a second: which models could be served now?"""
        seen = {}
        world = self.server.bound.world
        for route in world.routes.all():
            found = self._seen.get(route.name)
            if found is None:
                found = Seen(now)
            up = found.up
            found.look(any(self.ready_at(m, now) <= now for m in route.pool.members), now)
            seen[route.name] = found
            if not found.up:
                what = f"nobody could serve it for {HYSTERESIS_S:.0f} s: {why(route.pool.members, now)}"
                world.alarm(DOWN, route.name, what)
            elif not up:
                world.over(DOWN, route.name)
        for name, gone in self._seen.items():
            if name not in seen and not gone.up:
                world.over(DOWN, name)
        self._seen = seen

    def answer(self, request: Request, path: bytes) -> bool:
        """True when the path was ours and is answered."""
        if request.method not in ("GET", "HEAD"):
            return False
        server = self.server
        leaving = server.draining and not server.replaced
        if path == LIVE:
            _say(request, 200, b'{"status":"live"}')
        elif path == READY:
            if leaving:
                _say(request, 503, b'{"status":"draining"}')
            else:
                _say(request, 200, b'{"status":"ready","config":"%b"}' % server.config_hash.encode())
        elif path in REGION:
            if leaving:
                _say(request, 503, b'{"status":"draining"}')
            else:
                self._region(request)
        elif path.startswith(MODELS):
            self._model(request, unquote(path[len(MODELS) :].decode("latin-1")))
        else:
            return False
        return True

    def _region(self, request: Request) -> None:
        """A model that is not there is down as one that cannot be served is: names cannot be probed here."""
        asked = parse_qs(request.url.partition(b"?")[2].decode("latin-1")).get("model", [])
        seen = [self._seen[name] for name in asked if name in self._seen] if asked else list(self._seen.values())
        if any(s.up for s in seen) or (not asked and not seen):
            _say(request, 200, b'{"status":"up"}')
        else:
            now = self.server.now()
            down = b',"for_s":%d' % int(now - max(s.since for s in seen)) if seen and not asked else b""
            _say(request, 503, b'{"status":"down"%b}' % down)

    def _model(self, request: Request, name: str) -> None:
        world = self.server.bound.world
        consumer = request.credentials.who(world.callers)
        if isinstance(consumer, str):
            _refuse(request, consumer, unknown(consumer))
            return
        route = world.routes.inside(consumer.boundary, name)
        if route is None or not consumer.may(name):
            _refuse(request, "route.model", "There is no such model, or you may not use it.")
            return
        _say(request, 200, self.detail(route, self.server.now()))

    def detail(self, route: Route, now: float) -> bytes:
        """How one model is, as JSON. No names of ours: tiers, states and times."""
        times = [self.ready_at(m, now) for m in route.pool.members]
        able = sum(at <= now for at in times)
        state = b"available" if able == len(times) and able else b"degraded" if able else b"unavailable"
        waits = sorted(at - now for at in times if now < at < inf)
        soonest = b',"next_recovery_s":%.1f' % waits[0] if waits else b""
        return b'{"state":"%b","available":%d,"total":%d%b,"deployments":[%b]}' % (
            state, able, len(times), soonest, b",".join(_each(route.pool.members, times, now)),
        )  # fmt: skip


def _each(members: Sequence[Member], times: Sequence[float], now: float) -> list[bytes]:
    said = []
    for member, at in zip(members, times, strict=True):
        wait = b',"ready_in_s":%.1f' % (at - now) if now < at < inf else b""
        up = b"true" if at <= now else b"false"
        said.append(b'{"tier":%d,"available":%b%b}' % (member.deployment.tier, up, wait))
    return said


def _say(request: Request, status: int, body: bytes) -> None:
    request.head(status, _HEADERS, len(body))
    request.data(b"" if request.method == "HEAD" else body)
    request.end()


def _refuse(request: Request, reason: str, message: str) -> None:
    status, lines, body = refusal(reason, message, None, "")
    request.head(status, lines, len(body))
    request.data(b"" if request.method == "HEAD" else body)
    request.end()
