"""Edges: each says what travels on it, no place that data can go to is without one, and one that crosses is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sluicegate
from sluicegate.core.snapshot import Model
from sluicegate.spec import edges
from sluicegate.spec.addresses import Endpoint
from sluicegate.spec.edges import EDGES, LABELS, NOTHING, PROMPT, Edge, Unlabelled, checked
from sluicegate.spec.kinds import Kind
from sluicegate.spec.language import Document
from sluicegate.spec.load import Loaded
from sluicegate.spec.residency import prove, rows
from sluicegate.spec.sections import Listing, Named, Section
from sluicegate.spec.sinks import Hook
from sluicegate.spec.values import LogTarget
from tests.spec.reading import SMALLEST, found, loaded

PACKAGE = Path(sluicegate.__file__).parent
HOOK = "https://hooks.contoso.example/x"


def nobody(ground: Any, boundary: str) -> Iterator[Any]:
    return iter(())


@pytest.mark.parametrize("carries", [(), ("everything",), (PROMPT, NOTHING), ("",)])
def test_an_edge_that_does_not_say_what_travels_on_it_fails_the_load(
    carries: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(edges, "EDGES", (*EDGES, Edge("mirror", carries, "to a mirror", nobody)))
    with pytest.raises(Unlabelled, match='"mirror" does not say what travels on it'):
        loaded(stamp())


def test_two_edges_of_one_name_are_refused():
    with pytest.raises(Unlabelled, match="two edges"):
        checked((*EDGES, EDGES[0]))


def test_every_edge_says_in_words_what_it_is():
    assert all(edge.says and set(edge.carries) <= set(LABELS) for edge in checked(EDGES))


OTHER = {"boundaries.NAME.url", "gateway.public_url", "gateway.admin.public_url"}
"""Told to clients, never called."""

PLACES = ("region", "url", "endpoint", "to", "data", "host", "authority")
"""Keys that are places, whatever reads them."""


def places(kind: Kind, path: str) -> Iterator[str]:
    """Fields of the language that name a place."""
    assert isinstance(kind, Section)
    for key, (inner, _) in kind.fields.items():
        here = f"{path}.{key}".lstrip(".")
        below = list(inner.below())
        for deeper, section in below:
            yield from places(section, here + deeper)
        if not below:
            leaf = inner.kind if isinstance(inner, Listing | Named) else inner
            names = " ".join(c.__name__ for c in type(leaf).__mro__)
            if isinstance(leaf, Endpoint | Hook | LogTarget) or "Url" in names or key in PLACES:
                yield here


def test_every_field_of_the_language_that_names_a_place_belongs_to_an_edge():
    named = set(places(Section(Document), ""))
    covered = {field for edge in EDGES for field in edge.fields}
    assert {"telemetry.alerts[].to", "instances.NAME.endpoint", "telemetry.access_log"} <= named
    assert not named - covered - OTHER, "data may go there: name the field in a row of spec/edges.py"
    known = {f"{p}.{key}".lstrip(".") for p, s in sections(Section(Document), "") for key in s.fields}
    assert covered <= known, f"fields that the language has not: {covered - known}"


def sections(kind: Section, path: str) -> Iterator[tuple[str, Section]]:
    yield path, kind
    for key, (inner, _) in kind.fields.items():
        for deeper, section in inner.below():
            assert isinstance(section, Section)
            yield from sections(section, f"{path}.{key}{deeper}".lstrip("."))


CONNECTS = re.compile(r"\b(open_connection|create_connection|sock_connect|urlopen|HTTPS?Connection)\b")
ROOMS = ("cli", "sim")
"""Of people who type, and of the simulator."""


def test_every_module_that_opens_connections_belongs_to_an_edge():
    opens = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if path.relative_to(PACKAGE).parts[0] not in ROOMS and CONNECTS.search(path.read_text("utf-8"))
    }
    covered = {module for edge in EDGES for module in edge.modules}
    assert {"telemetry/alerts.py", "upstream/client.py"} <= opens
    assert not opens - covered, "data may leave there: name the module in a row of spec/edges.py"
    assert all((PACKAGE / module).exists() for module in covered)


# ---------------------------------------------------------------- crossing


def stamp(
    region: str = "westeurope", served: str = "eu", sinks: str = "", more: str = "", pool: str = "", model: str = ""
) -> str:
    """Two members inside `eu`, others outside, an arm, a fallback, a sink."""
    telemetry = f"telemetry: {{alerts: [{sinks}]}}\n" if sinks else ""
    return f"""\
version: 1
gateway: {{secrets: ["${{env:SECRET}}"], region: {region}, boundaries: [{served}]}}
boundaries:
  eu: {{regions: [westeurope, swedencentral], processing: data_zone}}
  us: {{regions: [eastus], processing: data_zone}}
