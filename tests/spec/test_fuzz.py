"""Whatever stands in a file, it is compiled or it is told with positions: never a traceback, never a secret."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluicegate.spec.diff import compare, told, words
from sluicegate.spec.load import Loaded, load_all
from sluicegate.spec.problems import render
from sluicegate.spec.references import Sources
from tests.spec.reading import ENV, SMALLEST, loaded
from tests.spec.test_grants import TWO_REGIONS
from tests.spec.test_worked_example import TEXT

REALISTIC = (Path(__file__).parent / "realistic.yaml").read_text()
SEEDS = (SMALLEST, TWO_REGIONS, TEXT, REALISTIC)

WORDS = (
    "null", "~", "true", "[]", "{}", "{a: b}", "[a, [b]]", "0", "-1", "1e9", "99999999999999999999", "5%", "101%", "10k", "1.5",
    "any", "all", "none", "abort", "finish 30s", "m@1", "gpt-4o@2024-11-20", "weu/gpt-4o", "60k tokens/minute", "20 concurrent",
    "{tokens: 5k, per: minute}", "{concurrent: 1, models: [chat]}", "${env:APP_KEY}", "${env:NO|x}", "${file:/nowhere}", "${env:",
    "$${", "sgk1:00000000:AAAAAAAAAAAAAAAAAAAAAA", "'\\u0000'", '"\\ud83d"', '"\\x07"', "*a", "&a x", "!!python/name:os.system x",
    "<<: x", "- x", "é", "\U0001f600", "a" * 300, "2024-11-20", "chat", "eu", "hr", "version", "models", "was", "boundary", "westeurope",
)  # fmt: skip


def told_with_places(result: Loaded) -> None:
    """What every load must be."""
    for p in result.problems:
        assert p.place.line >= 1 and p.place.column >= 1 and p.what and "\n" not in p.what, p
    report = render(result.problems)
    assert not [name for name, secret in ENV.items() if secret in report]
    if result.errors:
        assert result.snapshot is None and result.directory is None
    else:
        assert result.snapshot and result.directory and result.document and result.hash
        same = told(result.document, result.directory, result.hash)
        assert compare(same, same) == []


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """A configuration with a few words, lines and indentations that should not be."""
    lines = draw(st.sampled_from(SEEDS)).splitlines()
    for _ in range(draw(st.integers(1, 4))):
        n = draw(st.integers(0, len(lines) - 1))
        what = draw(st.sampled_from(("value", "value", "drop", "twice", "indent", "word", "cut", "swap")))
        line = lines[n]
        if what == "value" and ":" in line:
            lines[n] = line[: line.index(":") + 1] + " " + draw(st.sampled_from(WORDS))
        elif what == "drop" and len(lines) > 1:
            del lines[n]
        elif what == "twice":
            lines.insert(n, line)
        elif what == "indent":
            lines[n] = draw(st.sampled_from(("  ", " ", "\t", "    "))) + line
        elif what == "word":
            parts = line.split(" ")
            parts[draw(st.integers(0, len(parts) - 1))] = draw(st.sampled_from(WORDS))
            lines[n] = " ".join(parts)
        elif what == "cut":
            lines[n] = line[: draw(st.integers(0, len(line)))]
        elif what == "swap":
            m = draw(st.integers(0, len(lines) - 1))
            lines[n], lines[m] = lines[m], lines[n]
    return "\n".join(lines) + "\n"


@settings(max_examples=300)
@given(damaged())
def test_a_damaged_configuration_is_told(text: str):
    told_with_places(loaded(text))


@settings(max_examples=150)
@given(st.binary(max_size=200), st.integers(0, len(TWO_REGIONS)))
def test_any_bytes_anywhere_are_told(noise: bytes, at: int):
    raw = TWO_REGIONS.encode()
    told_with_places(loaded(raw[:at] + noise + raw[at:]))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=True)
    | st.text(max_size=8)
    | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FIELDS = (
    "name",
    "key",
    "keys",
    "models",
    "tenant",
    "plan",
    "limits",
    "params",
    "labels",
    "operations",
    "was",
    "quotas",
    "x",
)


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    """A file of consumers, some of them sound."""
    found = []
    for n in range(draw(st.integers(1, 5))):
        entry: dict[str, object] = {
            "name": f"c{n}",
            "key": f"sgk1:{n:08x}:AAAAAAAAAAAAAAAAAAAAA{'AQgw'[n % 4]}",
            "models": ["chat"],
        }
        for field in draw(st.lists(st.sampled_from(FIELDS), max_size=3)):
            entry[field] = draw(JSON)
        line = json.dumps(entry).encode()
        if draw(st.integers(0, 9)) == 0:
            cut = draw(st.integers(0, len(line)))
            line = line[:cut] + draw(st.binary(max_size=3)) + line[cut:]
        found.append(line)
    return b"\n".join(found)


@settings(max_examples=200)
@given(lines())
def test_any_lines_are_told(tmp_path_factory: pytest.TempPathFactory, text: bytes):
    folder = tmp_path_factory.getbasetemp()
    (folder / "g.yaml").write_text(SMALLEST + "directory: people.jsonl\n")
    (folder / "people.jsonl").write_bytes(text)
    told_with_places(load_all([str(folder / "g.yaml")], Sources(ENV), ("chat_completions",)))


@settings(max_examples=100)
@given(damaged(), damaged())
def test_any_two_files_are_told(tmp_path_factory: pytest.TempPathFactory, base: str, over: str):
    folder = tmp_path_factory.getbasetemp()
    (folder / "g.yaml").write_text(base)
    (folder / "over.yaml").write_text(over)
    told_with_places(load_all([str(folder / "g.yaml"), str(folder / "over.yaml")], Sources(ENV), ("chat_completions",)))


def test_a_secret_in_the_place_of_any_word_is_not_shown():
    """A reference that stands where it should not: what it leads to is in no error, warning or note."""
    rich = TEXT.replace("region: westeurope\n    auth", "region: westeurope\n    subscription: s\n    auth")
    for seed in (TWO_REGIONS, rich, REALISTIC):
        for word in re.finditer(r"[A-Za-z0-9@._/-]+", seed):
            told_with_places(loaded(seed[: word.start()] + '"${env:APP_KEY}"' + seed[word.end() :]))


def test_one_leaf_changed_by_hand_is_one_change_in_words():
    before = loaded(TEXT)
    for old, new in [
        ("450k", "451k"),
        ("share: 5%", "share: 6%"),
        ("600 requests", "601 requests"),
        ("total: 20m", "total: 21m"),
    ]:
        after = loaded(TEXT.replace(old, new))
        assert before.document and before.directory and after.document and after.directory
        said = compare(
            told(before.document, before.directory, before.hash), told(after.document, after.directory, after.hash)
        )
        assert len(said) == 1, words(said)
        assert (before.hash == after.hash) == ("600" in old), "the plan's limits are replaced by the consumer's own"
