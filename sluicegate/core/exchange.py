"""The life of one request, top to bottom: read this first.

It receives events and yields actions; it does no I/O, reads no clock and draws no random number, so the same
generator serves live traffic, property tests and simulations. Rules of the house for whoever edits it: no `yield`
inside `finally`; whatever is taken is given back in the one `finally`; nothing is held across a `Read`.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from math import inf
from typing import Any, Final

from sluicegate.core.actions import Action, Ask, Cut, Read, Relay, Reply, Send
from sluicegate.core.breaker import REJECTED
from sluicegate.core.caller import Consumer, Shown
from sluicegate.core.door import Door
from sluicegate.core.end_user import end_user, mark
from sluicegate.core.events import Answered, Body, Ended, Facts, Failed, Gone, Head, Refused, Responded, Usage
from sluicegate.core.limits import lender
from sluicegate.core.limits.base import Claim, Limit, reserve
from sluicegate.core.params import NotAllowed, Rules, carried
from sluicegate.core.policy import Policy
from sluicegate.core.pool import Member
from sluicegate.core.principal import ELSEWHERE
from sluicegate.core.record import PLAIN, Attempt, UsageRecord
from sluicegate.core.refusals import REFUSALS, shown
from sluicegate.core.residency import contradicts, declared, left, plain
from sluicegate.core.route import Route, Routes
from sluicegate.core.state import World
from sluicegate.core.urls import private as private_url

Exchange = Generator[Action | None, Any, None]

THROTTLED: Final = "upstream.throttled"
"""Prefix of the causes that are want of capacity, not a fault: they do not count as attempts."""

TOO_LONG: Final = "context_length_exceeded"
"""`error.code` of a 400 for a prompt that does not fit."""

TIERS: Final = {b'"priority"': "priority", b'"flex"': "flex"}
"""What a request can ask for that is billed otherwise: JSON values of `service_tier`."""

ASKS: Final = 3
"""Times that the keeper is asked for more of a limit: others of this worker may take what came."""

EXPECTED: Final = 1000
"""Tokens of an answer, at most, for comparing what members carry: few come near the maximum they are asked for."""

REVOKED: Final = "credential.revoked"
"""Why a stream of somebody who may not ask any more is ended."""

_FINISHED = ("done", "gone", "slow_reader")
"""Ways a relay ends that are settled; every other way is an interruption the client was told about."""


def exchange(world: World) -> Exchange:
    """One request. Prime it with `next`, then send the Head, then the answer to each action."""
    head: Head = yield None
    record = UsageRecord(head.id, head.api, head.at)
    routes = world.routes  # one configuration for all of it, from the body on

    if head.peer:
        record.context = PLAIN.but(client=head.peer)

    # Who asks, and may they? Before a byte of body is read where the path names the model.
    who = head.credentials.who(world.callers)
    early: Body | None = None
    "Of somebody who is genuine, and whose groups say what they may: read while these are fetched."
    if isinstance(who, str) and who == ELSEWHERE and _takes_all(world):
        early = yield from _read(world, record, Read(routes.largest_body, routes.largest_upload))
        if early is None:
            return
        asked = yield from _ask(world, record, Ask((), head.credentials.keys[0]))
        if asked is None:
            return
        early.at = asked.at
        who = head.credentials.who(world.callers)
        routes = world.routes
    if head.credentials.principal is not None:
        record.trail += (head.credentials.principal.words(), head.credentials.trail)
    consumer = _let_in(world, record, head, who, head.at if early is None else early.at)
    if isinstance(consumer, Reply):
        yield consumer
        return
    route: Route | None = None
    if head.path_model is not None:
        found = routes.find(consumer, head.api, head.path_model)
        if isinstance(found, str):
            yield _refuse(world, record, head.at, found, _ROUTE[found])
            return
        route = found

    if early is None:
        e = yield route.read if route else Read(routes.largest_body, routes.largest_upload)
        if type(e) is not Body:  # as _read does, without a generator for each request
            refusal = _unread(world, record, e)
            if refusal is not None:
                yield refusal
            return
    else:
        e = early
    facts = e.facts
    if route is None:
        if facts.model is None:
            yield _refuse(world, record, e.at, "request.no_model", "The body must name a model in its field 'model'.")
            return
        found = routes.find(consumer, head.api, facts.model)
        if isinstance(found, str):
            yield _refuse(world, record, e.at, found, _ROUTE[found])
            return
        route = found
    if early is not None or head.path_model is None:
        most = route.body_max if facts.special is None or not facts.special.form else route.body_upload
        if e.size > most:
            yield _refuse(world, record, e.at, "request.body_too_large", f"The body is larger than {most} bytes.")
            return

    if world.routes is not routes:  # another configuration came in force while the body did: it says who may do what
        who = head.credentials.who(world.callers)
        if isinstance(who, str) and who == ELSEWHERE:
            asked = yield from _ask(world, record, Ask((), head.credentials.keys[0]))
            if asked is None:
                return
            e.at = asked.at
            who = head.credentials.who(world.callers)
        consumer = _let_in(world, record, head, who, e.at)
        if isinstance(consumer, Reply):
            yield consumer
            return
        routes = world.routes
        found = routes.find(consumer, head.api, route.name)
        if isinstance(found, str):
            yield _refuse(world, record, e.at, found, _ROUTE[found])
            return
        route = found

    record.model = route.name

    # Addresses that an upstream would fetch for the client, where only public ones may be.
    if route.public_urls and (facts.special is None or not facts.special.form):
        private = private_url(e.fields)
        if private:
            message = f"The field '{private[:64]}' names an address that is not public; it is not sent on."
            yield _refuse(world, record, e.at, "request.private_url", message)
            return

    # Who uses the application that asks: for records, for limits that count each, for whoever stays on an arm.
    user = ""
    special = facts.special
    if consumer.user_claim or consumer.user_header:
        user = head.credentials.user(consumer)
    elif consumer.end_user:
        if special is not None and special.open:  # it may stand behind the file
            e = yield from _read_whole(world, record, head, consumer, route, routes)
            if e is None:
                return
            facts = e.facts
            special = facts.special
        user = end_user(e.fields.get(consumer.end_user))
    if user and route.by_user:
        found = routes.find(consumer, head.api, route.name, user)
        if not isinstance(found, str):
            route = found

    if route.passes_only and not head.credentials.bearer():
        yield _refuse(world, record, e.at, "passthrough.no_token", _PASSED["passthrough.no_token"])
        return

    # What applies to this caller here: rules change the request, limits let it in or not, all of them at once.
    now = began = world.policies.clock(e.at)
    size = e.size
    fields = e.fields
    changes: dict[str, bytes] | None = None
    claim: Claim | None = None
    key = consumer.mark or (head.credentials.mark(world.callers) if consumer.by_key else b"")
    each = mark(user) if consumer.by_user else ""
    policy = world.policies.find(consumer, route, head.api, key, now, each)
    if policy is not None:
        if policy.rules is not None:
            if special is not None and special.open:  # so may what they are about
                e = yield from _read_whole(world, record, head, consumer, route, routes)
                if e is None:
                    return
                now = began = world.policies.clock(e.at)
                facts = e.facts
                special = facts.special
                size = e.size
                fields = e.fields
            try:
                changes = _rules(policy.rules, fields, facts, record)
            except NotAllowed as refused:
                yield _refuse(world, record, now, refused.reason, refused.message)
                return
        if policy.limits:
            claim = policy.claim(facts)
            lent = world.policies.lent
            lacking = reserve(policy.limits, claim, now, lent)
            if lacking is not None and lent:  # this worker's share is used up, others may have room
                for _ in range(ASKS):
                    wants = lender.short(policy.limits, claim, now)
                    if not wants:
                        break
                    asked = yield from _ask(world, record, Ask(wants))
                    if asked is None:
                        return
                    now = world.policies.clock(asked.at)
                    lacking = reserve(policy.limits, claim, now, True)
                    if lacking is None:
                        break
            if lacking is not None and lacking.shadow:  # nobody had more for it: it lets everything through
                lacking = reserve(policy.limits, claim, now)
            if lacking is not None:
                yield _limited(world, record, now, lacking, claim, policy.headroom(now))
                return

    # Admitted: from here on there is one record, settled exactly once.
    record.stream = facts.stream
    record.estimate = facts.estimate
    if route.arm_name:
        record.context = route.on_arm(record.context)
    if user:
        record.context = record.context.but(end_user=user)
    world.in_flight += 1
    sent_at = now
    deadline = began + route.timeouts.total
    most = route.attempts
    tokens = facts.estimate + min(EXPECTED if facts.max_output is None else facts.max_output, EXPECTED)
    seen = [route]
    onward: list[Route] | None = None
    tried: list[Door] = []
    if route.passes and not head.credentials.bearer():
        tried.extend(route.passes)
    short: Sequence[Door] = ()
    faults = 0
    retry = False
    held: Responded | None = None
    door: Door | None = None
    ticket = 0
    admitted = False
    again: Member | None = None
    "Asked once more, since what it refused is not what it is shown now."
    renewed = False
    relay = route.relay_stream if facts.stream else route.relay
    if not head.retries:
        world.retries.asked(now)
    try:
        while faults < most:
            if again is None:
                member = route.pool.pick(tried, now, head.chance, facts.estimate, record.trail, world.why)
            else:
                member, again = again, None
            if world.routes is not routes:  # the boundary may have moved since, or its tenant into another one
                boundary = head.credentials.boundary(world.callers, consumer)
                while member is not None and not _still_inside(world, route, member, boundary):
                    tried.append(member.door)
                    record.trail.append(f"boundary.moved: {member.label}")
                    member = route.pool.pick(tried, now, head.chance, facts.estimate, record.trail, world.why)
            if not admitted:
                admitted = True
                if member is not None:
                    record.first = member.deployment.number
                world.journal.admit(record)
            if member is None and onward is None:
                form = special is not None and special.form
                onward = routes.onward(route, consumer, head.api, size, form, user)
            if member is None and onward:
                other = onward.pop(0)
                if other.public_urls and not route.public_urls and private_url(fields):
                    record.trail.append(f"request.private_url: {other.name}")
                    continue
                if changes is not None or other.model.params:
                    policies = None
                    if other.model.params:
                        policies = world.policies.find(consumer, other, head.api, key, now, each)
                    if policies is not None and world.routes is not routes:
                        policies.configuration = -1  # of ours, which is not in force any more
                    try:
                        changes = _rules_too(changes, policies, fields, facts, other, head.api, record)
                    except NotAllowed:
                        record.trail.append(f"params: {other.name}")
                        continue
                route = other
                if route.passes and not head.credentials.bearer():
                    tried.extend(route.passes)
                relay = route.relay_stream if facts.stream else route.relay
                seen.append(route)
                record.trail.append(f"onward: {route.name}")
            elif member is None and held is None:
                break
            else:
                if member is not None:
                    if retry and not world.retries.take(now):
                        record.trail.append("retry.budget")
                        break
                    retry = False
                    held = None
                    door = member.door
                    tried.append(door)
                    ticket = door.enter(now, tokens)
                    sent_at = now
                    attempt = Attempt(member.deployment.number, now)
                    attempt.declared = member.declared
                    record.attempts.append(attempt)

                    e = yield Send(member, route, deadline, relay.on_gone, changes)
                    now = attempt.ended_at = e.at
                else:
                    e = held  # nobody else could take it: the client sees the refusal that is at hand
                if type(e) is Responded:
                    attempt.status = e.status
                    cause = attempt.cause = e.facts.cause
                    if e.facts.region and member is not None:
                        attempt.region = e.facts.region
                        if attempt.region != member.seen:
                            _answered_from(world, record, member, attempt.region)
                    if e.facts.spilled is not None and member is not None:
                        _platform(world, record, attempt, member, e.facts.spilled)
                    if cause == REJECTED and member is not None and member.instance.auth.kind == "passthrough":
                        # Of the client's own credential: no fault of the deployment's, and nobody else's business.
                        if door is not None:
                            door.answered(ticket, sent_at, now, route.breaker)
                        record.reason = attempt.cause = "passthrough.refused"
                        record.status = REFUSALS[record.reason].status
                        record.state = "settled"
                        yield Reply(record.reason, _PASSED[record.reason])
                        return
                    if not cause and door is not None:
                        ticket = door.answered(ticket, sent_at, now, route.breaker)
                        if e.facts.code == TOO_LONG and e.status == 400 and member is not None and route.long_context:
                            held = e
                            cause = attempt.cause = "upstream.context_length"
                            short = route.pool.no_larger(member)
                            tried += short
                    if not cause:
                        record.status = e.status
                        if claim is not None and policy is not None:
                            now = world.policies.clock(e.at)
                            relay = Relay(relay.on_gone, policy.headroom(now), (), relay.notes, relay.platform)
                        if consumer.diagnostics:
                            notes = relay.notes + _diagnostics(world, record)
                            relay = Relay(relay.on_gone, relay.headers, (), notes, relay.platform, True)
                        e = yield relay
                        while type(e) is not Ended:  # a Turn: nothing to settle on the way, but who may ask changed
                            if head.credentials.still(world.callers, consumer):
                                e = yield relay
                            else:
                                record.trail.append(REVOKED)
                                e = yield Cut(REVOKED)
                        now = attempt.ended_at = e.at
                        record.how = e.how
                        record.usage = usage = e.usage
                        record.estimated = e.estimated
                        if usage is not None:
                            record.service_tier = usage.tier
                            if e.estimated:
                                if claim is not None and usage.input == facts.estimate:  # the prompt is a guess, too
                                    usage.input = max(usage.input, claim.input)
                                if not usage.tier:
                                    record.service_tier = _asked_tier(fields, changes)
                        record.first_token_at = e.first_token_at
                        record.state = "settled" if e.how in _FINISHED else "interrupted"
                        if claim is not None and policy is not None and e.how == "done" and usage is not None:
                            if not e.estimated:
                                policy.learn(facts, claim, usage)
                        if door is not None:
                            _learn(door, ticket, sent_at, e, route, deadline)
                        return
                    attempt.retry_after = e.facts.retry_after
                elif type(e) is Failed:
                    cause = attempt.cause = e.cause
                    attempt.sent = e.sent
                    if e.passed is not None:
                        attempt.usage = estimated(facts, e.passed)
                elif type(e) is Refused:
                    # What was being passed on turned out to be no request: nobody can have worked on it.
                    record.how = "refused"
                    attempt.cause = record.reason = e.reason
                    attempt.sent = "some"
                    record.status = REFUSALS[e.reason].status
                    record.usage = Usage()
                    record.estimated = True
                    record.state = "settled"
                    yield Reply(e.reason, e.message)
                    return
                else:
                    # The client left. What was sent upstream may be billed to us: book the prompt, flagged.
                    record.how = attempt.cause = "gone"
                    attempt.sent = e.sent
                    if e.sent != "nothing":
                        if door is not None:
                            door.unanswered(facts.estimate, now)
                        half = special is not None and special.open  # of a form: nobody works on that
                        record.usage = Usage() if half else estimated(facts, 0)
                        record.estimated = True
                        record.service_tier = _asked_tier(fields, changes)
                    record.state = "settled"
                    return

                assert door is not None and member is not None
                if cause.startswith(THROTTLED):
                    cause = attempt.cause = door.throttled(
                        ticket, sent_at, now, cause, attempt.retry_after, facts.estimate, route.breaker,
                        route.throttle,
                    )  # fmt: skip
                elif held is None:
                    if cause == REJECTED and not renewed:
                        again = world.renewed(member, sent_at)
                    if again is not None:
                        renewed = True
                    else:
                        faults += 1
                        retry = True
                        door.unanswered(facts.estimate, now)
                        if cause != "timeout.total" or len(record.attempts) == 1:  # else others used up its time
                            door.failed(ticket, sent_at, now, cause, route.breaker)
                        if cause == REJECTED:
                            world.rejected(member, attempt.status)
                door.leave(ticket, sent_at, tokens, now)
                door = None
                record.trail.append(f"{member.label}: {cause}")
                if retry and not head.repeatable and attempt.sent != "nothing":
                    break
                if special is not None and special.once:
                    record.trail.append("body.passed")
                    break
                if now >= deadline:
                    break

        reason, wait = _exhausted(seen, faults, now, facts.estimate, short, head.credentials)
        if special is not None and special.once:
            reason, wait = "pool.body_passed", None
        record.state = "settled"
        record.reason = reason
        record.status = REFUSALS[reason].status
        yield Reply(reason, _EXHAUSTED[reason], wait, _diagnostics(world, record) if consumer.diagnostics else b"")
    finally:
        if claim is not None:
            _settle(world, claim, record, now)
        if door is not None:
            door.leave(ticket, sent_at, tokens, now)
        if record.state == "open":
            record.state = "interrupted"
        record.ended_at = now
        world.in_flight -= 1
        world.journal.settle(record)


def _refuse(
    world: World, record: UsageRecord, now: float, reason: str, message: str, wait: float | None = None,
    headers: bytes = b"",
) -> Reply:  # fmt: skip
    """Refusals before admission: counted, not journalled."""
    record.reason = reason
    record.ended_at = now
    record.state = "refused"
    refusal = REFUSALS.get(shown(reason))
    record.status = refusal.status if refusal else 0
    world.journal.refuse(record)
    return Reply(reason, message, wait, headers)


def _unread(world: World, record: UsageRecord, e: Gone | Refused) -> Reply | None:
    """There is no body. What is said of it to the client, unless it is gone."""
    if type(e) is Refused:
        return _refuse(world, record, e.at, e.reason, e.message)
    record.how = "gone"
    _refuse(world, record, e.at, "client.gone", "")
    return None


def _read(world: World, record: UsageRecord, action: Read) -> Generator[Action | None, Any, Body | None]:
    """The body; None: there is none, and all is said."""
    e = yield action
    if type(e) is Body:
        return e
    refusal = _unread(world, record, e)
    if refusal is not None:
        yield refusal
    return None


def _read_whole(
    world: World, record: UsageRecord, head: Head, consumer: Consumer, route: Route, routes: Routes
) -> Generator[Action | None, Any, Body | None]:
    """A form of which what stands behind its file was not known yet; None: it goes no further, and all is said."""
    body = yield from _read(world, record, route.read_whole)
    if body is None or world.routes is routes:
        return body
    reason = _changed(world, head, consumer, route)
    if not reason:
        return body
    yield _refuse(world, record, body.at, reason, _MEANWHILE.get(reason) or unknown(reason))
    return None


def _ask(world: World, record: UsageRecord, action: Ask) -> Generator[Action | None, Any, Answered | None]:
    """The keeper's answer; None: the client is gone, before anything was admitted."""
    e = yield action
    if type(e) is Gone:
        _unread(world, record, e)
        return None
    answered: Answered = e
    return answered


