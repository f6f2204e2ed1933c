"""A gateway with two simulated Azure instances behind it, over http or with TLS on both sides."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import certificates
from sluicegate.core.secret import Secret
from sluicegate.core.settings import Listen, TlsFiles
from sluicegate.core.snapshot import Auth
from sluicegate.sim.fleet import FleetThread
from sluicegate.sim.ledger import Entry
from sluicegate.sim.tls import Certificates
from tests.clients.members import over, serving
from tests.gateway import GatewayThread, instance

# Requests that hold these words befalls something, at every member.
BROKEN, THROTTLED, CUT, ONCE = "befall-broken", "befall-throttled", "befall-cut", "befall-once"
WAIT_S = 0.2


@dataclass
class Site:
    """What a client test needs."""

    gateway: GatewayThread
    fleet: FleetThread
    ca: Path | None

    @property
    def url(self) -> str:
        return self.gateway.url

    def context(self) -> ssl.SSLContext | bool:
        """What a client must trust: `verify` of its HTTP library."""
        return ssl.create_default_context(cafile=str(self.ca)) if self.ca else True

    def served(self) -> Entry:
        """The last request that reached a simulated instance."""
        return self.fleet.ledger[-1]

    def throttle_once(self, word: str) -> None:
        """Every member refuses the first request that holds this word, for WAIT_S."""
        for served in self.fleet:
            self.fleet.fault("throttle", instance=served.name, marker=word, wait_s=WAIT_S, times=1)


@contextlib.contextmanager
def site(tls: bool, folder: Path) -> Iterator[Site]:
    """Two instances, one deployment each, model `chat` over both."""
    made = certificates.make(folder) if tls else None
    given = {f"i{n}": {"deployments": {f"gpt-4o-{n}": {}}, "tls": tls} for n in (1, 2)}
    files = made and Certificates(str(made.ca), str(made.certificate), str(made.key))
    with FleetThread(given, seed=7, tls=files) as fleet:
        fleet.fault("status", status=500, marker=BROKEN)
        fleet.fault("throttle", wait_s=WAIT_S, marker=THROTTLED)
        fleet.fault("cut", how="clean", at="before_finish", marker=CUT)
        more = {"scheme": "https", "host": "localhost", "ca": str(made.ca)} if made else {}
        instances = [
            instance(n, served.port, name=served.name, auth=Auth("key", Secret(served.key)), **more)
            for n, served in enumerate(fleet, 1)
        ]
        listen = Listen(port=0, tls=TlsFiles(str(made.certificate), str(made.key)) if made else None)
        with serving(over(instances, {"chat": [1, 2]}, listen)) as gateway:
            yield Site(gateway, fleet, made.ca if made else None)
