"""What would become of a request now, by what each worker has in force and in memory."""

from __future__ import annotations

import json

from sluicegate.admin.base import Gateway, Reply, Table, Taking, said, wrong


def table(gateway: Gateway) -> Table:
    """Resources of this file."""

    async def explain(body: bytes) -> Reply:
        try:
            question = json.loads(body)
        except (ValueError, RecursionError):
            return wrong(400, "the question is no JSON")
        told = await gateway.explain(question)
        return wrong(409, told) if isinstance(told, str) else said(200, told)

    return {("POST", "/v1/explain"): Taking(explain)}
