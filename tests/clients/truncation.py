"""Lies and cuts asked through the real SDKs, alone and beside a healthy member; what became of them as a tally."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sluicegate.core.settings import Timeouts
from tests.clients import lies
from tests.clients.asking import ask_all, node_asks
from tests.clients.members import members, records, run, settled
from tests.clients.verdicts import Tally, outcome
from tests.gateway import GatewayThread

ALONE, HELPED = "alone", "helped"
SDKS: dict[str, Callable[[str, Sequence[Any]], list[Any]]] = {
    "python": lambda url, jobs: run(ask_all(url, jobs)),
    "node": node_asks,
}


@contextlib.contextmanager
def lying() -> Iterator[tuple[GatewayThread, str]]:
    """The address of a liar, and a gateway with two models: `alone` over a liar, `helped` over the same liar and then an honest member."""
    times = Timeouts(connect=2.0, first_byte=10.0, idle=10.0, total=30.0)
    with members(lies.liar, lies.honest, models={ALONE: [1], HELPED: [1, 2]}, timeouts=times) as (gateway, (liar, _)):
        yield gateway, f"http://127.0.0.1:{liar.port}"


def ask(gateway: GatewayThread, sdk: str, jobs: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Ask all; each answer with its record, None where the answer did not name one. Nothing may be left open."""
    before = gateway.call(lambda: gateway.journal.records)
    said = SDKS[sdk](gateway.url, jobs)
    settled(gateway, before + len(jobs))
    booked = records(gateway)
    assert len(booked) == before + len(jobs), "a record for each request"
    return [(answer, booked.get(answer["id"])) for answer in said]


def tell_lies(gateway: GatewayThread, sdk: str, tally: Tally) -> None:
    """Every lie, alone and helped."""
    told = [lie for lie in lies.LIES.values() if sdk != "node" or lie.name != lies.QUADRATIC]
    for model in (ALONE, HELPED):
        answers = ask(gateway, sdk, [lie.job(model) for lie in told])
        for lie, (said, record) in zip(told, answers, strict=True):
            group = (sdk, "stream" if lie.stream else "plain", model)
            tally.add(group, lie.name, said, record, lie.truth, lie.may(model == HELPED))


def cut_everywhere(gateway: GatewayThread, sdk: str, tally: Tally, every: int = 1, start: int = 0) -> None:
    """A cut at every offset (or every so many), in three ways, plain and streamed, alone and helped."""
    cuts = [
        (stream, how, offset)
        for stream in (True, False)
        for how in lies.HOWS
        for offset in lies.offsets(stream, how)[start::every]
    ]
    for model in (ALONE, HELPED):
        answers = ask(gateway, sdk, [lies.cut_job(model, *cut) for cut in cuts])
        for (stream, how, offset), (said, record) in zip(cuts, answers, strict=True):
            expected = may_end(stream, how, offset, model == HELPED)
            group = (sdk, "stream" if stream else "plain", f"cut, {how}", model)
            tally.add(group, f"at {offset}", said, record, lies.SAYS, expected, framed=True)


def without_gateway(liar: str, sdk: str) -> Counter[str]:
    """The truncations among the lies told to an SDK directly: what there is to be prevented."""
    told = [lie for lie in lies.LIES.values() if lie.name.endswith(tuple(f", {how}" for how in lies.HOWS))]
    answers = SDKS[sdk](liar, [lie.job(ALONE) for lie in told])
    return Counter(outcome(said, lie.truth) for lie, said in zip(told, answers, strict=True))


def may_end(stream: bool, how: str, offset: int, helped: bool) -> tuple[str, ...]:
    """Outcomes that are right for a cut there."""
    complete, refused, cut = lies.WHOLE, lies.BEFORE, lies.AFTER
    lost = complete if helped else refused
    if not stream:  # held until whole: never committed
        return (lost,)
    head = 0 if how == "clean" else lies.RAW[True].index(b"\r\n\r\n") + 4
    frame = 0 if how == "clean" else len(lies.chunk(lies.EVENTS_OF[0])) - len(lies.EVENTS_OF[0])
    if offset < head + frame - 2 + len(lies.EVENTS_OF[0]):  # the first event is not whole: nothing to commit
        return (lost,)
    if how == "clean" and offset < len(lies.EVENTS_OF[0]):
        return (lost,)
    if how == "clean":
        finish = sum(map(len, lies.EVENTS_OF[:2]))
        at_the_end_of_an_event = offset in (finish, finish + len(lies.USAGE))
        whole_by_its_last_word = offset >= len(lies.BODY[True]) - 2
        if at_the_end_of_an_event or whole_by_its_last_word:
            return (complete,)
        return (cut, lost)
    done = lies.RAW[True].index(lies.DONE)
    return (complete,) if offset >= done + len(lies.DONE) else (cut, lost)
