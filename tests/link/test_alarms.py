"""What a worker tells the keeper: once a minute each, ends once, a flood within its room."""

from __future__ import annotations

from sluicegate.link.alarms import MOST, REPEAT_S, Alarms
from sluicegate.link.channel import Alarm


class Told:
    def __init__(self) -> None:
        self.at = 0.0
        self.said: list[Alarm] = []
        self.alarms = Alarms(self.said.append, lambda: self.at)


def test_the_same_is_said_once_a_minute_and_its_end_once():
    told = Told()
    for _ in range(1000):
        told.alarms.raised("region.mismatch", "weu/a", "x")
    assert len(told.said) == 1
    told.at = REPEAT_S
    told.alarms.raised("region.mismatch", "weu/a", "x")
    assert len(told.said) == 2
    told.alarms.over("region.mismatch", "weu/a")
    told.alarms.over("region.mismatch", "weu/a")
    assert [a.over for a in told.said] == [False, False, True]


def test_after_another_configuration_what_is_so_still_is_news_again():
    """Or a deployment that an operator brings back too early would be out in this worker only, and nobody told."""
    told = Told()
    told.alarms.barred("weu/a", "x")
    told.alarms.raised("breaker.open", "weu/a", "x")
    told.alarms.forget("region.mismatch")
    told.alarms.barred("weu/a", "x")
    told.alarms.raised("breaker.open", "weu/a", "x")
    assert [(a.kind, a.drain) for a in told.said] == [
        ("region.mismatch", True), ("breaker.open", False), ("region.mismatch", True),
    ]  # fmt: skip


def test_a_flood_of_subjects_stays_within_its_room():
    told = Told()
    for n in range(3 * MOST):
        told.alarms.raised("region.mismatch", f"weu/{n}" * 100, "x" * 10_000)
    assert len(told.alarms._said) == MOST
    assert max(len(a.subject) for a in told.said) == 256 and max(len(a.detail) for a in told.said) == 1024
