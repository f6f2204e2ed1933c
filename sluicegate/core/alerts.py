"""What somebody should be told of without looking: the kinds of alerts, and how one is raised.

A worker says `world.alarm(kind, subject, detail)` and `world.over(kind, subject)`, the keeper `keeper.alarm` and
`keeper.over`; saying the same again costs nobody anything. What lasts ends with `over`, what merely happened ends by
itself. Who is told, and how, is the keeper's matter (keeper/alerts.py).
"""

from __future__ import annotations

from typing import Final, Protocol


class AlertKind:
    """One kind. `lasts`: it is a state that somebody says the end of; else something that happened."""

    __slots__ = ("lasts", "says")

    def __init__(self, says: str, lasts: bool = True) -> None:
        self.says = says
        self.lasts = lasts


KINDS: Final[dict[str, AlertKind]] = {
    "breaker.open": AlertKind("Faults of a deployment opened its breaker: it gets no calls but the one that looks."),
    "model.down": AlertKind("For ten seconds nobody could serve a model: all are throttled, broken or drained."),
    "upstream.credential": AlertKind(
        "A deployment refuses the credential that the gateway shows, or there is none to show."
    ),
    "upstream.deployment": AlertKind("A deployment is not there: its instance says so."),
    "region.mismatch": AlertKind("A deployment answers from a region that contradicts what is declared of it."),
    "issuer.keys": AlertKind("The keys of an issuer of tokens cannot be fetched, or are none."),
    "issuer.groups": AlertKind("The directory cannot be asked for the groups of those who are in too many."),
    "certificate.list": AlertKind("A list of revoked certificates was to be renewed by now. It goes on to hold."),
    "certificate.ends": AlertKind("A certificate that this gateway shows ends within two weeks, or has ended."),
    "config.refused": AlertKind("A configuration was refused; the one before it stays in force."),
    "journal.failing": AlertKind("A worker cannot write usage records to its journal."),
    "journal.damaged": AlertKind(
        "A part of a journal could not be read: usage records are lost, or interrupted.", lasts=False
    ),
    "ledger.failing": AlertKind("Usage records cannot be moved into the ledger; they wait in the journal."),
    "audit.failing": AlertKind("The audit log cannot be written: no change is made until it can be."),
    "worker.ended": AlertKind("A worker process ended by itself, and is replaced.", lasts=False),
}
"""Every kind there is: the names are part of the interface (telemetry.alerts.on, docs/reference/alerts.md)."""


class Alarms(Protocol):
    """Who hears them. Never waits, never raises."""

    def raised(self, kind: str, subject: str, detail: str) -> None: ...
    def over(self, kind: str, subject: str) -> None: ...
    def barred(self, deployment: str, detail: str) -> None:
        """A region.mismatch for which this deployment is to be taken out of all pools."""


class Silent:
    """Nobody hears: of a fork, and where no keeper is."""

    __slots__ = ()

    def raised(self, kind: str, subject: str, detail: str) -> None: ...
    def over(self, kind: str, subject: str) -> None: ...
    def barred(self, deployment: str, detail: str) -> None: ...
