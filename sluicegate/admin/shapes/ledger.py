"""What the ledger is asked, and what it answers: sums, records, the evidence of residency."""

from __future__ import annotations

from typing import Any

import msgspec


class UsageAsked(msgspec.Struct, forbid_unknown_fields=True):
    """`by`: consumer, tenant, model, deployment, day, end_user, member, subscription, tier; may be repeated. By tier
    each has its `share` of requests and tokens. `since`, `until`: date, time, or how long ago (7d)."""

    by: list[str] = []
    since: str = ""
    until: str = ""


class Usage(msgspec.Struct):
    """What was used: sums by what was asked for. `kept_since`: sums by end user begin there, earlier records are
    gone."""

    since: str
    until: str
    by: list[str]
    usage: list[dict[str, Any]]
    kept_since: str = ""


class RequestsAsked(msgspec.Struct, forbid_unknown_fields=True):
    """How many, and of whom; every filter may be repeated."""

    last: int = 20
    consumer: list[str] = []
    tenant: list[str] = []
    model: list[str] = []
    deployment: list[str] = []
    state: list[str] = []
    reason: list[str] = []
    status: list[int] = []


class Requests(msgspec.Struct):
    """Records, newest first."""

    requests: list[dict[str, Any]]


class EvidenceAsked(msgspec.Struct, forbid_unknown_fields=True):
    """`since`, `until`: a date, a time, or how long ago (7d); `tenant` may be repeated."""

    since: str = ""
    until: str = ""
    tenant: list[str] = []


class Evidence(msgspec.Struct):
    """Calls by what was declared of who was asked and the region that the answer named; `verdicts`: how many agree,
    contradict, named no region, or were made when no boundary was declared."""

    since: str
    until: str
    calls: int
    verdicts: dict[str, int]
    groups: list[dict[str, Any]]
    contradictions: list[dict[str, Any]]
