"""Laws of requests that wait for the directory: whatever comes first, the body, the answer, another configuration, the
end of patience or the client's leaving, each ends once, nothing is held meanwhile, and only who has the group is let in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from sluicegate.apis import APIS
from sluicegate.core.caller import Shown, digest
from sluicegate.core.events import Head
from sluicegate.core.keyset import KeySet
from sluicegate.core.principal import ELSEWHERE, Principal, Whose
from sluicegate.core.settings import Issuer
from sluicegate.core.snapshot import Boundary, ConsumerEntry, Directory, Match
from sluicegate.drive import Drive
from sluicegate.link.channel import Belongs, Wanted
from sluicegate.link.groups import PATIENCE_S, Elsewhere
from tests.laws.rig import KEY, SECRET, RecordingClient, Rig, snapshot

TOKEN = b"eyJ.e30.%d"
GROUP = "77770000-0000-4000-8000-000000000001"


class Proves:
    """Two people whose groups are elsewhere; what the directory said of them holds until another configuration does."""

    def __init__(self) -> None:
        self.known: dict[Whose, Principal] = {}
        self.wants: Callable[[Whose], object] = lambda whose: None

    def of(self, token: bytes) -> Whose:
        return Whose("contoso", "t", "users", token.rsplit(b".", 1)[1].decode())

    def prove(self, token: bytes, mark: bytes = b"") -> Principal | str:
        whose = self.of(token)
        if whose not in self.known:
            self.wants(whose)
            return ELSEWHERE
        return self.known[whose]

    def whose(self, token: bytes) -> Whose | None:
        whose = self.of(token)
        return None if whose in self.known else whose

    def told(self, whose: Whose, groups: list[str] | None, until: float) -> None:
        self.known[whose] = Principal("contoso", {"groups": groups or []}, whose.oid.encode() * 16, 2e9)

    def adopt(self, issuers: Sequence[Issuer]) -> None: ...
    def take(self, sets: Iterable[KeySet]) -> None: ...


class Later:
    """The loop's."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.calls: list[list[object]] = []

    def __call__(self, after: float, call: Callable[[], None]) -> Later:
        self.calls.append([self.rig.clock + after, call, True])
        mine = self.calls[-1]
        handle = Later(self.rig)
        handle.cancel = lambda: mine.__setitem__(2, False)  # type: ignore[method-assign]
        return handle

    def cancel(self) -> None: ...

    def turn(self) -> None:
        for one in list(self.calls):
            at, call, live = one
            if live and self.rig.clock >= at:  # type: ignore[operator]
                one[2] = False
                call()  # type: ignore[operator]


