"""The arrows of the house: reads every import below sluicegate/ and fails on one that points the wrong way.

The sentences are those of docs/explanation/house.md; a failure quotes the one that the import contradicts.
Nothing is imported here to be judged, except in a process of its own: a wrong import must not hide another.
"""

import ast
import builtins
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "sluicegate"
PAGE = ROOT / "docs" / "explanation" / "house.md"

PURE = {"core", "wire", "apis", "providers", "translate"}

CORE = "Core imports nothing of ours."
WIRE = "Wire imports core, and of core only the types."
ROWS = "Apis, providers and translate import wire and core, never each other: a row is handed in."
SPEC = "Plugins and spec import core, wire, apis, providers and translate."
SHORES = (
    "Upstream, identity, link, stores and telemetry import core, wire and providers; shores never import each other."
)
VERBS = "Cli and admin import spec, sim, core, apis and providers; live things are handed in."
NOBODY = "Nobody imports main or worker."

# room -> what it may import besides itself, and the sentence that says so
ARROWS: dict[str, tuple[set[str], str]] = {
    "core": (set(), CORE),
    "wire": ({"core"}, WIRE),
    "apis": ({"wire", "core"}, ROWS),
    "providers": ({"wire", "core"}, ROWS),
    "translate": ({"wire", "core"}, ROWS),
    "plugins": (PURE, SPEC),
    "spec": (PURE, SPEC),
    "drive": (PURE, "Drive imports what is pure."),
    "edge": ({"drive", "apis", "wire", "core"}, "Edge imports drive, apis, wire and core."),
    "upstream": ({"core", "wire", "providers"}, SHORES),
    "identity": ({"core", "wire", "providers"}, SHORES),
    "link": ({"core", "wire", "providers"}, SHORES),
    "stores": ({"core", "wire", "providers"}, SHORES),
    "telemetry": ({"core", "wire", "providers"}, SHORES),
    "sim": (
        {"edge", "drive", "stores"} | PURE,
        "Sim imports edge, drive, stores and what is pure; other live things are handed in.",
    ),
    "keeper": (
        {"spec", "link", "core"},
        "Keeper imports spec, link and core; stores, telemetry, admin and credentials are handed in.",
    ),
    "cli": ({"spec", "sim", "core", "apis", "providers"}, VERBS),
    "admin": ({"spec", "sim", "core", "apis", "providers"}, VERBS),
    "worker": (
        {"link", "edge", "upstream", "identity", "drive", "plugins", "stores"} | PURE,
        "Worker imports link, edge, upstream, identity, drive, plugins, what is pure, and of the stores only memory.",
    ),
    "serve": (set(), "Serve wires the keeper and may import everything, except main, worker and cli."),
    "main": (set(), "Main may import everything, except worker, which it starts as a program."),
}
ARROWS["main"][0].update(set(ARROWS) - {"worker"})
ARROWS["serve"][0].update(set(ARROWS) - {"main", "worker", "cli"})

CORE_MODULES = (
    "Core uses the standard library only, and of it nothing that does I/O, reads a clock, draws lots or logs; "
    "no json either."
)
PURE_MODULES = (
    "Wire, apis, providers and translate use the standard library and msgspec, "
    "but no asyncio, time, random, logging or socket."
)
PURE_CALLS = "Pure rooms open no file and print nothing."
AT_THE_TOP = (
    "Imports stand at the top of a file; only main.py, cli/ and identity/door.py import inside functions, "
    "so that what is needed is loaded when it is asked for."
)
NO_CIRCLE = "No two modules import each other, directly or in a circle."
LEAN_WORKER = "A worker process loads no pydantic, yaml, fastapi, sqlite3, click or rich, and neither spec nor keeper."
NO_EVAL = "The package calls no eval, no exec and no built-in compile."
QUIET = "Importing a module starts nothing: no thread, no process, no open file or socket."
DECLARED = "Everything imported is the standard library, ours, or named in the dependencies of pyproject.toml."
RULES = [CORE_MODULES, PURE_MODULES, PURE_CALLS, AT_THE_TOP, NO_CIRCLE, LEAN_WORKER, NO_EVAL, QUIET, DECLARED, NOBODY]

