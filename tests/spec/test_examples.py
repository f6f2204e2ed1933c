"""Every file in examples/ loads, and does what its first line says."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from sluicegate.apis import APIS
from sluicegate.core.settings import Connections, Listen
from sluicegate.spec.kinds import Kind
from sluicegate.spec.language import Document
from sluicegate.spec.load import Loaded, load_all, load_file
from sluicegate.spec.nodes import Listing as ListNode
from sluicegate.spec.nodes import Mapping, Node, read
from sluicegate.spec.problems import Problems
from sluicegate.spec.references import Sources
from sluicegate.spec.sections import Listing, Named, Section

FOLDER = Path(__file__).parents[2] / "examples"
EXAMPLES = sorted(FOLDER.glob("*.yaml"))


def example(name: str) -> Loaded:
    path = next(p for p in EXAMPLES if p.stem == name)
    env = {var: f"{var}-0123456789abcdef" for var in re.findall(r"\$\{env:(\w+)\}", path.read_text())}
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


def test_the_fleet_of_files_loads_and_production_overrides():
    files = [str(FOLDER / "fleet" / name) for name in ("gateway.yaml", "prod.yaml")]
    loaded = load_all(files, Sources({"AOAI_KEY": "x" * 32}), tuple(APIS))
    assert loaded.errors == [] and loaded.snapshot and loaded.directory
    assert [m.name for m in loaded.snapshot.models] == ["chat", "small"]
    limits = {c.name: [(x.kind, x.amount) for x in c.limits] for c in loaded.directory.consumers}
    assert limits["web-shop"] == [("token_rate", 60_000), ("concurrency", 20)]
    assert limits["recommender"] == [("concurrency", 5)]
    assert [".".join(map(str, o.path)) for o in loaded.overrides] == ["plans.team.limits"]


def test_every_section_of_the_language_stands_in_an_example():
    shown: set[type] = set()

    def walk(kind: Kind, node: Node) -> None:
        if isinstance(kind, Named) and isinstance(node, Mapping):
            for child in node.items.values():
                walk(kind.kind, child)
        elif isinstance(kind, Listing) and isinstance(node, ListNode):
            for child in node.items:
                walk(kind.kind, child)
        elif isinstance(node, Mapping):
            for _, section in kind.below():
                if isinstance(section, Section):
                    shown.add(section.cls)
                    if isinstance(kind, Section):
                        for key, child in node.items.items():
                            walk(section.fields[key][0], child)

    for path in [*EXAMPLES, *(FOLDER / "fleet").rglob("*.yaml")]:
        root = read(path.read_bytes(), str(path), Problems())
        assert root is not None
        walk(Section(Document), root)
    sections = {section.cls for _, kind in Section(Document).below() for section in every(kind)}
    missing = {cls.__name__ for cls in sections - shown}
    assert missing <= {"ServerTls", "CallerTls", "ClientTls", "AdminTls"}, "files of TLS are examples in comments only"


def every(kind: Kind) -> Iterator[Section]:
    for _, found in kind.below():
        assert isinstance(found, Section)
        yield found
        for inner, _ in found.fields.values():
            yield from every(inner)


def test_the_anthropic_example_asks_foundry_first_and_passes_no_servers_on():
    snapshot = example("anthropic").snapshot
    assert snapshot
    places = {d.number: (d.name, d.processing) for d in snapshot.deployments}
    assistant = snapshot.models[0]
    assert [places[n] for n in assistant.deployments] == [
        ("claude-sonnet-prod", "global"),
        ("claude-sonnet-4-6", "global"),
    ]
    assert assistant.operations == ("messages", "count_tokens")
    rules = {p.field: p.allow for p in assistant.params}
    assert rules["mcp_servers"] == rules["container"] == ('"none"',)


def test_the_foundry_example_offers_each_model_what_it_can():
    snapshot = example("foundry").snapshot
    assert snapshot
    assert {m.name: m.operations for m in snapshot.models} == {
        "chat": ("chat_completions",), "large": ("chat_completions",), "vectors": ("embeddings",),
        "assistant": ("messages", "count_tokens"),
    }  # fmt: skip