def _let_in(world: World, record: UsageRecord, head: Head, who: Consumer | str, now: float) -> Consumer | Reply:
    """Who may ask here, from now on in the record; or why nobody may."""
    if isinstance(who, str):
        return _refuse(world, record, now, who, unknown(who))
    record.consumer = who.number
    record.tenant = who.tenant
    record.context = who.context if not head.peer else who.context.but(client=head.peer)
    if who.boundary and not world.routes.serves(who.boundary):
        return _elsewhere(world, record, now, who.boundary)
    return who


def _changed(world: World, head: Head, consumer: Consumer, route: Route) -> str:
    """Why a request whose form was read to its end may not go on, by the configuration that came in force meanwhile.
    Empty: it may."""
    found = head.credentials.who(world.callers)
    if isinstance(found, str):
        return found
    if found.number != consumer.number or found.boundary != consumer.boundary:
        return "gateway.busy"  # whose it is, or where it may go, would have to be asked from the beginning
    may = world.routes.find(found, head.api, route.name)
    return may if isinstance(may, str) else ""


def _still_inside(world: World, route: Route, member: Member, boundary: str) -> bool:
    """Whether the configuration in force has this member in the boundary, too, for the model that is asked."""
    if not boundary:
        return True
    found = world.routes.inside(boundary, route.name)
    if found is None:
        return False
    number = member.deployment.number
    if any(m.deployment.number == number for m in found.pool.members):
        return True
    return found.arm is not None and any(m.deployment.number == number for m in found.arm.pool.members)


