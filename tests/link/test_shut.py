"""News of throttled deployments: told once, heard by all, never echoed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sluicegate.core.breaker import BreakerSpec, ThrottleSpec
from sluicegate.core.door import RATE, Door
from sluicegate.core.pool import Member
from sluicegate.core.snapshot import Deployment, Instance
from sluicegate.core.throttle import Throttle
from sluicegate.link.shut import Shut, ShutNews

LONGEST = ThrottleSpec(longest=86_400.0)
CAPACITY = "upstream.throttled.capacity"


class Worker:
    """Three deployments; the last two share a quota."""

    def __init__(self) -> None:
        quota = Throttle()
        instance = Instance(1, "weu", "azure_openai", "http", "h", 80, "")
        self.members = [
            Member(Deployment(n, f"d{n}", 1, "m", "1", "Standard", 1), instance, Door((), quota if n > 1 else None))
            for n in (1, 2, 3)
        ]
        self.told: list[list[Shut]] = []
        self.news = ShutNews(self.told.append)

    def refuse(self, n: int, cause: str, wait: float, now: float) -> None:
        door = self.members[n].door
        ticket = door.enter(now, 1)
        door.throttled(ticket, now, now, cause, wait, 1, BreakerSpec(), ThrottleSpec())
        door.leave(ticket, now, 1, now)

    def ready(self, n: int, now: float) -> float:
        return self.members[n].door.ready(now, 0)[0] - now

    def shut(self, n: int, now: float) -> float:
        """Seconds that it is shut. How requests come back after that is each worker's own."""
        door = self.members[n].door
        return max(0.0, *(t.shut_until - now for t in (door.throttle, door.quota) if t is not None))


steps = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 2), st.sampled_from([RATE, CAPACITY]), st.sampled_from([1.0, 5.0]))
)


@given(steps)
def test_after_the_news_nobody_is_let_in_where_one_was_refused(moves: list[tuple[int, int, str, float]]):
    workers = [Worker(), Worker(), Worker()]
    now = 1000.0
    messages = 0
    for who, which, cause, wait in moves:
        now += 0.1
        if workers[who].ready(which, now) <= 0:
            workers[who].refuse(which, cause, wait, now)
        for _ in range(3):  # whatever is told is heard; nothing goes round for ever
            for worker in workers:
                worker.news.look(worker.members, now)
            for worker in workers:
                told, worker.told[:] = list(worker.told), []
                for news in told:
                    messages += 1
                    for other in workers:
                        if other is not worker:
                            other.news.heard(news, other.members, now, LONGEST)
        for n in range(3):
            waits = [w.shut(n, now) for w in workers]
            assert max(waits) - min(waits) < 1e-6, (n, waits)
            assert all(w.ready(n, now) >= wait - 1e-6 for w, wait in zip(workers, waits, strict=True))
    assert messages <= len(moves)


def test_what_is_not_known_here_is_passed_over():
    worker = Worker()
    worker.news.heard([("gone/away", False, 5.0)], worker.members, 1000.0, LONGEST)
    worker.news.look(worker.members, 1000.1)
    assert not worker.told
    assert [worker.ready(n, 1000.1) for n in range(3)] == [0.0, 0.0, 0.0]
