"""Consumers that are made while the gateway runs: read by the fields and rules of those in the configuration.

One of them is judged alone, against the configuration in force, so making a consumer among 100,000 costs what reading
one costs. Whoever sends one gets its errors with JSON pointers; in a load of the whole configuration they are judged
among all others, and an error names them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Sequence
from typing import Any

from sluicegate.core.kept import Kept, Refused
from sluicegate.core.secret import Secret
from sluicegate.core.snapshot import ConsumerEntry, Model
from sluicegate.spec.compile import Compiler
from sluicegate.spec.grants import Grants, People
from sluicegate.spec.kinds import Context, Name, closest
from sluicegate.spec.language import Document
from sluicegate.spec.matching import Matches
from sluicegate.spec.nodes import Listing, Mapping, Node, Scalar
from sluicegate.spec.people import ConsumerSpec
from sluicegate.spec.problems import Place, Problems
from sluicegate.spec.references import Sources
from sluicegate.spec.secret import Digest, Key
from sluicegate.spec.sections import Section

WHERE = "the management API"
"""What errors call the place where they were made."""

_OWN = {
    "key": "keys of it are made: POST /v1/consumers/NAME/keys",
    "keys": "keys of it are made: POST /v1/consumers/NAME/keys",
    "was": "names are changed in files only: make another consumer",
}
"""Fields of a consumer in a file that have no place here, and what to do instead."""

_SECTION = Section(ConsumerSpec)
_NAME = Name()

FIELDS = tuple(key for key in _SECTION.fields if key not in _OWN)

Held = Callable[[str], Sequence[Kept]]
"""Those that are kept in a `gateway.data`."""


def nobody(data: str) -> Sequence[Kept]:
    """There are none."""
    return ()


def schema() -> dict[str, Any]:
    """JSON schema of what is sent: the fields of a consumer, and its name."""
    found = _SECTION.schema()
    properties = {key: value for key, value in found["properties"].items() if key not in _OWN}
    named = {"name": {**_NAME.schema(), "description": "What it is called, for ever."}}
    return {**found, "properties": {**named, **properties}, "required": []}


def canonical(fields: dict[str, Any]) -> str:
    """Fields as they are kept: the same text for the same fields."""
    return json.dumps(fields, sort_keys=True, separators=(",", ":"))


def parsed(text: bytes) -> dict[str, Any]:
    """The object that was sent; numbers as they were written. Raises Refused."""
    try:
        found = _STRICT.decode(text.decode())
    except _Twice as e:
        what = f'"{e.args[0][:60]}" is written twice'
        raise Refused("invalid", what, ((f"/{_escaped(e.args[0])}", "is written twice", "keep one of them"),)) from None
    except (ValueError, RecursionError):
        raise Refused("invalid", "the body does not fit: it is no JSON") from None
    if not isinstance(found, dict):
        raise Refused("invalid", "the body does not fit: it is no object")
    return found


def read(name: str, fields: dict[str, Any]) -> ConsumerSpec:
    """The consumer of these fields. Raises Refused with everything that is wrong with them by themselves."""
    return _read(name, fields)[0]


def _read(name: str, fields: dict[str, Any]) -> tuple[ConsumerSpec, Context]:
    """And what it was read with, which knows where everything stands. Raises Refused."""
    problems = Problems()
    cx = Context(Sources({}, _no_file), problems, Place("", 0, 0))
    if not _NAME.matches(name):
        problems.add(Place("/name", 0, 0), (), "is not a name for a consumer", _NAME.hint)
    for key, hint in _OWN.items():
        if key in fields:
            problems.add(Place(f"/{key}", 0, 0), (), "has no place here", hint)
    for pointer in _references(fields):
        problems.add(
            Place(pointer, 0, 0), (), "is a reference", "here values are written out: references are for files"
        )
    if len(problems):
        raise refused(problems)
    node = node_of(fields, "")
    assert isinstance(node, Mapping)
    if not node.items:  # everything may come from a plan, but nothing at all is a mistake
        problems.add(Place("", 0, 0), (), "says nothing", "write models: [...], or plan: NAME")
        raise refused(problems)
    spec = _SECTION.read(cx, node, ("consumers", name))
    if problems.of("error"):
        raise refused(problems)
    assert isinstance(spec, ConsumerSpec)
    return spec, cx


class Ground:
    """A configuration in force, as consumers are judged against it."""

    def __init__(
        self, document: Document, models: Sequence[Model], base: str, operations: Sequence[str],
        secrets: tuple[Secret, ...], matches: Matches,
    ) -> None:  # fmt: skip
        self.document = document
        self._models = tuple(models)
        self._base = base
        self._operations = tuple(operations)
        self._secrets = secrets
        self._matches = dict(matches)
        "Of everybody, kept up to date by `settle`."

    def settle(self, name: str, kept: Kept | None) -> None:
        """This is in force now: others are judged beside it."""
        self._matches.pop(name, None)
        if kept is not None and not kept.disabled:
            spec = read(name, parsed(kept.fields.encode()))
            if spec.match is not None:
                self._matches[name] = (spec.match, spec)

    def entry(self, kept: Kept, number: Callable[[str, str], int]) -> ConsumerEntry:
        """What workers get of it. Raises Refused with everything that is wrong with it here."""
        spec, cx = _read(kept.name, parsed(kept.fields.encode()))
        cx.keys |= {("models", name): cx.start for name in self.document.models}
        people: People = [(kept.name, spec, keys_in(kept))]
        matches = {name: match for name, match in self._matches.items() if name != kept.name}
        if spec.match is not None:
            matches[kept.name] = (spec.match, spec)
        grants = Grants(Compiler(self.document, cx, self._base, self._operations), self._models, people, matches)
        grants.keyless = {kept.name}
        grants.check_people()
        grants.check_keys()
        grants.check_headed()
        if spec.match is not None:
            grants.matching.check()
        if cx.problems.of("error"):
            raise refused(cx.problems)
        (entry,) = grants.directory(self._secrets, number).consumers
        return entry

    def together(self, consumers: Sequence[ConsumerEntry]) -> None:
        """What a load asks of all consumers together: what is in force has to be what the next start takes. Raises
        Refused."""
        if not consumers:
            raise Refused("last", "nobody would be left: a gateway without consumers does not start")
        said = "nobody would be left who says who the end user is"
        for name, tenant in self.document.tenants.items():
            if any(limit.each == "end_user" for limit in tenant.limits):
                if not any(c.end_user and c.tenant == name for c in consumers):
                    raise Refused("last", f"{said}, which a limit of tenant {name} counts")
        for model in self._models:
            if model.rollout is not None and model.rollout.stick_to == "end_user":
                if not any(c.end_user for c in consumers):
                    raise Refused("last", f"{said}, by whom the rollout of {model.name} goes")


def keys_in(kept: Kept) -> tuple[Key, ...]:
    """Its keys, those that rest left out."""
    return tuple(Digest(k.id, k.digest, k.expires) for k in kept.keys if not k.disabled)


def people(kept: Sequence[Kept], cx: Context, declared: Container[str]) -> People:
    """All of them, for a load of the whole configuration; says what is wrong with them, and which stand in a file,
    too. Those that are disabled are looked at, and left out."""
    found: list[tuple[str, ConsumerSpec, tuple[Key, ...]]] = []
    known: dict[str, ConsumerSpec] = {}
    for n, one in enumerate(kept, 1):
        place = Place(f"consumer {one.name} of {WHERE}", n, 1)
        if one.name in declared:
            what = f"was made through {WHERE}, too (by {one.made_by or 'somebody'}, {one.made})"
            hint = f"remove it here, or there: sluicegate consumer delete {one.name}"
            cx.say(("consumers", one.name), what, hint, key=True)
            continue
        cx.keys["consumers", one.name] = place
        spec = known.get(one.fields)
        if spec is None:
            try:
                spec = known[one.fields] = read(one.name, parsed(one.fields.encode()))
            except Refused as e:
                for pointer, what, hint in e.problems or (("", e.message, ""),):
                    shown = f"{pointer[1:].replace('/', '.')} {what}" if pointer else what
                    cx.problems.add(place, ("consumers", one.name), shown, hint)
                continue
        if not one.disabled:
            found.append((one.name, spec, keys_in(one)))
    return found


def refused(problems: Problems) -> Refused:
    """What is wrong, for whoever sent it."""
    found = tuple((p.place.file, p.what.replace(" (:0:0)", ""), p.hint) for p in problems.of("error"))
    lines = [f"{pointer or '/'}: {what}" + (f" ({hint})" if hint else "") for pointer, what, hint in found]
    return Refused("invalid", "; ".join(lines[:10]), found)


def no_consumer(name: str, names: Sequence[str]) -> Refused:
    """There is none of this name."""
    return Refused("missing", f'no consumer is called "{name}"{closest(name, names)}')


def node_of(value: Any, pointer: str) -> Node:
    """A value of JSON as the reader of YAML would have it, each with its pointer for a place."""
    place = Place(pointer, 0, 0)
    if isinstance(value, dict):
        below = {key: f"{pointer}/{_escaped(key)}" for key in value}
        items = {key: node_of(child, below[key]) for key, child in value.items()}
        return Mapping(place, items, {key: Place(at, 0, 0) for key, at in below.items()})
    if isinstance(value, list):
        return Listing(place, [node_of(child, f"{pointer}/{n}") for n, child in enumerate(value)])
    if isinstance(value, bool) or value is None:
        return Scalar(place, {True: "true", False: "false", None: "null"}[value])
    if isinstance(value, str) and type(value) is not Number:
        return Scalar(place, value, plain=False)
    return Scalar(place, str(value))


def _no_file(path: str) -> str:
    raise AssertionError("references were refused before")


def _references(value: Any, pointer: str = "") -> list[str]:
    if isinstance(value, dict):
        return [at for key, child in value.items() for at in _references(child, f"{pointer}/{_escaped(key)}")]
    if isinstance(value, list):
        return [at for n, child in enumerate(value) for at in _references(child, f"{pointer}/{n}")]
    return [pointer] if isinstance(value, str) and "${" in value else []


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


class _Twice(Exception):
    """A key stands twice in an object."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _Twice(key)
        found[key] = value
    return found


class Number(str):
    """A number as it was written."""

    __slots__ = ()


def _number(text: str) -> Any:
    """Whole numbers as they are; others keep their text, as fields read them."""
    return Number(text)


def _constant(text: str) -> Any:
    raise ValueError(text)


_STRICT = json.JSONDecoder(object_pairs_hook=_object, parse_float=_number, parse_constant=_constant)
