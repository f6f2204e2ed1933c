"""The control API: what the simulator was asked (ledger), what it is (config), what it should do wrong (faults).

JSON on a port of its own, without a credential: it belongs on loopback. A request with an `Origin` header comes from a
page in a browser and is refused.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import msgspec

from sluicegate.sim.answer import Answer
from sluicegate.sim.azure.refusals import JSON
from sluicegate.sim.azure.request import Request
from sluicegate.sim.ledger import Entry

if TYPE_CHECKING:
    from sluicegate.sim.fleet import Fleet

HELP = {
    "GET /": "this list",
    "GET /ledger?instance=&deployment=&after=&limit=": "requests received, oldest first; after: a number already seen",
    "GET /totals": "counts and sums of the ledger",
    "GET /faults": "faults in force and how often they struck",
    "POST /faults": "put one fault, or a list, in force: {kind, ...}",
    "DELETE /faults?number=": "lift one, or all",
    "GET /config": "instances and deployments, keys left out",
    "PATCH /config": "change them: {instances: {NAME: {mode: down, deployments: {NAME: {latency: {...}}}}}}",
    "POST /reset": "forget ledger and faults; configuration as it was at the start",
}
LIMIT = 10_000


class Control:
    """The desk behind the control door."""

    name = "control"

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self._doors: dict[tuple[str, str], Callable[[dict[str, str], Any], Any]] = {
            ("GET", "/"): lambda query, document: HELP,
            ("GET", "/ledger"): self._ledger,
            ("GET", "/totals"): lambda query, document: fleet.ledger.totals(),
            ("GET", "/faults"): lambda query, document: {"faults": self._faults()},
            ("POST", "/faults"): self._add,
            ("DELETE", "/faults"): self._lift,
            ("GET", "/config"): lambda query, document: fleet.export(),
            ("PATCH", "/config"): self._patch,
            ("POST", "/reset"): self._reset,
        }

    # ------------------------------------------------------------------ as a desk (sim/server.py)

    def accepting(self, now: float) -> str:
        return ""

    def arrived(self, entry: Entry) -> None:
        pass

    def hung(self, entry: Entry) -> None:
        pass

    def ended(self, entry: Entry, how: str, now: float) -> None:
        pass

    def early(self, request: Request, entry: Entry, now: float, wall: float) -> Answer | None:
        return None

    def answer(self, request: Request, entry: Entry, now: float, wall: float) -> Answer:
        """Route and perform."""
        if request.header(b"origin") is not None:
            return _json(403, {"error": "requests from web pages are refused"})
        path, _, text = request.target.partition("?")
        perform = self._doors.get((request.method, path.rstrip("/") or "/"))
        if perform is None:
            return _json(404, {"error": f"{request.method} {path} is not served", "served": HELP})
        query = {name: values[-1] for name, values in parse_qs(text).items()}
        try:
            document = msgspec.json.decode(request.body) if request.body else None
            return _json(200, perform(query, document))
        except (ValueError, RecursionError) as e:
            return _json(400, {"error": str(e)})

    # ------------------------------------------------------------------ what it does

    def _ledger(self, query: dict[str, str], document: Any) -> Any:
        after, limit = int(query.get("after", 0)), int(query.get("limit", LIMIT))
        entries = self.fleet.ledger.of(query.get("instance"), query.get("deployment"))
        entries = [e for e in entries if e.number > after][:limit]
        return {"now": time.monotonic(), "wall": time.time(), "entries": [e.export() for e in entries]}

    def _faults(self) -> list[dict[str, Any]]:
        now = time.monotonic()
        return [a.export(now) for a in self.fleet.faults.active]

    def _add(self, query: dict[str, str], document: Any) -> Any:
        given = document if isinstance(document, list) else [document]
        for one in given:
            if not isinstance(one, dict):
                raise ValueError("write a fault as an object: {kind: status, status: 500}")
        added = [self.fleet.fault(**one) for one in given]
        return {"numbers": [a.number for a in added]}

    def _lift(self, query: dict[str, str], document: Any) -> Any:
        number = query.get("number")
        return {"lifted": self.fleet.faults.remove(int(number) if number else None)}

    def _patch(self, query: dict[str, str], document: Any) -> Any:
        instances = document.get("instances") if isinstance(document, dict) and len(document) == 1 else None
        if not isinstance(instances, dict):
            raise ValueError("write {instances: {NAME: {...}}}")
        self.fleet.patch(instances)
        return self.fleet.export()

    def _reset(self, query: dict[str, str], document: Any) -> Any:
        self.fleet.reset()
        return {"reset": True}


def _json(status: int, document: Any) -> Answer:
    return Answer(status, [JSON], [(0.0, msgspec.json.encode(document) + b"\n")])
