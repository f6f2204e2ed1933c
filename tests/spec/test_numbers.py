"""Numbers behind names: given once, kept in the data folder, carried by `was`."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.spec.fingerprint import fingerprint
from sluicegate.spec.load import Loaded
from sluicegate.spec.numbers import FILE, Numbers, known
from sluicegate.spec.references import Wrong
from tests.spec.reading import SMALLEST, consumer, deployments, loaded


def start(text: str, base: Path) -> Loaded:
    result = loaded(text, base=str(base), start=True)
    assert result.errors == [], result.errors
    return result


def numbers(result: Loaded) -> dict[str, int]:
    assert result.snapshot and result.directory
    instances = {i.number: i.name for i in result.snapshot.instances}
    found = {i.name: i.number for i in result.snapshot.instances}
    found |= {f"{instances[d.instance]}/{d.name}": d.number for d in result.snapshot.deployments}
    found |= {f"model {m.name}": m.number for m in result.snapshot.models}
    found |= {f"consumer {c.name}": c.number for c in result.directory.consumers}
    return found | {f"tenant {t.name}": t.number for t in result.directory.tenants}


def test_a_number_outlives_order_and_absence_and_is_never_given_again(tmp_path: Path):
    two = deployments("b: {model: gpt-4o, version: 2024-11-20}")
    first = numbers(start(two, tmp_path))
    assert first["weu/b"] == 2
    assert numbers(start(SMALLEST, tmp_path))["weu/gpt-4o"] == 1
    third = start(deployments("c: {model: gpt-4o, version: 2024-11-20}"), tmp_path)
    assert numbers(third)["weu/c"] == 3
    assert third.snapshot and third.snapshot.models[0].deployments == (1, 3)
    swapped = two.replace("      gpt-4o: {model: gpt-4o, version: 2024-11-20}\n", "", 1)
    assert numbers(start(swapped, tmp_path)) == {k: v for k, v in first.items() if k != "weu/gpt-4o"}


def test_was_carries_the_number_and_frees_the_name_for_something_new(tmp_path: Path):
    before = numbers(start(SMALLEST, tmp_path))
    renamed = (
        SMALLEST.replace("  weu:\n", "  west:\n    was: [weu]\n")
        .replace("gpt-4o: {model", "big: {was: [gpt-4o], model")
        .replace("  chat:\n", "  talk:\n    was: [chat]\n")
        .replace("  my-app:\n", "  app:\n    was: [my-app]\n")
        .replace("models: [chat]", "models: [talk]")
    )
    after = numbers(start(renamed, tmp_path))
    assert list(after.values()) == list(before.values())
    assert list(after) == ["west", "west/big", "model talk", "consumer app", "tenant default"]
    assert numbers(start(renamed, tmp_path)) == after
    fresh = numbers(start(SMALLEST, tmp_path))
    assert all(fresh[k] != before[k] for k in ("weu", "weu/gpt-4o", "model chat", "consumer my-app"))


@pytest.mark.parametrize(
    ("text", "severity", "what"),
    [
        (consumer("was: [my-app]"), "error", '18:11 "my-app" is declared too'),
        (
            consumer("was: [old]") + "  b: {key: '${env:SECRET}', models: [chat], was: [old]}\n",
            "error",
            'my-app was "old"',
        ),
    ],
)
def test_a_name_belongs_to_one_object(text: str, severity: str, what: str, tmp_path: Path):
    (problem,) = loaded(text, base=str(tmp_path)).errors
    assert what.split(" ", 1)[1] in problem.what or what in problem.what


def test_two_histories_do_not_become_one(tmp_path: Path):
    two = SMALLEST + "  b: {key: '${env:SECRET}', models: [chat]}\n"
    start(two, tmp_path)
    result = start(consumer("was: [b]"), tmp_path)
    assert numbers(result)["consumer my-app"] == 1
    assert any('"my-app" has a history of its own' in p.what for p in result.notes)


def test_check_writes_nothing(tmp_path: Path):
    assert loaded(SMALLEST, base=str(tmp_path)).errors == []
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_an_error_of_serve_and_no_matter_for_check(tmp_path: Path):
    (tmp_path / "data").write_text("a file where a folder should be")
    (problem,) = loaded(SMALLEST, base=str(tmp_path), start=True).errors
    assert problem.path == "gateway.data" and problem.place.line == 2
    assert "cannot" in problem.what


@pytest.mark.parametrize(
    "content",
    ["", "something else\nend\n", "sluicegate numbers 1\nconsumer 1\nconsumer 1 a\n", "sluicegate numbers 1\nconsumer x a\nend\n",
     "sluicegate numbers 1\nconsumer 1\nconsumer 2 a\nend\n", "sluicegate numbers 1\nthing 1 a\nend\n",
     "sluicegate numbers 1\nconsumer 2\nconsumer 1 a\nconsumer 1 b\nend\n"],
)  # fmt: skip
def test_damage_is_said_and_never_guessed_around(content: str, tmp_path: Path):
    (tmp_path / FILE).write_text(content)
    with pytest.raises(Wrong, match="damaged"):
        known(str(tmp_path), True)


def test_the_hash_does_not_depend_on_numbers_or_order_of_consumers(tmp_path: Path):
    more = "  b: {key: '${env:SECRET}', models: [chat]}\n"
    start(SMALLEST.replace("my-app", "x"), tmp_path)
    first = start(SMALLEST + more, tmp_path)
    os.unlink(tmp_path / "data" / FILE)
    second = start(SMALLEST.replace("consumers:\n", "consumers:\n" + more), tmp_path)
    assert numbers(first) != numbers(second)
    assert first.hash == second.hash != ""
    assert first.snapshot and first.directory and fingerprint(first.snapshot, first.directory) == first.hash
    changed = start(SMALLEST + more.replace("models", "limits: [5 concurrent], models"), tmp_path)
    assert changed.hash != first.hash


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["of", "rename", "keep"]), st.sampled_from("abcd"))))
def test_no_number_ever_has_two_names_or_comes_back(steps: list[tuple[str, str, str]]):
    held = Numbers()
    given_out: dict[str, int] = {}
    for name, what, other in steps:
        if what == "of":
            number = held.of("model", name)
            assert given_out.setdefault(name, number) == number
            assert list(given_out.values()).count(number) == 1
        elif what == "rename" and name != other and held.rename("model", name, other):
            if name in given_out:
                given_out[other] = given_out.pop(name)
    retired = max(given_out.values(), default=0)
    assert held.of("model", "new") > retired
