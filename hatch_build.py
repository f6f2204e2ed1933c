"""How the wheel is built. With SLUICEGATE_COMPILE=1 the road of a request is compiled by mypyc, else it stays Python.

The same source and the same behaviour either way (docs/decisions/0012): the compiled modules lie beside their source
and are taken first. Building them needs a C compiler, Python's headers, mypy and setuptools; running them nothing.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROAD = ("core", "wire", "apis", "providers", "drive", "edge", "upstream")
"""Rooms that a request walks through."""

BESIDE = (
    "link/counters.py", "link/counting.py", "link/journal.py", "link/segments.py",  # what a record meets on its way
    "stores/sqlite/ledger.py", "identity/prover.py", "identity/recent.py",
)  # fmt: skip
"""Of other rooms, what costs for each request."""

PLAIN = {
    "apis/chat_shapes.py", "apis/json_shapes.py", "apis/messages_shapes.py",  # msgspec's classes
    "apis/media_shapes.py",
    "wire/any_key.py",  # a metaclass
    "providers/refusals.py",  # msgspec's classes; only refusals come here
    "core/settings.py", "core/snapshot.py", "core/entry.py",  # msgspec makes them from what crosses a channel: of
    # compiled ones it cannot read the unions
    "core/secret.py", "core/keyset.py",
    "core/kept.py",  # met by the management API only
    "core/limits/lender.py",  # the messages are read by msgspec; asked only when a share is used up
    "edge/health.py",  # asked by routers, not on the road; its tests stand in for the server
    "upstream/opening.py", "upstream/resolve.py", "edge/listener.py",  # coroutines, once a connection
    "upstream/fetch.py",  # the keeper's, once an hour; so is KEEPERS
    "core/expr/parse.py", "core/expr/check.py", "core/expr/write.py",  # where a configuration is read
    "core/explain.py", "core/whose.py",  # where somebody asks
}  # fmt: skip
"""Of them, what stays Python."""

KEEPERS = "upstream/credentials/"
"""Nothing in this folder is on the road."""


class CompileHook(BuildHookInterface[Any]):
    """The hook of pyproject.toml."""

    PLUGIN_NAME = "custom"
    out: Path | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and put what came of it into the wheel. Does nothing for the editable one and where not asked."""
        if os.environ.get("SLUICEGATE_COMPILE") != "1" or self.target_name != "wheel" or version == "editable":
            return
        out = Path(tempfile.mkdtemp(prefix="sluicegate-compiled-"))
        self.out = out
        compile_road(Path(self.root), out)
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        for made in sorted(out.rglob("*.so")):
            build_data["force_include"][str(made)] = str(made.relative_to(out))

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """The wheel has what was made."""
        if self.out:
            shutil.rmtree(self.out)


def road(root: Path) -> list[str]:
    """The modules that are compiled, as paths from the root."""
    package = root / "sluicegate"
    found = [path for room in ROAD for path in sorted((package / room).rglob("*.py"))]
    found += [package / path for path in BESIDE]
    names = {path: str(path.relative_to(package)) for path in found}
    return [str(p.relative_to(root)) for p, name in names.items() if name not in PLAIN and not name.startswith(KEEPERS)]


QUIET = ["-w", "-Wno-misleading-indentation"]
"""Nobody reads the warnings of C that mypyc wrote, and looking for one of them was most of a build: four fifths of it
are blanks, and this one, of Python's own -Wall, reads it again for each block. -w alone looks, and says nothing
(docs/decisions/0037)."""


CORES = min(os.cpu_count() or 1, 8)
"""Processes that compile; each takes some hundred MB."""


def shares(scratch: Path) -> list[str]:
    """Flags with which the C is optimised as a whole, but by several processes; none where the compiler does not know
    them."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    flags = ["-O3", f"-flto={CORES}"]
    source = scratch / "empty.c"
    source.write_text("int nothing(void) { return 0; }\n")
    try:
        tried = subprocess.run(
            [*compiler, *flags, "-Werror", "-fPIC", "-shared", str(source), "-o", str(scratch / "empty.so")],
            stdin=subprocess.DEVNULL, capture_output=True,
        )  # fmt: skip
    except OSError:
        return []  # setuptools says what is missing
    return flags if tried.returncode == 0 and shutil.which("make") else []  # gcc's processes are started by make


def compile_road(root: Path, out: Path) -> None:
    """Run mypyc over the road, in a process of its own because it takes over what it runs in."""
    with tempfile.TemporaryDirectory(prefix="sluicegate-mypyc-") as scratch:
        flags = shares(Path(scratch))
        script = (
            "import os\n"
            "from setuptools import setup\n"
            "from mypyc.build import mypycify\n"
            f"modules = mypycify({road(root)!r}, group_name='sluicegate', opt_level='3', debug_level='0', "
            f"target_dir={scratch!r})\n"
            "(shared,) = [m for m in modules if m.name == 'sluicegate__mypyc']\n"  # all the code; the others lead there
            f"shared.extra_compile_args += {[*QUIET, *flags]!r}\n"
            f"shared.extra_link_args += {flags!r}\n"
            f"os.chdir({scratch!r})\n"  # setuptools would read our pyproject.toml
            "setup(name='sluicegate', packages=[], ext_modules=modules, script_args=['--quiet', 'build_ext', "
            f"'--parallel', '{CORES}', '--build-lib', {str(out)!r}, '--build-temp', {scratch!r}])\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    if done.returncode:
        raise RuntimeError(f"mypyc could not compile the road:\n{done.stdout[-4000:]}")
