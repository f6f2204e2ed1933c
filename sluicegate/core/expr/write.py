"""An expression as text again, from its tree: what stands in a parcel is the tree alone, and people want to read it."""

from __future__ import annotations

from typing import Final

from sluicegate.core.snapshot import Tree

_BINDS: Final = {
    "?:": 0, "||": 1, "&&": 2, "==": 3, "!=": 3, "<": 3, "<=": 3, ">": 3, ">=": 3, "in": 3, "+": 4, "-": 4, "!": 5,
    "neg": 5,
}  # fmt: skip
"""How strongly; what is not here holds together by itself."""

_TIGHT: Final = 6


def write(tree: Tree) -> str:
    """One line that reads the same."""
    op = tree.op
    if op == "literal":
        return _literal(tree.value)
    if op == "name" or op == "local":
        return str(tree.value)
    if op == "list":
        return "[" + ", ".join([write(part) for part in tree.parts]) + "]"
    if op == "field":
        return f"{_inside(tree.parts[0], _TIGHT)}.{tree.value}"
    if op == "has":
        return f"has({_inside(tree.parts[0], _TIGHT)}.{tree.value})"
    if op == "index":
        return f"{_inside(tree.parts[0], _TIGHT)}[{write(tree.parts[1])}]"
    if op == "call":
        rest = ", ".join([write(part) for part in tree.parts[1:]])
        return f"{_inside(tree.parts[0], _TIGHT)}.{tree.value}({rest})"
    if op == "exists" or op == "all":
        return f"{_inside(tree.parts[0], _TIGHT)}.{op}({tree.value}, {write(tree.parts[1])})"
    binds = _BINDS[op]
    if op == "!" or op == "neg":
        return ("!" if op == "!" else "-") + _inside(tree.parts[0], binds + (op == "neg"))
    if op == "?:":
        condition, yes, no = tree.parts
        return f"{_inside(condition, 1)} ? {_inside(yes, 1)} : {write(no)}"
    first = _inside(tree.parts[0], binds)  # a chain of one operator is read from the left
    return f" {op} ".join([first, *[_inside(part, binds + 1) for part in tree.parts[1:]]])


def _inside(tree: Tree, least: int) -> str:
    text = write(tree)
    if tree.op == "literal" and least == _TIGHT and not isinstance(tree.value, (str, bool)) and tree.value is not None:
        return f"({text})"  # 1.size() would be a number with a letter behind it, -1.size() a negation
    return text if _BINDS.get(tree.op, _TIGHT) >= least else f"({text})"


def _literal(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, str):
        return '"' + "".join([_character(c) for c in value]) + '"'
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return "1e999" if value > 0 else "-1e999"
    return repr(value)


def _character(c: str) -> str:
    if c in '"\\':
        return "\\" + c
    if c.isprintable():
        return c
    return f"\\u{ord(c):04x}" if ord(c) < 0x10000 else f"\\U{ord(c):08x}"