def _elsewhere(world: World, record: UsageRecord, now: float, boundary: str) -> Reply:
    """Tenants of this boundary are served by another gateway."""
    url, message = elsewhere(world, boundary)
    line = b"x-sluicegate-url: %b\r\n" % url.encode() if url else b""
    return _refuse(world, record, now, "boundary.mismatch", message, None, line)


def elsewhere(world: World, boundary: str) -> tuple[str, str]:
    """Where the tenants of a boundary that is not served here are, if somebody says, and the words for it: nothing
    else of the configuration."""
    url = next((b.url for b in world.snapshot.boundaries if b.name == boundary), "")
    message = _ROUTE["boundary.mismatch"]
    return url, f"{message} Use {url} instead." if url else message


def _rules(rules: Rules, fields: Mapping[str, Any], facts: Facts, record: UsageRecord) -> dict[str, bytes] | None:
    """What the rules put into the body; the facts are then those of what goes up. Raises NotAllowed."""
    if rules.shadowed:
        would = rules.shadow(fields)
        if would:
            record.trail.append(would)
    changes = rules.apply(fields, facts)
    if not changes:
        return None
    record.trail.append(f"params: {', '.join(changes)}")
    return changes


def _rules_too(
    changes: dict[str, bytes] | None, policy: Policy | None, fields: Mapping[str, Any], facts: Facts, other: Route,
    operation: str, record: UsageRecord,
) -> dict[str, bytes] | None:  # fmt: skip
    """What goes into the body for another model: what the rules of the asked one put there, since so much is reserved,
    and then its own. Raises NotAllowed."""
    held: dict[str, bytes] = {}
    if changes is not None:
        held = carried(changes, fields, operation, [m.deployment.model for m in other.pool.members])
    if policy is not None and policy.rules is not None:
        more = _rules(policy.rules, {**fields, **held}, facts, record)
        if more is not None:
            held.update(more)
    return held or None


