"""The page about running a gateway names every metric there is."""

import re
from pathlib import Path

from sluicegate.core.families import FAMILIES
from sluicegate.keeper import facts

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "running.md"


def test_every_metric_is_on_the_page_with_its_labels():
    page = PAGE.read_text()
    told = dict(re.findall(r"^\| `(sluicegate_\w+)` \| ([\w, ]*) ?\|", page, re.MULTILINE))
    for family in FAMILIES.values():
        assert told[family.name].strip() == ", ".join(family.labels), family.name
    own = set(re.findall(r'"(sluicegate_\w+)"', Path(facts.__file__).read_text()))
    assert own and own <= set(re.findall(r"`(sluicegate_\w+)`", page))
