"""The memory journal: what it counts, and that it notices a record that does not balance."""

import pytest

from sluicegate.core.events import Usage
from sluicegate.core.ports import Journal as Port
from sluicegate.core.record import UsageRecord
from sluicegate.stores.memory.journal import Journal, Unbalanced


def record(id: str, state: str = "settled", usage: Usage | None = None) -> UsageRecord:
    made = UsageRecord(id, "chat_completions", 0.0)
    made.state = state
    made.usage = usage
    return made


def test_it_is_a_journal():
    port: Port = Journal()
    assert port


def test_every_admitted_record_is_settled_interrupted_or_open():
    journal = Journal(strict=True)
    done, cut, running = record("a"), record("b", "interrupted"), record("c", "open")
    for one in (done, cut, running):
        journal.admit(one)
    journal.settle(done)
    journal.settle(cut)
    totals = journal.totals()
    assert (totals["records"], totals["settled"], totals["interrupted"], totals["open"]) == (3, 1, 1, 1)
    assert journal.open == (running,)


def test_tokens_are_what_the_provider_called_the_totals():
    journal = Journal()
    for one in (record("a", usage=Usage(input=5, cached=3, cache_write=2, output=7, reasoning=1)), record("b")):
        journal.admit(one)
        journal.settle(one)
    assert journal.totals()["input_tokens"] == 10
    assert journal.totals()["output_tokens"] == 8


def test_a_refusal_is_counted_and_kept_but_is_no_record():
    journal = Journal()
    journal.refuse(record("a", "refused"))
    assert journal.totals()["refused"] == 1
    assert journal.totals()["records"] == 0
    assert [r.id for r in journal.refusals] == ["a"]


def test_only_the_last_records_are_kept():
    journal = Journal(recent=2)
    for id in "abc":
        one = record(id)
        journal.admit(one)
        journal.settle(one)
        journal.refuse(record(id, "refused"))
    assert [r.id for r in journal.recent] == ["b", "c"] == [r.id for r in journal.refusals]
    assert journal.settled == 3


def test_strict_settling_twice_or_out_of_nowhere_raises():
    journal = Journal(strict=True)
    one = record("a")
    with pytest.raises(Unbalanced, match="not open"):
        journal.settle(one)
    journal.admit(one)
    with pytest.raises(Unbalanced, match="twice"):
        journal.admit(one)
    journal.settle(one)
    with pytest.raises(Unbalanced, match="not open"):
        journal.settle(one)


def test_live_a_stray_is_counted_and_changes_no_total():
    journal = Journal()
    one = record("a")
    journal.admit(one)
    journal.admit(one)
    journal.settle(one)
    journal.settle(one)
    assert journal.strays == 2
    assert (journal.records, journal.settled) == (1, 1)


def test_totals_are_the_line_a_process_ends_with():
    assert list(Journal().totals()) == [
        "event", "records", "settled", "interrupted", "refused", "input_tokens", "output_tokens", "open",
    ]  # fmt: skip