def estimated(facts: Facts, output: int) -> Usage:
    """Usage that nobody said."""
    usage = Usage(facts.estimate, output)
    if facts.special is not None:
        usage.media = facts.special.media(facts.estimate, output)
    return usage


def _platform(
    world: World, record: UsageRecord, attempt: Attempt, member: Member, spilled: tuple[str, str, str]
) -> None:
    """Azure itself sent the request on to another deployment, which is the one that is billed. One that is not declared
    inside the boundary may process prompts anywhere."""
    source, served, error = spilled
    record.trail.append(f"{member.label}: platform.spillover from {source or '?'} to {served or '?'}, {error or '?'}")
    inside = False
    for other in world.members.values():
        if other.instance.number == member.instance.number and other.deployment.name == served:
            attempt.deployment = other.deployment.number
            if attempt.declared:
                attempt.declared = declared(other.deployment, other.instance.region)
            inside = record.context.boundary in other.deployment.inside
    if record.context.boundary and served and not inside:
        record.trail.append(f"{member.label}: region.mismatch {served}")
        member.door.bar()
        what = f"Azure itself sends requests on to {served}, which is not inside boundary {record.context.boundary}"
        world.alarms.barred(member.label, what)


def _answered_from(world: World, record: UsageRecord, member: Member, region: str) -> None:
    """An answer names a region that this member was not seen in before."""
    d = member.deployment
    where = plain(region)
    if not contradicts(d, where):
        member.seen = region
        return
    record.trail.append(f"{member.label}: region.mismatch {region}")
    what = f"answers from {region}, declared is {declared(d, member.instance.region)}"
    outside = left(d, world.snapshot.boundaries, where)
    if outside:
        member.door.bar()
        world.alarms.barred(member.label, f"{what}: outside boundary {', '.join(outside)}")
    else:
        world.alarms.raised("region.mismatch", member.label, what)


