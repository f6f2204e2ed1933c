"""A second reading of expressions, slow and from the text: what the fast one is held against.

Written from CEL's specification, not from sluicegate/core/expr: it has its own reader (by regular expressions and
precedence climbing), walks what it read each time, and lets errors be exceptions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any


class Failed(Exception):
    """No value."""


TOKEN = re.compile(
    r"""\s*(?:(?P<double>\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\.\d+)|(?P<int>0x[0-9a-fA-F]+|\d+)
    |(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|(?P<name>[A-Za-z_]\w*)|(?P<op>&&|\|\||[=!<>]=|[-!<>+?:.,()\[\]]))""",
    re.VERBOSE,
)
BINDS = {"||": 1, "&&": 2, "==": 3, "!=": 3, "<": 3, "<=": 3, ">": 3, ">=": 3, "in": 3, "+": 4, "-": 4}
LISTS = ("scp", "roles", "groups", "wids", "amr")
TIMES = ("exp", "iat", "nbf", "auth_time")


class Reader:
    def __init__(self, text: str) -> None:
        self.found: list[tuple[str, str]] = []
        at = 0
        text = text.rstrip()
        while at < len(text):
            m = TOKEN.match(text, at)
            assert m is not None and m.lastgroup is not None, text[at:]
            self.found.append((m.lastgroup, m[m.lastgroup]))
            at = m.end()
        self.found.append(("end", ""))
        self.i = 0

    def peek(self) -> str:
        return self.found[self.i][1]

    def next(self) -> tuple[str, str]:
        self.i += 1
        return self.found[self.i - 1]

    def whole(self) -> Any:
        left = self.binary(1)
        if self.peek() == "?":
            self.next()
            yes = self.binary(1)
            assert self.next()[1] == ":"
            return ("if", left, yes, self.whole())
        return left

    def binary(self, least: int) -> Any:
        left = self.prefix()
        while BINDS.get(self.peek(), 0) >= least and self.found[self.i][0] != "string":
            op = self.next()[1]
            left = (op, left, self.binary(BINDS[op] + 1))
        return left

    def prefix(self) -> Any:
        if self.found[self.i] == ("op", "!"):
            self.next()
            return ("not", self.prefix())
        if self.found[self.i] == ("op", "-"):
            self.next()
            return ("minus", self.prefix())
        return self.suffix(self.atom())

    def suffix(self, left: Any) -> Any:
        while self.found[self.i][0] == "op" and self.peek() in (".", "["):
            if self.next()[1] == "[":
                left = ("at", left, self.whole())
                assert self.next()[1] == "]"
                continue
            name = self.next()[1]
            left = ("call", name, [left, *self.rest()]) if self.peek() == "(" else ("get", left, name)
        return left

    def rest(self) -> list[Any]:
        self.next()
        found = []
        while self.peek() != ")":
            found.append(self.whole())
            if self.peek() == ",":
                self.next()
        self.next()
        return found

    def atom(self) -> Any:
        kind, text = self.next()
        if kind == "int":
            return ("is", int(text, 0))
        if kind == "double":
            return ("is", float(text))
        if kind == "string":
            return ("is", unquoted(text))
        if kind == "name":
            if text in ("true", "false", "null"):
                return ("is", {"true": True, "false": False, "null": None}[text])
            return ("call", text, self.rest()) if self.found[self.i] == ("op", "(") else ("var", text)
        if text == "(":
            inner = self.whole()
            assert self.next()[1] == ")"
            return inner
        assert text == "["
        items = []
        while self.found[self.i] != ("op", "]"):
            items.append(self.whole())
            if self.peek() == ",":
                self.next()
        self.next()
        return ("list", items)


def unquoted(text: str) -> str:
    escapes = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}

    def one(m: re.Match[str]) -> str:
        if m[1]:
            return chr(int(m[1][1:], 16))
        return escapes.get(m[2], m[2])

    return re.sub(r"\\(?:(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4})|(.))", one, text[1:-1])


def kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int"
    if isinstance(value, float):
        return "double"
    return "string" if isinstance(value, str) else "list" if isinstance(value, list) else "map"


def same(a: Any, b: Any) -> bool:
    kinds = {kind(a), kind(b)}
    if kinds <= {"int", "double"}:
        return bool(a == b)
    if len(kinds) > 1:
        return False
    if kind(a) == "list":
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if kind(a) == "map":
        return set(a) == set(b) and all(same(a[k], b[k]) for k in a)
    return bool(a == b)


def truth(node: Any, env: Mapping[str, Any]) -> bool | None:
    """None for what fails or is no truth value."""
    try:
        value = run(node, env)
    except Failed:
        return None
    return value if isinstance(value, bool) else None


def fold(said: list[bool | None], decides: bool) -> bool:
    if decides in said:
        return decides
    if None in said:
        raise Failed
    return not decides


def whole(value: int) -> int:
    if not -(2**63) <= value < 2**63:
        raise Failed
    return value


def run(node: Any, env: Mapping[str, Any]) -> Any:
    what = node[0]
    if what == "is":
        return node[1]
    if what == "list":
        return [run(item, env) for item in node[1]]
    if what == "var":
        return named(node[1], env)
    if what == "||" or what == "&&":
        return fold([truth(node[1], env), truth(node[2], env)], what == "||")
    if what == "if":
        chosen = truth(node[1], env)
        if chosen is None:
            raise Failed
        return run(node[2 if chosen else 3], env)
    if what == "not":
        value = truth(node[1], env)
        if value is None:
            raise Failed
        return not value
    if what == "minus":
        value = run(node[1], env)
        if kind(value) == "int":
            return whole(-value)
        if kind(value) == "double":
            return -value
        raise Failed
    if what == "get":
        held = run(node[1], env)
        if kind(held) != "map" or node[2] not in held:
            raise Failed
        return held[node[2]]
    if what == "at":
        held, place = run(node[1], env), run(node[2], env)
        if kind(held) == "list" and kind(place) == "int" and 0 <= place < len(held):
            return held[place]
        if kind(held) == "map" and kind(place) == "string" and place in held:
            return held[place]
        raise Failed
    if what == "call":
        return called(node[1], node[2], env)
    a, b = run(node[1], env), run(node[2], env)
    if what == "==":
        return same(a, b)
    if what == "!=":
        return not same(a, b)
    if what == "in":
        if kind(b) == "list":
            return any(same(a, item) for item in b)
        if kind(b) == "map" and kind(a) == "string":
            return a in b
        raise Failed
    if what in ("+", "-"):
        if kind(a) != kind(b) or kind(a) not in (
            ("int", "double", "string", "list") if what == "+" else ("int", "double")
        ):
            raise Failed
        value = a + b if what == "+" else a - b
        return whole(value) if kind(value) == "int" else value
    numbers = {kind(a), kind(b)} <= {"int", "double"}
    if not numbers and (kind(a) != kind(b) or kind(a) not in ("string", "bool")):
        raise Failed
    if a != a or b != b:
        raise Failed
    return {"<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[what]


def named(name: str, env: Mapping[str, Any]) -> Any:
    if name in env["locals"]:
        return env["locals"][name]
    if name in ("issuer", "claims", "certificate", "headers"):
        return env[name]
    value = env["claims"].get(name)
    if value is None and name in ("azp", "azpacr"):
        value = env["claims"].get({"azp": "appid", "azpacr": "appidacr"}[name])
    if value is None:
        raise Failed
    if name in LISTS:
        if kind(value) == "string":
            return [w for w in value.split(" ") if w] if name == "scp" else [value]
        wanted = ("list",)
    elif name in TIMES:
        wanted = ("int", "double")
    elif name in ("azp", "appid", "oid", "tid", "sub", "azpacr"):
        wanted = ("string",)
    else:
        return value
    if kind(value) not in wanted:
        raise Failed
    return value


def called(name: str, given: list[Any], env: Mapping[str, Any]) -> Any:
    if name in ("exists", "all"):
        items = run(given[0], env)
        if kind(items) not in ("list", "map"):
            raise Failed
        inner = [{**env, "locals": {**env["locals"], given[1][1]: item}} for item in items]
        return fold([truth(given[2], e) for e in inner], name == "exists")
    if name == "has":
        held = run(given[0][1], env)
        if kind(held) != "map":
            raise Failed
        return given[0][2] in held
    values = [run(one, env) for one in given]
    if name == "size":
        if kind(values[0]) not in ("string", "list", "map"):
            raise Failed
        return len(values[0])
    if kind(values[0]) != "string" or kind(values[1]) != "string":
        raise Failed
    a, b = values
    return {
        "startsWith": a[: len(b)] == b,
        "endsWith": a[len(a) - len(b) :] == b and len(a) >= len(b),
        "contains": b in a,
    }[name]


def evaluate(text: str, issuer: str, claims: Mapping[str, Any], certificate: Mapping[str, Any] | None = None) -> Any:
    """The value. Raises Failed."""
    reader = Reader(text)
    node = reader.whole()
    assert reader.peek() == "" and reader.i == len(reader.found) - 1
    env = {
        "issuer": issuer,
        "claims": claims if issuer else {},
        "certificate": certificate or {},
        "headers": {},
        "locals": {},
    }
    return run(node, env)
