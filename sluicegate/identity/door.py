"""What loads when a configuration asks for it: signatures cost a worker 10 MB and 70 ms, and most check none."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sluicegate.core.ports import Certificates, Resolver
from sluicegate.core.principal import Whose


def prover(
    wall: Callable[[], float], now: Callable[[], float], lacks: Callable[[str], None], wants: Callable[[Whose], object]
) -> Resolver:
    """Who proves tokens. `lacks` is told the source whose keys lack one that a token names, `wants` whose groups are
    left to the directory."""
    from sluicegate.identity import prover

    return prover.Prover(wall, now, lacks, wants)


def certificates(
    wall: Callable[[], float], authorities: Sequence[str], lists: Sequence[str], forwarded: str
) -> Certificates:
    """Who reads client certificates. Raises OSError for files that cannot be used."""
    from sluicegate.identity import certificates

    return certificates.Certificates(wall, authorities, lists, forwarded)
