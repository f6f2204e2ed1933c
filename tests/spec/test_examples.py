"""Every file in examples/ loads, and does what its first line says."""

import re
from pathlib import Path

import pytest

from sluicegate.apis import APIS
from sluicegate.core.settings import Connections, Listen
from sluicegate.spec.load import Loaded, load_file

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))


def example(name: str) -> Loaded:
    path = next(p for p in EXAMPLES if p.stem == name)
    env = {var: f"{var}-0123456789abcdef" for var in re.findall(r"\$\{env:(\w+)", path.read_text())}
    return load_file(str(path), env, tuple(APIS), start=False)


@pytest.mark.parametrize("name", [p.stem for p in EXAMPLES])
def test_every_example_loads_and_begins_with_what_it_is(name: str):
    loaded = example(name)
    assert loaded.snapshot and loaded.directory
    assert loaded.problems.of("error") == []
    assert next(p for p in EXAMPLES if p.stem == name).read_text().startswith("# ")


def test_the_spillover_example_spills_from_provisioned_to_standard():
    snapshot = example("spillover").snapshot
    assert snapshot
    names = {d.number: (d.sku, d.tier) for d in snapshot.deployments}
    assert [names[n] for n in snapshot.models[0].deployments] == [
        ("ProvisionedManaged", 0), ("Standard", 1), ("DataZoneStandard", 1),
    ]  # fmt: skip


def test_the_listener_example_shows_the_defaults():
    snapshot = example("listener").snapshot
    assert snapshot
    assert snapshot.gateway.listen == Listen()
    assert snapshot.instances[0].connections == Connections()
