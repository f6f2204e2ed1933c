"""Who may see it is told where an answer comes from and what the gateway added; nobody else is."""

from dataclasses import replace

import pytest

from sluicegate.core.caller import Callers
from sluicegate.core.families import ADDED
from sluicegate.link.counters import Counters
from sluicegate.link.counting import Counting
from sluicegate.stores.memory.journal import Journal
from tests.abuse.outside import CHAT, EVENTS, STREAMED, request
from tests.edge.line import SSE, House, callers
from tests.gateway import instance, snapshot

OURS = ("x-sluicegate-deployment", "x-sluicegate-attempts", "x-sluicegate-overhead-ms", "x-sluicegate-config")


def house(diagnostics: bool = True) -> House:
    made = House(snap=snapshot([instance(1, 80), instance(2, 81)]))
    made.upstream.at_once = None
    told = callers()
    entries = tuple(replace(c, diagnostics=diagnostics) for c in told.consumers)
    made.world.callers = Callers(replace(told, consumers=entries))
    return made


def test_A1_no_name_of_a_deployment_is_in_an_answer_unless_its_consumer_may_see_it():
    made = house(diagnostics=False)
    line = made.line().send(request())
    made.upstream.calls[0].answer(b"{}", 500)
    made.upstream.calls[1].answer()
    (answer,) = line.answers()
    assert answer.status == 200 and not any(answer.header(name) for name in OURS)
    assert b"gpt-4o-" not in bytes(line.transport.out)


def test_an_answer_says_who_served_after_how_many_attempts_and_what_the_gateway_added():
    made = house()
    line = made.line().send(request())
    made.time += 2.0  # the first one takes its time, which is not ours
    made.upstream.calls[0].answer(b"{}", 500)
    made.time += 3.0
    made.upstream.calls[1].answer()
    (answer,) = line.answers()
    assert [answer.header(name) for name in OURS] == [b"i2/gpt-4o-2", b"2", b"0.000", made.snapshot.hash.encode()]


def test_time_that_passes_in_the_gateway_is_overhead_and_no_other():
    made = house()

    def slowly() -> float:  # asked once when a call is sent, once when its answer goes down
        made.time += 0.25
        return made.time

    made.bound.now = slowly
    line = made.line().send(request(body=STREAMED))
    made.time += 1.0
    call = made.upstream.calls[0]
    call.begin(200, SSE)
    call.piece(EVENTS[0])
    assert b"x-sluicegate-overhead-ms: 500.000\r\n" in bytes(line.transport.out)
    line.connection.connection_lost(None)


def test_row_G13_what_the_gateway_adds_is_counted_for_everybody_and_time_of_others_is_not_in_it():
    made = house(diagnostics=False)
    counting = Counting(Journal(), Counters(), str, str)
    made.bound.added = counting.added

    def slowly() -> float:
        made.time += 0.004
        return made.time

    for n in range(3):
        made.bound.now = slowly
        line = made.line().send(request(body=STREAMED if n else CHAT))
        made.time += 7.0
        call = made.upstream.calls[n]
        if n:
            call.begin(200, SSE)
            call.piece(EVENTS[0])
            line.connection.connection_lost(None)
        else:
            call.answer()
            (answer,) = line.answers()
            assert answer.header("x-sluicegate-overhead-ms") is None, "a number in the metrics, not for this client"
    first = counting._counters.row(ADDED)
    cells = counting._counters.cells[first : first + ADDED.cells]
    assert cells[ADDED.buckets.index(0.01)] == sum(cells[:-1]) == 3, "8 ms each"
    assert cells[-1] == pytest.approx(3 * 8_000, abs=3)


def test_a_refusal_after_attempts_says_how_many_there_were_and_whom_was_asked_last():
    made = house()
    line = made.line().send(request())
    for n in range(2):
        made.upstream.calls[n].answer(b"{}", 500)
    (answer,) = line.answers()
    assert answer.header("x-sluicegate-reason") == b"pool.failed"
    assert [answer.header(name) for name in OURS[:3]] == [b"i2/gpt-4o-2", b"2", None]
