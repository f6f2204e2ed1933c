"""What is handed to the keeper, and what a reload comes to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from sluicegate.core.entry import Entry
from sluicegate.core.keyset import KeySet
from sluicegate.core.settings import Issuer
from sluicegate.spec.load import Loaded


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a reload came to. `state`: adopted, unchanged or refused; `waiting`: changes that need a restart."""

    state: str
    config: str
    "Hash of what is in force now."
    report: str = ""
    "What is wrong, or worth knowing, for people."
    waiting: tuple[str, ...] = ()


class Log(Protocol):
    """The access log."""

    dropped: int

    def configure(self, where: str) -> None: ...
    def reopen(self) -> None: ...
    def take(self, entries: Sequence[Entry], dropped: int = 0) -> None: ...
    def stop(self) -> None: ...


class Vault(Protocol):
    """Key vaults that the configuration refers to (upstream/credentials/keyvault.py)."""

    failing: dict[str, str]

    def due(self) -> bool: ...
    def read_again(self) -> bool: ...


class Published(Protocol):
    """The keys that issuers publish (identity/published.py)."""

    on_change: Callable[[Sequence[KeySet]], None]
    alarm: Callable[[str, str, str], None]
    over: Callable[[str, str], None]

    async def prepare(self, issuers: Sequence[Issuer]) -> None: ...
    def adopt(self, issuers: Sequence[Issuer]) -> None: ...
    def lacks(self, name: str) -> None: ...
    def sets(self) -> list[KeySet]: ...
    async def stop(self) -> None: ...


class Compiled(Protocol):
    """Compiles files that somebody sends: their names and contents, where relative paths begin (empty: beside the
    gateway's own), and whether they are about to take effect. `own`: what its own files hold now."""

    def __call__(self, texts: Sequence[tuple[str, bytes]], base: str, start: bool) -> Loaded: ...
    def own(self) -> list[bytes] | None: ...
    @property
    def paths(self) -> Sequence[str]: ...