CORE_SHUNS = {
    *("asyncio", "time", "random", "logging", "json"),
    *("concurrent", "http.client", "http.server", "multiprocessing", "os", "secrets", "select", "selectors", "signal"),
    *("socket", "socketserver", "sqlite3", "ssl", "subprocess", "tempfile", "threading", "urllib.request"),
}
PURE_SHUNS = {"asyncio", "time", "random", "logging", "socket"}
WORKER_SHUNS = {"pydantic", "yaml", "fastapi", "sqlite3", "click", "rich"}
WORKER_SHUNS_ROOMS = {"spec", "keeper"}
DISTRIBUTION_OF = {"yaml": "pyyaml"}  # where the name to import is not the name to install


# ---------------------------------------------------------------- reading


@dataclass(frozen=True)
class Import:
    """One imported name: `from sluicegate.core.pool import Pool` names the module and, where it is one, the name."""

    where: str  # file:line
    target: str  # the module that is loaded: sluicegate.core.pool
    name: str | None  # Pool; None if a whole module is imported
    nested: bool  # inside a function
    typing: bool  # under `if TYPE_CHECKING:`


@dataclass(frozen=True)
class Module:
    name: str  # sluicegate.core.pool
    path: Path
    tree: ast.Module
    imports: tuple[Import, ...]

    @property
    def room(self) -> str:
        return room_of(self.name)

    def at(self, node: ast.AST) -> str:
        return f"{shown(self.path)}:{getattr(node, 'lineno', 1)}"


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def room_of(name: str) -> str:
    """core of sluicegate.core.pool; empty for the package itself, which anybody may import for its version."""
    return name.split(".")[1] if "." in name else ""


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def read_imports(tree: ast.Module, name: str, path: Path, known: set[str]) -> Iterator[Import]:
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]

    def walk(node: ast.AST, nested: bool, typing: bool) -> Iterator[Import]:
        where = f"{shown(path)}:{getattr(node, 'lineno', 1)}"
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(where, alias.name, None, nested, typing)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                base = ".".join([*parts[: len(parts) - node.level + 1], *([node.module] if node.module else [])])
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                if whole in known:
                    yield Import(where, whole, None, nested, typing)
                else:
                    yield Import(where, base, alias.name, nested, typing)
        elif isinstance(node, ast.If) and is_type_checking(node):
            for child in node.body:
                yield from walk(child, nested, True)
            for child in node.orelse:
                yield from walk(child, nested, typing)
        else:
            inside = nested or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for child in ast.iter_child_nodes(node):
                yield from walk(child, inside, typing)

    yield from walk(tree, False, False)


