"""Several files become one document before anything is read: `include` joins, a later `-c` overrides leaf by leaf.

Nodes know where they stand, so whatever is wrong later is shown at the line that somebody wrote.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping as _Mapping
from collections.abc import Sequence
from typing import NamedTuple

from sluicegate.spec import nodes
from sluicegate.spec.nodes import Listing, Mapping, Node, Scalar
from sluicegate.spec.problems import Path, Place, Problems

Texts = _Mapping[str, bytes]
_NONE: Texts = {}


class Override(NamedTuple):
    """A value that a later file replaced, or removed (`now` is where it says null)."""

    path: Path
    before: Place
    now: Place
    removed: bool


class Joined(NamedTuple):
    """The outcome of reading files."""

    root: Mapping | None
    "None: an error says why."
    files: tuple[str, ...]
    "Every file that was looked at, or would have been: a change in one of them is a change of the configuration."
    " Patterns, too."
    overrides: tuple[Override, ...] = ()


def join(paths: Sequence[str], problems: Problems, texts: Texts = _NONE) -> Joined:
    """The document that these files make together. `texts`: what stands in some of them, whatever the disk says."""
    seen: list[str] = []
    overrides: list[Override] = []
    root: Mapping | None = None
    readable = True
    for path in paths:
        top = _one(path, problems, seen, texts)
        if top is None:
            readable = False
        elif root is None:
            root = top
        else:
            _lay(root, top, (), overrides, problems)
    return Joined(root if readable else None, tuple(dict.fromkeys(seen)), tuple(overrides))


def _read(path: str, problems: Problems, seen: list[str], hint: str, texts: Texts = _NONE) -> Mapping | None:
    if path in texts:
        return nodes.read(texts[path], path, problems)
    seen.append(path)
    try:
        with open(path, "rb", opener=lambda p, flags: os.open(p, flags | os.O_NONBLOCK)) as f:
            text = f.read(nodes.LARGEST + 1)
    except OSError as e:
        problems.add(Place(path, 1, 1), (), f"cannot be read: {(e.strerror or 'error').lower()}", hint)
        return None
    return nodes.read(text or b"", path, problems)


def _one(path: str, problems: Problems, seen: list[str], texts: Texts) -> Mapping | None:
    """A file and what it includes."""
    root = _read(path, problems, seen, "name the file: -c gateway.yaml", texts)
    if root is None:
        return None
    wanted = root.items.pop("include", None)
    place = root.keys.pop("include", None)
    if wanted is None or place is None:
        return root
    if not isinstance(wanted, Listing) or not wanted.items:
        problems.add(wanted.place, ("include",), "is not a list of files", "write include: [models/*.yaml]")
        return None
    whole = True
    once: set[str] = set()
    for item in wanted.items:
        for found in _matching(item, path, problems, seen):
            real = os.path.realpath(found)
            if real in once:  # by its name and by a pattern, or by two patterns
                continue
            once.add(real)
            part = _read(found, problems, seen, "")
            if part is None:
                whole = False
            else:
                _unite(root, part, problems)
    return root if whole else None


def _matching(item: Node, path: str, problems: Problems, seen: list[str]) -> list[str]:
    """The files that one entry of `include` means, in order of their names. A pattern is `seen` itself: what it means
    may be more tomorrow."""
    at: Path = ("include",)
    if not isinstance(item, Scalar) or item.empty or item.refused:
        problems.add(item.place, at, "is not a file", "write a path such as models/*.yaml, relative to this file")
        return []
    base = os.path.dirname(path)
    real = os.path.realpath(base or ".")
    if os.path.isabs(item.text) or ".." in item.text.split("/") or "\0" in item.text:
        problems.add(item.place, at, "leads out of this file's directory", "write a relative path, without ..")
        return []
    pattern = os.path.join(glob.escape(base), item.text)
    if glob.has_magic(item.text):
        seen.append(pattern)
    every = sorted(glob.glob(pattern))
    found = [f for f in every if os.path.realpath(f) != os.path.realpath(path)]
    for file in found:
        if os.path.commonpath([real, os.path.realpath(file)]) != real:
            problems.add(item.place, at, f"{file} leads out of this file's directory", "put the file itself there")
            return []
    if every and not found:
        problems.add(item.place, at, "means this file itself, and no other", "name the files that belong to it")
    elif not found:
        problems.add(item.place, at, "matches no file", "relative paths start beside this file")
    return found


def _unite(root: Mapping, part: Mapping, problems: Problems) -> None:
    """Sections are united by name; the same name twice is an error that says where the other stands."""
    for section, node in part.items.items():
        key = part.keys[section]
        if section == "include":
            problems.add(key, (section,), "stands in an included file", "include it in the first file")
        elif section == "version" and isinstance(node, Scalar) and _text(root.items.get(section)) == node.text:
            pass
        elif section not in root.items:
            root.items[section] = node
            root.keys[section] = key
        else:
            there = root.items[section]
            if not isinstance(node, Mapping) or not isinstance(there, Mapping):
                problems.add(
                    key, (section,), f"is written twice; it stands at {root.keys[section]} too", "keep one of them"
                )
                continue
            for name, child in node.items.items():
                if name in there.items:
                    what = f'"{name}" is written twice; it stands at {there.keys[name]} too'
                    problems.add(node.keys[name], (section,), what, "keep one of them")
                else:
                    there.items[name] = child
                    there.keys[name] = node.keys[name]


def _lay(under: Mapping, over: Mapping, path: Path, overrides: list[Override], problems: Problems) -> None:
    """Put `over` on `under`: maps merge, scalars and lists replace, `null` removes."""
    for key, node in over.items.items():
        at = (*path, key)
        there = under.items.get(key)
        if isinstance(node, Scalar) and node.plain and node.text in ("null", "~") and not node.refused:
            if there is None:
                problems.add(
                    node.place, at, "null removes nothing: it does not stand in an earlier file", "remove the line"
                )
            else:
                overrides.append(Override(at, under.keys[key], node.place, True))
                del under.items[key], under.keys[key]
        elif isinstance(node, Mapping) and isinstance(there, Mapping):
            _lay(there, node, at, overrides, problems)
        else:
            if there is not None and not _same(there, node):
                overrides.append(Override(at, there.place, node.place, False))
            under.items[key] = node
            under.keys[key] = over.keys[key]


def _same(a: Node, b: Node) -> bool:
    if isinstance(a, Scalar) and isinstance(b, Scalar):
        return a.text == b.text
    if isinstance(a, Listing) and isinstance(b, Listing):
        return len(a.items) == len(b.items) and all(map(_same, a.items, b.items))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.items.keys() == b.items.keys() and all(_same(a.items[k], b.items[k]) for k in a.items)
    return False


def _text(node: Node | None) -> str | None:
    return node.text if isinstance(node, Scalar) else None
