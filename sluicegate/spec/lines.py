"""Consumers by the hundred thousand: `directory: consumers.jsonl`, one JSON object a line, the fields of `consumers`.

Most lines say what another line has said already, but for name and key: that is read once and shared, so 100,000 lines
take half a second and every one of them is held to the same rules as a consumer in YAML. A line that is wrong
is read again by the reader of YAML, which knows where in it each value stands. References stand in keys only.
"""

from __future__ import annotations

import json
import os
import re
import stat
from codecs import BOM_UTF8
from collections.abc import Container
from typing import Any

from sluicegate.core.snapshot import Match
from sluicegate.spec import nodes
from sluicegate.spec.forms import Labels
from sluicegate.spec.kinds import MISSING, Context, Name, quoted
from sluicegate.spec.match import MatchForm
from sluicegate.spec.nodes import Listing, Mapping, Node, Scalar
from sluicegate.spec.people import KEY, ConsumerSpec
from sluicegate.spec.problems import MOST, Path, Place, Problems
from sluicegate.spec.secret import Key, read_digest
from sluicegate.spec.sections import Section

LARGEST = 1024 * 1024 * 1024
LONGEST_LINE = 64 * 1024
VAULTED = b"${keyvault:"

_SECTION = Section(ConsumerSpec)
MATCH = MatchForm()
_NAME = Name()


class _Twice(Exception):
    """A key stands twice in an object."""