def read_package(folder: Path) -> dict[str, Module]:
    paths = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        paths[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    folders = {".".join(p.relative_to(folder.parent).parts) for p in folder.rglob("*") if p.is_dir()}
    known = set(paths) | folders
    modules = {}
    for name, path in paths.items():
        tree = ast.parse(path.read_text("utf-8"), str(path))
        modules[name] = Module(name, path, tree, tuple(read_imports(tree, name, path, known)))
    return modules


@pytest.fixture(scope="module")
def house() -> dict[str, Module]:
    return read_package(ROOT / PACKAGE)


# ---------------------------------------------------------------- judging: each returns complaints, [] if all is well


def complaint(where: str, what: str, sentence: str) -> str:
    return f'{where} {what}\n    docs/explanation/house.md: "{sentence}"'


def is_ours(target: str) -> bool:
    return target == PACKAGE or target.startswith(PACKAGE + ".")


def wrong_arrows(house: dict[str, Module]) -> list[str]:
    found = []
    for module in house.values():
        if not module.room:
            found += [
                complaint(i.where, f"imports {i.target}: the package's door knows no room", CORE)
                for i in module.imports
                if room_of(i.target) and is_ours(i.target)
            ]
            continue
        if module.room not in ARROWS:
            found.append(
                f"{shown(module.path)}: '{module.room}' is no room of docs/explanation/house.md; draw it there"
            )
            continue
        allowed, sentence = ARROWS[module.room]
        for i in module.imports:
            if not is_ours(i.target) or room_of(i.target) in ("", module.room):
                continue
            room = room_of(i.target)
            if room in ("main", "worker"):
                own = sentence if module.room == "main" else NOBODY
                found.append(complaint(i.where, f"imports {i.target}", own))
            elif room not in allowed or (
                module.room == "worker"
                and room == "stores"
                and not f"{i.target}.".startswith("sluicegate.stores.memory.")
            ):
                found.append(complaint(i.where, f"imports {i.target}", sentence))
            elif module.room == "wire" and room == "core" and (i.name is None or not i.name[:1].isupper()):
                found.append(complaint(i.where, f"imports {i.name or i.target}, which is no type", sentence))
    return found


def wrong_modules(house: dict[str, Module]) -> list[str]:
    """What a room may use of the world outside, and whether the package may use it at all."""
    found = []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {re.split(r"[^\w-]", line)[0].lower().replace("_", "-") for line in project["dependencies"]}
    for extra in project.get("optional-dependencies", {}).values():
        declared |= {re.split(r"[^\w-]", line)[0].lower().replace("_", "-") for line in extra}
    for module in house.values():
        core, pure = module.room == "core", module.room in PURE
        for i in module.imports:
            if is_ours(i.target):
                continue
            top = i.target.split(".")[0]
            spelled = {top, i.target, f"{i.target}.{i.name}"}
            standard = top in sys.stdlib_module_names
            if core and (not standard or spelled & CORE_SHUNS):
                found.append(complaint(i.where, f"imports {i.target}", CORE_MODULES))
            elif pure and not core and ((not standard and top != "msgspec") or spelled & PURE_SHUNS):
                found.append(complaint(i.where, f"imports {i.target}", PURE_MODULES))
            elif not standard and DISTRIBUTION_OF.get(top, top).replace("_", "-") not in declared:
                found.append(complaint(i.where, f"imports {i.target}", DECLARED))
    return found


def nested_imports(house: dict[str, Module]) -> list[str]:
    found = []
    for module in house.values():
        if module.room in ("main", "cli") or module.name == "sluicegate.identity.door":
            continue
        found += [
            complaint(i.where, f"imports {i.target} inside a function", AT_THE_TOP) for i in module.imports if i.nested
        ]
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                "__import__",
                "import_module",
                "importlib.import_module",
            ):
                found.append(complaint(module.at(node), "imports by a call", AT_THE_TOP))
    return found


def wrong_calls(house: dict[str, Module]) -> list[str]:
    """eval and its kin anywhere; files and prints in the pure rooms. A name that the module defines is its own."""
    found = []
    for module in house.values():
        own = {i.name for i in module.imports if i.name}
        own |= {
            node.name
            for node in ast.walk(module.tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        }
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func).removeprefix("builtins.")
            if name in own or not hasattr(builtins, name):
                continue
            if name in ("eval", "exec", "compile"):
                found.append(complaint(module.at(node), f"calls {name}()", NO_EVAL))
            elif name in ("open", "print", "input") and module.room in PURE:
                found.append(complaint(module.at(node), f"calls {name}()", PURE_CALLS))
    return found


def loads(module: Module, house: dict[str, Module]) -> set[str]:
    """The modules of ours that this one names at import time; packages on the way are left out (see reach)."""
    return {i.target for i in module.imports if not i.typing and not i.nested and i.target in house} - {module.name}


def circles(house: dict[str, Module]) -> list[str]:
    done: set[str] = set()
    found: list[str] = []

    def visit(name: str, trail: list[str]) -> None:
        if name in trail:
            circle = [*trail[trail.index(name) :], name]
            found.append(complaint(shown(house[name].path), f"is in a circle: {' -> '.join(circle)}", NO_CIRCLE))
            return
        if name in done:
            return
        for target in sorted(loads(house[name], house)):
            visit(target, [*trail, name])
        done.add(name)

    for name in house:
        visit(name, [])
    return found


def reach(house: dict[str, Module], start: str) -> dict[str, str]:
    """Every module, ours or not, that importing `start` loads, and who asked for it; with the packages on the way."""
    asked = {start: "the start"}
    todo = [start]
    while todo:
        name = todo.pop()
        if name not in house:
            continue
        for i in house[name].imports:
            if i.typing or i.nested:
                continue
            parts = i.target.split(".")
            for depth in range(1, len(parts) + 1):
                target = ".".join(parts[:depth])
                if target not in asked:
                    asked[target] = i.where
                    todo.append(target)
    return asked


