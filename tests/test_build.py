"""How the compiled wheel is built: which modules, and with which flags; that the result works is for ./dev wheel --test."""

import os
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

import hatch_build

ROOT = Path(__file__).resolve().parent.parent


def test_what_stays_python_is_there_and_would_be_compiled_if_it_were_not_named(monkeypatch):
    monkeypatch.setattr(hatch_build, "PLAIN", set())
    everything = {path.removeprefix("sluicegate/") for path in hatch_build.road(ROOT)}
    monkeypatch.undo()
    compiled = {path.removeprefix("sluicegate/") for path in hatch_build.road(ROOT)}
    assert everything >= hatch_build.PLAIN and compiled == everything - hatch_build.PLAIN


def program(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_a_compiler_that_cannot_share_its_work_is_not_asked_to(monkeypatch, tmp_path):
    log = tmp_path / "log"
    monkeypatch.setenv("CC", f"{program(tmp_path / 'cc', f'echo $@ > {log}; exit 1')} -m64")
    assert hatch_build.shares(tmp_path) == []
    assert log.read_text().startswith("-m64 ") and "-flto" in log.read_text()
    monkeypatch.setenv("CC", str(tmp_path / "nowhere"))
    assert hatch_build.shares(tmp_path) == []


def test_it_is_not_asked_to_without_make_either(monkeypatch, tmp_path):
    """gcc starts its own processes by make, but only where there is more than one, as in the real build."""
    monkeypatch.setenv("CC", program(tmp_path / "cc", "exit 0"))
    path = os.environ["PATH"]
    program(tmp_path / "make", "exit 0")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{path}")
    assert hatch_build.shares(tmp_path) == ["-O3", f"-flto={hatch_build.CORES}"]
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert hatch_build.shares(tmp_path) == []


CC = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
GCC = (
    shutil.which(CC[0]) and "Free Software" in subprocess.run([*CC, "--version"], capture_output=True, text=True).stdout
)


@pytest.mark.skipif(not GCC, reason="no gcc here")
def test_gcc_does_not_look_for_what_took_most_of_a_build():
    """With -w alone it looks, and says nothing: ten minutes instead of two."""

    def looks(*flags: str) -> bool:
        ask = [*CC, "-O3", "-Wall", "-Werror", *flags, "-Q", "--help=warnings"]
        told = subprocess.run(ask, capture_output=True, text=True, check=True).stdout.splitlines()
        (state,) = [line.split()[1] for line in told if line.split()[:1] == ["-Wmisleading-indentation"]]
        return state == "[enabled]"

    assert looks() and looks("-w"), "then the flag has no use any more"
    assert not looks(*hatch_build.QUIET)