def _asked_tier(fields: Mapping[str, Any], changes: Mapping[str, bytes] | None) -> str:
    """The tier of service that the request asked for, if that is one with a price of its own."""
    raw = (changes.get("service_tier") if changes else None) or fields.get("service_tier")
    return "" if raw is None else TIERS.get(bytes(raw) if len(raw) < 16 else b"", "")


def _limited(world: World, record: UsageRecord, now: float, limit: Limit, claim: Claim, headroom: bytes) -> Reply:
    """A limit has not what the request wants."""
    limit.refused += 1
    where = f" ({limit.spec.origin})" if limit.spec.origin else ""
    if claim.wait == inf:
        reason = f"limit.{limit.kind}.too_large"
        message = f"This request alone is larger than your limit of {limit.describe()}{where}: make it smaller."
        return _refuse(world, record, now, reason, message, None, headroom)
    reason = f"limit.{limit.kind}"
    message = f"You have reached your limit of {limit.describe()}{where}. Please retry after the time named."
    return _refuse(world, record, now, reason, message, claim.wait, headroom)


def _settle(world: World, claim: Claim, record: UsageRecord, now: float) -> None:
    """The truth for the limits. What never left is released; what was sent and not answered is booked as its prompt,
    since the upstream may have worked on it."""
    usage = record.usage
    left = False
    for attempt in record.attempts:
        if attempt.status or attempt.sent != "nothing":
            left = True
            if usage is None and not attempt.status:
                usage = Usage(input=record.estimate)
    claim.settle(usage, left, world.policies.clock(now))