def heavy_worker(house: dict[str, Module]) -> list[str]:
    found = []
    for target, where in reach(house, f"{PACKAGE}.worker").items():
        shunned = room_of(target) in WORKER_SHUNS_ROOMS if is_ours(target) else target in WORKER_SHUNS
        if shunned:
            found.append(complaint(where, f"brings {target} into the worker", LEAN_WORKER))
    return found


# ---------------------------------------------------------------- the house as it stands


def told(complaints: list[str]) -> str:
    return "\n\n" + "\n".join(complaints)


def test_every_import_follows_the_arrows(house):
    found = wrong_arrows(house)
    assert not found, told(found)


def test_every_room_uses_only_the_modules_it_may(house):
    found = wrong_modules(house)
    assert not found, told(found)


def test_imports_stand_at_the_top(house):
    found = nested_imports(house)
    assert not found, told(found)


def test_there_is_no_circle(house):
    found = circles(house)
    assert not found, told(found)


def test_the_package_evaluates_nothing_and_its_pure_rooms_touch_nothing(house):
    found = wrong_calls(house)
    assert not found, told(found)


def test_a_worker_stays_lean_by_its_imports(house):
    found = heavy_worker(house)
    assert not found, told(found)


def python(code: str) -> list[str]:
    """What a fresh interpreter prints, line by line; only the clone is on its path besides what is installed."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "COV"))}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, timeout=50)
    if done.returncode:
        pytest.fail(done.stderr, pytrace=False)
    return done.stdout.split()


def test_a_worker_stays_lean_when_it_runs(house):
    if f"{PACKAGE}.worker" not in house:
        return  # no worker has been built yet
    loaded = set(python("import sluicegate.worker, sys; print(*sys.modules)"))
    ours = {name for name in loaded if is_ours(name) and room_of(name) in WORKER_SHUNS_ROOMS}
    found = sorted((loaded & WORKER_SHUNS) | ours)
    assert not found, f'the worker loads {found}\n    docs/explanation/house.md: "{LEAN_WORKER}"'


def test_importing_any_module_starts_nothing(house):
    names = [name for name in house if not name.endswith("__main__")]
    code = f"""
import importlib, os, sys, threading
fds = "/proc/self/fd"
def opened(): return len(os.listdir(fds)) if os.path.isdir(fds) else 0
import asyncio, ssl, multiprocessing, ctypes
before = opened()
for name in {names!r}:
    importlib.import_module(name)
    if threading.active_count() > 1: print(name, "starts_a_thread"); break
    if opened() > before: print(name, "leaves_something_open"); break
