"""The topologies of the guidance: each a file that loads, says what it is, and is shown on its page as it is."""

import re
from pathlib import Path

import pytest

from sluicegate.apis import APIS
from sluicegate.spec.load import Loaded, load_file

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "topologies"
PAGES = ROOT / "docs" / "how-to" / "topologies"
NAMES = sorted(p.stem for p in FOLDER.glob("*.yaml") if not p.stem.endswith(".scenario"))


def loaded(name: str, **env: str) -> Loaded:
    path = FOLDER / f"{name}.yaml"
    made_up = {var: f"{var}-0123456789abcdef0123456789" for var in re.findall(r"\$\{env:(\w+)\}", path.read_text())}
    return load_file(str(path), {**made_up, **env}, tuple(APIS), start=False)


def order(name: str, model: str = "chat", **env: str) -> list[str]:
    snapshot = loaded(name, **env).snapshot
    assert snapshot
    instances = {i.number: i.name for i in snapshot.instances}
    labels = {d.number: f"{instances[d.instance]}/{d.name}" for d in snapshot.deployments}
    return [labels[n] for m in snapshot.models if m.name == model for n in m.deployments]


def said(name: str) -> set[str]:
    """Rows of the feature table that findings end in."""
    return {row for p in loaded(name).problems for row in re.findall(r"\b[A-Z]\d+\b", p.what)}


def test_every_topology_of_the_guidance_is_there():
    assert NAMES == [
        "boundary-for-each-tenant", "many-regions", "many-subscriptions", "on-premises", "one-gateway-many-regions",
        "one-instance", "one-region", "provisioned-and-standard",
    ]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_it_loads_and_stands_on_its_page_with_reasons_for_and_against(name: str):
    assert loaded(name).problems.of("error") == [] and loaded(name).snapshot
    text, page = (FOLDER / f"{name}.yaml").read_text(), (PAGES / f"{name}.md").read_text()
    assert text.startswith("# ") and '\n```yaml title="gateway.yaml"\n' + text + "```\n" in page
    assert {"## When to use it", "## When not", "## What it shows"} <= set(page.splitlines())
    assert f"examples/topologies/{name}.scenario.yaml" in page


def test_each_has_a_scenario_that_runs_its_file():
    for name in NAMES:  # tests/stories/test_scenarios.py runs them
        assert f"gateway: {name}.yaml\n" in (FOLDER / f"{name}.scenario.yaml").read_text()


def test_A14_the_same_file_serves_both_regions_each_its_own_first():
    home, away = ["weu/gpt-4o-ptu", "weu/gpt-4o"], ["sdc/gpt-4o-ptu", "sdc/gpt-4o"]
    assert order("many-regions") == order("many-regions", REGION="westeurope") == home + away
    assert order("many-regions", REGION="swedencentral") == away + home


def test_A12_own_machines_come_first():
    assert order("on-premises") == ["fra-vllm/gpt-oss-120b", "weu/gpt-oss-120b"]


def test_what_the_pages_warn_of_is_what_check_says():
    assert "A13" in said("one-gateway-many-regions") and "A13" not in said("many-regions")
    assert not {"A7", "A8"} & (said("many-subscriptions") | said("one-region") | said("many-regions"))
    assert "A8" in said("one-instance")
