"""Groups that tokens leave to the directory, as the keeper asks for them: once at a time for each bearer, so many a
second, less and less often while it fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from sluicegate.core.principal import Whose
from sluicegate.core.settings import Issuer, Says
from sluicegate.keeper import groups as module
from sluicegate.keeper.groups import AT_ONCE, Groups
from sluicegate.link.channel import Belongs, Token, Wanted
from tests.laws.virtual import run

TENANT = "11110000-0000-4000-8000-000000000003"
GRAPH = "https://graph.microsoft.com"
ISSUER = Issuer(
    "contoso", (Says("i", ("a",), TENANT, "2.0"),), ("RS256",), "s", groups="resolve", graph=GRAPH, groups_by=1
)


class Unreachable(Exception):
    pass


class Ground:
    """In virtual time. `says`: status, headers, body of the n-th answer; an exception is raised."""

    def __init__(self, says: Callable[[int], Any] | None = None, takes_s: float = 0.1) -> None:
        self.takes_s = takes_s
        self.says = says or (lambda n: (200, {}, group(1)))
        self.began: list[float] = []
        self.flying = self.most = 0
        self.told: list[tuple[float, int, Belongs]] = []
        self.alarms: list[str] = []
        self.rejected: list[tuple[int, int]] = []
        self.groups = Groups(self.post, Unreachable, now, lambda: 1.0)
        self.groups.tell = lambda pid, belongs: self.told.append((now(), pid, belongs))
        self.groups.alarm = lambda kind, subject, detail: self.alarms.append(detail)
        self.groups.over = lambda kind, subject: self.alarms.append("")
        self.groups.rejected = lambda number, version: self.rejected.append((number, version))
        self.groups.adopt([ISSUER], [0, 7])
        self.groups.take(Token(7, 3, "shown", 1e9))

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        number = len(self.began)
        self.began.append(now())
        self.flying += 1
        self.most = max(self.most, self.flying)
        try:
            await asyncio.sleep(self.takes_s)
        finally:
            self.flying -= 1
        assert url.startswith(f"{GRAPH}/v1.0/users/") and headers["authorization"] == "Bearer shown"
        said = self.says(number)
        if isinstance(said, Exception):
            raise said
        return said  # type: ignore[no-any-return]

    def want(self, n: int, pid: int = 1, issuer: str = "contoso", tenant: str = TENANT) -> None:
        self.groups.wanted(pid, Wanted(issuer, tenant, "users", person(n)))

    def how(self) -> list[str]:
        return [belongs.how for _, _, belongs in self.told]


def now() -> float:
    return asyncio.get_running_loop().time()


def person(n: int) -> str:
    return f"33330000-0000-4000-8000-{n:012d}"


def group(n: int) -> bytes:
    return json.dumps({"value": [f"77770000-0000-4000-8000-{i:012d}" for i in range(n)]}).encode()


def test_one_question_for_a_bearer_however_many_workers_wait_and_ten_minutes_none():
    async def story() -> None:
        ground = Ground()
        for pid in (1, 2, 3, 1):
            ground.want(1, pid)
        await asyncio.sleep(1)
        assert len(ground.began) == 1 and sorted(pid for _, pid, _ in ground.told) == [1, 2, 3]
        await asyncio.sleep(400)
        ground.want(1, 4)
        assert len(ground.began) == 1 and ground.told[-1][1] == 4 and ground.how() == ["known"] * 4
        assert ground.told[-1][2].until == ground.told[0][2].until, "no longer for having been asked again"
        await asyncio.sleep(100)
        ground.want(1)
        await asyncio.sleep(1)
        assert len(ground.began) == 2, "asked ahead of its end"

    run(story())


def test_a_flood_of_strangers_is_twenty_a_second_eight_at_once_and_the_rest_come_again():
    async def story() -> None:
        ground = Ground(takes_s=0.3)
        for n in range(2000):
            ground.want(n)
        assert 60 <= 2000 - ground.how().count("unavailable") <= 62
        await asyncio.sleep(20)
        assert ground.most <= AT_ONCE and ground.how().count("known") == len(ground.began)
        assert all(b - a >= module.EACH_S - 1e-6 for a, b in zip(ground.began, ground.began[1:], strict=False))
        assert len(ground.told) == 2000

    run(story())


@pytest.mark.parametrize(
    "said", [(500, {}, b""), (403, {}, b"{}"), (200, {}, b"nonsense"), (200, {}, b'{"value": [7]}'), (200, {}, b'{"value": {}}'),
             (200, {}, b'["a"]'), (200, {}, b"[" * 100_000), (400, {}, b'{"error": []}'), (301, {}, b""), Unreachable("no connection")],
)  # fmt: skip
def test_a_directory_that_fails_is_asked_less_and_less(said: Any):
    async def story() -> None:
        ground = Ground(lambda n: said)
        for n in range(3000):
            ground.want(n)
            await asyncio.sleep(0.1)
        assert set(ground.how()) == {"unavailable"} and len(ground.told) == 3000
        assert 9 <= len(ground.began) <= 14, "five minutes: 1, 2, 4 ... 60 seconds"
        assert len(ground.alarms) == 1 and "33330000" not in ground.alarms[0]
        ground.says = lambda n: (200, {}, group(1))
        await asyncio.sleep(61)
        ground.want(1)
        await asyncio.sleep(1)
        assert ground.how()[-1] == "known" and ground.alarms[-1] == ""

    run(story())


def test_what_a_directory_asks_to_wait_is_waited_and_a_hanging_one_costs_four_seconds():
    async def story() -> None:
        ground = Ground(lambda n: (429, {"retry-after": "30"}, b""))
        ground.want(1)
        await asyncio.sleep(1)
        assert ground.told[0][2].until == pytest.approx(now() - 1 + 30.1, abs=0.1)
        hanging = Ground(takes_s=100)
        begun = now()
        hanging.want(1)
        await asyncio.sleep(10)
        assert hanging.told[0][0] - begun == pytest.approx(4.0, abs=0.1) and hanging.how() == ["unavailable"]

    run(story())


def test_a_refused_token_is_said_and_without_one_nobody_is_asked():
    async def story() -> None:
        ground = Ground(lambda n: (401, {}, b""))
        ground.want(1)
        await asyncio.sleep(1)
        assert ground.rejected == [(7, 3)]
        bare = Ground()
        bare.groups.take(Token(7, 3, "", 0.0))
        bare.want(1)
        await asyncio.sleep(1)
        for _ in range(10):
            bare.want(1)
        assert bare.began == [] and set(bare.how()) == {"unavailable"} and bare.alarms == []
        bare.groups.take(Token(7, 4, "shown", 1e9))
        bare.want(1)
        await asyncio.sleep(1)
        assert bare.how()[-1] == "known", "it is asked as soon as there is one"

    run(story())


def test_of_whom_it_does_not_know_or_knows_too_much_nobody_is_let_in_and_it_rests_not():
    async def story() -> None:
        answers = [(404, {}, b""), (400, {}, b'{"error": {"code": "Directory_ResultSizeLimitExceeded"}}'),
                   (200, {}, group(11_001)), (200, {}, b'{"value": [], "@odata.nextLink": "https://graph.microsoft.com/x"}'),
                   (200, {}, group(11_000))]  # fmt: skip
        ground = Ground(lambda n: answers[n])
        for n in range(5):
            ground.want(n)
            await asyncio.sleep(1)
        assert ground.how() == ["unknown"] * 4 + ["known"] and ground.alarms == []
        assert len(ground.told[-1][2].groups) == 11_000

    run(story())


def test_nobody_is_asked_for_an_issuer_that_is_not_declared_so_or_by_something_that_is_no_id():
    async def story() -> None:
        ground = Ground()
        ground.want(1, issuer="other")
        ground.want(1, tenant="22220000-0000-4000-8000-000000000003")
        ground.groups.wanted(1, Wanted("contoso", TENANT, "users", "../me"))
        ground.groups.adopt([], [0])
        ground.want(1)
        await asyncio.sleep(1)
        assert ground.began == [] and ground.how() == ["unavailable"] * 4

    run(story())


def test_what_is_kept_is_bounded_by_people_and_by_groups(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "PEOPLE", 20)
    monkeypatch.setattr(module, "IDS_KEPT", 100)

    async def story() -> None:
        ground = Ground(lambda n: (200, {}, group(n % 13)))
        for n in range(200):
            ground.want(n)
            await asyncio.sleep(0.2)
            kept = ground.groups._known
            assert (
                len(kept) <= 20 and ground.groups._ids == sum(len(groups or ()) for groups, _ in kept.values()) <= 100
            )
        assert Whose("contoso", TENANT, "users", person(199)) in ground.groups._known

    run(story())
