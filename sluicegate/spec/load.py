"""From files to a Snapshot and a Directory, or to everything that is wrong with them. `load_all` is the door.

It starts nothing and changes nothing, but for `gateway.data` when the gateway is about to start or to take a new
configuration: there the numbers of what is new are kept, and at the first start the installation's secret.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from sluicegate.core.secret import Secret
from sluicegate.core.snapshot import Directory, Snapshot
from sluicegate.spec import installation, nodes, numbers
from sluicegate.spec.compile import Compiler
from sluicegate.spec.files import Override, Texts, join
from sluicegate.spec.fingerprint import fingerprint, renumbered
from sluicegate.spec.grants import Grants, keys_of
from sluicegate.spec.kinds import Context
from sluicegate.spec.language import Document
from sluicegate.spec.lines import Lines
from sluicegate.spec.lint import Sight, lint
from sluicegate.spec.made import Ground, Held, nobody
from sluicegate.spec.made import people as made_people
from sluicegate.spec.numbers import Numbers
from sluicegate.spec.problems import Problem, Problems
from sluicegate.spec.process import GatewaySpec
from sluicegate.spec.references import Sources, Wrong
from sluicegate.spec.secret import Digest
from sluicegate.spec.sections import Section

_NO_TEXTS: Texts = {}
_UNKNOWN = Secret("not made yet: the hash of this load is worth nothing")


@dataclass(frozen=True, slots=True)
class Loaded:
    """The outcome: snapshot, directory and document, or none of them and at least one error among the problems."""

    problems: Problems
    snapshot: Snapshot | None = None
    directory: Directory | None = None
    document: Document | None = None
    "What was declared, for `diff`; consumers of a `directory` file are not in it."
    files: tuple[str, ...] = ()
    "Every file that was read, and patterns of more: a change in one of them may be a change of the configuration."
    began: float = 0.0
    "When they began to be read, wall time; 0: none was."
    overrides: tuple[Override, ...] = ()
    "What later files replaced or removed."
    key_names: Mapping[bytes, str] = field(default_factory=dict)
    "What keys are called of which the configuration has the digest, by digest."
    ground: Ground | None = None
    "What consumers are judged against that are made while this is in force."
    made: frozenset[str] = frozenset()
    "Names of consumers that were made through the management API and take part."
    expires: Mapping[bytes, float] = field(default_factory=dict)
    "Until when keys hold, by digest, wall time; those that hold for ever are not in it."

    @property
    def hash(self) -> str:
        """Of the effective configuration; empty if there is none."""
        return self.snapshot.hash if self.snapshot else ""

    @property
    def errors(self) -> list[Problem]:
        """Why it cannot take effect."""
        return self.problems.of("error")

    @property
    def notes(self) -> list[Problem]:
        """Warnings and notes, by position."""
        return [p for p in self.problems if p.severity != "error"]


def load_all(
    paths: Sequence[str], sources: Sources, operations: Sequence[str], start: bool = False, held: Held = nobody
) -> Loaded:
    """The configuration in these files, later ones over earlier ones. `start`: it is about to take effect, so what
    must be kept in `gateway.data` is written there. `held`: consumers that were made through the management API."""
    problems = Problems()
    with undisturbed():
        return _load_all(paths, problems, sources, operations, start, held=held)


def load_texts(
    texts: Sequence[tuple[str, bytes]], base: str, sources: Sources, operations: Sequence[str], start: bool = False,
    made: Held = nobody,
) -> Loaded:  # fmt: skip
    """The configuration in these texts, later ones over earlier ones, as if they were files of these names in `base`;
    what they include or name is read there."""
    problems = Problems()
    paths = [os.path.join(base, name) for name, _ in texts]
    held = {path: text for path, (_, text) in zip(paths, texts, strict=True)}
    with undisturbed():
        return _load_all(paths, problems, sources, operations, start, held, made)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Without the collector of cycles: it would go through what was made again and again, and none of it is garbage."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _load_all(
    paths: Sequence[str],
    problems: Problems,
    sources: Sources,
    operations: Sequence[str],
    start: bool,
    texts: Texts = _NO_TEXTS,
    held: Held = nobody,
) -> Loaded:
    began = time.time()
    joined = join(paths, problems, texts)
    loaded = Loaded(problems)
    if joined.root is not None:
        base = os.path.dirname(os.path.abspath(paths[0]))
        loaded = _load(joined.root, paths[0], base, problems, sources, operations, start, held)
    files = (*joined.files, *sources.files, *loaded.files)
    return replace(loaded, files=tuple(dict.fromkeys(files)), overrides=joined.overrides, began=began)


def load_file(path: str, environ: Mapping[str, str], operations: Sequence[str], start: bool) -> Loaded:
    """The configuration in one file."""
    return load_all([path], Sources(environ), operations, start)


def load(text: bytes, file: str, base: str, sources: Sources, operations: Sequence[str], start: bool = False) -> Loaded:
    """The configuration in `text`; `file` is what errors call it, relative paths start in `base`."""
    problems = Problems()
    root = nodes.read(text, file, problems)
    if root is None:
        return Loaded(problems)
    if "include" in root.items:
        problems.add(root.keys["include"], ("include",), "works between files only")
    return _load(root, file, base, problems, sources, operations, start)


def _load(
    root: nodes.Mapping,
    file: str,
    base: str,
    problems: Problems,
    sources: Sources,
    operations: Sequence[str],
    start: bool,
    kept: Held = nobody,
) -> Loaded:
    cx = Context(sources, problems, root.place)
    sources.ahead(nodes.scalars(root))
    values, lacking = Section(Document).values(cx, root, ())
    document = Document(**{**{key: {} for key in lacking if key}, **values})
    compiler = Compiler(document, cx, base, operations)
    snapshot = compiler.snapshot()
    people = [(name, spec, keys_of(spec)) for name, spec in document.consumers.items()]
    matches = {name: (spec.match, spec) for name, spec in document.consumers.items() if spec.match is not None}
    files: tuple[str, ...] = ()
    if document.directory:
        path = compiler.files.path(document.directory)
        files = (path,)
        lines = Lines(path, os.path.join(os.path.dirname(file), document.directory), cx, document.consumers)
        lines.read(("directory",))
        people += lines.people
        matches |= lines.matches
        cx.elsewhere = lines
    try:
        made = kept(snapshot.gateway.data)
    except Wrong as e:
        cx.say(("gateway", "data"), e.what, e.hint)
        made = ()
    if made:
        found = made_people(made, cx, {name for name, _, _ in people})
        people += found
        matches |= {name: (spec.match, spec) for name, spec, _ in found if spec.match is not None}
    grants = Grants(compiler, snapshot.models, people, matches)
    grants.keyless = takes_part = frozenset(one.name for one in made if not one.disabled)
    grants.check()
    if problems.fatal:
        return Loaded(problems, files=files)
    until = {k.value: k.expires for _, _, keys in people for k in keys if type(k) is Digest and k.expires}
    try:
        secrets = _secrets(document.gateway, snapshot.gateway.data, cx, start)
        grants.check_digests(secrets)
        held = numbers.known(snapshot.gateway.data, start)
        numbers.carry(document, people, held, cx)
        if not problems.fatal:
            lint(Sight(document, snapshot, people, cx, matches))
            directory = grants.directory(secrets, held.of)
            snapshot = numbered(replace(snapshot, hash=fingerprint(snapshot, directory, until)), held)
            if start:
                held.write(snapshot.gateway.data)
    except Wrong as e:
        data = snapshot.gateway.data
        shown = cx.sealed.get(("gateway", "data"), data)
        cx.say(("gateway", "data"), e.what.replace(data, shown), e.hint.replace(data, shown))
    if problems.of("error"):
        return Loaded(problems, files=files)
    names = {k.value: k.id for _, _, keys in people for k in keys if type(k) is Digest}
    ground = Ground(document, snapshot.models, base, operations, secrets, matches)
    return Loaded(
        problems, snapshot, directory, document, files, key_names=names, ground=ground, made=takes_part, expires=until
    )


def numbered(snapshot: Snapshot, held: Numbers) -> Snapshot:
    """With the numbers that this installation has for what is declared."""
    names = {i.number: i.name for i in snapshot.instances}
    return renumbered(
        snapshot,
        {i.number: held.of("instance", i.name) for i in snapshot.instances},
        {d.number: held.of("deployment", f"{names[d.instance]}/{d.name}") for d in snapshot.deployments},
        {m.number: held.of("model", m.name) for m in snapshot.models},
    )


def _secrets(spec: GatewaySpec, data: str, cx: Context, start: bool) -> tuple[Secret, ...]:
    if spec.secrets:
        return spec.secrets
    found = installation.known(data)
    where = os.path.join(cx.sealed.get(("gateway", "data"), data), installation.FILE)
    hint = "gateways that share this configuration need the same one: write gateway.secrets"
    if not start:
        what = f"left out: {'kept' if found else 'one is made at the first start'} in {where}"
        cx.say(("gateway", "secrets"), what, hint, "note")
        return (found or _UNKNOWN,)
    if found is None:
        found = installation.made(data)
        cx.say(("gateway", "secrets"), f"left out: one was made in {where}", hint, "note")
    return (found,)
