"""The page about reasons says what the table says, no more and no less."""

import re
from pathlib import Path

from sluicegate.core.explain import WORDS
from sluicegate.core.pool import PASSED
from sluicegate.core.refusals import REFUSALS
from sluicegate.drive.answer import CUT_MESSAGES
from sluicegate.wire.refusal import refusal

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "reasons.md"


def test_the_page_of_reasons_is_the_table() -> None:
    rows = re.findall(r"^\| `([a-z_.]+)` \| (\d+) \| `([^`]+)` \| (true|false) \|", PAGE.read_text(), re.MULTILINE)
    said = {name: (int(status), code, retry == "true") for name, status, code, retry in rows}
    assert said == {name: (r.status, r.code, r.should_retry) for name, r in REFUSALS.items()}


def test_every_reason_to_cut_a_stream_is_on_the_page() -> None:
    page = PAGE.read_text().split("## In a stream")[1].split("\n## ")[0]
    said = set(re.findall(r"^\| `([a-z_.]+)` \|", page, re.MULTILINE))
    assert said == set(CUT_MESSAGES)


def test_a_time_to_retry_is_never_zero_and_said_in_both_forms() -> None:
    for seconds in (0.0, 0.0001, 0.4, 1.0, 1.2, 61.0):
        _, lines, _ = refusal("pool.throttled", "", seconds, "id")
        fields = dict(line.split(": ") for line in lines.decode().strip().split("\r\n"))
        assert int(fields["retry-after"]) >= max(1, seconds)
        assert int(fields["retry-after-ms"]) >= max(1, seconds * 1000)
        assert int(fields["retry-after-ms"]) <= seconds * 1000 + 1


def test_what_cannot_change_names_no_time() -> None:
    for reason, r in REFUSALS.items():
        _, lines, body = refusal(reason, 'a "message"\n', None, "id")
        assert (b"retry-after" in lines) == (r.least_retry_after is not None)
        assert b'"reason":"' + reason.encode() + b'"' in body


def test_every_word_for_a_candidate_is_on_the_page() -> None:
    section = PAGE.read_text().partition("## In an explanation")[2].partition("\n## ")[0]
    said = re.findall(r"^\| `([a-z_]+)` \|", section, re.MULTILINE)
    assert [*said, *(f"passed.{reason}" for reason in PASSED)] == list(WORDS)


def test_every_reason_to_pass_a_member_over_is_on_the_page() -> None:
    said = set(re.findall(r"^\| `passed\.([a-z_]+)` \|", PAGE.read_text(), re.MULTILINE))
    assert said == set(PASSED)
