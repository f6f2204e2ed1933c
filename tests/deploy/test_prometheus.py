"""The rules for Prometheus: every metric and label they name is there, and each says what to do."""

import re
from pathlib import Path
from typing import Any

import yaml

from tests.docs.generate import keepers, workers

RULES = Path(__file__).parents[2] / "deploy" / "prometheus-rules.yaml"
LABELS = {m.name: set(m.labels) for m in (*workers(), *keepers())}
GIVEN = {"job", "instance"}
"""Labels that the scraper adds."""


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def test_every_metric_and_label_of_a_rule_exists():
    assert len(rules()) >= 8
    for rule in rules():
        named = re.findall(r"(\bup|sluicegate_\w+)(?:\{([^}]*)\})?", rule["expr"])
        assert named, rule["alert"]
        usable = set(GIVEN)
        for name, selected in named:
            assert name == "up" or name in LABELS, f"{rule['alert']}: {name}"
            labels = LABELS.get(name, set()) | GIVEN
            usable |= labels
            used = set(re.findall(r"(\w+)(?:=~|!~|!=|=)", selected))
            assert used <= labels, f"{rule['alert']}: {used - labels}"
        if grouped := re.findall(r"by \(([^)]*)\)", rule["expr"]):
            usable = {label.strip() for labels in grouped for label in labels.split(",")}
        said = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
        assert said <= usable, f"{rule['alert']} says {said - usable}, which nothing gives it"


def test_every_rule_says_how_bad_it_is_and_what_to_do():
    for rule in rules():
        assert rule["labels"]["severity"] in ("page", "ticket") and set(rule["annotations"]) == {"summary", "todo"}
    assert len({rule["alert"] for rule in rules()}) == len(rules())
