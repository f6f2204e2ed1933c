"""From a file to a Snapshot and a Directory, or to everything that is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sluicegate.core.secret import Secret
from sluicegate.core.snapshot import Directory, Snapshot
from sluicegate.spec import installation, nodes
from sluicegate.spec.compile import Compiler
from sluicegate.spec.fingerprint import fingerprint
from sluicegate.spec.grants import Grants, keys_of
from sluicegate.spec.kinds import Context
from sluicegate.spec.language import Document
from sluicegate.spec.lint import lint
from sluicegate.spec.problems import Place, Problems
from sluicegate.spec.process import GatewaySpec
from sluicegate.spec.references import Sources, Wrong
from sluicegate.spec.sections import Section

_UNKNOWN = Secret("not made yet: the hash of this load is worth nothing")


@dataclass(frozen=True, slots=True)
class Loaded:
    """The outcome: both, or neither and at least one error among the problems."""

    problems: Problems
    snapshot: Snapshot | None = None
    directory: Directory | None = None


def load_file(path: str, environ: Mapping[str, str], operations: Sequence[str], start: bool) -> Loaded:
    """The configuration in a file. `start`: the gateway is about to start, so what is missing in its data is made."""
    try:
        with open(path, "rb") as f:
            text = f.read(nodes.LARGEST + 1)
    except OSError as e:
        problems = Problems()
        what = f"cannot be read: {(e.strerror or 'error').lower()}"
        problems.add(Place(path, 1, 1), (), what, "name the file: -c gateway.yaml")
        return Loaded(problems)
    base = os.path.dirname(os.path.abspath(path))
    return load(text, path, base, Sources(environ), operations, start)


def load(text: bytes, file: str, base: str, sources: Sources, operations: Sequence[str], start: bool = False) -> Loaded:
    """The configuration in `text`; `file` is what errors call it, relative paths start in `base`."""
    problems = Problems()
    root = nodes.read(text, file, problems)
    if root is None:
        return Loaded(problems)
    cx = Context(sources, problems, root.place)
    values, lacking = Section(Document).values(cx, root, ())
    document = Document(**{**{key: {} for key in lacking if key}, **values})
    compiler = Compiler(document, cx, base, operations)
    snapshot = compiler.snapshot()
    people = [(name, spec, keys_of(spec)) for name, spec in document.consumers.items()]
    grants = Grants(compiler, snapshot.models, people)
    grants.check()
    if problems.fatal:
        return Loaded(problems)
    try:
        secrets = _secrets(document.gateway, snapshot.gateway.data, cx, start)
    except Wrong as e:
        data = snapshot.gateway.data
        shown = cx.sealed.get(("gateway", "data"), data)
        cx.say(("gateway", "data"), e.what.replace(data, shown), e.hint.replace(data, shown))
        return Loaded(problems)
    grants.check_digests(secrets)
    if problems.of("error"):
        return Loaded(problems)
    lint(document, snapshot, cx)
    ordinals: dict[tuple[str, str], int] = {}
    directory = grants.directory(secrets, lambda kind, name: ordinals.setdefault((kind, name), len(ordinals) + 1))
    return Loaded(problems, replace(snapshot, hash=fingerprint(snapshot, directory)), directory)


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
