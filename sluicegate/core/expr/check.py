"""What can be said of an expression before any token was seen: that kinds do not fit, or that it is never true.

CEL compares values of different kinds to false, or fails; both are a rule that never matches, so what is known to be of
two kinds is an error here. Claims that nobody knows may be anything.
"""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches
from typing import Final

from sluicegate.core.claims import CERTIFICATE, LISTS, NUMBERS, TEXTS
from sluicegate.core.expr.bind import Env, bind
from sluicegate.core.expr.parse import Mistake
from sluicegate.core.principal import Principal
from sluicegate.core.snapshot import Tree

ANY: Final = "anything"
BOOL: Final = "a truth value"
INT: Final = "a whole number"
DOUBLE: Final = "a number"
TEXT: Final = "text"
NULL: Final = "null"
LIST: Final = "a list"
TEXTS_: Final = "a list of texts"
MAP: Final = "a map"

VARIABLES: Final = ("issuer", "claims", "certificate", "headers")
"""Names that are no claims."""

UNKNOWN: Final = "unknown"
"""Of an outcome: it hangs on the token."""

_NUMBERS: Final = (INT, DOUBLE)
_LISTS: Final = (LIST, TEXTS_)


def check(tree: Tree) -> None:
    """Raise Mistake where kinds do not fit, or headers are looked at that nobody could name."""
    _named_headers(tree)
    kind = _kind(tree, {})
    if kind not in (BOOL, ANY):
        raise Mistake(tree.at, f"is {kind}, not a condition", 'write what must be true, such as azp == "..."')


def _named_headers(tree: Tree) -> None:
    """Only those that rules name are kept of a request: what goes through all of them would find none."""
    for part in tree.parts:
        _named_headers(part)
        if part.op != "name" or part.value != "headers":
            continue
        name: object = None
        if tree.op == "field" or tree.op == "has":
            name = tree.value
        elif tree.op == "index" and part is tree.parts[0] and tree.parts[1].op == "literal":
            name = tree.parts[1].value
        elif tree.op == "in" and part is tree.parts[1] and tree.parts[0].op == "literal":
            name = tree.parts[0].value
        if not isinstance(name, str):
            raise Mistake(part.at, "headers are looked at by their names", 'write headers["x-tenant"]')
        if name != name.lower():
            raise Mistake(part.at, "names of headers are in lower case here", f'write headers["{name.lower()}"]')


def names(tree: Tree) -> set[str]:
    """Variables and claims that it looks at."""
    found: set[str] = set()
    stack = [tree]
    while stack:
        piece = stack.pop()
        if piece.op == "name":
            found.add(str(piece.value))
        elif (piece.op == "field" or piece.op == "has") and piece.parts[0].op == "name":
            if piece.parts[0].value == "claims":
                found.add(str(piece.value))
        stack += piece.parts
    return found


def outcome(tree: Tree, issuer: str) -> object:
    """True, False or ERROR for every token of this issuer (empty: for certificates alone), or UNKNOWN."""
    if tree.op == "&&" or tree.op == "||":
        decides = tree.op == "||"
        said = [outcome(part, issuer) for part in tree.parts]
        if any(one is decides for one in said):
            return decides
        return UNKNOWN if UNKNOWN in said else _run(tree, issuer)
    if tree.op == "!":
        inner = outcome(tree.parts[0], issuer)
        return (not inner) if isinstance(inner, bool) else inner
    if tree.op == "?:":
        condition = outcome(tree.parts[0], issuer)
        if isinstance(condition, bool):
            return outcome(tree.parts[1 if condition else 2], issuer)
        both = [outcome(part, issuer) for part in tree.parts[1:]]
        return False if both == [False, False] else UNKNOWN
    return _run(tree, issuer) if _closed(tree) else UNKNOWN


def compared(tree: Tree) -> list[tuple[str, int]]:
    """The texts that `issuer` is compared with, and where they stand."""
    found: list[tuple[str, int]] = []
    stack = [tree]
    while stack:
        piece = stack.pop()
        stack += piece.parts
        if piece.op in ("==", "!=", "in"):
            for one, other in (piece.parts, piece.parts[::-1]):
                if one.op == "name" and one.value == "issuer":
                    texts = other.parts if other.op == "list" else (other,)
                    found += [(str(t.value), t.at) for t in texts if t.op == "literal" and isinstance(t.value, str)]
    return found


def _closed(tree: Tree) -> bool:
    """Whether nothing of a token is in it but its issuer."""
    if tree.op == "name":
        return tree.value == "issuer"
    return all(_closed(part) for part in tree.parts)


def _run(tree: Tree, issuer: str) -> object:
    return bind(tree)(Env(Principal(issuer, {}, b"", 0.0)))


# ---------------------------------------------------------------- kinds


