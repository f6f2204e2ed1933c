"""From YAML text to nodes that know where they stand. Of YAML we take maps, lists and text; nothing else.

Scalars have no type here: they keep their text and the field that reads them decides, so `no`, `0613` and
`2024-11-20` mean what they look like. Tags, anchors, aliases and merge keys are refused, and depth, size and number of
nodes are bounded, so a document costs at most a few milliseconds a kilobyte, whoever wrote it. Built on parser events,
not on composed nodes: a document that is refused for its depth was never held.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from sluicegate.spec.problems import Path, Place, Problems

LARGEST = 4 * 1024 * 1024
DEEPEST = 32
MOST_NODES = 200_000

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Scalar:
    """One piece of text. `plain`: it stood without quotes, so `null` and `~` mean nothing rather than their letters."""

    place: Place
    text: str
    plain: bool = True
    refused: bool = False
    "It was an alias: reported already, and worth nothing to whoever reads it."
    raw: str = field(default="", compare=False)
    "As it stands in the file, with quotes and indentation, unless that is its text on one line."

    def inside(self, at: int) -> Place:
        """Where the character of this number stands in the file."""
        line, column = self.place.line, self.place.column
        if not self.raw:
            return Place(self.place.file, line, column + at)
        before = self.raw[: _source(self.raw, self.text, at)]
        if "\n" in before:
            return Place(self.place.file, line + before.count("\n"), len(before) - before.rfind("\n"))
        return Place(self.place.file, line, column + len(before))

    @property
    def empty(self) -> bool:
        """Nothing was written."""
        return self.plain and self.text in ("", "~", "null", "Null", "NULL")


def _source(raw: str, text: str, at: int) -> int:
    """How far into `raw` the character of this number in its text is: escapes, folded lines and indentation between."""
    if raw[0] == "|":  # line by line
        lines = raw.split("\n")
        indent = min((len(line) - len(line.lstrip(" ")) for line in lines[1:] if line.strip()), default=0)
        line = text.count("\n", 0, at)
        begin = sum(len(before) + 1 for before in lines[: line + 1])
        return begin + indent + at - (text.rfind("\n", 0, at) + 1)
    quote = raw[0] if raw[0] in "\"'" else ""
    i = _over_blanks(raw, raw.find("\n") + 1) if raw[0] == ">" else len(quote)
    for n in range(min(at, len(text))):
        while quote == '"' and raw[i : i + 2] == "\\\n":  # a line that goes on: worth nothing
            i = _over_blanks(raw, i + 2)
        if quote == '"' and raw[i : i + 1] == "\\":
            i += {"x": 4, "u": 6, "U": 10}.get(raw[i + 1 : i + 2], 2)
        elif quote == "'" and raw[i : i + 2] == "''":
            i += 2
        elif text[n] in " \n" and "\n" in raw[i : _over_blanks(raw, i)]:  # folded: the last of the run takes it all
            i = i if text[n + 1 : n + 2] == "\n" else _over_blanks(raw, i)
        else:
            i += 1
    return i


def _over_blanks(raw: str, at: int) -> int:
    while at < len(raw) and raw[at] in " \t\n":
        at += 1
    return at


@dataclass(frozen=True, slots=True)
class Listing:
    """A list."""

    place: Place
    items: list[Node] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Mapping:
    """A map; keys are text. Where a key was written twice the first stands, and an error was reported."""

    place: Place
    items: dict[str, Node] = field(default_factory=dict)
    keys: dict[str, Place] = field(default_factory=dict)


Node = Scalar | Listing | Mapping

_CURLY = re.compile("[\u2018\u2019\u201c\u201d]")
_GLUED = re.compile(r"\s*(?:- )?[A-Za-z_][A-Za-z0-9_.-]*:[^\s:/]")
_BARE_REFERENCE = re.compile(r"[\[{,:]\s*\$\{")
_ODD_BLANK = re.compile("^[ \\t]*([\u00a0\u2007\u202f\u3000\u200b])", re.MULTILINE)
"""Blanks that only look like one: what an editor, a chat or a web page puts there."""

WORDS = {Scalar: "text", Listing: "a list", Mapping: "a map"}
"""What to call a node in an error."""


class _Stop(Exception):
    """The rest of the document cannot be read."""


def read(text: bytes, file: str, problems: Problems, line: int = 1) -> Mapping | None:
    """The document in `text`, or None when there is none to speak of; what is wrong goes to `problems`. `line` is what
    its first line is called."""
    start = Place(file, line, 1)
    if len(text) > LARGEST:
        what = f"the file is larger than {LARGEST // 1024 // 1024} MiB"
        problems.add(start, (), what, "thousands of consumers do not go into YAML")
        return None
    try:
        decoded = text.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        before = text[: e.start].decode(errors="replace")
        place = Place(file, before.count("\n") + line, len(before) - before.rfind("\n"))
        problems.add(place, (), "this byte is not UTF-8", "save the file as UTF-8")
        return None
    if odd := _ODD_BLANK.search(decoded):
        before = decoded[: odd.start(1)]
        place = Place(file, before.count("\n") + line, len(before) - before.rfind("\n"))
        problems.add(place, (), "a blank that is none: a no-break space, or its like", "type plain spaces instead")
        return None
    try:
        return _Reader(file, problems, line).document(decoded)
    except _Stop:
        return None
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        place = Place(file, mark.line + line, mark.column + 1) if mark else start
        said = decoded.split("\n")
        here = said[mark.line] if mark and mark.line < len(said) else ""
        before = said[mark.line - 1] if mark and 0 < mark.line <= len(said) else ""
        problems.add(place, (), f"not YAML: {e.problem or e.context}", _advice(e, here, before, line))
    except yaml.reader.ReaderError as e:
        at = re.search(r"position (\d+)", str(e))
        before = decoded[: int(at[1])] if at else ""
        place = Place(file, before.count("\n") + line, len(before) - before.rfind("\n"))
        problems.add(place, (), "a control character", "remove it, or write it as an escape in double quotes")
    return None


def scalars(node: Node) -> Iterator[str]:
    """The text of every scalar at or below a node."""
    if isinstance(node, Scalar):
        yield node.text
    else:
        for below in node.items.values() if isinstance(node, Mapping) else node.items:
            yield from scalars(below)


def _advice(e: yaml.MarkedYAMLError, here: str, before: str, first: int) -> str:
    """What to do about it. `here`: the line where it was noticed; `before`: the one above; `first`: what the first
    line of the text is called."""
    said = f"{e.problem} {e.context}"
    if "\t" in here[: len(here) - len(here.lstrip())] or "tab character" in said:
        return "a tab stands before its text: indent with spaces"
    if _CURLY.search(here):
        return "these quotes are of a word processor: write \" or '"
    if "cannot start any token" in said:
        return "text that begins with a special character needs quotes; indent with spaces"
    if "mapping values are not allowed" in said:
        if _GLUED.match(before):
            return "a key needs a blank after its colon, and the line before this has none"
        return 'check the indentation; text with ": " in it needs quotes'
    if "expected <block end>" in said or "expected key" in said or "could not find expected ':'" in said:
        return "check the indentation of this line and the colon after each key"
    if "end of stream" in said and e.context_mark:
        return f"the quote at {e.context_mark.line + first}:{e.context_mark.column + 1} is not closed"
    if "expected ',' or" in said:
        if _BARE_REFERENCE.search(here):
            return 'between braces or brackets a reference needs quotes: {key: "${env:NAME}"}'
        if e.context_mark:
            begin = f"{e.context_mark.line + first}:{e.context_mark.column + 1}"
            return f"what is opened at {begin} is not closed before this, or a quote or comma between is missing"
        return "a bracket or brace before this is not closed"
    return ""


class _Reader:
    def __init__(self, file: str, problems: Problems, line: int) -> None:
        self.file = file
        self.line = line
        self.problems = problems
        self.nodes = 0
        self.text = ""

    def document(self, text: str) -> Mapping | None:
        self.text = text
        events = iter(yaml.parse(text, Loader=_Loader))
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                break
        else:
            self.problems.add(
                Place(self.file, self.line, 1), (), "the file is empty", "the smallest file begins: version: 1"
            )
            return None
        root = self.node(next(events), events, (), 0)
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                self.problems.add(self.place(event), (), "a second document", "one file is one document: remove ---")
                break
        if not isinstance(root, Mapping):
            what = f"the document is {WORDS[type(root)]}, not a map of sections"
            self.problems.add(root.place, (), what, "the smallest file begins: version: 1")
            return None
        return root

    def place(self, event: Any) -> Place:
        return Place(self.file, event.start_mark.line + self.line, event.start_mark.column + 1)

    def node(self, event: Any, events: Iterator[Any], path: Path, depth: int) -> Node:
        """The node that begins with `event`; takes its other events off the stream."""
        place = self.place(event)
        self.nodes += 1
        if self.nodes > MOST_NODES:
            self.problems.add(place, (), f"more than {MOST_NODES} values", "thousands of consumers do not go into YAML")
            raise _Stop
        if depth > DEEPEST:
            self.problems.add(place, (), f"nested deeper than {DEEPEST} levels", "no section is so deep")
            raise _Stop
        self.refuse_extras(event, place, path)
        if isinstance(event, yaml.MappingStartEvent):
            return self.mapping(place, events, path, depth)
        if isinstance(event, yaml.SequenceStartEvent):
            listing = Listing(place)
            while not isinstance(event := next(events), yaml.SequenceEndEvent):
                listing.items.append(self.node(event, events, (*path, len(listing.items)), depth + 1))
            return listing
        if isinstance(event, yaml.AliasEvent):
            return Scalar(place, "", plain=False, refused=True)
        start, end = event.start_mark, event.end_mark
        raw = self.text[start.index : end.index] if event.style or start.line != end.line else ""
        return Scalar(place, event.value, not event.style, raw=raw)

    def mapping(self, place: Place, events: Iterator[Any], path: Path, depth: int) -> Mapping:
        found = Mapping(place)
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            key = self.node(event, events, path, depth + 1)
            name = key.text if isinstance(key, Scalar) else ""
            value = self.node(next(events), events, (*path, name), depth + 1)
            if not isinstance(key, Scalar):
                self.problems.add(key.place, path, f"a key is {WORDS[type(key)]}", "keys are plain names")
            elif key.plain and name == "<<":
                self.problems.add(key.place, path, "merge keys are not part of the language", "write the values out")
            elif name in found.items:
                what = f'"{name}" is written twice; it stands at {found.keys[name].line}:{found.keys[name].column} too'
                self.problems.add(key.place, path, what, "keep one of them")
            else:
                found.items[name] = value
                found.keys[name] = key.place
        return found

    def refuse_extras(self, event: Any, place: Place, path: Path) -> None:
        """Anchors, aliases and tags. Never quoted: a password in clear may begin with `&`, `*` or `!`."""
        if isinstance(event, yaml.AliasEvent):
            hint = "write the value out; text that begins with * needs quotes"
            self.problems.add(place, path, "aliases are not part of the language", hint)
        elif event.anchor is not None:
            hint = "write the value out where it is needed; text that begins with & needs quotes"
            self.problems.add(place, path, "anchors are not part of the language", hint)
        tag = getattr(event, "tag", None)
        if tag is not None:
            hint = "remove it: the field decides what its text means; text that begins with ! needs quotes"
            self.problems.add(place, path, "tags are not part of the language", hint)
