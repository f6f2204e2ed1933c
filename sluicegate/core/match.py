"""Whose a token or a certificate is: the rules of `match`, tried in three ranks; the first rank with a match decides.

Rank 1 fixes one principal (an application, a user, a certificate), rank 2 are maps over what many share (tenants,
roles, groups), rank 3 are expressions. Two matches inside one rank are nobody's: which was meant is not ours to guess.

The first two ranks are found by value, so 100,000 rules cost what one costs; expressions are all tried, grouped by the
issuer they name. Whoever holds the answer keeps it with the credential: this runs once a token, not once a request.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from sluicegate.core.claims import SAME, certificate_texts, texts
from sluicegate.core.expr.bind import Env, Program, bind
from sluicegate.core.principal import Principal
from sluicegate.core.snapshot import Match, Tree, Wanted

if TYPE_CHECKING:
    from sluicegate.core.caller import Consumer

FIXING: Final = ("oid", "sub", "azp")
"""Claims that fix one principal, as a rule with several of them is indexed: the one of the fewest first."""

THUMBPRINT: Final = "thumbprint"
"""Of a certificate: fixes one, too."""

UNMATCHED: Final = "identity.unmatched"
AMBIGUOUS: Final = "identity.ambiguous"

_CERTIFICATE: Final = "\x00certificate."
"""Before names of fields of certificates, where claims stand beside them: no claim begins so."""

_HEADER: Final = "\x00header."
"""Before names of headers."""

_EVERY: Final = "\x00"
"""The place of rules that name an issuer and nothing else."""


def rank_of(match: Match) -> int:
    """1, 2 or 3."""
    if match.tree is not None:
        return 3
    for name, _ in match.claims:
        if SAME.get(name, name) in FIXING:
            return 1
    for name, _ in match.certificate:
        if name == THUMBPRINT:
            return 1
    return 2


def bare(match: Match) -> bool:
    """Whether it looks at nothing but headers."""
    if match.tree is not None:
        return looks_at(match.tree) == {"headers"}
    return not match.issuer and not match.claims and not match.certificate


def looks_at(tree: Tree) -> set[str]:
    """Variables of an expression."""
    found = {str(tree.value)} if tree.op == "name" else set()
    for part in tree.parts:
        found |= looks_at(part)
    return found


class Rule:
    """One `match`, bound. It is found in the index by `key`; everything else it wants is in `needs`."""

    __slots__ = ("bare", "consumer", "issuer", "key", "match", "needs", "program", "rank", "values")

    def __init__(self, match: Match, consumer: Consumer) -> None:
        self.match = match
        self.consumer = consumer
        self.issuer = match.issuer
        self.rank = rank_of(match)
        self.bare = bare(match)
        "It lets in by headers alone: where nothing else is shown, or a header could speak against a token."
        self.key = ""
        self.values: tuple[str, ...] = ()
        self.needs: Wanted = ()
        self.program: Program | None = None if match.tree is None else bind(match.tree)

    def holds(self, principal: Principal) -> bool:
        """Whether everything that the index does not say is so, too."""
        if self.bare is not principal.bare:
            return False
        return all(_one_of(_texts(principal, name), wanted) for name, wanted in self.needs)


class Found:
    """Whose a principal is, and why."""

    __slots__ = ("consumer", "rank", "reason", "rules")

    def __init__(self, consumer: Consumer | None, reason: str, rank: int, rules: Sequence[Rule]) -> None:
        self.consumer = consumer
        self.reason = reason
        "Why it is nobody's; empty: it is `consumer`'s."
        self.rank = rank
        "That decided; 0: none did."
        self.rules = rules
        "That matched in it."

    @property
    def trail(self) -> str:
        """For the decision trail: names of ours, nothing of the token."""
        if not self.rules:
            return "match: no rule"
        names = sorted([f"consumers.{rule.consumer.name}" for rule in self.rules])
        more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        return f"match: rank {self.rank}: {', '.join(names[:MOST_NAMED])}{more}"


MOST_NAMED: Final = 5

_NOBODY: Final = Found(None, UNMATCHED, 0, ())

By = dict[str, dict[str, dict[str, tuple[Rule, ...]]]]
"""Issuer (empty: rules that name none) -> claim or field -> value -> rules."""


class Rules:
    """Every rule of one configuration."""

    __slots__ = ("_expressions", "_fixed", "_rules", "_shared", "_tally", "headers")

    def __init__(self) -> None:
        self.headers: set[str] = set()
        "Names of those that some rule reads, or read."
        self._rules: dict[int, Rule] = {}
        "By number of the consumer."
        self._fixed: By = {}
        self._shared: By = {}
        self._expressions: dict[str, tuple[Rule, ...]] = {}
        "By the issuer that they name; empty: any."
        self._tally: dict[tuple[str, str], int] = {}
        "Rules of rank 2 that want a value of a claim: one is found by what the fewest want."

    def __len__(self) -> int:
        return len(self._rules)

    def has(self, number: int) -> bool:
        """Whether this consumer has one."""
        return number in self._rules

    def consumer(self, number: int) -> Consumer | None:
        """Of this number, if it has one."""
        rule = self._rules.get(number)
        return None if rule is None else rule.consumer

    def all(self) -> Iterable[Rule]:
        """In no particular order."""
        return self._rules.values()

    def copy(self) -> Rules:
        """One that can be changed while this one is used."""
        other = Rules()
        other._rules = self._rules.copy()
        other._fixed = _copied(self._fixed)
        other._shared = _copied(self._shared)
        other._expressions = self._expressions.copy()
        other._tally = self._tally.copy()
        other.headers = self.headers.copy()
        return other

    def add(self, rules: Sequence[Rule]) -> None:
        """Put them in; one that its consumer had before goes."""
        for rule in rules:
            self.drop(rule.consumer.number)
            if rule.rank == 2:
                for name, value in _pairs(rule.match):
                    self._tally[name, value] = self._tally.get((name, value), 0) + 1
        for rule in rules:
            self._rules[rule.consumer.number] = rule
            self.headers.update([name for name, _ in rule.match.headers])
            if rule.match.tree is not None:
                self.headers.update(read_of(rule.match.tree, "headers"))
            if rule.rank == 3:
                self._expressions[rule.issuer] = (*self._expressions.get(rule.issuer, ()), rule)
                continue
            self._place(rule)
            index = self._fixed if rule.rank == 1 else self._shared
            by_value = index.setdefault(rule.issuer, {}).setdefault(rule.key, {})
            for value in rule.values:
                by_value[value] = (*by_value.get(value, ()), rule)

    def drop(self, number: int) -> None:
        """The rule of this consumer, if it has one."""
        rule = self._rules.pop(number, None)
        if rule is None:
            return
        if rule.rank == 3:
            left = tuple([r for r in self._expressions[rule.issuer] if r is not rule])
            self._expressions[rule.issuer] = left
            return
        index = self._fixed if rule.rank == 1 else self._shared
        by_value = index[rule.issuer][rule.key]
        for value in rule.values:
            rest = tuple([r for r in by_value[value] if r is not rule])
            if rest:
                by_value[value] = rest
            else:
                del by_value[value]
        if rule.rank == 2:
            for name, value in _pairs(rule.match):
                self._tally[name, value] -= 1
                if not self._tally[name, value]:
                    del self._tally[name, value]

    def _place(self, rule: Rule) -> None:
        """By what it is found: of rank 1 what fixes the principal, else what the fewest others want."""
        match = rule.match
        wants = [(SAME.get(name, name), values) for name, values in match.claims]
        wants += [(_CERTIFICATE + name, values) for name, values in match.certificate]
        needs: list[tuple[str, tuple[str, ...]]] = [(_HEADER + name, values) for name, values in match.headers]
        if not wants:
            rule.key = _EVERY
            rule.values = ("",)
            rule.needs = tuple(needs)
            return
        best = 0
        if rule.rank == 1:
            order = [_CERTIFICATE + THUMBPRINT, *FIXING]
            fixing = [(order.index(want[0]), n) for n, want in enumerate(wants) if want[0] in order]
            best = min(fixing)[1]
        elif len(wants) > 1:
            best = min([(max([self._tally[want[0], v] for v in want[1]]), n) for n, want in enumerate(wants)])[1]
        rule.key = wants[best][0]
        rule.values = tuple(dict.fromkeys(wants[best][1]))
        rule.needs = tuple([want for n, want in enumerate(wants) if n != best] + needs)

    # ------------------------------------------------------------ asking

    def find(self, principal: Principal) -> Found:
        """Whose it is."""
        for rank in (1, 2, 3):
            hits = self.hits(principal, rank)
            if len(hits) == 1:
                return Found(hits[0].consumer, "", rank, hits)
            if hits:
                return Found(None, AMBIGUOUS, rank, hits)
        return _NOBODY

    def hits(self, principal: Principal, rank: int) -> list[Rule]:
        """Every rule of the rank that matches."""
        found: list[Rule] = []
        issuers = ("", principal.issuer) if principal.issuer else ("",)
        for issuer in issuers:
            if rank == 3:
                self._try(self._expressions.get(issuer, ()), principal, found)
                continue
            by_name = (self._fixed if rank == 1 else self._shared).get(issuer)
            if by_name is None:
                continue
            for name, by_value in by_name.items():
                if name == _EVERY:
                    _take(by_value.get("", ()), principal, found)
                    continue
                for value in _texts(principal, name):
                    _take(by_value.get(value, ()), principal, found)
        return found

    def _try(self, rules: Sequence[Rule], principal: Principal, found: list[Rule]) -> None:
        """Expressions. An error is no match."""
        for rule in rules:
            if rule.program is None or rule.bare is not principal.bare:
                continue
            if rule.program(Env(principal, principal.headers)) is True:
                found.append(rule)


def read_of(tree: Tree, name: str) -> set[str]:
    """What an expression reads of a map of this name: every name that it writes out."""
    found: set[str] = set()
    for part in tree.parts:
        found |= read_of(part, name)
        if part.op == "name" and part.value == name:
            if isinstance(tree.value, str) and (tree.op == "field" or tree.op == "has"):
                found.add(tree.value)
            found |= {one.value for one in tree.parts if one.op == "literal" and isinstance(one.value, str)}
    return found


def _take(rules: Sequence[Rule], principal: Principal, found: list[Rule]) -> None:
    for rule in rules:
        if rule not in found and rule.holds(principal):
            found.append(rule)


def _pairs(match: Match) -> list[tuple[str, str]]:
    found = [(SAME.get(name, name), value) for name, values in match.claims for value in values]
    return found + [(_CERTIFICATE + name, value) for name, values in match.certificate for value in values]


def _texts(principal: Principal, name: str) -> Sequence[str]:
    """What a principal says of a claim or field, as texts."""
    if name.startswith(_CERTIFICATE):
        if principal.certificate is None:
            return ()
        return certificate_texts(principal.certificate, name[len(_CERTIFICATE) :])
    if name.startswith(_HEADER):
        value = principal.headers.get(name[len(_HEADER) :])
        return () if value is None else (value,)
    if not principal.issuer:
        return ()
    return texts(principal.claims, name)


def _one_of(values: Sequence[str], wanted: tuple[str, ...]) -> bool:
    return any(value in wanted for value in values)


def _copied(index: By) -> By:
    return {issuer: {name: by_value.copy() for name, by_value in by_name.items()} for issuer, by_name in index.items()}