class Lines:
    """The consumers of one file."""

    def __init__(self, path: str, shown: str, cx: Context, others: Container[str]) -> None:
        """`shown` is what errors call the file; `others` are the names of consumers that stand elsewhere."""
        self._others = others
        self._path = path
        self._shown = shown
        self._cx = cx
        self._lines: list[bytes] = []
        self._number: dict[str, int] = {}
        self._specs: dict[str, ConsumerSpec] = {}
        "By all that a line says but name and key."
        self._values: dict[tuple[str, str], Any] = {}
        "By field and what is said of it."
        self.people: list[tuple[str, ConsumerSpec, tuple[Key, ...]]] = []
        self.matches: dict[str, tuple[Match, ConsumerSpec]] = {}
        "By name."

    def read(self, at: Path) -> None:
        """Fill `people`; `at` is where the configuration names the file."""
        try:
            with open(self._path, "rb", opener=lambda p, flags: os.open(p, flags | os.O_NONBLOCK)) as f:
                regular = stat.S_ISREG(os.fstat(f.fileno()).st_mode)
                text = f.read(LARGEST + 1) if regular else b""
        except OSError as e:
            shown = self._cx.shown(at, os.path.basename(self._shown))
            what = f"{shown} cannot be read: {(e.strerror or 'error').lower()}"
            self._cx.say(at, what, "relative paths start beside the configuration")
            return
        if not regular:
            self._cx.say(at, f"names {self._cx.shown(at, os.path.basename(self._shown))}, which is not a regular file")
            return
        text = text.removeprefix(BOM_UTF8)
        if not text.strip():
            what = "nobody stands in this file: whoever did is not let in any more"
            self._cx.say(at, what, "remove the line, or put somebody in", "warning")
        if len(text) > LARGEST:
            self._cx.say(at, "is larger than 1 GiB", "split it between gateways")
            return
        if VAULTED in text:
            self._cx.sources.ahead(found.decode() for found in re.findall(rb"\$\{keyvault:[ -z|~]{1,200}\}", text))
        self._lines = text.split(b"\n")
        before = len(self._cx.problems)
        for n, line in enumerate(self._lines, 1):
            if line and not line.isspace():
                self._line(n, line)
                if len(self._cx.problems) - before > MOST:
                    return

    def __contains__(self, name: object) -> bool:
        return name in self._number

    def place(self, path: Path, key: bool) -> Place:
        """Where something of a consumer stands: its line, and in it what is nearest to what was asked for."""
        number = self._number[str(path[1])]
        found = Place(self._shown, number, 1)
        node: Node | None = self._nodes(number, Problems())
        for n, part in enumerate(path[2:], 3):
            if isinstance(node, Mapping) and part in node.items:
                last = n == len(path)
                found = node.keys[str(part)] if key and last else node.items[str(part)].place
                node = node.items[str(part)]
            elif isinstance(node, Listing) and isinstance(part, int) and part < len(node.items):
                node = node.items[part]
                found = node.place
            else:
                break
        return found

    def _line(self, n: int, line: bytes) -> None:
        problems = self._cx.problems
        if len(line) > LONGEST_LINE:
            problems.add(Place(self._shown, n, 1), (), f"the line is longer than {LONGEST_LINE // 1024} KiB")
            return
        try:
            said = _decode(line.decode())
            name = said.pop("name")
            key, keys, match = said.pop("key", None), said.pop("keys", None), said.pop("match", None)
            shows = (key is not None) + (keys is not None)
            if type(name) is not str or name in self._number or name in self._others:
                raise _Twice
            if shows > 1 or not (shows or match):
                raise _Twice
        except json.JSONDecodeError as e:
            problems.add(Place(self._shown, n, e.colno), (), f"not JSON: {e.msg.lower()}", "one object a line")
            return
        except UnicodeDecodeError as e:
            problems.add(Place(self._shown, n, e.start + 1), (), "this byte is not UTF-8", "save the file as UTF-8")
            return
        except (_Twice, KeyError, TypeError, AttributeError, RecursionError):
            self._wrong(n)
            return
        text = repr(said)
        spec = self._specs.get(text)
        if spec is None:
            spec = self._read(n, said)
            if spec is None:
                self._wrong(n)
                return
            self._specs[text] = spec
        shown = self._keys(n, key, keys) if shows else ()
        if shown is None or not _NAME.matches(name):
            self._wrong(n)
            return
        if match is not None:
            rule = MatchForm.plain(match) or self._match(n, match)
            if rule is None:
                self._wrong(n)
                return
            self.matches[name] = (rule, spec)
        self._number[name] = n
        self.people.append((name, spec, shown))

    def _scratch(self, n: int) -> Context:
        cx = Context(self._cx.sources, Problems(), Place(self._shown, n, 1))
        cx.origin = os.path.basename(self._shown)
        return cx

    def _read(self, n: int, said: dict[str, Any]) -> ConsumerSpec | None:
        values: dict[str, Any] = {}
        for field, value in said.items():
            at = (field, repr(value))
            known = self._values.get(at)
            if known is None and field == "labels":
                known = Labels.plain(value)
            if known is None:
                if field not in _SECTION.fields:
                    return None
                cx = self._scratch(n)
                known = _SECTION.fields[field][0].read(cx, _node(value, cx.start), ("consumers",))
                if len(cx.problems) or known is MISSING or cx.sealed:
                    return None
                self._values[at] = known
            values[field] = known
        return ConsumerSpec(**values)

    def _match(self, n: int, said: Any) -> Match | None:
        cx = self._scratch(n)
        rule = MATCH.read(cx, _node(said, cx.start), ("consumers",))
        return None if len(cx.problems) or cx.sealed or not isinstance(rule, Match) else rule

    def _keys(self, n: int, key: Any, keys: Any) -> tuple[Key, ...] | None:
        several = [key] if keys is None else keys
        if type(several) is not list or not several:
            return None
        shown: list[Key] = []
        for text in several:
            digest: Key | None = read_digest(text) if type(text) is str else None
            if digest is None:
                cx = self._scratch(n)
                digest = KEY.read(cx, _node(text, cx.start), ())
                if not isinstance(digest, Key):
                    return None
            shown.append(digest)
        return tuple(shown)

    def _nodes(self, n: int, problems: Problems) -> Mapping | None:
        """The line as nodes that know their places; what YAML reads otherwise than JSON stands at its beginning."""
        line = self._lines[n - 1]
        apart = Problems()
        node = nodes.read(line, self._shown, apart, n)
        if node is not None:
            for p in apart:
                problems.add(p.place, (), p.what, p.hint)
            return node
        try:
            said = _decode(line.decode(), twice=False)
        except (ValueError, RecursionError):
            said = None
        if not isinstance(said, dict):
            what = "is not an object" if said is not None else "cannot be read"
            problems.add(Place(self._shown, n, 1), (), what, 'write one object a line: {"name": "web-shop", ...}')
            return None
        read = _node(said, Place(self._shown, n, 1))
        assert isinstance(read, Mapping)
        return read

    def _wrong(self, n: int) -> None:
        """Read a line again, slowly, to say what is wrong with it."""
        problems = self._cx.problems
        before = len(problems)
        node = self._nodes(n, problems)
        if node is None:
            return
        place = Place(self._shown, n, 1)
        named = node.items.pop("name", None)
        name = named.text if isinstance(named, Scalar) and not named.plain else ""
        if named is None:
            problems.add(place, ("consumers",), "has no name", 'write "name": "web-shop"')
        elif not _NAME.matches(name):
            what = f"{quoted(name)} is not a name for a consumer" if name else "is not a name for a consumer"
            problems.add(named.place, ("consumers",), what, _NAME.hint)
        elif name in self._number:
            there: Place = Place(self._shown, self._number[name], 1)
            problems.add(named.place, ("consumers", name), f"stands at {there} too", "keep one of them")
        elif name in self._others:
            there = self._cx.place(("consumers", name), key=True)
            problems.add(named.place, ("consumers", name), f"stands at {there} too", "keep one of them")
        at: Path = ("consumers", name) if name else ("consumers",)
        cx = self._scratch(n)
        cx.problems = problems
        if "key" in node.items and "keys" in node.items:
            problems.add(node.keys["keys"], at, "keys stands beside key", "put both into keys")
        elif not {"key", "keys", "match"} & set(node.items):
            problems.add(place, at, "has no key", 'write "key": "sgk1:..."')
        if node.items:
            _SECTION.read(cx, node, at)
            for path in cx.sealed:
                cx.say(path, "is a reference", "in lines they stand in key and keys only: write the value")
        if len(problems) == before and not problems.damaged(at):  # what JSON and YAML read differently
            problems.add(place, at, "cannot be read as a consumer", "write key, name and models as text")


def _decode(text: str, twice: bool = True) -> Any:
    return (_STRICT if twice else _LOOSE).decode(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Twice
    return found


def _node(value: Any, place: Place) -> Node:
    """A value of JSON as the reader of YAML would have it. Numbers came as text already."""
    if isinstance(value, dict):
        items = {key: _node(child, place) for key, child in value.items()}
        return Mapping(place, items, dict.fromkeys(items, place))
    if isinstance(value, list):
        return Listing(place, [_node(child, place) for child in value])
    if isinstance(value, _Number):
        return Scalar(place, str(value))
    if isinstance(value, str):
        return Scalar(place, value, plain=False)
    return Scalar(place, {True: "true", False: "false", None: "null"}[value])


class _Number(str):
    """A number as it was written."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


_STRICT = json.JSONDecoder(object_pairs_hook=_object, parse_int=_Number, parse_float=_Number, parse_constant=_Number)
_LOOSE = json.JSONDecoder(parse_int=_Number, parse_float=_Number, parse_constant=_Number)
