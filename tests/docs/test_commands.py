"""Every command in the documentation that is there to be typed: it works, and shows what the page says it shows."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import sluicegate
from tests.docs.pages import ROOT, Command, File, commands, free_ports, moved, steps

PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"])
TYPED = [page for page in PAGES if any(isinstance(step, Command) for step in steps(page))]
WAIT = """\
for _ in $(seq 400); do {ready} && break; sleep 0.05; done
"""
LISTENS = "(exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null"
SAYS = """grep -q '"event": "ready"' .out{n}"""
"""A gateway: it listens before its workers are there, and the management comes after them."""


def script(page: Path, folder: Path, ports: dict[str, str]) -> str:
    """One shell that does what a reader of the page does, and notes what it sees."""
    lines = []
    for n, step in enumerate(steps(page)):
        if isinstance(step, File):
            (folder / f".file{n}").write_text(moved(step.text, ports))
            lines.append(f"cp .file{n} {shlex.quote(step.name)}")
            continue
        text = moved(step.text, ports)
        if step.background:
            ready = SAYS.format(n=n) if step.serves else LISTENS.format(port=ports[step.background])
            lines.append(f"{text.removesuffix('&')} >.out{n} 2>&1 &\n{WAIT.format(ready=ready)}echo 0 >.status{n}")
        else:
            lines.append(f"{{ {text}\n}} >.out{n} 2>&1\necho $? >.status{n}")
    end = "kill $(jobs -p) 2>/dev/null; sleep 0.2; kill $(jobs -p) 2>/dev/null"  # told twice a gateway does not wait
    return "\n".join([*lines, end, "wait", ""])


def test_pages_hold_commands_to_type():
    assert len(TYPED) >= 10


@pytest.mark.skipif(not all(map(shutil.which, ("bash", "curl", "openssl"))), reason="pages use bash, curl and openssl")
@pytest.mark.timeout(180)
@pytest.mark.parametrize("page", TYPED, ids=[str(p.relative_to(ROOT)) for p in TYPED])
def test_what_is_there_to_be_typed_works(page: Path, tmp_path: Path):
    follow(page, tmp_path)


def follow(page: Path, tmp_path: Path) -> None:
    """Do what the page says. Raises AssertionError where something else comes of it."""
    folder, programs = tmp_path / "here", tmp_path / "bin"
    folder.mkdir()
    programs.mkdir()
    package = Path(sluicegate.__file__).parents[1]
    for name, args in (("sluicegate", "-P -m sluicegate.main "), ("python", "-P ")):
        (programs / name).write_text(f'#!/bin/sh\nPYTHONPATH={package} exec {sys.executable} {args}"$@"\n')
        (programs / name).chmod(0o755)
    (folder / "examples").symlink_to(ROOT / "examples")
    ports = free_ports()
    env = {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(tmp_path), "LANG": "C.UTF-8"}
    with open(tmp_path / "log", "w+") as log:
        shell = subprocess.Popen(
            ["bash", "-c", script(page, folder, ports)], cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=log,
            stderr=log, process_group=0,
        )  # fmt: skip
        try:
            shell.wait(150)
        finally:
            if shell.poll() is None:
                os.killpg(shell.pid, 9)
                shell.wait()
        log.seek(0)
        said = log.read()
    for n, step in enumerate(steps(page)):
        if isinstance(step, Command):
            status, out = folder / f".status{n}", folder / f".out{n}"
            shown = out.read_text() if out.exists() else ""
            assert status.exists(), f"never came to: {step.text}\n{said}"
            assert int(status.read_text()) == step.status, f"{step.text}\n{shown}{said}"
            if step.expected is not None:
                said_it = re.fullmatch(moved(step.expected, ports), shown.rstrip("\n") + "\n")
                assert said_it, f"{step.text}\nshows:\n{shown}"


# ---------------------------------------------------------------- the convention itself


def test_commands_are_read_with_what_they_show():
    a, b, c = commands("$ one \\\n  two\nshown ... here\n...\n$ three # exit 2\n$ four &\n", "a page")
    assert (a.text, a.output, b.text, b.status) == ("one \\\n  two", ["shown ... here", "..."], "three", 2)
    assert a.expected is not None and re.fullmatch(a.expected, "shown 7 here\nmore\nand more\n")
    assert not re.fullmatch(a.expected, "shown 7\n") and b.expected is None and not b.background
    with pytest.raises(AssertionError, match="only sluicegate"):
        print(c.background)


@pytest.mark.parametrize(
    ("block", "found"),
    [
        ("$ false", "false"),
        ("$ true # exit 1", "true"),
        ("$ echo seven\neight", "echo seven"),
        ("$ exit 0\n$ echo seven", "never came to: exit"),
    ],
)
def test_a_page_that_is_wrong_is_found(block: str, found: str, tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text(f"```console\n{block}\n```\n")
    with pytest.raises(AssertionError, match=found):
        follow(page, tmp_path)


def test_files_and_folders_last_for_the_page_and_ports_are_free_ones(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text(
        '```text title="a.txt"\n127.0.0.1:8080\n```\n\n```console\n$ X=1; cut -d: -f2 a.txt\n8080\n$ grep -q 80[8]0 a.txt # exit 1\n$ echo $X\n1\n```\n'
    )
    follow(page, tmp_path)
