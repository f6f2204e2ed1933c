"""From the text of an expression to its tree. Every error knows the character where it stands.

CEL's grammar without what `match` has no use for: no maps, no bytes, no unsigned numbers, no `* / %`, no regular
expressions (matching one can take exponential time). Text, depth, nodes and lists are bounded.

The tree: `literal` (value), `list`, `name` (value: a variable), `local` (value: of a macro), `field` and `has` (value:
the field), `index`, `call` (value: the function, the receiver first), `exists` and `all` (value: the variable; range
and condition), `!`, `neg`, `?:`, and the operators by their own signs, of which `&&` and `||` have any number of parts.
"""

from __future__ import annotations

from typing import Final

from sluicegate.core.snapshot import Tree

LONGEST: Final = 4096
"""Characters of a text."""

DEEPEST: Final = 32
"""Levels of a tree."""

MOST_NODES: Final = 1000
LONGEST_LIST: Final = 500

METHODS: Final = {"startsWith": 1, "endsWith": 1, "contains": 1, "size": 0}
"""Functions that are called on a value, and how many arguments they take."""

MACROS: Final = ("exists", "all")

RESERVED: Final = frozenset((
    "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop", "package",
    "namespace", "return", "var", "void", "while",
))  # fmt: skip
"""Words that no variable is called, by CEL."""

WORDS: Final = {"and": "&&", "or": "||", "not": "!", "AND": "&&", "OR": "||", "NOT": "!"}
"""What people write for operators."""

_MOST_INT: Final = (1 << 63) - 1
_BLANK: Final = " \t\n\r\f"
_DIGITS: Final = "0123456789"
_HEX: Final = "0123456789abcdefABCDEF"
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_"
_TWO: Final = ("&&", "||", "==", "!=", "<=", ">=")
_ONE: Final = "!<>+-?:.,()[]"
_ESCAPES: Final = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", "?": "?", '"': '"',
    "'": "'", "`": "`",
}  # fmt: skip
_RELATIONS: Final = ("==", "!=", "<", "<=", ">", ">=", "in")
_INSTEAD: Final = {
    "=": "to compare, write ==", "&": "write &&", "|": "write ||", "*": "", "/": "", "%": "",
    "{": "maps cannot be written here", "}": "maps cannot be written here", "`": "for odd names: claims[\"odd name\"]",
}  # fmt: skip


class Mistake(Exception):
    """What is wrong with an expression, at which character, and what to write instead."""

    def __init__(self, at: int, what: str, hint: str = "") -> None:
        super().__init__(at, what, hint)
        self.at = at
        self.what = what
        self.hint = hint


class Token:
    """A piece of text. `kind`: name, int, double, string, end, or the sign itself."""

    __slots__ = ("at", "kind", "text", "value")

    def __init__(self, kind: str, text: str, at: int, value: str | int | float | None = None) -> None:
        self.kind = kind
        self.text = text
        self.at = at
        self.value = value


def parse(text: str) -> Tree:
    """The tree. Raises Mistake."""
    if len(text) > LONGEST:
        raise Mistake(LONGEST, f"is longer than {LONGEST} characters", "write a rule for each of several consumers")
    parser = _Parser(tokens(text))
    tree = parser.expression()
    parser.finish()
    return tree


# ---------------------------------------------------------------- characters to tokens


def tokens(text: str) -> list[Token]:
    """All of them, and the end. Raises Mistake."""
    found: list[Token] = []
    at = 0
    end = len(text)
    while at < end:
        c = text[at]
        if c in _BLANK:
            at += 1
        elif text.startswith("//", at):
            while at < end and text[at] != "\n":
                at += 1
        elif c in _LETTERS:
            begin = at
            while at < end and (text[at] in _LETTERS or text[at] in _DIGITS):
                at += 1
            word = text[begin:at]
            if at < end and text[at] in "\"'" and word.lower() in ("r", "b", "br", "rb"):
                raise Mistake(begin, "raw texts and bytes are not part of this subset", "write plain text in quotes")
            found.append(Token("in" if word == "in" else "name", word, begin))
        elif c in _DIGITS or (c == "." and at + 1 < end and text[at + 1] in _DIGITS):
            token, at = _number(text, at)
            found.append(token)
        elif c in "\"'":
            token, at = _string(text, at)
            found.append(token)
        elif text[at : at + 2] in _TWO:
            found.append(Token(text[at : at + 2], text[at : at + 2], at))
            at += 2
        elif c in _ONE:
            found.append(Token(c, c, at))
            at += 1
        elif c in _INSTEAD:
            raise Mistake(at, f"{c} is not part of the language", _INSTEAD[c])
        else:
            shown = c if c.isprintable() else f"U+{ord(c):04X}"
            raise Mistake(at, f"{shown} does not belong here")
    found.append(Token("end", "", end))
    return found


