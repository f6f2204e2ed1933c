"""The reference says what the code says: refusals, metrics, headers. Where a page is old, the failure says what to do."""

import re

from sluicegate.core.refusals import REFUSALS
from tests.docs import generate
from tests.docs.generate import ALERTS, HOW, METRICS, PACKAGE, REASONS, UNSAID

OURS = re.compile(r"x-sluicegate-[a-z-]*[a-z]")


def test_the_refusals_and_headers_are_those_of_the_code():
    page = REASONS.read_text("utf-8")
    assert generate.reasons_page(page) == page, HOW
    unsaid = [name for name, words in generate.said(page).items() if words in ("", UNSAID)]
    assert not unsaid, f"docs/reference/reasons.md: say when these happen: {unsaid}"
    assert set(generate.said(page)) >= set(REFUSALS)


def test_the_metrics_are_those_of_the_code():
    page = METRICS.read_text("utf-8")
    assert generate.metrics_page(page) == page, HOW
    told = set(re.findall(r"^\| `(sluicegate_\w+)`", page.partition("## What to watch")[0], re.MULTILINE))
    assert set(re.findall(r"sluicegate_\w+", page)) <= told, "the alarms are on metrics that exist"
    source = "".join(
        path.read_text("utf-8") for path in [PACKAGE / "core" / "families.py", *(PACKAGE / "keeper").glob("*.py")]
    )
    assert told == set(re.findall(r'"(sluicegate_[a-z_]+)"', source))


def test_every_header_of_ours_is_explained():
    told = set(OURS.findall(REASONS.read_text("utf-8")))
    sent: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        if path.is_relative_to(PACKAGE / "cli") or path.is_relative_to(PACKAGE / "sim"):
            continue
        sent |= set(OURS.findall(path.read_text("utf-8")))
    assert sent and not sent - told, f"docs/reference/reasons.md says nothing of {sorted(sent - told)}"
    assert not told - sent, f"docs/reference/reasons.md tells of {sorted(told - sent)}, which nobody sends"


def test_the_alerts_are_those_of_the_code():
    page = ALERTS.read_text("utf-8")
    assert generate.alerts_page(page) == page, HOW
