"""Explain equals reality: a dry run names what the live request then does, and changes nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import Phase, event, given, settings
from hypothesis import strategies as st

from sluicegate.apis import APIS
from sluicegate.core import fork as fork_module
from sluicegate.core.breaker import BreakerSpec
from sluicegate.core.caller import digest
from sluicegate.core.dry_run import Run, dry_run
from sluicegate.core.events import AnswerFacts, Body, Event, Facts, Failed, Responded, Usage
from sluicegate.core.explain import ADVICE, WORDS, Question, Unknown, advice, asked, deciding, explain, key_of
from sluicegate.core.fork import Forked, Kept, Named
from sluicegate.core.limits.window import Window
from sluicegate.core.refusals import REFUSALS
from sluicegate.core.settings import Gateway
from sluicegate.core.snapshot import ConsumerEntry, Directory, Snapshot
from sluicegate.core.state import World
from sluicegate.core.twin import twin
from sluicegate.providers.refusals import classify
from tests.laws.rig import KEY, SECRET, directory, snapshot
from tests.laws.town import PASTS, REQUESTS, Answer, Request, Town, directories, pictured, snapshots

WAIT = re.compile(rb"^retry-after-ms: (\d+)", re.MULTILINE)
REASON = re.compile(rb"^x-sluicegate-reason: (\S+)", re.MULTILINE)


def foretold(town: Town, request: Request) -> Run:
    """The dry run of this request, its attempts answered as the script says."""
    key = digest(request.consumer.encode(), SECRET)
    consumer = town.world.callers.owner(key)
    assert consumer is not None
    api = APIS["chat_completions"]
    fields = api.fields(request.body)
    body = Body(town.clock, api.facts(fields, request.body), len(request.body), fields)
    tried: list[Answer] = []

    def answers(send: object, now: float) -> Event:
        answer = request.answer(len(tried))
        tried.append(answer)
        at = now + answer.after
        if not answer.status:
            return Failed(at, "connection.reset", "all")
        if answer.status == 200:
            return Responded(at, 200, AnswerFacts(), True)
        return Responded(at, answer.status, classify(answer.status, answer.headers, answer.body, 0.0), True)

    return dry_run(town.world, request.head(town.clock, "", Named(consumer)), body, answers, key, Usage(11, 7))


@given(snapshots(), directories(), PASTS, REQUESTS, st.booleans())
def test_a_dry_run_names_what_the_live_request_then_does_and_changes_nothing(
    configured: Snapshot, people: Directory, past: list[tuple[Request, int, float]], request: Request,
    lent: bool,
):  # fmt: skip
    town = Town(configured, people, lent)
    town.live_through(past)
    before = pictured(town.world)
    run = foretold(town, request)
    assert pictured(town.world) == before
    asked_before = town.keeper.asked
    drive, client, attempts = town.live(request)
    assert drive.done
    assert [a.call.instance.name for a in attempts] == [s.member.instance.name for s in run.sends]
    assert [a.call.body for a in attempts] == [sent(request, s.changes) for s in run.sends]
    reply = run.reply
    reason = REASON.search(client.headers)
    if reply is None:
        assert reason is None and client.status == run.record.status
    else:
        assert reason is not None and reason[1].decode() == reply.reason
        assert client.status == REFUSALS[reply.reason].status
        wait = WAIT.search(client.headers)
        said = None if wait is None else int(wait[1]) / 1000
        least = REFUSALS[reply.reason].least_retry_after
        if least is None:
            assert said is None
        else:
            assert said == pytest.approx(max(reply.retry_after or 0.0, least), abs=0.0011)
    event(f"asked {town.keeper.asked - asked_before} times")
    event("refused" if reply is not None and not attempts else f"{len(attempts)} attempts, {client.status}")
    if reply is not None:
        event(reply.reason)
    journal = town.journal
    record = journal.refusals[-1] if run.record.state == "refused" else journal.recent[-1]
    assert (record.reason, record.status, record.state) == (run.record.reason, run.record.status, run.record.state)
    assert record.trail == run.record.trail
    assert [(a.deployment, a.cause, a.status) for a in record.attempts] == [
        (a.deployment, a.cause, a.status) for a in run.record.attempts
    ]
    town.end()


def sent(request: Request, changes: dict[str, bytes] | None) -> bytes:
    """What goes up of this body, with these changes and the deployment's own name."""
    api = APIS["chat_completions"]
    fields = api.fields(request.body)
    facts = api.facts(fields, request.body)
    return bytes(api.body(request.body, fields, facts, None if request.in_path else "d", True, changes))


