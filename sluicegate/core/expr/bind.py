"""From the tree of an expression to a closure that says whether a principal is meant. No eval, no exec.

What a closure may do is bounded: lists that are walked, one inside another, share one allowance (STEPS), after which
the answer is an error, which is no match.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from sluicegate.core.claims import LISTS, NUMBERS, TEXTS, claim, scopes
from sluicegate.core.expr.values import ERROR, added, among, at, before, equal, negative, number, size, taken
from sluicegate.core.principal import Principal
from sluicegate.core.snapshot import Tree

STEPS: Final = 100_000
"""Items of lists that one answer may look at: some milliseconds."""

_NOTHING: Final[Mapping[str, object]] = {}


class Env:
    """What an expression looks at."""

    __slots__ = ("certificate", "claims", "headers", "issuer", "left", "locals")

    def __init__(self, principal: Principal, headers: Mapping[str, str] | None = None) -> None:
        self.issuer = principal.issuer
        self.claims = principal.claims if principal.issuer else _NOTHING
        self.certificate = _NOTHING if principal.certificate is None else principal.certificate
        self.headers: Mapping[str, object] = _NOTHING if headers is None else headers
        self.locals: dict[str, object] = {}
        self.left = STEPS


Program = Callable[[Env], object]


def variable(env: Env, name: str) -> object:
    """A claim by its name, of the kind it should be; ERROR where it is another, or missing."""
    value = claim(env.claims, name)
    if value is None:
        return ERROR
    if name in LISTS:
        if isinstance(value, str):
            return scopes(value) if name == "scp" else [value]
        return value if isinstance(value, list) else ERROR
    if name in TEXTS:
        return value if isinstance(value, str) else ERROR
    if name in NUMBERS:
        return value if number(value) else ERROR
    return value


def bind(tree: Tree) -> Program:
    """The closure of a tree that was found to be sound."""
    op = tree.op
    if op == "literal":
        return _literal(tree.value)
    if op == "name" or op == "local":
        assert isinstance(tree.value, str)
        return _local(tree.value) if op == "local" else _name(tree.value)
    parts = [bind(part) for part in tree.parts]
    if op == "&&":
        return _and(parts)
    if op == "||":
        return _or(parts)
    if op == "list":
        return _list(parts)
    if op == "?:":
        return _choice(parts[0], parts[1], parts[2])
    if op == "field" or op == "has" or op == "call" or op == "exists" or op == "all":
        assert isinstance(tree.value, str)
        if op == "field":
            return _field(parts[0], tree.value)
        if op == "has":
            return _has(parts[0], tree.value)
        if op == "call":
            return _size(parts[0]) if tree.value == "size" else _text(tree.value, parts[0], parts[1])
        return _every(tree.value, parts[0], parts[1], op == "exists")
    if op == "!":
        return _not(parts[0])
    if op == "neg":
        return _negative(parts[0])
    if op == "in":
        return _in(parts[0], parts[1])
    if op == "==" or op == "!=":
        return _equal(parts[0], parts[1], op == "==")
    if op in _ORDERS:
        return _order(op, parts[0], parts[1])
    if op == "+" or op == "-":
        return _sum(parts[0], parts[1], op == "+")
    if op == "index":
        return _index(parts[0], parts[1])
    raise ValueError(f"no expression has a {op}")


_ORDERS: Final = {"<": (-1, -1), "<=": (-1, 0), ">": (1, 1), ">=": (1, 0)}


def _literal(value: object) -> Program:
    def literal(env: Env) -> object:
        return value

    return literal


def _name(name: str) -> Program:
    def issuer(env: Env) -> object:
        return env.issuer

    def claims(env: Env) -> object:
        return env.claims

    def certificate(env: Env) -> object:
        return env.certificate

    def headers(env: Env) -> object:
        return env.headers

    def named(env: Env) -> object:
        return variable(env, name)

    if name == "issuer":
        return issuer
    if name == "claims":
        return claims
    if name == "certificate":
        return certificate
    return headers if name == "headers" else named


def _local(name: str) -> Program:
    def local(env: Env) -> object:
        return env.locals[name]

    return local


def _list(parts: list[Program]) -> Program:
    def listed(env: Env) -> object:
        found: list[object] = []
        for part in parts:
            value = part(env)
            if value is ERROR:
                return ERROR
            found.append(value)
        return found

    return listed


def _and(parts: list[Program]) -> Program:
    """False where one is false, whatever the others are; an error where none is, and one is no truth value."""

    def both(env: Env) -> object:
        said: object = True
        for part in parts:
            value = part(env)
            if value is False:
                return False
            if value is not True:
                said = ERROR
        return said

    return both


def _or(parts: list[Program]) -> Program:
    def either(env: Env) -> object:
        said: object = False
        for part in parts:
            value = part(env)
            if value is True:
                return True
            if value is not False:
                said = ERROR
        return said

    return either


def _not(part: Program) -> Program:
    def other(env: Env) -> object:
        value = part(env)
        if value is True:
            return False
        return True if value is False else ERROR

    return other


def _choice(condition: Program, yes: Program, no: Program) -> Program:
    def choice(env: Env) -> object:
        value = condition(env)
        if value is True:
            return yes(env)
        return no(env) if value is False else ERROR

    return choice


def _field(part: Program, name: str) -> Program:
    def field(env: Env) -> object:
        held = part(env)
        return at(held, name) if isinstance(held, Mapping) else ERROR

    return field


def _has(part: Program, name: str) -> Program:
    def has(env: Env) -> object:
        held = part(env)
        return name in held if isinstance(held, Mapping) else ERROR

    return has


def _index(part: Program, place: Program) -> Program:
    def index(env: Env) -> object:
        held = part(env)
        where = place(env)
        return ERROR if held is ERROR or where is ERROR else at(held, where)

    return index


def _size(part: Program) -> Program:
    def counted(env: Env) -> object:
        return size(part(env))

    return counted


def _text(what: str, part: Program, argument: Program) -> Program:
    def text(env: Env) -> object:
        held = part(env)
        other = argument(env)
        if not isinstance(held, str) or not isinstance(other, str):
            return ERROR
        if what == "startsWith":
            return held.startswith(other)
        if what == "endsWith":
            return held.endswith(other)
        return other in held

    return text


def _every(name: str, held: Program, condition: Program, some: bool) -> Program:
    """`exists` and `all`: || and && over the items of a list, or the keys of a map."""

    def every(env: Env) -> object:
        items = held(env)
        if not isinstance(items, (list, tuple, Mapping)):
            return ERROR
        outer = env.locals.get(name, ERROR)
        said: object = not some
        for item in items:
            env.left -= 1
            if env.left < 0:
                said = ERROR
                break
            env.locals[name] = item
            value = condition(env)
            if value is some:
                said = some
                break
            if value is not True and value is not False:
                said = ERROR
        env.locals[name] = outer
        return said

    return every


def _in(item: Program, held: Program) -> Program:
    def among_(env: Env) -> object:
        what = item(env)
        where = held(env)
        if what is ERROR or where is ERROR:
            return ERROR
        if isinstance(where, (list, tuple)):
            env.left -= len(where)
            if env.left < 0:
                return ERROR
        return among(what, where)

    return among_


def _equal(a: Program, b: Program, wanted: bool) -> Program:
    def same(env: Env) -> object:
        one = a(env)
        other = b(env)
        if one is ERROR or other is ERROR:
            return ERROR
        if isinstance(one, (list, tuple)):
            env.left -= len(one)
            if env.left < 0:
                return ERROR
        said = equal(one, other)
        return ERROR if said is ERROR else (said is True) is wanted

    return same


def _order(op: str, a: Program, b: Program) -> Program:
    first, second = _ORDERS[op]

    def ordered(env: Env) -> object:
        found = before(a(env), b(env))
        return ERROR if found is None else found in (first, second)

    return ordered


def _sum(a: Program, b: Program, plus: bool) -> Program:
    def sum_(env: Env) -> object:
        one = a(env)
        other = b(env)
        return added(one, other) if plus else taken(one, other)

    return sum_


def _negative(part: Program) -> Program:
    def negated(env: Env) -> object:
        return negative(part(env))

    return negated
