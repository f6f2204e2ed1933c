"""Sessions end by themselves, are bounded, and are held by digest."""

from __future__ import annotations

from sluicegate.admin.sessions import (
    IDLE_S,
    MOST,
    MOST_PENDING,
    PENDING_S,
    TOTAL_S,
    Sessions,
    looked_at,
    who_is,
)
from sluicegate.core.settings import Login, LoginRule


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_session_ends_when_it_rests_and_in_any_case_after_half_a_day():
    clock = Clock()
    sessions = Sessions(clock)
    cookie, _ = sessions.open("ann", {})
    clock.now += IDLE_S - 1
    assert sessions.find(cookie) is not None
    clock.now += IDLE_S
    assert sessions.find(cookie) is None
    cookie, _ = sessions.open("ann", {})
    began = clock.now
    while clock.now - began < TOTAL_S - 60:
        clock.now += 60
        assert sessions.find(cookie) is not None
    clock.now += 60
    assert sessions.find(cookie) is None


def test_who_leaves_is_gone_and_others_stay():
    sessions = Sessions(Clock())
    first, _ = sessions.open("ann", {})
    second, _ = sessions.open("ann", {})
    sessions.close(first)
    assert sessions.find(first) is None and sessions.find(second) is not None
    assert sessions.find("") is None and sessions.find("x" * 5000) is None


def test_there_are_so_many_and_no_more_and_none_is_held_in_clear():
    sessions = Sessions(Clock())
    cookies = [sessions.open(f"p{n}", {})[0] for n in range(MOST + 5)]
    assert sessions.find(cookies[4]) is None and sessions.find(cookies[5]) is not None
    assert len(set(cookies)) == len(cookies) and all(len(c) == 43 for c in cookies)
    assert not any(c.encode() in repr(sessions._held).encode() for c in cookies)


def test_a_login_is_finished_once_and_in_time():
    clock = Clock()
    sessions = Sessions(clock)
    state, pending = sessions.begin("https://x/login/callback")
    assert sessions.finish(state) is pending and sessions.finish(state) is None
    state, _ = sessions.begin("")
    clock.now += PENDING_S
    assert sessions.finish(state) is None
    states = [sessions.begin("")[0] for _ in range(MOST_PENDING + 1)]
    assert sessions.finish(states[0]) is None and sessions.finish(states[1]) is not None


def test_the_first_rule_that_holds_decides_and_names_that_may_change_do_not_count():
    login = Login("i", "c", (LoginRule("owner", "groups", ("a",)), LoginRule("viewer", "users", ("o", "s"))))
    claims = looked_at({"sub": "s", "groups": ["a", "b"]})
    assert who_is("x", claims, login, "login") == ("x", "owner", "", "login")
    assert (found := who_is("x", looked_at({"oid": "o"}), login, "login")) is not None and found.role == "viewer"
    for nobody in ({}, {"name": "s", "email": "o", "upn": "a"}, {"groups": 7}, {"groups": [["a"]]}, {"groups": None}):
        assert who_is("x", looked_at(nobody), login, "login") is None
    assert who_is("x", claims, None, "login") is None
