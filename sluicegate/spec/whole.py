"""A small file in `gateway.data` that is there whole or as it was, whenever somebody dies."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable

END = "end"
"""The last line of each: without it a file is damaged."""


def write_whole(data: str, name: str, lines: Iterable[str]) -> None:
    """Write these lines and END into a file of this folder, which is made where it is missing. Two who do it at once
    do not meet: one of them is the last. Raises OSError."""
    path = os.path.join(data, name)
    draft = f"{path}.{os.getpid()}.{secrets.token_hex(4)}"
    os.makedirs(data, mode=0o700, exist_ok=True)
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as f:
            f.write("\n".join([*lines, END, ""]))
            f.flush()
            os.fsync(f.fileno())
        os.replace(draft, path)
    finally:
        if os.path.lexists(draft):
            os.unlink(draft)