def _diagnostics(world: World, record: UsageRecord) -> bytes:
    """Header lines for who may see them: how many attempts there were, who was asked last, under which configuration.
    Of names that no header can hold nothing is said."""
    lines = b"x-sluicegate-attempts: %d\r\nx-sluicegate-config: %b\r\n" % (
        len(record.attempts), world.snapshot.hash.encode()
    )  # fmt: skip
    member = world.members.get(record.attempts[-1].deployment) if record.attempts else None
    if member is not None and member.label.isascii() and member.label.isprintable():
        lines += b"x-sluicegate-deployment: %b\r\n" % member.label.encode()
    return lines


def _learn(door: Door, ticket: int, sent_at: float, e: Ended, route: Route, deadline: float) -> None:
    """What a relayed answer says about who gave it."""
    usage = e.usage
    output = usage.total_output if usage is not None else 0
    used = output + usage.total_input if usage is not None else 0
    how = e.how if e.at < deadline else "total"
    door.ended(ticket, sent_at, e.at, how, used, route.breaker)
    if route.timed and how == "done" and used:  # an embedding writes nothing, and takes its time, too
        first = e.first_token_at
        door.timed(e.at - sent_at, None if first is None else first - sent_at, output)


def _exhausted(
    seen: Sequence[Route], faults: int, now: float, estimate: int, short: Sequence[Door], credentials: Shown
) -> tuple[str, float | None]:
    """Why no member served, and the seconds until one may: the truth of the soonest."""
    soonest = inf
    kinds = set()
    whose = "pool"
    for route in seen:
        never = route.passes if route.passes and not credentials.bearer() else ()
        kind, wait = route.pool.outlook(now, estimate, short, never)
        kinds.add(kind)
        soonest = min(soonest, wait)
        if route.cut:
            whose = "boundary"
    if faults or "failed" in kinds:
        return f"{whose}.failed", soonest if soonest != inf else None
    if "throttled" in kinds:
        return f"{whose}.throttled", soonest
    return ("request.context_length" if "prompt" in kinds else f"{whose}.empty"), None