def _number(text: str, at: int) -> tuple[Token, int]:
    begin = at
    end = len(text)
    if text[at : at + 2] in ("0x", "0X"):
        at += 2
        while at < end and text[at] in _HEX:
            at += 1
        if at == begin + 2:
            raise Mistake(begin, "0x needs digits after it")
        _no_tail(text, at)
        return Token("int", text[begin:at], begin, _whole(int(text[begin + 2 : at], 16), begin)), at
    while at < end and text[at] in _DIGITS:
        at += 1
    double = False
    if at + 1 < end and text[at] == "." and text[at + 1] in _DIGITS:
        double = True
        at += 1
        while at < end and text[at] in _DIGITS:
            at += 1
    if at < end and text[at] in "eE":
        exponent = at + 1
        if exponent < end and text[exponent] in "+-":
            exponent += 1
        if exponent < end and text[exponent] in _DIGITS:
            double = True
            at = exponent
            while at < end and text[at] in _DIGITS:
                at += 1
    _no_tail(text, at)
    said = text[begin:at]
    if double:
        return Token("double", said, begin, float(said)), at
    return Token("int", said, begin, _whole(int(said), begin)), at


def _whole(value: int, at: int) -> int:
    if value > _MOST_INT + 1:  # one more: it may stand behind a minus
        raise Mistake(at, "does not fit into 64 bits")
    return value


def _no_tail(text: str, at: int) -> None:
    if at < len(text) and text[at] in "uU":
        raise Mistake(at, "unsigned numbers are not part of this subset", "leave the u out")
    if at < len(text) and text[at] in _LETTERS:
        raise Mistake(at, "a number is followed by a letter", "text stands in quotes")


def _string(text: str, at: int) -> tuple[Token, int]:
    begin = at
    quote = text[at]
    if text.startswith(quote * 3, at):
        raise Mistake(at, "three quotes are not part of this subset", "write one")
    pieces: list[str] = []
    at += 1
    while True:
        if at >= len(text) or text[at] in "\n\r":
            raise Mistake(begin, "this quote is not closed", f"write {quote} at the end of the text")
        c = text[at]
        if c == quote:
            return Token("string", text[begin : at + 1], begin, "".join(pieces)), at + 1
        if c == "\\":
            piece, at = _escape(text, at)
            pieces.append(piece)
        else:
            pieces.append(c)
            at += 1


def _escape(text: str, at: int) -> tuple[str, int]:
    c = text[at + 1] if at + 1 < len(text) else ""
    simple = _ESCAPES.get(c)
    if simple is not None:
        return simple, at + 2
    lengths = {"x": 2, "X": 2, "u": 4, "U": 8}
    if c in lengths:
        digits = text[at + 2 : at + 2 + lengths[c]]
        if len(digits) == lengths[c] and all(d in _HEX for d in digits):
            return _character(int(digits, 16), at), at + 2 + lengths[c]
        raise Mistake(at, f"\\{c} needs {lengths[c]} hex digits after it")
    digits = text[at + 1 : at + 4]
    if len(digits) == 3 and digits[0] in "0123" and all(d in "01234567" for d in digits):
        return _character(int(digits, 8), at), at + 4
    raise Mistake(at, "is no escape that we know", "for a backslash write two")


def _character(code: int, at: int) -> str:
    if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        raise Mistake(at, "is no character")
    return chr(code)


# ---------------------------------------------------------------- tokens to a tree


