"""Walks the table: a row is not there before everything that belongs to it is."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sluicegate.apis import APIS, Paths
from sluicegate.apis.base import OPENAI
from sluicegate.providers import PROVIDERS
from sluicegate.wire.refusal import refusal
from tests.apis import samples

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
PAGES = ROOT / "docs" / "reference" / "operations"


def told(name: str) -> dict[str, list[dict[str, Any]]]:
    """What the golden files of a row say, by provider."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted((GOLDEN / name).glob("*/*/facts.json")):
        found.setdefault(path.parts[-3], []).append(json.loads(path.read_text()))
    return found


def estimates(name: str) -> str:
    if APIS[name].unmetered:
        return ""
    if any(case["facts"]["estimate"] > 0 or case.get("special") for cases in told(name).values() for case in cases):
        return ""
    return "no golden case in which what comes in is estimated"


def has_a_sample(name: str) -> str:
    row = APIS[name]
    if row.unmetered or row.takes != "json" or name in samples.ASKED:
        return ""
    return "no request in tests/apis/samples.py whose estimate can be judged"


def meters(name: str) -> str:
    cases = [case for each in told(name).values() for case in each if "refusal" not in case]
    if any(case.get("usage") for case in cases):
        return ""
    return "" if APIS[name].unmetered else "no golden case with usage, and no word why it is unmetered"


def meters_streams(name: str) -> str:
    cases = [case for each in told(name).values() for case in each if case["facts"]["stream"] and "end" in case]
    ends = {case["end"] for case in cases}
    if cases and not {"done", "incomplete"} <= ends | ({"incomplete"} if "error" in ends else set()):
        return f"golden streams end {ends}: one that is whole and one that breaks off are wanted"
    return ""


def refuses(name: str) -> str:
    row = APIS[name]
    if not any("refusal" in case for cases in told(name).values() for case in cases):
        return "no golden case of an upstream's refusal"
    _, _, body = refusal("route.model", "There is none.", None, "0", row.dialect)
    said = json.loads(body)["error"]
    return "" if said["message"] == "There is none." and said["type"] else "no error envelope of its dialect"


def has_goldens(name: str) -> str:
    missing = set(APIS[name].providers) ^ set(told(name))
    return f"golden files and providers differ: {sorted(missing)}" if missing else ""


def has_a_page(name: str) -> str:
    page = PAGES / f"{name}.md"
    if not page.exists():
        return f"no page docs/reference/operations/{name}.md"
    if APIS[name].model_path not in page.read_text():
        return "its page does not name its path"
    return "" if f"[{name}]({name}.md)" in (PAGES / "index.md").read_text() else "the page of all does not link to it"


def is_sound(name: str) -> str:
    row = APIS[name]
    if row.takes not in ("json", "form", "nothing") or not row.bases or not row.providers:
        return "takes, bases or providers"
    unknown = set(row.providers) - set(PROVIDERS)
    return f"unknown providers: {sorted(unknown)}" if unknown else ""


WANTED: list[Callable[[str], str]] = [
    is_sound, estimates, has_a_sample, meters, meters_streams, refuses, has_goldens, has_a_page,
]  # fmt: skip


@pytest.mark.parametrize("wanted", WANTED, ids=lambda w: w.__name__)
@pytest.mark.parametrize("name", APIS)
def test_nothing_is_missing(name: str, wanted: Callable[[str], str]) -> None:
    assert not wanted(name), f"{name}: {wanted(name)}"


def test_the_walk_would_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row without anything fails in every respect that can be missing."""
    bare = type("Bare", (), {
        "name": "bare", "takes": "json", "bases": OPENAI, "providers": ("azure_openai",), "unmetered": "",
        "model_path": "/bare", "dialect": "openai",
    })()  # fmt: skip
    monkeypatch.setitem(APIS, "bare", bare)
    missing = {w.__name__ for w in WANTED if w("bare")}
    assert missing == {"estimates", "has_a_sample", "meters", "refuses", "has_goldens", "has_a_page"}


def test_the_rows_lie_beside_each_other() -> None:
    Paths(APIS.values())