def _takes_all(world: World) -> bool:
    """Whether no boundary is declared that is served elsewhere. Else a body may not come here before it is known whose
    it is: such a request is refused, and let in when it comes again."""
    routes = world.routes
    return all(routes.serves(boundary.name) for boundary in world.snapshot.boundaries)


def unknown(reason: str) -> str:
    """What is said to who could not be let in. Of tokens always the same: what is wrong with one is for our log."""
    return _CREDENTIAL[shown(reason)]


_CREDENTIAL = {
    "credential.missing": "Access denied: send your key in the 'api-key' header or as 'Authorization: Bearer <key>'.",
    "credential.unknown": "Access denied due to an invalid key. Make sure to provide a valid key of this gateway.",
    "credential.token": "Access denied due to an invalid token. Make sure to get a valid one for this gateway.",
    "credential.issuer_unavailable": "The token cannot be checked right now. Please try again.",
    "credential.groups_unavailable": "What your token leaves to the directory cannot be looked up there right now. "
    "Please try again.",
    "credential.ambiguous": "The request shows credentials of two different callers; send one.",
    "identity.unmatched": "Your credential is genuine, but it belongs to no consumer of this gateway.",
    "identity.ambiguous": "Your credential is genuine, but this gateway cannot tell which of its consumers you are.",
}
_ROUTE = {
    "route.model": "The API deployment for this resource does not exist, or you may not use it.",
    "grant.operation": "This model does not offer this operation, or you may not use it.",
    "boundary.mismatch": "This gateway does not serve the boundary that your requests must stay in.",
}
_MEANWHILE = {
    **_ROUTE, "gateway.busy": "Another configuration came in force while the request was read. Please send it again.",
}  # fmt: skip
_PASSED = {
    "passthrough.no_token": "This model is asked with the token that you show, and you showed a key of the gateway. "
    "Send an Entra token: 'Authorization: Bearer <token>'.",
    "passthrough.refused": "The deployment refused the token that you showed, which the gateway passed on as it is.",
}
_EXHAUSTED = {
    "pool.body_passed": "The deployment could not take the upload, of which more had passed than the gateway keeps. "
    "Please send it again.",
    "pool.throttled": "Every deployment of this model is at its rate limit. Please retry after the time named.",
    "pool.failed": "No deployment of this model could answer. The gateway tried the ones it may use.",
    "request.context_length": "The prompt is longer than any deployment of this model can take. Please shorten it.",
    "pool.empty": "This model has no deployment that could be asked.",
    "boundary.throttled": "Every deployment of this model inside your boundary is at its rate limit. Please retry "
    "after the time named.",
    "boundary.failed": "No deployment of this model inside your boundary could answer, and no other may.",
    "boundary.empty": "This model has no deployment inside your boundary that could be asked.",
}