instances:
  weu: {{endpoint: https://w.example, region: westeurope, auth: none, deployments: {{
    a: {{model: m, version: 1, sku: ProvisionedManaged}}, b: {{model: m, version: 1, sku: Standard}},
    c: {{model: m, version: 2, sku: DataZoneStandard}}, d: {{model: n, version: 1}}, g: {{model: m, version: 1, sku: GlobalStandard}},
    h: {{model: m, version: 2, sku: GlobalStandard}}, i: {{model: n, version: 1, sku: GlobalStandard}}}}}}
  sdc: {{endpoint: https://s.example, region: swedencentral, auth: none, deployments: {{
    a: {{model: m, version: 1, sku: DataZoneStandard}}}}}}
  usa: {{endpoint: https://u.example, region: eastus, auth: none, deployments: {{
    a: {{model: m, version: 1}}, c: {{model: m, version: 2}}, d: {{model: n, version: 1}}}}}}
models:
  chat: {{use: m@1, rollout: {{to: m@2, share: 5%}}, fallback: [small], spill: {{platform: true}}{model}}}
  small: {{use: n@1}}
tenants: {{retail: {{boundary: eu}}}}
consumers: {{shop: {{tenant: retail, key: "${{env:APP_KEY}}", models: all}}}}
{telemetry}{more}"""


def holding(text: str) -> Loaded:
    made = loaded(text, {"HOOK": HOOK})
    assert made.snapshot is not None and made.document is not None, made.errors
    return made


def test_the_proof_of_a_file_that_holds_names_every_edge_and_why():
    made = holding(stamp(sinks=f"{{to: '{HOOK}', region: swedencentral}}"))
    assert made.document and made.snapshot
    proof = prove(made.document, made.snapshot)
    eu, us = proof["boundaries"]
    assert proof["holds"] and eu["holds"] and eu["served"] and not us["served"] and us["edges"] == []
    assert eu["tenants"] == ["retail"]
    ends = {(e["edge"], e["to"]) for e in eu["edges"]}
    assert {e["edge"] for e in eu["edges"]} == {
        "gateway", "route", "spillover", "failover", "platform", "rollout", "fallback", "records", "metrics", "admin",
        "alerts",
    }  # fmt: skip
    assert ("route", "weu/b") in ends and ("route", "weu/g") not in ends and ("spillover", "weu/a") not in ends
    assert ("fallback", "weu/d") in ends and ("rollout", "weu/c") in ends and ("rollout", "usa/c") not in ends
    assert ("alerts", "https://hooks.contoso.example") in ends
    why = {e["why"] for e in eu["edges"] if e["to"] == "sdc/a"}
    assert why == {"swedencentral is one of its regions, data_zone is within data_zone"}


SINK = "{{to: '" + HOOK + "'{}}}"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (stamp(sinks=SINK.format(", region: eastus")),
         '20:{} telemetry.alerts.region: https://hooks.contoso.example is in "eastus", processing regional, which is outside '
         'boundary "eu" (westeurope, swedencentral): from this gateway metadata of its tenants would go there (edge alerts) | '
         "use one inside, or write gateway.boundaries without eu"),
        (stamp(sinks=SINK.format("")),
         '20:{} telemetry.alerts: https://hooks.contoso.example has no region, so it is outside boundary "eu" (westeurope, '
         "swedencentral): from this gateway metadata of its tenants would go there (edge alerts) | write region: westeurope "
         "there, if that is where it is"),
        (stamp(region="eastus"),
         '2:{} gateway.region: "eastus" is outside boundary "eu" (westeurope, swedencentral) | tenants of it cannot be served '
         "from here: write gateway.boundaries without it, or add the region"),
        (stamp().replace("https://s.example", "https://w.example"),
         "11:{} instances.sdc.region: the same address as instances.weu, which is said to be elsewhere | one address is in one "
         "region: correct one of them"),
    ],
)  # fmt: skip
def test_an_edge_that_crosses_is_refused_with_both_ends_and_what_to_write(text: str, problem: str):
    (said,) = found(text)
    line, rest = problem.split("{}")
    assert said.startswith(line) and said.endswith(rest), said


def test_an_end_anywhere_is_inside_a_boundary_of_any_region_only():
    text = stamp(sinks=SINK.format("")).replace("regions: [westeurope, swedencentral]", "regions: any")
    assert found(text) == []


def test_without_boundaries_a_sink_needs_no_region():
    assert found(SMALLEST + f"telemetry: {{alerts: [{SINK.format('')}]}}\n") == []


def test_F7_how_far_prompts_travel_decides_and_not_only_where_the_resource_is():
    made = holding(stamp().replace("processing: data_zone}\n  us", "processing: regional}\n  us"))
    assert made.document and made.snapshot
    (eu, _) = prove(made.document, made.snapshot)["boundaries"]
    kept = {e["to"] for e in eu["edges"] if e["edge"] in ("route", "failover", "spillover")}
    assert kept == {"weu/a", "weu/b", "weu/d"}, "nothing of a data zone, though it is in the region"


WAYS = ("route", "spillover", "failover", "platform", "rollout", "fallback")


@given(st.sampled_from(WAYS), st.sampled_from(["weu/g", "usa/a"]), st.integers(0, 9))
def test_a_cut_that_lets_one_outside_in_is_found_by_the_proof(way: str, who: str, place: int):
    """The proof looks at what the cut left, so that a mistake of the cut is no mistake of the proof, too."""
    made = holding(stamp())
    assert made.document and made.snapshot
    snapshot = made.snapshot
    instances = {i.number: i.name for i in snapshot.instances}
    name = {"rollout": {"weu/g": "weu/h", "usa/a": "usa/c"}, "fallback": {"weu/g": "weu/i", "usa/a": "usa/d"}}
    who = name.get(way, {}).get(who, who)
    (number,) = [d.number for d in snapshot.deployments if f"{instances[d.instance]}/{d.name}" == who]

    def let(cuts: tuple[tuple[str, tuple[int, ...]], ...]) -> tuple[tuple[str, tuple[int, ...]], ...]:
        return tuple(
            (b, (*ns[: place % (len(ns) + 1)], number, *ns[place % (len(ns) + 1) :]) if b == "eu" else ns)
            for b, ns in cuts
        )

    def mutant(m: Model) -> Model:
        if way == "fallback":
            return replace(m, cuts=let(m.cuts)) if m.name == "small" else m
        if m.name != "chat":
            return m
        if way == "rollout":
            assert m.rollout
            return replace(m, rollout=replace(m.rollout, cuts=let(m.rollout.cuts)))
        return replace(m, cuts=let(m.cuts))

    wrong = replace(snapshot, models=tuple(mutant(m) for m in snapshot.models))
    outside = {(r.edge.name, r.end.what) for r in rows(made.document, wrong, "eu") if r.inside is False}
    if way != "platform" or who.startswith("weu"):
        assert (way, who) in outside
    assert {w for _, w in outside} == {who} and not prove(made.document, wrong)["holds"]


regions = st.sampled_from(["westeurope", "swedencentral", "eastus", "uksouth"])


@given(
    st.lists(st.tuples(st.sets(regions, min_size=1), st.sampled_from(["regional", "data_zone", "global"])), min_size=1,
             max_size=3),
    regions, st.lists(st.one_of(regions, st.none()), max_size=3),
)  # fmt: skip
def test_a_random_file_loads_exactly_when_every_end_is_inside_every_boundary(
    bounds: list[tuple[set[str], str]], home: str, sinks: list[str | None]
):
    names = [f"b{n}" for n in range(len(bounds))]
    text = f"""\