@given(snapshots(), directories(), PASTS, REQUESTS, st.sets(st.integers(0, 5)))
def test_what_explain_says_is_what_happens_and_every_member_has_its_word(
    configured: Snapshot, people: Directory, past: list[tuple[Request, int, float]], request: Request, away: set[int]
):
    town = Town(configured, people)
    town.live_through(past)
    before = pictured(town.world)
    drained = {m.name: [n for n in away if n < len(configured.deployments)] for m in configured.models}
    told = explain(town.world, asked(question(request, drained).plain()), town.clock)
    assert pictured(town.world) == before
    served = Request(**{**vars(request), "script": (Answer(200, None, "", 0.0),)})
    _, client, attempts = town.live(served)
    outcome = told["outcome"]
    assert outcome["status"] == client.status
    assert [outcome["deployment"]] == ([f"{a.call.instance.name}/d" for a in attempts] or [""])
    rows = told["candidates"]
    assert {row["word"] for row in rows} <= set(WORDS)
    looked = [row["deployment"] for row in rows if row["word"] not in ("drained", "boundary")]
    if outcome["sent"]:
        taken = [row["deployment"] for row in rows if row["word"] in ("taken", "only")]
        assert taken == [outcome["deployment"]]
        whole = next(m for m in configured.models if m.name == outcome["model"])
        inside = {f"i{n}/d" for n in whole.deployments}
        if not told["boundary"] and told["model"] == outcome["model"] and told["arm"] != "rollout":
            assert set(looked) == inside and len(looked) == len(inside)
    else:
        assert outcome["reason"] in REFUSALS and outcome["advice"]
    town.end()


def question(request: Request, drained: dict[str, list[int]] | None = None) -> Question:
    api = APIS["chat_completions"]
    fields = api.fields(request.body)
    facts, size = api.facts(fields, request.body), len(request.body)
    path = request.model if request.in_path else None
    asks = Question(request.consumer, api.name, path, facts, size, deciding(fields), request.chance)
    asks.key = digest(request.consumer.encode(), SECRET)
    asks.drained = drained or {}
    return asks


# ---------------------------------------------------------------- a fork that is none is noticed


@settings(derandomize=True, max_examples=400, database=None, phases=(Phase.generate,), report_multiple_bugs=False)
@given(snapshots(), directories(), PASTS, REQUESTS)
def nothing_changes(
    configured: Snapshot, people: Directory, past: list[tuple[Request, int, float]], request: Request
) -> None:
    town = Town(configured, people)
    town.live_through(past)
    before = pictured(town.world)
    foretold(town, request)
    after = pictured(town.world)
    town.end()
    assert after == before


def shared(kind: str) -> Callable[[Any], Any]:
    """`twin`, but things of this class are not copied."""
    return lambda thing, new: thing if type(thing).__name__ == kind else twin(thing, new)


LEAKS: dict[str, tuple[object, str, Any]] = {
    "doors": (Forked, "_door", lambda self, live: live),
    "quotas": (Forked, "_throttle", lambda self, live: live),
    "routes": (Forked, "route", lambda self, live: live),
    "limits": (fork_module._Policies, "_same", lambda self, base, specs: self._live._same(base, specs)),
    "slots of windows": (Window, "fork", lambda self: twin(self, type(self)(self.spec, self.key))),
    **{f"{kind}s": (fork_module, "twin", shared(kind)) for kind in ("Breaker", "Throttle", "Retries", "Learned")},
    "the count in flight": (fork_module, "twin", shared("World")),
}
"""Ways to forget that something must be copied."""


