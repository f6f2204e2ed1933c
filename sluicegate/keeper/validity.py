"""Until when the certificates that this gateway shows are good: somebody is told two weeks before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sluicegate.core.settings import Gateway
from sluicegate.spec.validity import ends, words

KIND = "certificate.ends"


class Validity:
    """Of the certificates in force. What lies in the files may be newer: it is read when a configuration is taken."""

    def __init__(self) -> None:
        self.ends: dict[str, float] = {}
        "By listener, clients and admin: wall time."
        self._paths: dict[str, str] = {}
        self._told: set[str] = set()

    def take(self, gateway: Gateway) -> None:
        """These are in force now."""
        self.ends, self._paths = {}, {}
        for listener, tls in (("clients", gateway.listen.tls), ("admin", gateway.admin.tls)):
            if tls is None:
                continue
            try:
                end = ends(Path(tls.certificate).read_bytes())
            except OSError:
                end = None
            if end is not None:
                self.ends[listener] = end
                self._paths[listener] = tls.certificate

    def look(self, now: float, alarm: Callable[[str, str, str], None], over: Callable[[str, str], None]) -> None:
        """Tell of those that end soon, and of those that do no more."""
        soon = {name: what for name, end in self.ends.items() if (what := words(self._paths[name], end, now))}
        for listener, what in soon.items():
            if listener not in self._told:
                alarm(KIND, listener, f"{what}; put another there, then: sluicegate reload")
        for listener in self._told - set(soon):
            over(KIND, listener)
        self._told = set(soon)
