"""The life of one request, top to bottom: read this first.

It receives events and yields actions; it does no I/O, reads no clock and draws no random number, so the same
generator serves live traffic, property tests and simulations. Rules of the house for whoever edits it: no `yield`
inside `finally`; whatever is taken is given back in the one `finally`; nothing is held across a `Read`.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from sluicegate.core.actions import Action, Read, Reply, Send
from sluicegate.core.events import Ended, Failed, Gone, Head, Refused, Responded, Usage
from sluicegate.core.pool import Member
from sluicegate.core.record import Attempt, UsageRecord
from sluicegate.core.refusals import REFUSALS
from sluicegate.core.route import Route
from sluicegate.core.state import World

Exchange = Generator[Action | None, Any, None]

THROTTLED = "upstream.throttled"
"""Prefix of the causes that are want of capacity, not a fault: they do not count as attempts."""

UNNAMED_S = 1.0
"""Seconds until a throttled deployment is worth asking again when it did not say."""

_FINISHED = ("done", "gone", "slow_reader")
"""Ways a relay ends that are settled; every other way is an interruption the client was told about."""


def exchange(world: World) -> Exchange:
    """One request. Prime it with `next`, then send the Head, then the answer to each action."""
    head: Head = yield None
    record = UsageRecord(head.id, head.api, head.at)

    # Who asks, and may they? Before a byte of body is read where the path names the model.
    consumer = head.credentials.who(world.callers)
    if isinstance(consumer, str):
        yield _refuse(world, record, head.at, consumer, _CREDENTIAL[consumer])
        return
    record.consumer = consumer.number
    record.tenant = consumer.tenant
    route: Route | None = None
    if head.path_model is not None:
        found = world.routes.find(consumer, head.api, head.path_model)
        if isinstance(found, str):
            yield _refuse(world, record, head.at, found, _ROUTE[found])
            return
        route = found

    e = yield route.read if route else Read(world.routes.largest_body)
    if type(e) is Gone:
        record.how = "gone"
        _refuse(world, record, e.at, "client.gone", "")
        return
    if type(e) is Refused:
        yield _refuse(world, record, e.at, e.reason, e.message)
        return
    facts = e.facts
    if route is None:
        if facts.model is None:
            yield _refuse(world, record, e.at, "request.no_model", "The body must name a model in its field 'model'.")
            return
        found = world.routes.find(consumer, head.api, facts.model)
        if isinstance(found, str):
            yield _refuse(world, record, e.at, found, _ROUTE[found])
            return
        route = found
        if e.size > route.body_max:
            yield _refuse(
                world, record, e.at, "request.body_too_large", f"The body is larger than {route.body_max} bytes."
            )
            return

    # Admitted: from here on there is one record, settled exactly once.
    record.model = route.name
    record.stream = facts.stream
    world.journal.admit(record)
    world.in_flight += 1
    now = e.at
    deadline = now + route.timeouts.total
    relay = route.relay_stream if facts.stream else route.relay
    tried: list[Member] = []
    faults = 0
    member: Member | None = None
    try:
        while faults < route.attempts:
            member = route.pool.pick(tried, now, head.chance)
            if member is None:
                break
            tried.append(member)
            member.in_flight += 1
            attempt = Attempt(member.deployment.number, now)
            record.attempts.append(attempt)

            e = yield Send(member, route, deadline, relay.on_gone)
            now = attempt.ended_at = e.at
            if type(e) is Responded:
                attempt.status = e.status
                cause = attempt.cause = e.facts.cause
                if not cause:
                    record.status = e.status
                    e = yield relay
                    while type(e) is not Ended:  # a Turn: nothing to settle on the way yet
                        e = yield relay
                    now = attempt.ended_at = e.at
                    record.how = e.how
                    record.usage = e.usage
                    record.estimated = e.estimated
                    record.first_token_at = e.first_token_at
                    record.state = "settled" if e.how in _FINISHED else "interrupted"
                    return
                attempt.retry_after = e.facts.retry_after
            elif type(e) is Failed:
                cause = attempt.cause = e.cause
                attempt.sent = e.sent
            else:
                # The client left. What was sent upstream may be billed to us: book the prompt, flagged.
                record.how = attempt.cause = "gone"
                record.usage = Usage(input=facts.estimate)
                record.estimated = True
                record.state = "settled"
                return

            member.in_flight -= 1
            record.trail.append(f"{member.label}: {cause}")
            member = None
            if not cause.startswith(THROTTLED):
                faults += 1
                if not head.repeatable and attempt.sent != "nothing":
                    break
            if now >= deadline:
                break

        reason, retry_after = _exhausted(record, now)
        message = _EXHAUSTED[reason]
        record.state = "settled"
        record.reason = reason
        record.status = REFUSALS[reason].status
        yield Reply(reason, message, retry_after)
    finally:
        if member is not None:
            member.in_flight -= 1
        if record.state == "open":
            record.state = "interrupted"
        record.ended_at = now
        world.in_flight -= 1
        world.journal.settle(record)


def _refuse(world: World, record: UsageRecord, now: float, reason: str, message: str) -> Reply:
    """Refusals before admission: counted, not journalled."""
    record.reason = reason
    record.ended_at = now
    record.state = "refused"
    refusal = REFUSALS.get(reason)
    record.status = refusal.status if refusal else 0
    world.journal.refuse(record)
    return Reply(reason, message)


def _exhausted(record: UsageRecord, now: float) -> tuple[str, float | None]:
    """Why no member served, and the seconds until one may: the truth of the soonest, where all were throttled."""
    attempts = record.attempts
    if not attempts:
        return "pool.empty", None
    soonest = None
    for a in attempts:
        if not a.cause.startswith(THROTTLED):
            return "pool.failed", None
        wait = (UNNAMED_S if a.retry_after is None else a.retry_after) - (now - a.ended_at)
        if soonest is None or wait < soonest:
            soonest = wait
    return "pool.throttled", max(soonest or 0.0, 0.0)


_CREDENTIAL = {
    "credential.missing": "Access denied: send your key in the 'api-key' header or as 'Authorization: Bearer <key>'.",
    "credential.unknown": "Access denied due to an invalid key. Make sure to provide a valid key of this gateway.",
    "credential.ambiguous": "The request shows credentials of two different callers; send one.",
}
_ROUTE = {
    "route.model": "The API deployment for this resource does not exist, or you may not use it.",
    "grant.operation": "This model does not offer this operation.",
}
_EXHAUSTED = {
    "pool.throttled": "Every deployment of this model is at its rate limit. Please retry after the time named.",
    "pool.failed": "No deployment of this model could answer. The gateway tried the ones it may use.",
    "pool.empty": "This model has no deployment that could be asked.",
}
