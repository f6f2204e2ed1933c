"""Every `match` of a configuration together: what can never match, and which two would fight over one caller."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from itertools import combinations, islice
from typing import Final

from sluicegate.core.claims import EARLIER, LISTS, NUMBERS, SAME, TEXTS
from sluicegate.core.expr.check import UNKNOWN, VARIABLES, compared, names, outcome
from sluicegate.core.match import FIXING, THUMBPRINT, bare, rank_of, read_of
from sluicegate.core.snapshot import Match, Tree
from sluicegate.spec.kinds import Context, closest, quoted
from sluicegate.spec.language import Document
from sluicegate.spec.people import ConsumerSpec
from sluicegate.spec.problems import MOST, Path
from sluicegate.wire.headers import CREDENTIAL_HEADERS

Matches = Mapping[str, tuple[Match, ConsumerSpec]]
"""By name of the consumer: its match, and what else is said of it."""

_ORDER: Final = (THUMBPRINT, *FIXING)
_KNOWN: Final = sorted(TEXTS | LISTS | NUMBERS)
MOST_CONDITIONS: Final = 6
"""Of one map, whose parts are looked for among all others."""

COMPARED: Final = 100
"""Rules with one value that are compared with each other."""


class Matching:
    """One compilation of them."""

    def __init__(self, document: Document, matches: Matches, cx: Context) -> None:
        self.cx = cx
        self.matches = matches
        self.issuers: tuple[str, ...] = tuple(document.issuers)
        self.damaged = cx.problems.damaged(("issuers",))
        listen = document.gateway.listen
        self.certificates = bool(
            (listen.tls is not None and listen.tls.client is not None)
            or (document.gateway.certificates is not None and document.gateway.certificates.forwarded is not None)
        )
        self.proxies = bool(document.gateway.trusted_proxies)

    def check(self) -> None:
        """Say everything that is wrong."""
        problems = self.cx.problems
        first = len(problems)
        for name, (match, _) in self.matches.items():
            self._check(("consumers", name, "match"), match)
            if len(problems) - first > MOST:
                return
        self._check_fixed()
        self._check_same()

    def resolved(self, match: Match, each: str) -> Match:
        """As it travels: with the issuer that it means, where that can be only one."""
        return replace(match, issuer=match.issuer or self._meant(match), each=each)

    def _meant(self, match: Match) -> str:
        if match.tree is None:
            return self.issuers[0] if match.claims and len(self.issuers) == 1 else ""
        tree = match.tree
        if bare(match):
            return ""
        may = [name for name in self.issuers if outcome(tree, name) in (True, UNKNOWN)]
        alone = self.certificates and outcome(tree, "") in (True, UNKNOWN)
        return may[0] if len(may) == 1 and not alone else ""

    # ------------------------------------------------------------ one by one

    def _check(self, at: Path, match: Match) -> None:
        if match.tree is not None:
            self._check_expression(at, match.tree)
            return
        if match.issuer:
            self._check_issuer((*at, "issuer"), match.issuer)
        elif match.claims and not self.damaged:
            if not self.issuers:
                self.cx.say(at, "no issuer is declared whose tokens could have claims", "declare it under issuers:")
            elif len(self.issuers) > 1:
                what = "says claims of no issuer: another one could make a token that says the same"
                self.cx.say(at, what, f"write issuer: one of {', '.join(self.issuers)}")
        if match.certificate:
            self._check_certificates((*at, "certificate"))
        if match.headers:
            self._check_headers((*at, "headers"))
            self._check_credentials((*at, "headers"), [name for name, _ in match.headers])

    def _check_issuer(self, at: Path, issuer: str) -> None:
        if issuer not in self.issuers and not self.damaged:
            what = f"no issuer is called {self.cx.shown(at, issuer)}{closest(issuer, self.issuers)}"
            hint = f"declared: {', '.join(self.issuers)}" if self.issuers else "declare it under issuers:"
            self.cx.say(at, what, hint)

    def _check_certificates(self, at: Path, key: bool = True) -> None:
        if not self.certificates:
            what = "can never match: no client is asked for a certificate"
            self.cx.say(at, what, "write gateway.listen.tls.client", key=key)

    def _check_credentials(self, at: Path, headers: Iterable[str]) -> None:
        for name in sorted(headers):
            if name.encode() in CREDENTIAL_HEADERS:
                what = f"can never match: {name} is a header of credentials, which rules are not shown"
                self.cx.say(at, what, "tokens are looked at by their claims, keys stand in key")

    def _check_headers(self, at: Path, key: bool = True) -> None:
        if not self.proxies:
            what = "can never match: headers are believed only of a proxy that is trusted"
            self.cx.say(at, what, "write gateway.trusted_proxies: [10.0.0.0/8]", key=key)

    def _check_expression(self, at: Path, tree: Tree) -> None:
        looks = names(tree)
        for issuer, where in compared(tree):
            if issuer and issuer not in self.issuers and not self.damaged:
                hint = f"declared: {', '.join(self.issuers)}" if self.issuers else "declare it under issuers:"
                self._inside(at, where, f"no issuer is called {quoted(issuer)}{closest(issuer, self.issuers)}", hint)
        if "certificate" in looks and not self.certificates:
            self._check_certificates(at, False)
        if "headers" in looks:
            self._check_headers(at, False)
            self._check_credentials(at, read_of(tree, "headers"))
        if self.damaged or self.cx.problems.damaged(at) or looks == {"headers"}:
            return
        said = {name: outcome(tree, name) for name in self.issuers}
        if self.certificates:
            said[""] = outcome(tree, "")
        if not said:
            self.cx.say(at, "no issuer is declared whose tokens could be looked at", "declare it under issuers:")
        elif all(one is not True and one != UNKNOWN for one in said.values()):
            self.cx.say(at, "can never match: it is not true of any token", "write what some token says")
        else:
            everybody = [name for name, one in said.items() if one is True]
            if everybody:
                whose = " and ".join(name or "whoever has a certificate" for name in everybody)
                self.cx.say(at, f"is true of every caller of {whose}", "is that meant?", "warning")
            elif "issuer" not in looks and len(self.issuers) > 1 and looks - {"certificate", "headers"}:
                what = "names no issuer: each of them can make a token that says so"
                self.cx.say(at, what, f'begin it with issuer == "{self.issuers[0]}" &&', "warning")

    def _inside(self, at: Path, where: int, what: str, hint: str) -> None:
        node = self.cx.texts.get(at)
        self.cx.problems.add(self.cx.place(at) if node is None else node.inside(where), at, what, hint)

    # ------------------------------------------------------------ each against the others

    def _check_fixed(self) -> None:
        """Two rules of rank 1 that one principal could meet both: by value, so that 100,000 of them take a moment."""
        fixing = {name: _fixed(match, self) for name, (match, _) in self.matches.items() if rank_of(match) == 1}
        placed: dict[tuple[str, str, str], list[str]] = {}
        for name, keys in fixing.items():
            best = min(keys, key=lambda key: _ORDER.index(key[1]))[1]
            for key in keys:
                if key[1] == best:
                    placed.setdefault(key, []).append(name)
        said: set[frozenset[str]] = set()
        for name, keys in fixing.items():
            for key in keys:
                for other in islice(placed.get(key, ()), COMPARED):
                    pair = frozenset((name, other))
                    if other == name or pair in said or _apart(self.matches[name][0], self.matches[other][0]):
                        continue
                    said.add(pair)
                    self._fight(key[1], *sorted(pair, key=list(self.matches).index))
                    if len(said) > MOST:
                        return

    def _fight(self, claim: str, first: str, second: str) -> None:
        match = self.matches[second][0]
        at: Path = ("consumers", second, "match")
        spelled = next((c for c, _ in match.claims if SAME.get(c, c) == claim), None)
        here: Path = (*at, "certificate", claim) if claim == THUMBPRINT else (*at, spelled or claim)
        there = self.cx.place(("consumers", first, "match"))
        what = f"is the {claim} of consumers.{first} too ({there})"
        self.cx.say(here, what, "one principal belongs to one consumer: keep one, or tell them apart by another claim")

    def _check_same(self) -> None:
        """Rules of the other ranks that say the same: whoever meets one meets both."""
        seen: dict[object, str] = {}
        for name, (match, _) in self.matches.items():
            if rank_of(match) == 1:
                continue
            issuer = match.issuer or (self.issuers[0] if len(self.issuers) == 1 else "")
            same: object = (issuer, match.text) if match.tree is not None else (issuer, _canonical(match))
            first = seen.setdefault(same, name)
            if first != name:
                there = self.cx.place(("consumers", first, "match"))
                what = f"says what the match of consumers.{first} says ({there}): a caller of both is refused"
                self.cx.say(("consumers", name, "match"), what, "keep one of them, or tell them apart")
        self._check_inside()

    def _check_inside(self) -> None:
        """Maps of rank 2 that want all that another one wants, and more: whoever meets them meets both, always."""
        held: dict[tuple[str, frozenset[object]], str] = {}
        wants: dict[str, tuple[str, frozenset[object]]] = {}
        for name, (match, _) in self.matches.items():
            if rank_of(match) == 2:
                wants[name] = (match.issuer or self._alone(match), _conditions(match))
                held.setdefault(wants[name], name)
        said = 0
        for name, (issuer, conditions) in wants.items():
            if len(conditions) > MOST_CONDITIONS or bare(self.matches[name][0]):
                continue
            for less in range(len(conditions)):
                for some in combinations(conditions, less):
                    first = held.get((issuer, frozenset(some)))
                    if first is None or bare(self.matches[first][0]):
                        continue
                    there = self.cx.place(("consumers", first, "match"))
                    what = f"lets in nobody: who meets it meets the match of consumers.{first} too ({there})"
                    hint = "ask for less here, or for more there: two matches in one rank are ambiguous"
                    self.cx.say(("consumers", name, "match"), what, hint)
                    said += 1
                    if said > MOST:
                        return

    def _alone(self, match: Match) -> str:
        return self.issuers[0] if match.claims and len(self.issuers) == 1 else ""


def _conditions(match: Match) -> frozenset[object]:
    return frozenset(
        (place, SAME.get(name, name) if not place else name, tuple(sorted(set(values))))
        for place, wanted in (("", match.claims), ("certificate", match.certificate), ("headers", match.headers))
        for name, values in wanted
    )


def _canonical(match: Match) -> object:
    claims = sorted((SAME.get(name, name), tuple(sorted(set(values)))) for name, values in match.claims)
    return (tuple(claims), tuple(sorted(match.certificate)), tuple(sorted(match.headers)))


def _fixed(match: Match, matching: Matching) -> list[tuple[str, str, str]]:
    """What fixes a principal: issuer, claim, value. A certificate is the same whatever token stands beside it."""
    issuer = match.issuer or (matching.issuers[0] if len(matching.issuers) == 1 else "")
    found = [(issuer, SAME.get(n, n), v) for n, values in match.claims for v in values if SAME.get(n, n) in FIXING]
    return found + [("", THUMBPRINT, v) for n, values in match.certificate for v in values if n == THUMBPRINT]


def _apart(one: Match, other: Match) -> bool:
    """Whether no principal meets both: of a claim that has one value they want different ones."""
    if one.issuer and other.issuer and one.issuer != other.issuer:
        return True
    single = TEXTS - {*EARLIER.values()}
    for wanted, others in ((one.claims, other.claims), (one.certificate, other.certificate)):
        theirs = {SAME.get(name, name): set(values) for name, values in others}
        for name, values in wanted:
            name = SAME.get(name, name)
            if (name in single or name == THUMBPRINT) and name in theirs and not theirs[name] & set(values):
                return True
    return False


def looked_at(match: Match) -> Iterator[tuple[str, Path]]:
    """The claims that a rule looks at, and where in it."""
    for name, _ in match.claims:
        yield name, (name,)
    if match.tree is not None:
        for name in sorted(names(match.tree)):
            if name not in VARIABLES:
                yield name, ()


def misspelt(claim: str) -> str:
    """The claim that was meant, if it is nearly one that is known; empty: it is known, or a provider's own."""
    if claim in _KNOWN or len(claim) < 3:
        return ""
    return next(iter(get_close_matches(claim, _KNOWN, 1, 0.75)), "")
