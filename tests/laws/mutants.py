"""Modules with one line broken, to see that a law notices."""

import inspect
import sys
import types


def mutant(module: types.ModuleType, old: str, new: str) -> types.ModuleType:
    """The module with one line of its source replaced."""
    source = inspect.getsource(module)
    assert source.count(old) >= 1, old
    made = types.ModuleType("mutant")
    sys.modules["mutant"] = made
    exec(compile(source.replace(old, new), "mutant", "exec"), made.__dict__)
    return made