"""
    found = " ".join(python(code))
    assert not found, f'{found}\n    docs/explanation/house.md: "{QUIET}"'


def test_the_page_says_what_the_tests_quote():
    said = " ".join(PAGE.read_text("utf-8").split())
    sentences = {sentence for _, sentence in ARROWS.values()} | set(RULES)
    missing = [sentence for sentence in sentences if sentence not in said]
    assert not missing, "docs/explanation/house.md no longer says:\n" + "\n".join(missing)


def test_the_page_draws_every_room():
    drawn = set(re.findall(r"^\| `(\w+)(?:/|\.py)` \|", PAGE.read_text("utf-8"), re.MULTILINE))
    assert drawn == set(ARROWS), "rooms of the table and rooms of the arrows differ"


# ---------------------------------------------------------------- the judges themselves: each wrong house is caught


def built(folder: Path, files: dict[str, str]) -> dict[str, Module]:
    """A small house of the given files, with the package files that they need."""
    for name, text in files.items():
        path = folder / PACKAGE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        for parent in path.relative_to(folder).parents:
            if parent.parts:
                (folder / parent / "__init__.py").touch()
    return read_package(folder / PACKAGE)


@pytest.mark.parametrize(
    ("judge", "sentence", "files"),
    [
        (wrong_arrows, CORE, {"core/a.py": "from sluicegate.edge import b", "edge/b.py": ""}),
        (wrong_arrows, CORE, {"core/a.py": "from ..edge.b import B", "edge/b.py": "class B: ..."}),
        (wrong_arrows, CORE, {"core/a.py": "if TYPE_CHECKING:\n    import sluicegate.wire.b", "wire/b.py": ""}),
        (wrong_arrows, WIRE, {"wire/a.py": "from sluicegate.core.b import pick", "core/b.py": ""}),
        (wrong_arrows, ROWS, {"apis/a.py": "import sluicegate.providers.b", "providers/b.py": ""}),
        (wrong_arrows, SHORES, {"upstream/a.py": "from sluicegate import edge", "edge/b.py": ""}),
        (wrong_arrows, ARROWS["worker"][1], {"worker.py": "import sluicegate.stores.sqlite", "stores/sqlite.py": ""}),
        (wrong_arrows, ARROWS["main"][1], {"main.py": "def f():\n    import sluicegate.worker", "worker.py": ""}),
        (wrong_arrows, ARROWS["serve"][1], {"serve.py": "import sluicegate.cli.a", "cli/a.py": ""}),
        (wrong_arrows, NOBODY, {"sim/a.py": "from sluicegate import main", "main.py": ""}),
        (wrong_modules, CORE_MODULES, {"core/a.py": "import time"}),
        (wrong_modules, CORE_MODULES, {"core/a.py": "import msgspec"}),
        (wrong_modules, CORE_MODULES, {"core/a.py": "from urllib import request"}),
        (wrong_modules, PURE_MODULES, {"wire/a.py": "from asyncio import Queue"}),
        (wrong_modules, PURE_MODULES, {"apis/a.py": "import pydantic"}),
        (wrong_modules, DECLARED, {"edge/a.py": "import requests"}),
        (nested_imports, AT_THE_TOP, {"edge/a.py": "def f():\n    import json"}),
        (nested_imports, AT_THE_TOP, {"spec/a.py": "import importlib\nimportlib.import_module('json')"}),
        (circles, NO_CIRCLE, {"core/a.py": "from sluicegate.core import b", "core/b.py": "import sluicegate.core.a"}),
        (wrong_calls, NO_EVAL, {"spec/a.py": "eval('1')"}),
        (wrong_calls, NO_EVAL, {"spec/a.py": "import builtins\nbuiltins.compile('1', '', 'eval')"}),
        (wrong_calls, PURE_CALLS, {"core/a.py": "def f():\n    print(1)"}),
        (heavy_worker, LEAN_WORKER, {"worker.py": "import sluicegate.edge.a", "edge/a.py": "import yaml"}),
        (heavy_worker, LEAN_WORKER, {"worker.py": "import sluicegate.plugins", "plugins.py": "import sluicegate.spec"}),
    ],
)
def test_a_wrong_house_is_caught(judge, sentence, files, tmp_path):
    found = judge(built(tmp_path, files))
    assert len(found) == 1 and sentence in found[0]


@pytest.mark.parametrize(
    "files",
    [
        {
            "core/limits/base.py": "class Limit: ...",
            "core/limits/__init__.py": "from sluicegate.core.limits import base",
        },
        {"core/a.py": "import re\nX = re.compile('x')", "wire/b.py": "from sluicegate.core.a import Facts"},
        {
            "core/a.py": "if TYPE_CHECKING:\n    from sluicegate.core import b",
            "core/b.py": "from sluicegate.core import a",
        },
        {
            "spec/compile.py": "def compile(x): ...",
            "spec/load.py": "from sluicegate.spec.compile import compile\ncompile(1)",
        },
        {"cli/check.py": "def run():\n    import sluicegate.spec.load", "spec/load.py": "import yaml"},
        {"main.py": "def f():\n    import sluicegate.keeper.a", "keeper/a.py": "from sluicegate import __version__"},
    ],
)
def test_a_right_house_is_left_alone(files, tmp_path):
    house = built(tmp_path, files)
    judges = (wrong_arrows, wrong_modules, nested_imports, wrong_calls, circles, heavy_worker)
    assert [found for judge in judges for found in judge(house)] == []
