"""How a bug is written down: of which kind it is and where it happened, never what it says of itself.

The message of an exception may quote what it choked on: a prompt, a key, a line of a client's making.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from typing import Any

CHAIN = 8
"""Exceptions behind an exception."""


def place(bug: BaseException) -> str:
    """Kinds and places, that which came first at the top, as Python writes them."""
    found: list[str] = []
    at: BaseException | None = bug
    while at is not None and len(found) < CHAIN:
        found.append("".join(traceback.format_tb(at.__traceback__)) + type(at).__name__)
        at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)
    return "Traceback (most recent call last):\n" + "\n\nthen\n\n".join(reversed(found))


def tell(report: Callable[[BaseException], None]) -> None:
    """What a callback of the running loop raises is written down like any other bug."""

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        bug = context.get("exception")
        report(bug if isinstance(bug, BaseException) else RuntimeError(context.get("message", "")))

    asyncio.get_running_loop().set_exception_handler(handle)