class Ground:
    def __init__(self, boundary: bool = False) -> None:
        self.rig = rig = Rig()
        self.people = Directory(
            (SECRET,),
            (
                ConsumerEntry(1, "app", "default", ("chat",), (digest(KEY, SECRET),)),
                ConsumerEntry(2, "group", "default", ("chat",), (), match=Match("contoso", (("groups", (GROUP,)),))),
            ),
        )
        self.snapshot = snapshot()
        if boundary:
            self.snapshot = replace(self.snapshot, boundaries=(Boundary("eu", ("westeurope",)),))
        self.proves = Proves()
        rig.world.adopt(self.snapshot, self.people)
        rig.world.know(self.proves)
        self.asked: list[Wanted] = []
        self.later = Later(rig)
        self.elsewhere = Elsewhere(lambda: self.proves, self.asked.append, rig.now, self.later)
        self.proves.wants = self.elsewhere.want
        rig.bound.groups = self.elsewhere
        self.answered = 0

    def ask(self, person: int) -> Drive:
        rig = self.rig
        drive = Drive(rig.bound, APIS["chat_completions"], client := RecordingClient())
        rig.clients.append(client)
        rig.drives.append(drive)
        drive.start(
            Head(rig.clock, f"{len(rig.drives):032x}", "chat_completions", "chat", "2024-10-21",
                 Shown([TOKEN % person]), [], "127.0.0.1", 0.5)
        )  # fmt: skip
        return drive

    def answer(self, how: str, groups: list[str]) -> None:
        """The keeper's, to what was asked first."""
        if self.answered < len(self.asked):
            wanted = self.asked[self.answered]
            self.answered += 1
            until = self.rig.clock + (600 if how == "known" else 1)
            self.elsewhere.take(
                Belongs(wanted.issuer, wanted.tenant, wanted.kind, wanted.oid, how, until, groups)
            )  # fmt: skip

    def reload(self, forget: bool) -> None:
        """Another configuration; where issuers are others too, nothing that was known holds."""
        if forget:
            self.proves.known.clear()
        self.rig.world.adopt(self.snapshot, self.people)
        self.elsewhere.adopted()

    def pass_time(self, seconds: float) -> None:
        self.rig.pass_time(seconds)
        self.later.turn()

    def finish(self) -> None:
        """All that is on its way arrives."""
        rig = self.rig
        for _ in range(4):
            for drive in list(rig.drives):
                rig.send_body(drive, False)
            self.pass_time(PATIENCE_S + 0.1)
        for attempt in rig.upstream.open():
            attempt.head(200, ((b"content-type", b"application/json"),))
            attempt.data(b'{"usage":{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18}}')
            attempt.end("done")


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.integers(1, 2)),
        st.tuples(st.just("body"), st.integers(0, 5)),
        st.tuples(st.just("known"), st.booleans()),
        st.tuples(st.just("unavailable"), st.just(0)),
        st.tuples(st.just("leave"), st.integers(0, 5)),
        st.tuples(st.just("reload"), st.booleans()),
        st.tuples(st.just("time"), st.sampled_from([0.1, 2.0, PATIENCE_S])),
        st.tuples(st.just("keeper"), st.just(0)),
    ),
    max_size=25,
)


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_every_request_that_waits_ends_once_and_holds_nothing(steps: list[tuple[str, int]]):
    ground = Ground()
    rig = ground.rig
    said: dict[str, set[bool]] = {}
    for what, n in steps:
        if what == "ask" and len(rig.drives) < 6:
            ground.ask(n)
        elif what == "body" and n < len(rig.drives):
            rig.send_body(rig.drives[n], False)
        elif what == "known":
            if ground.answered < len(ground.asked):
                said.setdefault(ground.asked[ground.answered].oid, set()).add(bool(n))
            ground.answer("known", [GROUP] if n else ["88880000-0000-4000-8000-000000000001"])
        elif what == "unavailable":
            ground.answer("unavailable", [])
        elif what == "leave" and n < len(rig.drives):
            rig.drives[n].left(rig.clock)
        elif what == "reload":
            ground.reload(bool(n))
        elif what == "time":
            ground.pass_time(n)
        elif what == "keeper":
            ground.elsewhere.lost()
        for drive, client in zip(rig.drives, rig.clients, strict=True):
            if drive.attempt is not None:
                assert True in said[drive.head.credentials.keys[0].rsplit(b".", 1)[1].decode()]
            assert client.status in (0, 200, 403, 503)
    ground.finish()
    assert not rig.bugs, rig.bugs
    assert all(d.done for d in rig.drives) and not rig.bound.live and rig.world.in_flight == 0
    assert all(limit.used(rig.clock) == 0 for limit in rig.world.policies.limits())
    assert not ground.elsewhere._waiting and ground.elsewhere._count == 0
    totals = rig.journal.totals()
    assert totals["open"] == 0
    assert totals["settled"] + totals["interrupted"] + totals["refused"] == len(rig.drives)


def test_two_requests_of_one_person_wait_for_one_question_and_both_go_on():
    ground = Ground()
    rig = ground.rig
    for _ in range(2):
        rig.send_body(ground.ask(1), False)
    assert len(ground.asked) == 1 and not rig.upstream.attempts
    ground.answer("known", [GROUP])
    assert len(rig.upstream.open()) == 2
    rig.send_body(ground.ask(1), False)
    assert len(ground.asked) == 1 and len(rig.upstream.open()) == 3, "the next one asks nobody"
    ground.finish()


def test_a_client_that_leaves_while_it_waits_is_not_answered_and_nothing_goes_up():
    ground = Ground()
    drive = ground.ask(1)
    ground.rig.send_body(drive, False)
    drive.left(ground.rig.clock)
    assert drive.done and ground.rig.journal.totals()["refused"] == 1
    ground.answer("known", [GROUP])
    assert not ground.rig.upstream.attempts and ground.rig.clients[0].status == 0


def test_who_waits_longer_than_five_seconds_is_told_to_come_again():
    ground = Ground()
    ground.rig.send_body(ground.ask(1), False)
    ground.pass_time(PATIENCE_S - 0.1)
    assert ground.rig.clients[0].status == 0
    ground.pass_time(0.2)
    assert ground.rig.clients[0].status == 503 and b"retry-after: 1\r\n" in ground.rig.clients[0].headers.lower()


def test_a_configuration_that_comes_while_it_waits_says_who_may():
    ground = Ground()
    ground.rig.send_body(ground.ask(1), False)
    nobody = replace(ground.people, consumers=ground.people.consumers[:1])
    ground.rig.world.adopt(ground.snapshot, nobody)
    ground.rig.world.know(ground.proves)
    ground.answer("known", [GROUP])
    assert ground.rig.clients[0].status == 403 and not ground.rig.upstream.attempts


def test_where_another_gateway_serves_a_boundary_no_body_is_read_before_it_is_known_whose_it_is():
    ground = Ground(boundary=True)
    ground.ask(1)
    client = ground.rig.clients[0]
    assert client.status == 503 and not client.reading
    ground.answer("known", [GROUP])
    ground.rig.send_body(ground.ask(1), False)
    assert len(ground.rig.upstream.open()) == 1
    ground.finish()