class _Parser:
    def __init__(self, found: list[Token]) -> None:
        self.tokens = found
        self.next = 0
        self.depth = 0
        self.nodes = 0
        self.heights: dict[int, int] = {}
        "Of trees, by identity."
        self.kept: list[Tree] = []
        "All of them: an identity is nobody else's while its owner lives."
        self.scope: list[str] = []
        "Variables of the macros around."

    def node(self, op: str, at: int, value: str | int | float | bool | None, parts: tuple[Tree, ...]) -> Tree:
        height = 1 + max([self.heights[id(part)] for part in parts], default=0)
        if height > DEEPEST:
            raise Mistake(at, f"is nested deeper than {DEEPEST} levels", "write it flatter, or as several consumers")
        self.nodes += 1
        if self.nodes > MOST_NODES:
            raise Mistake(at, f"has more than {MOST_NODES} parts", "write it as several consumers")
        tree = Tree(op, value, parts, at)
        self.heights[id(tree)] = height
        self.kept.append(tree)
        return tree

    @property
    def token(self) -> Token:
        return self.tokens[self.next]

    def take(self) -> Token:
        token = self.tokens[self.next]
        self.next += 1
        return token

    def took(self, kind: str) -> bool:
        if self.tokens[self.next].kind == kind:
            self.next += 1
            return True
        return False

    def want(self, kind: str, opened: int) -> None:
        if not self.took(kind):
            token = self.token
            if token.kind == "end":
                raise Mistake(opened, "this is not closed", f"write {kind}")
            raise self.surprise(token, f"{kind} was expected")

    def surprise(self, token: Token, hint: str = "") -> Mistake:
        if token.kind == "end":
            return Mistake(token.at, "something is missing at the end", hint)
        if token.text in WORDS:
            return Mistake(token.at, f"{token.text} is no operator", f"write {WORDS[token.text]}")
        return Mistake(token.at, f"{token.text[:40]} does not belong here", hint)

    def finish(self) -> None:
        if self.token.kind != "end":
            raise self.surprise(self.token)

    def down(self) -> None:
        self.depth += 1
        if self.depth > DEEPEST:
            raise Mistake(self.token.at, f"is nested deeper than {DEEPEST} levels", "write it flatter")

    def expression(self) -> Tree:
        self.down()
        tree = self.either()
        token = self.token
        if self.took("?"):
            yes = self.either()
            if not self.took(":"):
                raise self.surprise(self.token, "a ? needs a : after it: condition ? this : that")
            tree = self.node("?:", token.at, None, (tree, yes, self.expression()))
        self.depth -= 1
        return tree

    def either(self) -> Tree:
        return self.chain("||")

    def chain(self, op: str) -> Tree:
        """Parts joined by && or ||: one node, however many there are."""
        at = self.token.at
        parts = [self.relation() if op == "&&" else self.chain("&&")]
        while self.took(op):
            parts.append(self.relation() if op == "&&" else self.chain("&&"))
        return parts[0] if len(parts) == 1 else self.node(op, at, None, tuple(parts))

    def relation(self) -> Tree:
        tree = self.sum()
        while self.token.kind in _RELATIONS:
            token = self.take()
            tree = self.node(token.kind, token.at, None, (tree, self.sum()))
        return tree

    def sum(self) -> Tree:
        tree = self.unary()
        while self.token.kind in ("+", "-"):
            token = self.take()
            tree = self.node(token.kind, token.at, None, (tree, self.unary()))
        return tree

    def unary(self) -> Tree:
        token = self.token
        if token.kind == "!":
            self.take()
            self.down()
            tree = self.node("!", token.at, None, (self.unary(),))
            self.depth -= 1
            return tree
        if token.kind == "-":
            self.take()
            number = self.token
            if number.kind in ("int", "double"):
                self.take()
                value = number.value
                assert not isinstance(value, str) and value is not None
                return self.members(self.node("literal", token.at, -value, ()))
            self.down()
            tree = self.node("neg", token.at, None, (self.unary(),))
            self.depth -= 1
            return tree
        return self.members(self.primary())

    def members(self, tree: Tree) -> Tree:
        """What follows a value: fields, calls, places in lists."""
        while True:
            token = self.token
            if self.took("."):
                name = self.token
                if name.kind != "name":
                    raise self.surprise(name, "a name was expected after the dot")
                self.take()
                if self.token.kind == "(":
                    tree = self.method(tree, name)
                else:
                    tree = self.node("field", name.at, name.text, (tree,))
            elif self.took("["):
                tree = self.node("index", token.at, None, (tree, self.expression()))
                self.want("]", token.at)
            else:
                return tree

    def method(self, tree: Tree, name: Token) -> Tree:
        opened = self.take().at
        if name.text in MACROS:
            return self.macro(tree, name, opened)
        if name.text not in METHODS:
            raise _unknown(name)
        given = self.arguments(opened)
        wanted = METHODS[name.text]
        if len(given) != wanted:
            raise Mistake(name.at, f"{name.text} takes {wanted or 'no'} argument{'s' if wanted != 1 else ''} here")
        return self.node("call", name.at, name.text, (tree, *given))

    def macro(self, tree: Tree, name: Token, opened: int) -> Tree:
        variable = self.take()
        if variable.kind != "name" or not self.took(","):
            raise Mistake(variable.at, f"{name.text} names a variable first", f'write roles.{name.text}(r, r == "a")')
        self.refuse(variable)
        self.scope.append(variable.text)
        condition = self.expression()
        self.scope.pop()
        self.want(")", opened)
        return self.node(name.text, name.at, variable.text, (tree, condition))

    def arguments(self, opened: int) -> tuple[Tree, ...]:
        given: list[Tree] = []
        if self.took(")"):
            return ()
        while True:
            given.append(self.expression())
            if not self.took(","):
                break
        self.want(")", opened)
        return tuple(given)

    def refuse(self, name: Token) -> None:
        if name.text in RESERVED:
            raise Mistake(
                name.at, f"{name.text} is a reserved word", f'for a claim of this name: claims["{name.text}"]'
            )
        if name.text in ("true", "false", "null"):
            raise self.surprise(name)

    def primary(self) -> Tree:
        token = self.take()
        if token.kind in ("int", "double", "string"):
            if token.value == _MOST_INT + 1 and token.kind == "int":
                raise Mistake(token.at, "does not fit into 64 bits")
            return self.node("literal", token.at, token.value, ())
        if token.kind == "(":
            tree = self.expression()
            self.want(")", token.at)
            return tree
        if token.kind == "[":
            return self.listed(token.at)
        if token.kind != "name":
            raise self.surprise(token, "a value was expected")
        if token.text in ("true", "false"):
            return self.node("literal", token.at, token.text == "true", ())
        if token.text == "null":
            return self.node("literal", token.at, None, ())
        if self.token.kind == "(":
            return self.function(token)
        if token.text in WORDS:
            raise self.surprise(token)
        self.refuse(token)
        return self.node("local" if token.text in self.scope else "name", token.at, token.text, ())

    def function(self, name: Token) -> Tree:
        opened = self.take().at
        if name.text in MACROS:
            raise Mistake(name.at, f"{name.text} is called on a list", f'write roles.{name.text}(r, r == "a")')
        if name.text not in ("size", "has"):
            if name.text in METHODS:
                raise Mistake(name.at, f"{name.text} is called on a text", f'write claim.{name.text}("...")')
            raise _unknown(name)
        given = self.arguments(opened)
        if len(given) != 1:
            raise Mistake(name.at, f"{name.text} takes one argument")
        if name.text == "size":
            return self.node("call", name.at, "size", given)
        field = given[0]
        if field.op != "field":
            hint = "write has(claims.NAME)"
            if field.op == "name":
                hint = f"write has(claims.{field.value})"
            elif field.op == "index":
                hint = 'write "NAME" in claims'
            raise Mistake(field.at, "has looks for a field", hint)
        return self.node("has", field.at, field.value, field.parts)

    def listed(self, opened: int) -> Tree:
        items: list[Tree] = []
        while not self.took("]"):
            if len(items) >= LONGEST_LIST:
                hint = "many consumers stand in a directory file, each with a match of its own"
                raise Mistake(self.token.at, f"the list has more than {LONGEST_LIST} items", hint)
            items.append(self.expression())
            if not self.took(","):
                self.want("]", opened)
                break
        return self.node("list", opened, None, tuple(items))


def _unknown(name: Token) -> Mistake:
    if name.text == "matches":
        hint = "regular expressions can take exponential time: write startsWith, endsWith, contains"
        return Mistake(name.at, "matches is not part of this subset", hint)
    return Mistake(
        name.at, f"no function is called {name.text[:40]}", f"known: has, {', '.join(METHODS)}, {', '.join(MACROS)}"
    )
