"""The story that the demo's traffic tells, in virtual time: what its lines say happens, happens, by every count."""

from typing import Any

import pytest
import yaml

from sluicegate.cli.demo import FLEET, GATEWAY, QUICK, USUAL
from sluicegate.cli.demo_story import PHASES, PTU, Answer, Story
from sluicegate.cli.scenario import read
from sluicegate.sim.ledger import Entry
from sluicegate.sim.scenario import Scenario

AWAY = {"sdc/gpt-4o-ptu", "sdc/gpt-4o"}


def starts() -> list[float]:
    return [sum(p.for_s for p in PHASES[:n]) for n in range(len(PHASES))]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    """One round of it: the demo's own fleet, configuration, rates and orders, without sockets."""
    folder = tmp_path_factory.mktemp("demo")
    fleet = yaml.safe_load(FLEET.format(weu_key="w" * 32, sdc_key="s" * 32, quick=QUICK, usual=USUAL))
    for instance in fleet["instances"].values():
        del instance["key"]
    weu, sdc = "https://weu.example", "https://sdc.example"
    (folder / "gateway.yaml").write_text(GATEWAY.format(directory=folder, port=8080, weu=weu, sdc=sdc))
    story, events, traffic = Story(), [], []
    for at_s, phase in zip(starts(), PHASES, strict=True):
        story.turn(at_s)
        for method, path, document in story.orders():
            event: dict[str, Any] = {"fault": document} if method == "POST" else {"patch": document["instances"]}
            assert path == ("/faults" if method == "POST" else "/config")
            events.append({"at_s": at_s, **event})
        traffic.append({
            "consumer": "newsletter", "steady": phase.rate, "from_s": at_s, "for_s": phase.for_s,
            "prompt_tokens": [20, 30], "output_tokens": [20, 60], "max_tokens": 80, "stream": 0.5,
        })  # fmt: skip
    spec = {"for_s": sum(p.for_s for p in PHASES), "seed": 3, "fleet": fleet, "gateway": "gateway.yaml"}
    (folder / "scenario.yaml").write_text(yaml.safe_dump({**spec, "traffic": traffic, "events": events}))
    scenario = read(str(folder / "scenario.yaml"))
    scenario.run()
    return scenario


def served(played: Scenario, number: int, *, after_s: float = 0.0) -> dict[str, int]:
    """Good answers to calls of that phase, by deployment."""
    start = played.started_at + starts()[number]
    by: dict[str, int] = {}
    for e in calls(played, start + after_s, start + PHASES[number].for_s):
        if e.status == 200 and e.whole:
            label = f"{e.instance}/{e.deployment}"
            by[label] = by.get(label, 0) + 1
    return by


def calls(played: Scenario, start: float, end: float) -> list[Entry]:
    return [e for e in played.stage.ledger if start <= e.first_at < end]


def number(name: str) -> int:
    return [p.name for p in PHASES].index(name)


def test_nobody_is_refused_and_nobody_is_asked_too_early(played: Scenario):
    data = played.summary.data
    assert data["requests"] > 350 and data["refused"] == 0 and data["early"] == 0
    assert data["served"] + data["cut"] == data["requests"] and data["cut"] <= 5


def test_when_it_is_calm_the_provisioned_deployment_takes_all(played: Scenario):
    assert set(served(played, 0)) == {PTU}


def test_the_spike_fills_it_and_spills_over_and_comes_home(played: Scenario):
    spike = served(played, number("spike"))
    assert set(spike) == {PTU, "weu/gpt-4o"}
    assert 0.15 < spike["weu/gpt-4o"] / sum(spike.values()) < 0.7
    assert set(served(played, number("spike") + 1, after_s=3)) == {PTU}


def test_while_it_is_throttled_the_standard_one_answers_and_it_is_left_alone(played: Scenario):
    n = number("throttled")
    assert set(served(played, n)) == {"weu/gpt-4o"}
    start = played.started_at + starts()[n]
    asked = [
        e for e in calls(played, start, start + PHASES[n].for_s) if e.instance == "weu" and e.deployment == "gpt-4o-ptu"
    ]
    assert len(asked) == 1 and asked[0].status == 429
    assert set(served(played, n + 1, after_s=1)) == {PTU}


def test_an_outage_moves_everything_to_the_other_region_and_back(played: Scenario):
    assert set(served(played, number("outage"))) <= AWAY
    assert served(played, number("recovery"), after_s=5).keys() <= {PTU, "weu/gpt-4o"}


# ---------------------------------------------------------------- what is told


def test_what_is_told_is_what_was_seen():
    story = Story()
    assert story.turn(0.0) == [f"  0:00  calm       {PHASES[0].says}"] and story.turn(5.9) == []
    for _ in range(3):
        assert not story.saw(Answer(200, PTU, 1, True), 0, 1.0)
    said = story.turn(6.0)
    assert said[0].strip() == f"3 answered: {PTU} 3" and said[1].startswith("  0:06  spike")
    assert not story.saw(Answer(200, PTU, 1, True), 1, 7.0)
    assert not story.saw(Answer(200, "weu/gpt-4o", 2, True), 0, 7.0), "asked before the spike"
    assert "the first: weu/gpt-4o-ptu said 429" in story.saw(Answer(200, "weu/gpt-4o", 2, True), 1, 14.0)
    assert not story.saw(Answer(200, "weu/gpt-4o", 2, True), 1, 15.0), "once"
    story.saw(Answer(429, "", 2, True), 1, 16.0)
    story.saw(Answer(200, PTU, 1, False), 0, 16.0)
    story.saw(Answer(0, "", 0, False), 1, 16.0)
    assert story.turn(31.0)[0].strip() == (
        f"3 answered: weu/gpt-4o 2, {PTU} 1 (66% elsewhere than {PTU}); 1 refused; 1 broke off and said so; "
        "1 without an answer"
    )


def test_it_goes_round_and_a_pace_makes_it_faster():
    story, at, told = Story(pace=2.0), 0.0, []
    for _ in range(len(PHASES) + 1):
        told.append(story.turn(at)[-1].split()[1])
        at += story.phase.for_s / 2
    assert told == [*(p.name for p in PHASES), "calm"]


def test_an_outage_is_over_when_its_phase_is():
    story, at = Story(), 0.0
    modes = []
    for _ in PHASES:
        story.turn(at)
        modes += [order[2]["instances"]["weu"]["mode"] for order in story.orders() if order[0] == "PATCH"]
        at += story.phase.for_s
    assert modes == ["down", "up"]
