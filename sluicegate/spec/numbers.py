"""Numbers behind names, kept in `gateway.data`: a name is for people, a number belongs to one object for ever.

Records, pins and counters carry numbers, so they stay right when something is renamed (`was`) and when a name comes
back for something else. A number is never given twice: what was removed keeps its line. The file is text, one object
a line, and is replaced as a whole: a start that dies leaves the old one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable
from functools import partial

from sluicegate.spec.grants import People
from sluicegate.spec.kinds import Context, quoted
from sluicegate.spec.language import Document
from sluicegate.spec.problems import Path
from sluicegate.spec.references import Wrong
from sluicegate.spec.whole import END, write_whole

FILE = "numbers"
_HEAD = "sluicegate numbers 1"
RETIRED = "~"
"""In the name of what is no more, before its number. No name has it."""

KINDS = ("tenant", "consumer", "instance", "deployment", "model")


class Numbers:
    """The numbers of one installation; new ones are given in order."""

    def __init__(self) -> None:
        self._held: dict[str, dict[str, int]] = {kind: {} for kind in KINDS}
        self._last: dict[str, int] = dict.fromkeys(KINDS, 0)
        self.changed = False

    def of(self, kind: str, name: str) -> int:
        """The object's number, given now if it has none."""
        held = self._held[kind]
        number = held.get(name)
        if number is None:
            self._last[kind] = number = held[name] = self._last[kind] + 1
            self.changed = True
        return number

    def names(self, kind: str) -> dict[int, str]:
        """What is called so now, by number."""
        return {number: name for name, number in self._held[kind].items()}

    def rename(self, kind: str, old: str, new: str) -> bool:
        """What was `old` is `new` from now on. False if `new` is something of its own: it keeps its number."""
        held = self._held[kind]
        if old not in held:
            return True
        if new in held:
            return False
        held[new] = held.pop(old)
        self.changed = True
        return True

    def retire(self, kind: str, name: str) -> None:
        """Whoever is called so now is something else than who was: that one keeps its number and all that is known of
        it, under a name that nobody can have."""
        number = self._held[kind].get(name)
        if number is not None:
            self.rename(kind, name, f"{name}{RETIRED}{number}")

    def rename_instance(self, old: str, new: str) -> bool:
        """An instance takes its deployments along."""
        if not self.rename("instance", old, new):
            return False
        for name in [n for n in self._held["deployment"] if n.startswith(old + "/")]:
            self.rename("deployment", name, new + name[len(old) :])
        return True

    def write(self, data: str) -> None:
        """Keep them in `data`, if there is anything new. Raises Wrong."""
        if not self.changed:
            return
        lines = [_HEAD]
        for kind, held in self._held.items():
            lines.append(f"{kind} {self._last[kind]}")
            lines += [f"{kind} {number} {name}" for name, number in held.items()]
        try:
            write_whole(data, FILE, lines)
        except OSError as e:
            hint = f"make {data} writable for this user"
            raise Wrong(
                f"cannot keep the numbers of what is declared: {(e.strerror or 'error').lower()}", hint
            ) from None
        self.changed = False


def known(data: str, start: bool) -> Numbers:
    """Those kept in `data`; none yet is fine, and unless the gateway is to start, so are those of somebody else.
    Raises Wrong."""
    path = os.path.join(data, FILE)
    numbers = Numbers()
    try:
        with open(path) as f:
            lines = f.read().splitlines()
    except FileNotFoundError:
        return numbers
    except (OSError, UnicodeDecodeError) as e:
        if isinstance(e, PermissionError) and not start:
            return numbers
        what = (e.strerror or "error").lower() if isinstance(e, OSError) else "not UTF-8"
        raise Wrong(f"holds numbers that cannot be read: {path}: {what}", f"is {path} there, for this user?") from None
    try:
        if lines[0] != _HEAD or lines[-1] != END:
            raise ValueError
        for line in lines[1:-1]:
            kind, number, *name = line.split(" ")
            if name:
                numbers._held[kind][name[0]] = int(number)
            else:
                numbers._last[kind] = int(number)
        for kind, held in numbers._held.items():
            if len(set(held.values())) < len(held) or max(held.values(), default=0) > numbers._last[kind]:
                raise ValueError
    except (ValueError, KeyError, IndexError):
        hint = "restore it from a backup: with other numbers, records and pins would belong to something else"
        raise Wrong(f"holds numbers that are damaged: {path}", hint) from None
    return numbers


def carry(document: Document, people: People, numbers: Numbers, cx: Context) -> None:
    """What was renamed (`was`) keeps its number. Says where that cannot be."""
    instances = document.instances
    _carry("instances", instances.keys(), [(n, i.was) for n, i in instances.items()], numbers.rename_instance, cx)
    for name, instance in instances.items():
        _carry(
            f"instances.{name}.deployments",
            instance.deployments.keys(),
            [(n, d.was) for n, d in instance.deployments.items()],
            lambda old, new, at=name: numbers.rename("deployment", f"{at}/{old}", f"{at}/{new}"),  # type: ignore[misc]
            cx,
        )
    renamed = [(name, spec.was) for name, spec, _ in people if spec.was]
    names = {name for name, _, _ in people} if renamed else set()
    for section, kind, declared, was in (
        ("models", "model", document.models.keys(), [(n, m.was) for n, m in document.models.items()]),
        ("tenants", "tenant", document.tenants.keys(), [(n, t.was) for n, t in document.tenants.items()]),
        ("consumers", "consumer", names, renamed),
    ):
        _carry(section, declared, was, partial(numbers.rename, kind), cx)


def _carry(
    section: str,
    declared: Container[str],
    was: Iterable[tuple[str, tuple[str, ...]]],
    rename: Callable[[str, str], bool],
    cx: Context,
) -> None:
    claimed: dict[str, str] = {}
    for name, olds in was:
        for n, old in enumerate(olds):
            at: Path = (*section.split("."), name, "was", n)
            if old in declared:
                cx.say(at, f"{quoted(old)} is declared too", "a name belongs to one object: remove one of them")
            elif claimed.setdefault(old, name) != name:
                cx.say(
                    at, f"{claimed[old]} was {quoted(old)}, too", "only one of them can go on with what is known of it"
                )
            elif not rename(old, name):
                what = f"{quoted(name)} has a history of its own, which that of {quoted(old)} cannot join"
                cx.say(at, what, "remove it", "note")