version: 1
gateway: {{secrets: ["${{env:SECRET}}"], region: {home}}}
boundaries: {{{", ".join(f"{n}: {{regions: [{', '.join(sorted(r))}], processing: {p}}}" for n, (r, p) in zip(names, bounds, strict=True))}}}
instances: {{weu: {{endpoint: https://w.example, region: {home}, auth: none, deployments: {{a: {{model: m, version: 1}}}}}}}}
models: {{chat: {{use: m@1}}}}
tenants: {{{", ".join(f"t{n}: {{boundary: {n}}}" for n in names)}}}
consumers: {{{", ".join(f"c{n}: {{tenant: t{n}, key: '${{env:KEY_{n}}}', models: [chat]}}" for n in names)}}}
"""
    if sinks:
        listed = ", ".join(f"{{to: '{HOOK}{n}'{f', region: {s}' if s else ''}}}" for n, s in enumerate(sinks))
        text += f"telemetry: {{alerts: [{listed}]}}\n"
    made = loaded(text, {f"KEY_{n}": f"key-of-{n}-0123456789" for n in names})
    errors = [str(p) for p in made.errors]
    crossing = [s for s in sinks if any(s not in r for r, _ in bounds)]
    outside = any(home not in r for r, _ in bounds)
    assert bool(errors) == bool(crossing or outside)
    assert sum("edge alerts" in e for e in errors) == len(crossing), "each once, by name"
    if not errors:
        assert made.document and made.snapshot and prove(made.document, made.snapshot)["holds"]
