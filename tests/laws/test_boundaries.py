"""No request leaves its boundary: whatever is declared, the routes of a consumer hold members inside it and no other."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sluicegate.core.caller import Callers
from sluicegate.core.route import Route
from sluicegate.core.state import World
from sluicegate.sim.stage import Stage
from sluicegate.stores.memory.journal import Journal
from tests.spec.reading import loaded

LEVELS = ("regional", "data_zone", "global")
REGIONS = ("westeurope", "swedencentral", "eastus")
SKUS = {"Standard": 0, "DataZoneStandard": 1, "GlobalStandard": 2, "ProvisionedManaged": 0}

deployments = st.lists(
    st.tuples(st.sampled_from([*REGIONS, ""]), st.sampled_from(list(SKUS)), st.sampled_from("12")),
    min_size=1,
    max_size=6,
)
boundaries = st.lists(
    st.tuples(st.sets(st.sampled_from(REGIONS), min_size=1), st.sampled_from(LEVELS)), min_size=1, max_size=3
)


def configuration(
    declared: list[tuple[str, str, str]], bounds: list[tuple[set[str], str]], served: int, rollout: bool
) -> str:
    lines = ["version: 1", "gateway:", "  secrets: ['${env:SECRET}']", "  region: westeurope"]
    lines += [f"  boundaries: [b{served}]", "boundaries:"]
    for n, (regions, level) in enumerate(bounds):
        lines.append(f"  b{n}: {{regions: [{', '.join(sorted(regions | {'westeurope'}))}], processing: {level}}}")
    lines.append("instances:")
    for n, (region, sku, version) in enumerate(declared):
        where = f"region: {region}, " if region else ""
        deployment = f"d: {{model: m, version: {version}, sku: {sku}}}"
        lines.append(f"  i{n}: {{endpoint: 'https://i{n}.example', auth: none, {where}deployments: {{{deployment}}}}}")
    arm = ", rollout: {to: m@2, share: 50%}" if rollout else ""
    lines += ["models:", f"  one: {{use: m@1{arm}, fallback: [two]}}", "  two: {use: m@2}"]
    lines += ["tenants:", *(f"  t{n}: {{boundary: b{n}}}" for n in range(len(bounds))), "consumers:"]
    lines += [f"  c{n}: {{tenant: t{n}, key: '${{env:KEY{n}}}', models: all}}" for n in range(len(bounds))]
    return "\n".join(lines) + "\n"


@given(deployments, boundaries, st.integers(0, 2), st.booleans())
def test_no_route_of_a_consumer_leaves_its_boundary(
    declared: list[tuple[str, str, str]], bounds: list[tuple[set[str], str]], served: int, rollout: bool
):
    served %= len(bounds)
    env = {f"KEY{n}": f"key-of-consumer-{n}-0000000" for n in range(len(bounds))}
    declared = [*declared, ("westeurope", "Standard", "1"), ("westeurope", "Standard", "2")]
    result = loaded(configuration(declared, bounds, served, rollout), env)
    assert result.snapshot and result.directory, result.errors
    world = World(result.snapshot, result.directory, Journal())
    for n, (regions, level) in enumerate(bounds):
        consumer = Callers(result.directory).find(env[f"KEY{n}"].encode())
        assert consumer is not None and consumer.boundary == f"b{n}"
        for model in ("one", "two"):
            found = world.routes.find(consumer, "chat_completions", model)
            if n != served:
                assert found == "boundary.mismatch"
                continue
            assert isinstance(found, Route)
            for route in (found, *world.routes.onward(found, consumer, "chat_completions", 0)):
                assert route.pool.members
                for member in route.pool.members:
                    assert member.instance.region in regions | {"westeurope"}
                    assert SKUS[member.deployment.sku] <= LEVELS.index(level)


def test_a_consumer_without_boundary_has_the_whole_pool_and_an_unknown_boundary_nothing():
    result = loaded(
        configuration(
            [("eastus", "GlobalStandard", "1")] * 2 + [("westeurope", "Standard", "2")],
            [({"eastus"}, "global")],
            0,
            False,
        ),
        {"KEY0": "key-of-consumer-0-0000000"},
    )
    assert result.snapshot and result.directory
    world = World(result.snapshot, result.directory, Journal())
    consumer = Callers(result.directory).find(b"key-of-consumer-0-0000000")
    assert consumer is not None
    for boundary, members in (("", 2), ("b0", 2), ("other", -1)):
        consumer.boundary = boundary
        found = world.routes.find(consumer, "chat_completions", "one")
        assert (len(found.pool.members) if isinstance(found, Route) else -1) == members
    consumer.boundary = ""
    consumer.operations = frozenset(["embeddings"])
    assert world.routes.find(consumer, "chat_completions", "one") == "grant.operation"


@given(deployments, boundaries, st.integers(0, 2))
def test_a_consumer_is_told_of_the_models_that_somebody_may_serve_inside_its_boundary(
    declared: list[tuple[str, str, str]], bounds: list[tuple[set[str], str]], served: int
):
    served %= len(bounds)
    env = {f"KEY{n}": f"key-of-consumer-{n}-0000000" for n in range(len(bounds))}
    result = loaded(
        configuration([*declared, ("", "Standard", "1"), ("", "Standard", "2")], bounds, served, False), env
    )
    assert result.snapshot and result.directory, result.errors
    world = World(result.snapshot, result.directory, Journal())
    for n in range(len(bounds)):
        consumer = Callers(result.directory).find(env[f"KEY{n}"].encode())
        assert consumer is not None
        found = {name: world.routes.find(consumer, "chat_completions", name) for name in ("one", "two")}
        there = [name for name, route in found.items() if isinstance(route, Route) and route.pool.members]
        assert world.routes.names(consumer) == there
        consumer.boundary = ""
        assert world.routes.names(consumer) == ["one", "two"], "nobody draws a line: all of them"


TROUBLES: dict[str, dict[str, Any]] = {
    "throttle": {"wait_s": 5}, "status": {"status": 500}, "reset": {}, "hang": {}, "cut": {}, "html": {},
}  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(
    deployments, boundaries, st.integers(0, 2), st.booleans(),
    st.lists(st.tuples(st.sampled_from(list(TROUBLES)), st.integers(0, 7)), max_size=4),
    st.lists(
        st.tuples(st.sampled_from(["one", "two"]), st.booleans(), st.sampled_from([0.0, 0.3, 4.0, 40.0])), min_size=3,
        max_size=12,
    ),
    st.booleans(),
)  # fmt: skip
def test_no_request_leaves_its_boundary_by_the_truth_of_who_was_called(
    declared: list[tuple[str, str, str]],
    bounds: list[tuple[set[str], str]],
    served: int,
    rollout: bool,
    troubles: list[tuple[str, int]],
    asks: list[tuple[str, bool, float]],
    all_down: bool,
):
    """Random configurations, traffic and faults in virtual time; with `all_down` everybody inside is down for good."""
    served %= len(bounds)
    env = {f"KEY{n}": f"key-of-consumer-{n}-0000000" for n in range(len(bounds))}
    declared = [*declared, ("westeurope", "Standard", "1"), ("westeurope", "Standard", "2")]
    result = loaded(configuration(declared, bounds, served, rollout), env)
    assert result.snapshot and result.directory, result.errors
    stage = Stage(snapshot=result.snapshot, directory=result.directory)
    regions, level = bounds[served]
    inside = {
        f"i{n}"
        for n, (region, sku, _) in enumerate(declared)
        if region in regions | {"westeurope"} and SKUS[sku] <= LEVELS.index(level)
    }
    if all_down:
        for name in inside:
            stage.upstream.fault("status", instance=name, status=500)
    for kind, n in troubles:
        if n < len(declared):
            stage.upstream.fault(kind, instance=f"i{n}", **TROUBLES[kind])
    clients = []
    for model, stream, pause in asks:
        for n in range(len(bounds)):
            clients.append((n, stage.ask(consumer=f"c{n}", model=model, stream=stream)))
        stage.clock.run_for(pause)
    stage.settle()
    assert not stage.bugs, stage.bugs
    assert {e.instance for e in stage.ledger} <= inside
    for n, client in clients:
        if n != served:
            assert client.status == 403 and client.header("x-sluicegate-reason") == "boundary.mismatch"
        elif all_down:
            assert client.status in (429, 503)
            assert str(client.header("x-sluicegate-reason")).startswith(("boundary.", "pool."))
