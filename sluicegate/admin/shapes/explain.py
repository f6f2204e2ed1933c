"""What would become of a request."""

from __future__ import annotations

from typing import Any

import msgspec


class Explained(msgspec.Struct, omit_defaults=True):
    """What each worker says, and which of them did not answer."""

    workers: list[dict[str, Any]]
    silent: list[int]
    match: dict[str, Any] | None = None
    "Of a question about claims: whose they are, and which rules nearly match."
