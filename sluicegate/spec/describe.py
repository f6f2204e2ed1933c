"""What the source says of a declared class and its fields, for the schema and the reference page.

A field's docstring is the text that stands below it. Python drops it, so it is read from the source, and only when
somebody asks for the schema: loading a configuration never comes here.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from functools import cache
from itertools import pairwise


@cache
def field_docs(cls: type) -> dict[str, str]:
    """The docstring of each field that has one, those of its parents first."""
    docs: dict[str, str] = {}
    for parent in reversed(cls.__mro__[:-1]):
        docs |= _own_docs(parent)
    return docs


def _own_docs(cls: type) -> dict[str, str]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    body = tree.body[0].body  # type: ignore[attr-defined]
    docs = {}
    for field, after in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(after, ast.Expr):
            if isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
                docs[field.target.id] = inspect.cleandoc(after.value.value)
    return docs


def first_line(cls: type) -> str:
    """What the class says of itself."""
    return inspect.cleandoc(cls.__doc__ or "").split("\n\n")[0].replace("\n", " ")
