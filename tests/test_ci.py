"""What .ci/run promises, with a ./dev that does nothing: names and codes of steps, one output after another, no leavings."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
STEPS = ["check", "docs", "test", "wheel", "goals", "clients", "bench"]

DEV = '''
"""Says what it was asked, and waits for what must go on at the same time."""
import os, pathlib, subprocess, sys, time

here = pathlib.Path(__file__).parent
word = "-".join(arg.strip("-") for arg in sys.argv[1:] if not arg.startswith(("--color", "--dur", "--short")))


def until(name):
    end = time.monotonic() + 40
    while not (here / name).exists():
        if time.monotonic() > end:
            sys.exit(f"{word}: nothing has made {name}")
        time.sleep(0.01)


(here / "began").mkdir(exist_ok=True)
(here / "began" / word).write_text(os.environ.get("TMPDIR", ""))
print(f"this is {word}")
if word == "test":
    until("began/wheel")
    if (here / "hang").exists():
        until("building")
        print("ready", flush=True)
        try:
            time.sleep(50)
        except KeyboardInterrupt:
            sys.exit(130)  # as pytest's own
    (here / "tested").touch()
    print("===================== 3 passed in 0.10s =====================")
if word == "wheel":
    if (here / "hang").exists():
        pathlib.Path(os.environ["TMPDIR"], "half").touch()
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(50)"])
        (here / "pids").write_text(f"{os.getpid()} {child.pid}")
        (here / "building").touch()
        child.wait()
    until("tested")
    print("build/installed is ready (1 s)")
sys.exit(3 if (here / "fails").exists() and (here / "fails").read_text() == word else 0)
'''


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci" / "run")
    (tmp_path / "dev").write_text(DEV)
    (tmp_path / "tmp").mkdir()
    return tmp_path


def begin(clone: Path) -> subprocess.Popen[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "TMPDIR": str(clone / "tmp")}
    return subprocess.Popen(
        ["bash", str(clone / ".ci" / "run")],
        env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, process_group=0,
    )  # fmt: skip


def said(clone: Path) -> tuple[int, list[str]]:
    process = begin(clone)
    out, _ = process.communicate(timeout=50)
    return process.returncode, out.splitlines()


def parts(lines: list[str]) -> dict[str, list[str]]:
    """What was said in each step, its last line with the exit code."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in lines:
        if line.startswith("=== ci: ") and line.removeprefix("=== ci: ") in STEPS:
            name = line.removeprefix("=== ci: ")
            found[name] = []
        elif name and line:
            found[name].append(line)
            if line.startswith(f"=== ci: {name}: exit "):
                name = ""
    return found


def test_the_wheel_is_built_behind_the_tests_and_speaks_in_its_own_step(clone):
    code, lines = said(clone)
    steps = parts(lines)
    assert code == 0 and list(steps) == STEPS
    assert all(told[-1].startswith(f"=== ci: {name}: exit 0 after ") for name, told in steps.items())
    assert steps["wheel"][:-1] == ["this is wheel", "build/installed is ready (1 s)", "this is wheel-test"]
    assert steps["test"][0] == "this is test" and steps["docs"][:-1] == ["this is docs"]
    assert "=== ci: all is well" in lines
    assert lines[-1] == "===================== 3 passed in 0.10s ====================="


@pytest.mark.parametrize(
    ("word", "step"), [("wheel", "wheel"), ("wheel-test", "wheel"), ("test", "test"), ("docs", "docs")]
)
def test_a_step_that_fails_fails_the_run_and_the_others_are_done(clone, word, step):
    (clone / "fails").write_text(word)
    code, lines = said(clone)
    assert code == 1 and f"=== ci: FAILED: {step}" in lines and list(parts(lines)) == STEPS
    assert (clone / "began" / "wheel-test").exists() == (word != "wheel"), "what was not built is not tested"
    assert lines[-1] == "===================== 3 passed in 0.10s ====================="


def alive(pid: int) -> bool:
    """Whether it runs; one that nobody has asked about yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_ctrl_c_ends_the_run_and_the_build_behind_it_and_leaves_nothing(clone):
    (clone / "hang").touch()
    process = begin(clone)
    assert process.stdout is not None
    assert any(line == "ready\n" for line in process.stdout)
    builders = [int(pid) for pid in (clone / "pids").read_text().split()]
    assert all(map(alive, builders)) and list((clone / "tmp").iterdir())
    os.killpg(process.pid, signal.SIGINT)  # a terminal's: to the group in front
    rest, _ = process.communicate(timeout=30)
    assert process.returncode == 130 and "this is wheel" not in rest and "this is goals" not in rest
    end = time.monotonic() + 10
    while any(map(alive, builders)) and time.monotonic() < end:
        os.sched_yield()
    assert not any(map(alive, builders))
    assert not list((clone / "tmp").iterdir())
