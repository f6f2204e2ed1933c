"""What a visitor meets first keeps its word: ./dev, the locks, the feature table, the links, what files may say."""

import ast
import importlib.machinery
import importlib.util
import os
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from sluicegate.apis import APIS
from sluicegate.spec.load import load_file

ROOT = Path(__file__).resolve().parent.parent
FEATURES = ROOT / "docs" / "features.md"


def files() -> list[Path]:
    """Every text file that is or could be committed; what .gitignore names is left out."""
    ask = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(ask, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode == 0:
        paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:  # an unpacked archive
        made = {".venv", "node_modules", "__pycache__"}
        paths = [p for p in ROOT.rglob("*") if not made & {*p.parts} and not p.name.startswith(".")]
    return sorted(p for p in paths if p.is_file())


def text_of(path: Path) -> str:
    """Empty if it is no text."""
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        return ""


# ---------------------------------------------------------------- docs/features.md

ROWS = {
    **{letter: ("", count) for letter, count in zip("ABCDEF", (21, 23, 13, 11, 14, 15), strict=True)},
    "G": ("1.", 15),
    **{letter: ("", count) for letter, count in zip("HIJKLM", (5, 12, 5, 7, 12, 6), strict=True)},
}
IDS = [f"{prefix}{letter}{number}" for letter, (prefix, count) in ROWS.items() for number in range(1, count + 1)]


def feature_rows() -> list[tuple[str, str, str, str]]:
    found = []
    for line in FEATURES.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and re.fullmatch(r"(1\.)?[A-Z]\d+", cells[0]):
            assert len(cells) == 4, f"docs/features.md: this row has not four cells: {line}"
            found.append(tuple(cells))
    return found


def test_the_feature_table_names_every_capability_once():
    ids = [row[0] for row in feature_rows()]
    assert len(IDS) == 159
    assert sorted(set(IDS) - set(ids)) == [], "rows are missing"
    assert sorted({i for i in ids if ids.count(i) > 1}) == [], "rows stand twice"
    assert sorted(set(ids) - set(IDS)) == [], "rows that nobody asked for"
    assert ids == IDS, "rows are out of order"


def test_every_feature_has_a_state_and_words():
    wrong = [row for row in feature_rows() if row[2] not in ("works", "partly", "not yet") or not row[1]]
    assert not wrong


def broken_reference(reference: str) -> str:
    """What is wrong with `tests/x.py` or `tests/x.py::test_y`; empty if it stands there."""
    path, _, name = reference.partition("::")
    if not (ROOT / path).exists():
        return f"{path} does not exist"
    if name:
        source = (ROOT / path).read_text("utf-8")
        defined = {n.name for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}
        if name.rpartition("::")[2].partition("[")[0] not in defined:
            return f"{path} defines no {name}"
    return ""


def test_what_the_feature_table_claims_is_shown_by_a_test_that_exists():
    wrong = []
    for name, _, state, shown in feature_rows():
        references = re.findall(r"`(tests/[^`]+)`", shown)
        wrong += [f"{name}: {broken}" for reference in references if (broken := broken_reference(reference))]
        if state != "not yet" and not references:
            wrong.append(f"{name} is said to be '{state}' but names no test")
    assert not wrong, "docs/features.md:\n" + "\n".join(wrong)


# ---------------------------------------------------------------- configurations in the docs


def configurations() -> list[tuple[str, str]]:
    """Whole documents of the configuration language in Markdown: YAML that says its version."""
    found = []
    for page in pages():
        blocks = re.findall(r"^```yaml[^\n]*\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
        blocks = [block for block in blocks if re.search(r"^version:", block, re.MULTILINE)]
        found += [(f"{page.relative_to(ROOT)}, {number}", block) for number, block in enumerate(blocks, 1)]
    return found


def test_every_configuration_that_the_docs_show_can_be_loaded(tmp_path):
    shown = configurations()
    assert any(where.startswith("README.md") for where, _ in shown)
    for where, text in shown:
        path = tmp_path / "gateway.yaml"
        path.write_text(text)
        secrets = {name: f"{name}-0123456789abcdef0123456789abcdef" for name in re.findall(r"\$\{env:(\w+)\}", text)}
        secrets |= {name: f"https://{name[8:9]}.example" for name in secrets if name.endswith("_URL")}
        loaded = load_file(str(path), secrets, sorted(APIS), start=False)
        assert loaded.snapshot, f"{where}: {[(p.place.line, p.what, p.hint) for p in loaded.problems]}"


# ---------------------------------------------------------------- links


def anchors(page: str) -> set[str]:
    """The names that headings get: lower case, punctuation dropped, spaces as hyphens."""
    heads = re.findall(r"^#+ +(.+?) *#*$", page, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def links(page: str) -> list[str]:
    """Targets of Markdown links and pictures, and of src and srcset in HTML; code is no link."""
    prose = re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL)
    prose = re.sub(r"`[^`\n]*`", "", prose)
    return re.findall(r"\]\(<?([^)\s>]+)>?[^)]*\)", prose) + re.findall(r"(?:src|srcset|href)=\"([^\"]+)\"", prose)


def pages() -> list[Path]:
    return [path for path in files() if path.suffix == ".md"]


def test_every_link_leads_somewhere():
    wrong = []
    for page in pages():
        for link in links(page.read_text("utf-8")):
            if re.match(r"[a-z]+:", link):
                continue  # another site: not asked in a test
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            where = page.relative_to(ROOT)
            if not target.exists() or not target.is_relative_to(ROOT):
                wrong.append(f"{where}: {link} leads nowhere")
            elif anchor and target.suffix == ".md" and anchor not in anchors(target.read_text("utf-8")):
                wrong.append(f"{where}: {link}: no such heading")
    assert not wrong, "\n".join(wrong)


def test_every_page_can_be_reached_from_the_index():
    reached, todo = set(), [ROOT / "docs" / "index.md"]
    while todo:
        page = todo.pop()
        if page in reached or not page.exists() or page.suffix != ".md":
            continue
        reached.add(page)
        todo += [(page.parent / link.partition("#")[0]).resolve() for link in links(page.read_text("utf-8"))]
    lost = [p for p in pages() if p.is_relative_to(ROOT / "docs") and p not in reached]
    assert not lost, f"docs/index.md leads to none of: {[str(p.relative_to(ROOT)) for p in lost]}"


def test_decision_letters_are_numbered_and_hold_what_a_letter_holds():
    letters = sorted(p for p in (ROOT / "docs" / "decisions").glob("*.md") if p.name != "README.md")
    numbers = [letter.name[:4] for letter in letters]
    assert len(set(numbers)) == len(numbers), "two letters have the same number"
    for letter in letters:
        assert re.fullmatch(r"\d{4}-[a-z0-9-]+\.md", letter.name), letter.name
        heads = anchors(letter.read_text("utf-8"))
        wanted = {"what-hurt", "what-we-chose", "what-we-gave-up", "how-we-would-notice-that-we-were-wrong"}
        assert wanted <= heads, f"{letter.name} lacks {sorted(wanted - heads)}"


# ---------------------------------------------------------------- what no file may say

# Written so that this file does not say it either.
MACHINE = re.compile(r"(?<![\w.$}{~*-])/(?:wor[k]|roo[t]|far[m]|tm[p]|hom[e]/\w+)/")
REGISTRY = re.compile(
    r"py[p]i\.org|python[h]osted\.|registry\.np[m]|np[m]js\.|np[m]mirror|deb\.d[e]bian|/simpl[e]/?\b(?=[\"'\s])"
)


@pytest.mark.parametrize(
    ("what", "pattern"), [("a path of somebody's machine", MACHINE), ("the host of a package registry", REGISTRY)]
)
def test_no_file_names(what, pattern):
    wrong = []
    for path in files():
        for number, line in enumerate(text_of(path).splitlines(), 1):
            if found := pattern.search(line):
                wrong.append(f"{path.relative_to(ROOT)}:{number}: {found[0]!r} is {what}")
    assert not wrong, "\n".join(wrong)


# ---------------------------------------------------------------- the locks


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^\w.-]", line)[0].lower().replace("_", "-") for line in requirements}


def locked(lock: str) -> dict[str, str]:
    """name -> its block, with the hashes."""
    text = (ROOT / "requirements" / f"{lock}.lock").read_text()
    return {
        block.split("==")[0].lower(): block for block in re.split(r"^(?=[\w.-]+==)", text, flags=re.MULTILINE) if block
    }


def test_every_locked_package_has_a_version_and_hashes():
    for lock in ("core", "dev", "build", "docs", "bench", "node", "lock"):
        for name, block in locked(lock).items():
            assert re.match(r"[\w.-]+==\S+", block) and "--hash=sha256:" in block, f"{lock}.lock: {name}"


def test_the_locks_hold_what_pyproject_asks_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    core, groups = names(project["project"]["dependencies"]), project["dependency-groups"]
    for lock, wanted in [("core", core), ("dev", core), *((g, names(groups[g])) for g in groups)]:
        missing = wanted - set(locked(lock))
        assert not missing, f"requirements/{lock}.lock lacks {sorted(missing)}: run ./dev lock"


def test_the_locks_agree():
    dev = locked("dev")
    for lock in ("core", "build", "docs", "bench", "node", "lock"):
        for name, block in locked(lock).items():
            if name in dev:
                assert block.split()[0] == dev[name].split()[0], f"{lock}.lock and dev.lock differ about {name}"


# ---------------------------------------------------------------- ./dev


@pytest.fixture
def dev():
    loader = importlib.machinery.SourceFileLoader("dev_under_test", str(ROOT / "dev"))
    spec = importlib.util.spec_from_loader("dev_under_test", loader)
    module = importlib.util.module_from_spec(spec)
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # it has no .py to stand beside
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = writes
    return module


def test_dev_needs_nothing_but_python():
    tree = ast.parse((ROOT / "dev").read_text())
    tops = {alias.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names}
    tops |= {n.module.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module}
    assert tops <= sys.stdlib_module_names


@pytest.mark.parametrize("program", ["dev", ".ci/run"])
def test_programs_can_be_started(program):
    assert os.access(ROOT / program, os.X_OK)


def test_dev_without_a_word_lists_the_words():
    done = subprocess.run([sys.executable, ROOT / "dev"], capture_output=True, text=True, check=True)
    words = re.findall(r"^  (\w+) +\S", done.stdout, re.MULTILINE)
    assert words == ["demo", "test", "check", "docs", "bench", "goals", "clients", "wheel", "lock"]


@pytest.mark.parametrize(("number", "everybody"), [(signal.SIGINT, True), (signal.SIGTERM, False)])
def test_what_a_word_started_ends_in_its_own_time(tmp_path, number, everybody):
    """Ctrl-C reaches all processes of a terminal. The demo needs a while to end its children: it was killed instead."""
    slow = tmp_path / "slow.py"
    slow.write_text(
        "import signal, sys, threading, pathlib\n"
        "told = threading.Event()\n"
        "for n in (signal.SIGINT, signal.SIGTERM): signal.signal(n, lambda *_: told.set())\n"
        "print('ready', flush=True)\n"
        "told.wait()\n"
        "threading.Event().wait(0.6)  # longer than subprocess.run has patience\n"
        "pathlib.Path(sys.argv[1]).touch(); sys.exit(7)\n"
    )
    word = f"dev.demo = dev.WORDS['demo'] = lambda args: dev.call([sys.executable, {str(slow)!r}, {str(tmp_path / 'done')!r}])"
    load = f"import sys, importlib.machinery as m; sys.dont_write_bytecode = True; dev = m.SourceFileLoader('dev', {str(ROOT / 'dev')!r}).load_module()"
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", f"{load}\n{word}\nsys.exit(dev.main(['demo']))"],
        stdout=subprocess.PIPE, text=True, process_group=0,
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    (os.killpg if everybody else os.kill)(process.pid, number)
    process.communicate(timeout=20)
    assert process.returncode == (130 if everybody else 7) and (tmp_path / "done").exists()


def test_an_unknown_word_is_answered_with_the_known_ones():
    done = subprocess.run([sys.executable, ROOT / "dev", "tset"], capture_output=True, text=True)
    assert done.returncode == 2 and "'tset'" in done.stderr and "test" in done.stderr


def test_a_failing_step_says_what_where_and_what_to_do(dev):
    with pytest.raises(dev.Stop) as stop:
        dev.run([sys.executable, "-c", "print('no room'); raise SystemExit(3)"], "Making room", "Ask for more.")
    said = str(stop.value)
    assert "Making room failed (exit 3)" in said and "no room" in said and "Ask for more." in said


def test_the_environment_follows_the_lock_and_the_place(dev, tmp_path, monkeypatch):
    for name in ("requirements/dev.lock", "pyproject.toml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text())
    monkeypatch.setattr(dev, "ROOT", tmp_path)
    monkeypatch.setattr(dev, "LOCKS", tmp_path / "requirements")
    first = dev.wanted()
    assert first.splitlines()[0] == str(tmp_path)

    project = tmp_path / "pyproject.toml"
    project.write_text(project.read_text().replace("line-length = 120", "line-length = 100"))
    assert dev.wanted() == first, "what is not installed makes no new environment"

    lock = tmp_path / "requirements" / "dev.lock"
    lock.write_text(lock.read_text() + "\n")
    assert dev.wanted() != first

    lock.unlink()
    with pytest.raises(dev.Stop, match="git checkout requirements"):
        dev.wanted()


def test_a_first_look_needs_few_packages_and_a_later_test_all(dev, tmp_path, monkeypatch):
    """What the demo needs is there in seconds; whoever develops has what they have."""
    for name, value in (
        ("VENV", tmp_path / "v"),
        ("PYTHON", tmp_path / "v/bin/python"),
        ("STAMP", tmp_path / "v/stamp"),
    ):
        monkeypatch.setattr(dev, name, value)
    monkeypatch.setattr(dev, "CORE_STAMP", tmp_path / "v" / "core")
    installed, made = [], []
    monkeypatch.setattr(dev, "install", lambda what, *_: installed.append(what[-1]))
    monkeypatch.setattr(dev, "environment", lambda: made.append("all"))
    bare = [sys.executable, "-m", "venv", "--without-pip", tmp_path / "v"]
    monkeypatch.setattr(dev, "make_venv", lambda: subprocess.run(bare, check=True))
    dev.enough()
    dev.enough()
    assert installed == ["requirements/core.lock"] and not made, "once"
    ask = [tmp_path / "v/bin/python", "-P", "-c", "import sluicegate; print(sluicegate.__file__)"]
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    found = subprocess.run(ask, capture_output=True, text=True, check=True, cwd=tmp_path, env=env).stdout
    assert found.strip() == str(ROOT / "sluicegate" / "__init__.py")
    assert os.access(tmp_path / "v" / "bin" / "sluicegate", os.X_OK)
    dev.forget_enough()
    assert subprocess.run(ask, capture_output=True, cwd=tmp_path, env=env).returncode
    assert not (tmp_path / "v" / "core").exists() and not (tmp_path / "v" / "bin" / "sluicegate").exists()
    (tmp_path / "v" / "stamp").touch()
    dev.enough()
    assert made == ["all"] and len(installed) == 1


@pytest.mark.parametrize(
    ("args", "reached"),
    [
        ([], True),
        (["-k", "breaker"], True),
        (["tests"], True),
        (["tests/clients"], True),
        (["tests/clients/node"], True),
        (["tests/core", "-x"], False),
        (["tests/test_front.py::test_every_link_leads_somewhere"], False),
    ],
)
def test_node_is_prepared_only_where_it_is_used(dev, args, reached):
    assert dev.wants_node(args) is reached


def test_an_old_or_absent_node_is_not_used(dev, tmp_path):
    old = tmp_path / "node"
    old.write_text("#!/bin/sh\necho v12.22.9\n")
    old.chmod(0o755)
    assert dev.node_major(str(old)) == 12
    assert dev.node_major(str(tmp_path / "nowhere")) == 0
    assert dev.node_major(sys.executable) == 0  # runs, but is no Node


def test_without_uv_and_ensurepip_the_pip_beside_python_installs(dev, monkeypatch):
    """A bare Debian: `python3 -m venv` fails, `--without-pip` works, and pip of the system can install into it."""
    asked = []
    monkeypatch.setattr(dev, "PYTHON", ROOT / "elsewhere" / "bin" / "python")

    def fake(command, **_):
        asked.append([str(part) for part in command])
        fails = asked[-1][1:3] == ["-m", "venv"] and "--without-pip" not in asked[-1]
        fails = fails or (asked[-1][0] == str(dev.PYTHON) and "pip" in asked[-1])
        return subprocess.CompletedProcess(command, int(fails), stdout="", stderr="")

    monkeypatch.setattr(dev.shutil, "which", lambda *_, **__: None)
    monkeypatch.setattr(dev.shutil, "rmtree", lambda *_, **__: None)
    monkeypatch.setattr(dev.subprocess, "run", fake)
    dev.make_venv()
    assert "--without-pip" in asked[-1]
    assert [str(part) for part in dev.installer()][:5] == [sys.executable, "-m", "pip", "--python", str(dev.PYTHON)]
