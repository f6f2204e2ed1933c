"""Who changed what: the audit log, for those who audit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from sluicegate.admin.base import Asked, Route
from sluicegate.admin.consumers import most
from sluicegate.admin.shapes import audit as shapes

Read = Callable[[int, int], tuple[list[dict[str, Any]], bool]]
"""Entries after a number, so many at most; and whether there are more."""


def routes(read: Read, verified: Callable[[], dict[str, Any]]) -> list[Route]:
    """Resources of this file."""

    async def entries(asked: Asked) -> Any:
        found, more = await asyncio.to_thread(read, asked.query.after, most(asked.query.most))
        return {"entries": found, "more": more}

    async def verify(asked: Asked) -> Any:
        return await asyncio.to_thread(verified)

    return [
        Route("GET", "/v1/audit", "audit", entries,
              "Changes and what became of them, attempts that were refused, logins: in order, with the hashes that "
              "chain them.", query=shapes.AuditAsked, answers=shapes.AuditEntries, id="audit"),
        Route("GET", "/v1/audit/verify", "audit", verify,
              "Whether the log is whole: no entry removed, changed, moved, or cut off at the end.",
              answers=shapes.AuditState, id="audit_verify"),
    ]  # fmt: skip