@pytest.mark.parametrize("leak", LEAKS)
def test_a_mutant_of_fork_that_shares_something_with_the_world_is_noticed(leak: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(*LEAKS[leak])
    with pytest.raises(AssertionError):
        nothing_changes()


# ---------------------------------------------------------------- what is asked


@given(REQUESTS, st.dictionaries(st.sampled_from(("one", "two")), st.lists(st.integers(0, 9), max_size=3)))
def test_a_question_survives_its_way_and_holds_no_text_of_the_prompt(request: Request, drained: dict[str, list[int]]):
    plain = question(request, drained).plain()
    assert json.loads(json.dumps(plain)) == plain
    assert asked(plain).plain() == plain
    assert "x" * 10 not in json.dumps(plain)


@pytest.mark.parametrize(
    ("field", "value"),
    [("consumer", 1), ("size", -1), ("size", True), ("estimate", "1"), ("fields", []), ("fields", {"n": 1}),
     ("drained", {"one": ["1"]}), ("key", "not hex"), ("rests", {"a": -1}), ("model", 7), ("chance", "x"), ("n", None)],
)  # fmt: skip
def test_what_is_no_question_is_refused(field: str, value: Any):
    plain = Question("free", "chat_completions", "one", Facts("one"), 10, {"n": b"1"}).plain()
    with pytest.raises(Unknown, match="this is no question"):
        asked({**plain, field: value})
    with pytest.raises(Unknown):
        asked({k: v for k, v in plain.items() if k != field})
    with pytest.raises(Unknown):
        asked(value)


def test_a_consumer_that_nobody_is_has_no_answer():
    world = World(Snapshot("0" * 12, Gateway(), (), (), ()), Directory((SECRET,), ()), Kept())
    with pytest.raises(Unknown, match='the key of "nobody" is not in force here'):
        explain(world, Question("nobody", "chat_completions", "one", Facts(), 10, {}), 1.0)
    keyless = ConsumerEntry(1, "keyless", "", ("*",), ())
    with pytest.raises(Unknown, match='"keyless" has no key'):
        key_of("keyless", Directory((SECRET,), (keyless,)))
    with pytest.raises(Unknown, match='no consumer is called "keylss"; did you mean "keyless"'):
        key_of("keylss", Directory((SECRET,), (keyless,)))


def test_a_half_open_breaker_keeps_its_one_ticket_for_a_live_request():
    town = Town(snapshot(1, breaker=BreakerSpec(faults=1)), directory())
    town.live(Request("a-client-key", "chat", 10, None, 1, "", True, 0.5, (Answer(500, None, "", 0.0),)))
    asks = question(Request("a-client-key", "chat", 10, None, 1, "", True, 0.5, ()))
    asks.key = digest(KEY, SECRET)
    outcome = explain(town.world, asks, town.clock)["outcome"]
    assert (outcome["reason"], outcome["retry_after_s"]) == ("pool.failed", 3.0)
    town.pass_time(3.0)
    for _ in range(3):
        assert explain(town.world, asks, town.clock)["outcome"]["deployment"] == "i0/d0"
    town.live(Request("a-client-key", "chat", 10, None, 1, "", True, 0.5, ()), 0)
    told = explain(town.world, asks, town.clock)
    assert told["candidates"][0]["word"] == "passed.half_open" and told["outcome"]["status"] == 503
    town.end()


def test_every_refusal_that_an_exchange_can_decide_on_has_an_advice():
    families = ("grant.", "boundary.", "route.model", "params.", "limit.", "pool.", "request.context", "request.no_m")
    for reason in REFUSALS:
        if reason.startswith(families):
            assert advice(reason, True) in ADVICE.values()
