"""The metrics page: what Prometheus' format asks for, and nothing that a label could break out of."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from sluicegate.core.families import FAMILIES, OTHER, REQUESTS, SECONDS
from sluicegate.telemetry.prometheus import render

LINE = re.compile(r'([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (-?[0-9.]+)')


def values(page: str) -> dict[str, float]:
    found = {}
    for line in page.splitlines():
        if not line.startswith("#"):
            match = LINE.fullmatch(line)
            assert match, line
            found[f"{match[1]}{{{match[2] or ''}}}"] = float(match[3])
    return found


@given(st.text(max_size=30))
def test_a_label_never_breaks_its_line(text: str):
    page = render({(REQUESTS.name, (text, "200", "")): [3]}, [("a_fact", "gauge", "What.", [({"x": text}, 1.5)])])
    lines = [line for line in page.split("\n") if line and not line.startswith("#")]
    assert len(lines) == 2
    for line, number in zip(lines, ("3", "1.5"), strict=True):
        assert re.fullmatch(r'[a-z_]+\{([a-z]+="([^"\\\n]|\\["\\n])*",?)*\} ' + re.escape(number), line), line


def test_a_histogram_accumulates_and_ends_with_its_count():
    cells = [1, 2] + [0] * (SECONDS.cells - 4) + [4, 2_500_000]
    found = values(render({(SECONDS.name, ("chat", "true")): cells}))
    labels = 'model="chat",stream="true"'
    assert found[f'sluicegate_request_seconds_bucket{{{labels},le="0.05"}}'] == 1
    assert found[f'sluicegate_request_seconds_bucket{{{labels},le="0.1"}}'] == 3
    assert found[f'sluicegate_request_seconds_bucket{{{labels},le="600"}}'] == 3
    assert found[f'sluicegate_request_seconds_bucket{{{labels},le="+Inf"}}'] == 7
    assert found[f"sluicegate_request_seconds_count{{{labels}}}"] == 7
    assert found[f"sluicegate_request_seconds_sum{{{labels}}}"] == 2.5


def test_every_family_is_explained_once_and_places_that_are_kept_free_are_not_shown():
    page = render({(REQUESTS.name, (OTHER,) * 3): [0], (SECONDS.name, (OTHER,) * 2): [0] * SECONDS.cells})
    assert not values(page)
    for family in FAMILIES.values():
        assert page.count(f"# HELP {family.name} ") == page.count(f"# TYPE {family.name} ") == 1
    assert values(render({(REQUESTS.name, (OTHER,) * 3): [2]}))
