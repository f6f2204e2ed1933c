"""References: where they lead, and that what they lead to is never shown."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.spec.references import LARGEST_FILE, Sources, Wrong, read_file


def resolve(text: str, secret: bool = False, **env: str) -> str:
    return Sources(env).resolve(text, secret).text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"),
        ("${env:A}", "one"),
        ("x-${env:A}-${env:A}", "x-one-one"),
        ("${env:NOT_SET|other}", "other"),
        ("${env:EMPTY|other}", "other"),
        ("${env:NOT_SET|}", ""),
        ("${env:A|other}", "one"),
        ("$${env:A}", "${env:A}"),
        ("$$", "$$"),
        ("$A {A} $", "$A {A} $"),
        ("${env:TRICK}", "${env:A}"),
    ],
)
def test_a_reference_becomes_its_value_once(text: str, value: str):
    assert resolve(text, A="one", EMPTY="", TRICK="${env:A}") == value


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("${env:B}", "cannot be resolved: the environment variable B is not set"),
        ("${env:EMPTY}", "cannot be resolved: the environment variable EMPTY is empty"),
        ("${env:a b}", "does not name an environment variable"),
        ("${env:}", "does not name an environment variable"),
        ("${A}", "is not a reference we know"),
        ("${vault:x}", "is not a reference we know"),
        ("${keyvault:kv/x}", "leads to a key vault: that belongs to the language and arrives later"),
        ("${env:A", "has a ${ that is not closed"),
        ("${env:B|${env:A}}", "has a ${ that is not closed"),
        ("${file:secrets/x}", "names a file by a relative path"),
        ("${file:/nowhere/at/all}", "cannot be read: no such file or directory"),
    ],
)
def test_what_leads_nowhere_says_so(text: str, what: str):
    with pytest.raises(Wrong) as caught:
        resolve(text, A="one", EMPTY="")
    assert caught.value.what == what
    assert caught.value.hint


@pytest.mark.parametrize("text", ["hunter2", "", "x${env:A}", "${env:A}${env:A}", "$${env:A}", "${env:A|default}"])
def test_a_secret_is_one_reference_and_nothing_else(text: str):
    with pytest.raises(Wrong) as caught:
        resolve(text, secret=True, A="one")
    assert "hunter2" not in str(caught.value) and "default}" not in caught.value.what


def test_a_file_loses_its_final_newline_only(tmp_path: Path):
    for content, value in ((b"a\nb\n", "a\nb"), (b"a\r\n", "a"), (b" a ", " a "), (b"a\n\n", "a\n")):
        (tmp_path / "f").write_bytes(content)
        assert resolve(f"${{file:{tmp_path}/f}}") == value


def test_files_that_are_none_or_endless_are_refused(tmp_path: Path):
    import os

    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"x" * (LARGEST_FILE + 1))
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for name, what in (
        ("pipe", "not a regular file"), ("large", "larger than 64 KiB"), ("binary", "not UTF-8"), (".", "regular|director"),
    ):  # fmt: skip
        with pytest.raises(Wrong, match=what):
            read_file(str(tmp_path / name))
    (tmp_path / "empty").write_bytes(b"\n")
    with pytest.raises(Wrong, match="empty file"):
        resolve(f"${{file:{tmp_path}/empty}}")


@given(st.text(max_size=60), st.text(max_size=20))
def test_whatever_the_value_it_is_taken_as_it_is(value: str, around: str):
    around = around.replace("$", "")
    if value:
        assert resolve(around + "${env:A}" + around, A=value) == around + value + around


@given(st.text(alphabet="${}|:env file/A", max_size=40))
def test_no_text_whatever_raises_anything_but_wrong(text: str):
    try:
        resolve(text, A="one")
    except Wrong:
        pass