def _kind(tree: Tree, scope: dict[str, str]) -> str:
    op = tree.op
    if op == "literal":
        value = tree.value
        if isinstance(value, bool):
            return BOOL
        if isinstance(value, int):
            return INT
        if isinstance(value, float):
            return DOUBLE
        return NULL if value is None else TEXT
    if op == "name":
        return _of_name(str(tree.value))
    if op == "local":
        return scope[str(tree.value)]
    if op == "exists" or op == "all":
        return _macro(tree, scope)
    kinds = [_kind(part, scope) for part in tree.parts]
    if op == "list":
        return TEXTS_ if kinds and all(k == TEXT for k in kinds) else LIST
    if op == "&&" or op == "||" or op == "!":
        for part, kind in zip(tree.parts, kinds, strict=True):
            _want(part, kind, (BOOL,), f"{op} joins conditions" if op != "!" else "! turns a condition round")
        return BOOL
    if op == "?:":
        _want(tree.parts[0], kinds[0], (BOOL,), "before the ? stands a condition")
        return kinds[1] if kinds[1] == kinds[2] else ANY
    if op == "==" or op == "!=":
        _comparable(tree, kinds[0], kinds[1])
        return BOOL
    if op == "in":
        return _in(tree, kinds[0], kinds[1])
    if op == "+" or op == "-" or op == "neg":
        return _sum(tree, kinds)
    if op == "field" or op == "has":
        return _field(tree, kinds[0])
    if op == "index":
        return _index(tree, kinds)
    if op == "call":
        return _call(tree, kinds)
    for part, kind in zip(tree.parts, kinds, strict=True):  # < <= > >=
        _want(part, kind, (INT, DOUBLE, TEXT, BOOL), f"{op} compares numbers or texts")
    if ANY not in kinds and kinds[0] != kinds[1] and not (kinds[0] in _NUMBERS and kinds[1] in _NUMBERS):
        raise Mistake(tree.at, f"{op} cannot compare {kinds[0]} with {kinds[1]}", _quotes(kinds))
    return BOOL


def _of_name(name: str) -> str:
    if name == "issuer" or name in TEXTS:
        return TEXT
    if name in VARIABLES:
        return MAP
    if name in LISTS:
        return TEXTS_
    return DOUBLE if name in NUMBERS else ANY


def _want(part: Tree, kind: str, wanted: Collection[str], why: str) -> None:
    if kind != ANY and kind not in wanted:
        raise Mistake(part.at, f"is {kind}: {why}", "")


def _macro(tree: Tree, scope: dict[str, str]) -> str:
    held = _kind(tree.parts[0], scope)
    _want(tree.parts[0], held, (*_LISTS, MAP), f"{tree.op} goes through a list")
    inner = {**scope, str(tree.value): TEXT if held in (TEXTS_, MAP) else ANY}
    kind = _kind(tree.parts[1], inner)
    _want(tree.parts[1], kind, (BOOL,), f"{tree.op} wants a condition")
    return BOOL


def _same(a: str, b: str) -> bool:
    if ANY in (a, b) or a == b:
        return True
    return (a in _NUMBERS and b in _NUMBERS) or (a in _LISTS and b in _LISTS)


def _comparable(tree: Tree, a: str, b: str) -> None:
    if not _same(a, b):
        never = "never equal" if tree.op == "==" else "never other than unequal"
        hint = _quotes([a, b])
        if TEXT in (a, b) and (a in _LISTS or b in _LISTS):
            hint = 'write "..." in ' + next((str(p.value) for p in tree.parts if p.op == "name"), "the list")
        raise Mistake(tree.at, f"compares {a} with {b}: they are {never}", hint)


def _quotes(kinds: list[str]) -> str:
    if TEXT in kinds and (INT in kinds or DOUBLE in kinds):
        return "claims such as azpacr are texts: write the number in quotes"
    return ""


def _in(tree: Tree, item: str, held: str) -> str:
    _want(tree.parts[1], held, (*_LISTS, MAP), 'behind "in" stands a list')
    if held in (TEXTS_, MAP):
        where = "these are texts" if held == TEXTS_ else "names are texts"
        _want(tree.parts[0], item, (TEXT,), where)
    return BOOL


def _sum(tree: Tree, kinds: list[str]) -> str:
    wanted: tuple[str, ...] = (INT, DOUBLE, TEXT, *_LISTS) if tree.op == "+" else _NUMBERS
    for part, kind in zip(tree.parts, kinds, strict=True):
        _want(part, kind, wanted, "it cannot be counted with" if tree.op != "+" else "it cannot be added")
    if len(kinds) == 1 or ANY in kinds:
        return kinds[0] if len(kinds) == 1 else ANY
    if DOUBLE in kinds and INT in kinds:
        return ANY  # claims of time may be either
    if not _same(kinds[0], kinds[1]):
        raise Mistake(tree.at, f"{tree.op} cannot join {kinds[0]} and {kinds[1]}", "")
    return kinds[0] if kinds[0] == kinds[1] else LIST


def _field(tree: Tree, held: str) -> str:
    _want(tree.parts[0], held, (MAP,), "it has no fields")
    of = tree.parts[0]
    if of.op == "name" and of.value == "certificate":
        name = str(tree.value)
        if name not in CERTIFICATE:
            near = get_close_matches(name, CERTIFICATE, 1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(CERTIFICATE)}"
            raise Mistake(tree.at, f"a certificate has no {name}", hint)
        if tree.op == "field":
            return TEXTS_ if name in ("dns", "uri", "email") else TEXT
    if of.op == "name" and of.value == "headers" and tree.op == "field":
        return TEXT
    return BOOL if tree.op == "has" else ANY


def _index(tree: Tree, kinds: list[str]) -> str:
    held, place = kinds
    _want(tree.parts[0], held, (*_LISTS, MAP), "it has no places")
    if held in _LISTS:
        _want(tree.parts[1], place, (INT,), "places of a list are whole numbers, from 0")
        return TEXT if held == TEXTS_ else ANY
    if held == MAP:
        _want(tree.parts[1], place, (TEXT,), "names are texts")
        if tree.parts[0].op == "name" and tree.parts[0].value == "headers":
            return TEXT
    return ANY


def _call(tree: Tree, kinds: list[str]) -> str:
    if tree.value == "size":
        _want(tree.parts[0], kinds[0], (TEXT, *_LISTS, MAP), "it has no size")
        return INT
    for part, kind in zip(tree.parts, kinds, strict=True):
        hint = f"{tree.value} is for texts"
        if kind in _LISTS and part is tree.parts[0]:
            raise Mistake(part.at, f"is {kind}: {hint}", f"write roles.exists(r, r.{tree.value}(...))")
        _want(part, kind, (TEXT,), hint)
    return BOOL
