"""What is learned of a consumer's answers is near their p95, follows it, and stays small."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.core.learned import FIRST, Learned


def test_the_first_guess_holds_until_twenty_answers_are_known():
    learned = Learned()
    assert learned.reserve == FIRST
    for _ in range(15):
        learned.answer(50)
    assert FIRST <= learned.reserve <= 1.2 * FIRST
    for _ in range(20):
        learned.answer(50)
    assert 50 <= learned.reserve <= 60


@pytest.mark.parametrize("mean", [5.0, 6.0, 8.0])
def test_the_reserve_is_near_the_p95(mean: float):
    dice = random.Random(3)
    learned = Learned()
    answers = [int(dice.lognormvariate(mean, 0.8)) for _ in range(2000)]
    for tokens in answers:
        learned.answer(tokens)
    p95 = sorted(answers)[int(0.95 * len(answers))]
    assert 0.75 * p95 <= learned.reserve <= 1.4 * p95


def test_a_consumer_that_changes_its_ways_is_believed():
    learned = Learned()
    for _ in range(1000):
        learned.answer(2000)
    for _ in range(600):
        learned.answer(100)
    assert learned.reserve <= 120


def test_absurd_answers_break_nothing():
    learned = Learned()
    for tokens in (0, 1, 10**9, 0, 2**18):
        learned.answer(tokens)
    assert 1 <= learned.reserve <= 2**18 + 1


def test_bytes_become_tokens_as_the_upstream_counted_them():
    learned = Learned()
    for _ in range(100):
        learned.prompt(1000, 1700)
    assert learned.input(1000, 0) == pytest.approx(1700, rel=0.01)
    assert learned.input(1765, 765) == pytest.approx(1700 + 765, rel=0.01), "an image is what it is"
    for _ in range(100):
        learned.prompt(1000, 10**9)
    assert learned.input(1000, 0) <= 4000


@given(st.integers(1, 100_000), st.floats(0.3, 3.9))
def test_a_prompt_that_was_seen_before_reserves_what_it_takes_and_at_most_a_token_more(estimate: int, true: float):
    tokens = max(1, int(estimate * true))
    if not 0.25 <= tokens / estimate <= 4.0:
        return
    learned = Learned()
    for _ in range(300):
        learned.prompt(estimate, tokens)
    assert tokens <= learned.input(estimate, 0) <= tokens + 1
