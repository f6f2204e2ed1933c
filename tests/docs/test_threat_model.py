"""The threat model names every attack that a test tries, with a test that exists, and says of the others why there is none."""

import re

from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "explanation" / "threat-model.md").read_text("utf-8")
ATTACKS = range(1, 91)


def tried() -> dict[int, set[str]]:
    """Names of tests, as the page writes them, by number of the attack."""
    found: dict[int, set[str]] = {}
    for path in (ROOT / "tests").rglob("test_*.py"):
        for name in re.findall(r"def (test_\w*abuse_\w+)", path.read_text("utf-8")):
            for number in re.findall(r"abuse_(\d+)", name):
                found.setdefault(int(number), set()).add(f"{path.relative_to(ROOT)}::{name}")
    return found


def shown() -> dict[int, str]:
    return {int(n): test for n, test in re.findall(r"^\| (\d+) \| .* \| `([^`]+)` \|$", PAGE, re.MULTILINE)}


def test_every_attack_that_has_a_test_is_in_the_threat_model():
    told, known = shown(), tried()
    assert set(known) <= set(told), f"say what stops {sorted(set(known) - set(told))}"
    for number, test in told.items():
        path, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / path).read_text("utf-8"), f"{number}: there is no {test}; {known.get(number)}"
        assert number not in known or test in known[number] or "abuse_" not in name, f"{number}: {test} tries another"


def test_of_every_other_attack_it_is_said_why_nobody_tries_it():
    paragraph = next(p for p in PAGE.split("\n\n") if p.startswith("Without the thing that they attack"))
    waiting = {int(n) for group in re.findall(r"\(([\d, ]+)\)", paragraph) for n in group.split(", ")}
    assert not waiting & set(shown()) and not waiting & set(tried())
    assert waiting | set(shown()) == set(ATTACKS), f"nothing of {sorted(set(ATTACKS) - waiting - set(shown()))}"
