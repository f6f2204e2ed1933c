"""The truth ledger: what every request to the fleet was, what was said to it, and how and when it ended.

Kept by the simulator, so it knows what a gateway may only believe. Tests compare a gateway's records with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from threading import Condition
from typing import Any

Headers = list[tuple[bytes, bytes]]

CREDENTIALS = ("api-key", "authorization", "x-api-key", "cookie", "ocp-apim-subscription-key", "proxy-authorization")
SHOWN = (
    "host",
    "user-agent",
    "x-ms-client-request-id",
    "traceparent",
    "accept-encoding",
    "content-type",
    "idempotency-key",
)
"""Headers kept with their values; of all others the names are kept."""


class Entry:
    """One request and its answer. Times are monotonic seconds; None: did not happen (yet)."""

    __slots__ = (
        "_digest", "answer_at", "api_version", "authorized", "body", "body_at", "body_bytes", "claim", "complete",
        "connection", "deployment", "ended", "ended_at", "faults", "first_at", "head", "head_at", "head_bytes",
        "id", "instance", "left_at", "method", "nth", "number", "on_end", "path", "retry_s", "sent", "sent_at",
        "sent_body", "spilled_to", "status", "stream", "target", "usage_sent", "wall", "whole",
    )  # fmt: skip

    def __init__(self, instance: str, first_at: float, wall: float, connection: int = 0, nth: int = 1) -> None:
        self.number = 0
        "Of the ledger, in the order of arrival, from 1."
        self.instance = instance
        self.deployment = ""
        "As the request named it, whether or not it exists."
        self.id = ""
        "The x-request-id of the answer."
        self.connection = connection
        "Of the process, from 1: equal numbers mean that a connection was used again."
        self.nth = nth
        "Request on its connection, from 1."
        self.wall = wall
        self.first_at = first_at
        "First byte of the head."
        self.head_at: float | None = None
        self.body_at: float | None = None
        "The request was complete."
        self.method = ""
        self.target = ""
        self.path = ""
        self.api_version: str | None = None
        self.stream = False
        self.head = b""
        "As it came; not exported, because it holds the key."
        self.head_bytes = 0
        self.body: bytes | bytearray = b""
        "Empty where the ledger was told not to keep bodies."
        self.body_bytes = 0
        self._digest = ""
        self.complete = False
        "The request arrived whole."
        self.authorized = False
        self.status = 0
        "0: no answer was given."
        self.answer_at: float | None = None
        "First byte of the answer."
        self.sent = 0
        "Raw bytes of the answer that were written."
        self.sent_body = 0
        "Bytes of body content among them, framing excluded."
        self.sent_at: float | None = None
        "Last byte so far."
        self.claim: Any = None
        "Tokens (answer.Claim) that were computed."
        self.usage_sent = False
        "The answer got as far as saying so."
        self.whole = False
        "Everything the answer wanted to say was written."
        self.retry_s: float | None = None
        "The wait that a refusal announced."
        self.ended = ""
        "done, cut, reset, hang (gave up waiting), client (closed before the answer's end), stopped; empty: not yet."
        self.ended_at: float | None = None
        self.left_at: float | None = None
        "The client closed or reset the connection before the answer was over."
        self.faults: Sequence[int] = ()
        self.spilled_to = ""
        "Deployment that the platform's own spillover gave it to."
        self.on_end: Callable[[Entry], None] | None = None
        "Told when it is over: capacity is settled then."

    def __repr__(self) -> str:
        return f"Entry({self.number}, {self.instance}/{self.deployment}, {self.status}, {self.ended or 'open'})"

    @property
    def digest(self) -> str:
        """SHA-256 of the body as it came, in hex; empty where it was not kept whole."""
        if not self._digest and self.complete and len(self.body) == self.body_bytes:
            self._digest = sha256(self.body).hexdigest()
        return self._digest

    def forget_body(self) -> None:
        """Keep the digest only."""
        self._digest = self.digest
        self.body = b""

    @property
    def headers(self) -> Headers:
        """Of the request, read from its head: kept once, not twice, since there may be 200,000 of them."""
        fields = [line.partition(b":") for line in self.head.partition(b"\r\n")[2].split(b"\r\n")]
        return [(name, value.strip()) for name, colon, value in fields if colon]

    def header(self, name: str) -> str | None:
        """First value of a request header."""
        wanted = name.lower().encode()
        for key, value in self.headers:
            if key.lower() == wanted:
                return value.decode("latin-1")
        return None

    def header_names(self) -> list[str]:
        return [name.decode("latin-1").lower() for name, _ in self.headers]

    def export(self) -> dict[str, Any]:
        """Plain data, without credentials and bodies."""
        names = self.header_names()
        shown = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in reversed(self.headers)}
        out: dict[str, Any] = {name: getattr(self, name) for name in _EXPORTED}
        out["usage"] = None if self.claim is None else {
            "prompt": self.claim.prompt, "completion": self.claim.completion,
            "cached": self.claim.cached, "reasoning": self.claim.reasoning, "sent": self.usage_sent,
        }  # fmt: skip
        out["body_sha256"] = self.digest
        out["header_names"] = names
        out["credentials"] = [name for name in CREDENTIALS if name in names]
        out["headers"] = {name: shown[name] for name in SHOWN if name in shown}
        out["stainless"] = {name: value for name, value in shown.items() if name.startswith("x-stainless-")}
        return out


_EXPORTED = (
    "number", "instance", "deployment", "id", "connection", "nth", "wall", "first_at", "head_at", "body_at", "method",
    "path", "api_version", "stream", "head_bytes", "body_bytes", "complete", "authorized", "status", "answer_at",
    "sent", "sent_body", "sent_at", "whole", "retry_s", "ended", "ended_at", "left_at", "faults", "spilled_to",
)  # fmt: skip


class Ledger:
    """All entries of a fleet, in memory."""

    def __init__(self, keep_bodies: bool = True, limit: int | None = None) -> None:
        self.entries: list[Entry] = []
        self.keep_bodies = keep_bodies
        self.keep_digests = True
        "False: of bodies that are not kept nothing stays, and neither do heads."
        self.limit = limit
        "Entries kept; beyond it the oldest tenth goes. None: all."
        self._count = 0
        self._changed = Condition()
        self._waiting = 0
        self.on_change: list[Callable[[], None]] = []
        "Called in the fleet's loop after each change."

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Any:
        return iter(list(self.entries))

    def __getitem__(self, index: int) -> Entry:
        return self.entries[index]

    def add(self, entry: Entry) -> None:
        """A request's head arrived, or what there was of it when the connection broke."""
        self._count += 1
        entry.number = self._count
        self.entries.append(entry)
        if self.limit is not None and len(self.entries) > self.limit:
            del self.entries[: max(1, self.limit // 10)]
        self.changed()

    def end(self, entry: Entry, how: str, now: float) -> None:
        """An exchange is over. The first word counts."""
        if not entry.ended:
            entry.ended = how
            entry.ended_at = now
            if entry.on_end is not None:
                entry.on_end(entry)
                entry.on_end = None
            if not self.keep_digests:
                entry.body = entry.head = b""
            elif not self.keep_bodies:
                entry.forget_body()
            self.changed()

    def changed(self) -> None:
        if self._waiting:
            with self._changed:
                self._changed.notify_all()
        for callback in self.on_change:
            callback()

    def wait(self, until: Callable[[Ledger], Any], timeout_s: float = 10.0) -> bool:
        """Block this thread (not the fleet's) until the ledger satisfies `until`. False: it did not in time."""
        with self._changed:
            self._waiting += 1
            try:
                return bool(self._changed.wait_for(lambda: until(self), timeout_s))
            finally:
                self._waiting -= 1

    def clear(self) -> None:
        """Forget everything; numbers go on, so that what ends later is not mistaken."""
        self.entries.clear()
        self.changed()

    def of(self, instance: str | None = None, deployment: str | None = None) -> list[Entry]:
        """Entries of an instance, of a deployment, or of both."""
        return [
            e
            for e in list(self.entries)
            if (instance is None or e.instance == instance) and (deployment is None or e.deployment == deployment)
        ]

    def open(self) -> list[Entry]:
        """Exchanges that have not ended."""
        return [e for e in list(self.entries) if not e.ended]

    def early(self, tolerance_s: float = 0.0) -> list[tuple[Entry, Entry]]:
        """Requests that arrived at a deployment after its 429 and before the time it named, each with that 429."""
        found: list[tuple[Entry, Entry]] = []
        shut: dict[tuple[str, str], tuple[float, Entry]] = {}
        for e in sorted(self.entries, key=lambda e: e.first_at):
            place = (e.instance, e.deployment)
            until = shut.get(place)
            if (
                until is not None
                and until[1].sent_at is not None
                and until[1].sent_at < e.first_at < until[0] - tolerance_s
            ):
                found.append((e, until[1]))
            if e.status == 429 and e.retry_s is not None and e.sent_at is not None:
                deadline = e.sent_at + e.retry_s
                if until is None or deadline > until[0]:
                    shut[place] = (deadline, e)
        return found

    def totals(self) -> dict[str, Any]:
        """Counts and sums, for a glance."""
        entries = list(self.entries)
        claimed = [e for e in entries if e.claim is not None]
        return {
            "requests": len(entries),
            "open": sum(not e.ended for e in entries),
            "by_deployment": _counted(f"{e.instance}/{e.deployment}" for e in entries),
            "by_status": _counted(str(e.status) for e in entries),
            "by_end": _counted(e.ended or "open" for e in entries),
            "prompt_tokens": sum(e.claim.prompt for e in claimed),
            "completion_tokens": sum(e.claim.completion for e in claimed),
            "tokens_said": sum(e.claim.prompt + e.claim.completion for e in claimed if e.usage_sent),
        }


def _counted(words: Iterable[str]) -> Mapping[str, int]:
    return dict(sorted(Counter(words).items()))
