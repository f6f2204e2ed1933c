"""What of YAML is accepted, what is refused, and where each refusal points."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.spec import nodes
from sluicegate.spec.nodes import Listing, Mapping, Scalar, read
from sluicegate.spec.problems import Problems


def look(text: str | bytes) -> tuple[Mapping | None, list[str]]:
    problems = Problems()
    root = read(text if isinstance(text, bytes) else text.encode(), "f", problems)
    return root, [f"{p.place.line}:{p.place.column} {p.what}" for p in problems]


def test_every_scalar_keeps_its_text_and_knows_its_place():
    root, problems = look("a: 0613\nb:\n  - no\n  - 2024-11-20\nc: {d: 1e3, e: 'null', f: null}\n")
    assert not problems and root
    assert root.items["a"] == Scalar(("f", 1, 4), "0613")
    assert root.items["b"] == Listing(("f", 3, 3), [Scalar(("f", 3, 5), "no"), Scalar(("f", 4, 5), "2024-11-20")])
    c = root.items["c"]
    assert isinstance(c, Mapping) and c.keys["d"] == ("f", 5, 5)
    assert [v.text for v in c.items.values() if isinstance(v, Scalar)] == ["1e3", "null", "null"]
    assert [v.empty for v in c.items.values() if isinstance(v, Scalar)] == [False, False, True]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: 2\na: 3\n", '3:1 "a" is written twice; it stands at 1:1 too'),
        ("x: {a: 1, 'a': 2}\n", '1:11 "a" is written twice; it stands at 1:5 too'),
        ("a: &x 1\n", "1:4 anchors are not part of the language"),
        ("a: *x\n", "1:4 aliases are not part of the language"),
        ("a: !!str 1\n", "1:4 tags are not part of the language"),
        ("a: !secret 1\n", "1:4 tags are not part of the language"),
        ("a: !!python/object/apply:os.system ['true']\n", "1:4 tags are not part of the language"),
        ("!!map {a: 1}\n", "1:1 tags are not part of the language"),
        ("a:\n  <<: {b: 1}\n", "2:3 merge keys are not part of the language"),
        ("[a, b]: 1\n", "1:1 a key is a list"),
        ("? {a: 1}\n: 2\n", "1:3 a key is a map"),
        ("a: 1\n---\nb: 2\n", "2:1 a second document"),
        ("- a\n- b\n", "1:1 the document is a list, not a map of sections"),
        ("hello\n", "1:1 the document is text, not a map of sections"),
        ("", "1:1 the file is empty"),
        ("# nothing\n", "1:1 the file is empty"),
        ("a: 1\n\tb: 2\n", "2:1 not YAML: found a tab character that violates indentation"),
        ("a: @b\n", "1:4 not YAML: found character that cannot start any token"),
        ("a: b: c\n", "1:5 not YAML: mapping values are not allowed in this context"),
        ("a: [1, 2\nb: 3\n", "2:2 not YAML: did not find expected ',' or ']'"),
        ("a: 'x\n", "2:1 not YAML: found unexpected end of stream"),
        (b"a: 1\nb: \xff\n", "2:4 this byte is not UTF-8"),
        ("a: 1\nb: x\x01y\n", "2:5 a control character"),
    ],
)
def test_what_is_not_of_the_language_is_refused_where_it_stands(text: str | bytes, problem: str):
    assert look(text)[1] == [problem]


def test_a_byte_order_mark_is_fine():
    root, problems = look(b"\xef\xbb\xbfa: 1\n")
    assert root and not problems


def test_columns_are_counted_in_characters_not_bytes():
    _, problems = look("ä: {ö: 1, ö: 2}\n")
    assert problems == ['1:11 "ö" is written twice; it stands at 1:5 too']


def test_depth_is_bounded_long_before_it_hurts():
    for text in ("[" * 100_000, "a: " + "{b: " * 100_000, "".join(" " * n + "a:\n" for n in range(500))):
        begin = time.process_time()
        _, problems = look(text)
        assert len(problems) == 1 and "nested deeper than 32 levels" in problems[0]
        assert time.process_time() - begin < 2


def test_number_of_values_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(nodes, "MOST_NODES", 100)
    _, problems = look("a: [" + "1, " * 200 + "]\n")
    assert len(problems) == 1 and problems[0].endswith("more than 100 values")


def test_size_is_bounded():
    assert look(b"a: " + b"x" * nodes.LARGEST)[1] == ["1:1 the file is larger than 4 MiB"]


def test_a_billion_laughs_are_not_laughed():
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n"
    for this, last in zip("bcdefghi", "abcdefgh", strict=True):
        bomb += f"{this}: &{this} [" + ", ".join([f"*{last}"] * 9) + "]\n"
    _, problems = look(bomb)
    assert any("anchors" in p for p in problems) and any("aliases" in p for p in problems)


@given(st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), max_size=40))
def test_a_quoted_scalar_is_its_text(text: str):
    root, problems = look(f"a: '{text.replace(chr(39), chr(39) * 2)}'\n")
    assert not problems and root
    assert root.items["a"] == Scalar(("f", 1, 4), text, plain=False)


@given(st.binary(max_size=200))
def test_no_bytes_whatever_raise(raw: bytes):
    look(raw)


@given(st.text(alphabet=":-[]{}&*!|>'\"%@`#,? ab\n\t0", max_size=60))
def test_no_punctuation_whatever_raises(text: str):
    look(text)
