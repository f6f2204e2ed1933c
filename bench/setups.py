"""What stands where in a run: ports, certificates, and whether there is TLS towards the client and the upstream."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.certificates import Certificates
from bench.tokens import Tokens


@dataclass(frozen=True)
class Setup:
    """How the programs are connected."""

    name: str
    title: str
    upstream_tls: bool = False
    client_tls: bool = False
    tokens: bool = False
    "Clients show tokens of a hundred callers, instead of one key."
    in_turn: bool = False
    "Another one with each request, as behind a proxy that shares its connections; else each connection keeps one."


PLAIN = Setup("plain", "HTTP on both sides")
TLS = Setup("tls", "TLS to the upstream", upstream_tls=True)
TOKENS = Setup("tokens", "HTTP on both sides, tokens", tokens=True)
MIXED = Setup("mixed", "HTTP on both sides, tokens in turn", tokens=True, in_turn=True)
BOTH = Setup("both", "TLS on both sides", upstream_tls=True, client_tls=True)


@dataclass(frozen=True)
class Place:
    """What a program's configuration needs to know."""

    setup: Setup
    folder: Path  # its own, for what it writes
    port: int
    stream_port: int  # where it takes streams; the same as `port` unless it needs other settings for them
    upstreams: tuple[int, ...]
    certificates: Certificates
    tokens: Tokens | None = None
