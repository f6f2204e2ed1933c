"""Who asks: from the credentials of a request to the consumer that owns them.

One table, keyed by a keyed digest of the key: a dump of it gives no usable key, and a look-up takes the same time for
a wrong key as for a right one. The digest costs 0.65 us; that is the price of never holding keys in clear.

What is nobody's key and looks like a token is proved by `identity/`, which remembers what it proved; whose it is,
`Callers.match` says.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import fields
from hashlib import blake2b
from math import inf
from operator import attrgetter
from typing import Final

from sluicegate.core.claims import texts
from sluicegate.core.end_user import claimed, named
from sluicegate.core.match import UNMATCHED, Found, Rule, Rules
from sluicegate.core.ports import Prover
from sluicegate.core.principal import NONE, Principal, beside, joined
from sluicegate.core.record import PLAIN, Context
from sluicegate.core.refusals import TOKEN
from sluicegate.core.secret import Secret
from sluicegate.core.snapshot import Change, ConsumerEntry, Directory, TenantEntry
from sluicegate.core.twin import twin

DIGEST_BYTES = 16
LONGEST_KEY = 4096

ONE_BEARER: Final = ("oid", "sub", "azp", "appid", "client_id")
"""Claims that tell bearers of one issuer apart, the first there is."""


def digest(key: bytes, secret: Secret) -> bytes:
    """Keyed BLAKE2b of a consumer's key, 16 bytes; `secret` is the installation's (at most 64 bytes are used)."""
    return blake2b(key, digest_size=DIGEST_BYTES, key=secret.reveal().encode()[:64]).digest()


CLAIM: Final = "claim:"
"""Begins an `end_user` that a token names."""

HEADER: Final = "header:"
"""The same, of one that a trusted proxy names."""

NOTHING: Final[dict[str, object]] = {}

EVERY: Final[frozenset[str]] = frozenset()
"""One for all: an empty set of its own would be 216 bytes a consumer, of whom there may be a million."""


class Consumer:
    """The application that calls us, bound: its grants as sets."""

    __slots__ = (
        "boundary", "by_key", "by_user", "context", "diagnostics", "end_user", "everything", "group", "limits",
        "mark", "member", "models", "name", "number", "operations", "params", "ruled", "tenant", "user_claim",
        "user_header",
    )  # fmt: skip

    def __init__(
        self, entry: ConsumerEntry, group: TenantEntry | None = None, models: frozenset[str] | None = None,
        context: Context = PLAIN,
    ) -> None:  # fmt: skip
        self.number = entry.number
        self.name = entry.name
        self.tenant = entry.tenant
        self.everything = "*" in entry.models
        self.models = frozenset(entry.models) if models is None else models
        self.operations = frozenset(entry.operations) if entry.operations else EVERY
        "What it may ask for; empty: all that its models offer."
        self.boundary = "" if group is None else group.boundary
        "Where its requests may be processed; empty: anywhere."
        self.group = group
        "Its tenant, if the tenant says more than its name."
        self.context = context
        "What the records of all its requests say."
        self.diagnostics = entry.diagnostics
        "Answers tell it where they come from."
        self.limits = entry.limits
        self.params = entry.params
        limits = entry.limits if group is None else entry.limits + group.limits
        self.ruled = bool(limits or self.params or (group is not None and group.params))
        "Some limit or rule is its own or its tenant's (core/policy.py)."
        self.by_key = any(limit.each == "key" for limit in limits)
        "A limit counts each of its keys."
        claim = entry.end_user.startswith(CLAIM)
        header = entry.end_user.startswith(HEADER)
        self.end_user = "" if claim or header else entry.end_user
        "Field of its bodies that names who uses it; empty: none."
        self.user_claim = entry.end_user[len(CLAIM) :] if claim else ""
        "Claim of its tokens that does; empty: none."
        self.user_header = entry.end_user[len(HEADER) :] if header else ""
        "Header of a trusted proxy that does; empty: none."
        self.member = ""
        "Of a family (`each`): the value that tells this one from the others; empty: it is one of its own."
        self.mark = b""
        "Stands for it in the keys of limits, where its number stands for all of its family."
        self.by_user = any(limit.each == "end_user" for limit in limits)
        "A limit counts each of these."

    def may(self, model: str) -> bool:
        """Whether the grant covers the model: default deny."""
        return self.everything or model in self.models

    def one(self, value: str) -> Consumer:
        """A member of its family. The same value is always the same member: limits hang on its mark."""
        member = twin(self, Consumer(_NOBODY))
        member.member = named(value)
        member.mark = blake2b(value.encode("utf-8", "replace"), digest_size=12).digest()
        member.name = f"{self.name}:{member.member}"
        held = self.context
        labels = (*[pair for pair in held.labels if pair[0] != MEMBER], (MEMBER, member.member))
        member.context = Context(boundary=held.boundary, labels=labels, region=held.region)
        return member


_NOBODY: Final = ConsumerEntry(0, "", "", (), ())


def _others(one: Consumer | None, other: Consumer | None) -> bool:
    """Whether they are two, or one is nobody and the other is not."""
    if one is None or other is None:
        return one is not other
    return one.number != other.number


_OWN: Final = ("number", "name", "digests", "match")
_SAID: Final[Callable[[ConsumerEntry], tuple[object, ...]]] = attrgetter(
    *[f.name for f in fields(ConsumerEntry) if f.name not in _OWN]
)
"""What many consumers say alike."""

MEMBER: Final = "member"
"""Label that says in records which of a family asked."""

GROUPS: Final = 200
"""So many Entra puts into a token."""

LIVE: Final = 10_000
"""Members of families that are held at most, 1 KB each. Who is forgotten is made again, with the limits it had."""

KNOWN: Final = 1000
"""Tokens with their claims of which it is kept whose they are, up to 50 KB each: besides those that the prover keeps,
which are bounded by what they weigh."""


class Held:
    """One of however many consumers: what is its own. `like`: a consumer that says all else as it does. A million take
    64 bytes each so, where a Consumer takes 200."""

    __slots__ = ("like", "name", "number")

    def __init__(self, number: int, name: str, like: Consumer) -> None:
        self.number = number
        self.name = name
        self.like = like


class Shown:
    """The credentials that a request showed, and whom they belong to once that was looked up. An edge that meets the
    same head again on a connection hands in the same object, so that a client's key is digested once a connection."""

    __slots__ = (
        "_any",
        "_by",
        "_found",
        "_mark",
        "_matched",
        "_proved",
        "certificate",
        "headers",
        "keys",
        "principal",
        "trail",
    )

    def __init__(self, keys: Sequence[bytes], certificate: Principal | None = None) -> None:
        self.keys = keys
        self.certificate = certificate
        "Of the connection, or of what a trusted proxy says of its own."
        self.headers: Mapping[str, str] = NONE
        "Those that rules read, of a trusted proxy."
        self.principal: Principal | None = None
        "Who proved to be somebody by other means than a key, once `who` was asked."
        self.trail = ""
        "Which rule says whose they are."
        self._any = False
        "That rule lets in tokens of any issuer: what one of them calls bob is nobody that another one knows."
        self._by: object = None
        """Edition of those who said what was found, where that holds until another configuration does: of keys. Not
        they themselves: a stream and an open connection would each keep the table alive that was in force then."""
        self._found: Consumer | str = ""
        self._matched: object = None
        "Edition of those who said that it is a token."
        self._mark = b""
        self._proved: Principal | None = None
        "The token of it, as its prover gave it."

    def __repr__(self) -> str:
        return f"Shown({len(self.keys)} keys)"

    def who(self, callers: Callers) -> Consumer | str:
        """As `callers` says; asked again when another configuration is in force. A token is judged again each time:
        it ends between two requests of a connection as anywhere else."""
        if self._by is callers.edition:
            return self._found
        if self._matched is not callers.edition:
            self.principal = None
            self._mark = b""
            self._proved = None
            found = callers.who(self.keys)
            if self.certificate is not None and found != TOKEN:
                found = self._beside(callers, found, beside(self.certificate, self.headers))
            elif self.headers and found == "credential.missing":
                found = self._headed(callers, found)
            if found != TOKEN:
                self._by = callers.edition
                self._found = found
                return found
            self._matched = callers.edition
        prover = callers.prover
        assert prover is not None
        proved = prover.prove(self.keys[0], self._mark)
        if isinstance(proved, str):
            self.principal = self._proved = None
            known = callers.find(self.keys[0])
            if known is None or self.certificate is None:
                return known or proved
            return self._beside(callers, known, self.certificate)
        if proved is not self._proved:
            whole = joined(proved, self.certificate, self.headers)
            if isinstance(whole, str):
                return whole
            self._found = self._match(callers, whole)
            self._proved = proved
            self._mark = proved.mark
        return self._found

    def bearer(self) -> bytes:
        """The token that was shown, once `who` was asked; empty: a key was."""
        principal = self.principal
        return self.keys[0] if principal is not None and principal.issuer else b""

    def _beside(self, callers: Callers, found: Consumer | str, certificate: Principal) -> Consumer | str:
        """A certificate beside keys, or alone. Where no rule knows it, it says nothing: whole networks have one for
        each machine. Where one does, it must not say another than the key."""
        if found == "credential.missing":
            if not callers.ruled:
                return found
            return self._match(callers, certificate)
        if isinstance(found, str) or not callers.ruled:
            return found
        other = callers.match(certificate)
        return found if isinstance(other, str) or other.number == found.number else "credential.ambiguous"

    def _headed(self, callers: Callers, missing: str) -> Consumer | str:
        """Nothing but headers of a trusted proxy. If no rule knows them, nothing was shown."""
        found = self._match(callers, Principal("", NOTHING, b"", inf, None, self.headers))
        if found == UNMATCHED:
            self.principal = None
            return missing
        return found

    def still(self, callers: Callers, consumer: Consumer) -> bool:
        """Whether it belongs to this consumer yet, of which that was true before. A token that has expired meanwhile
        does: nobody took it back."""
        if self.certificate is not None and self.certificate.withdrawn:
            return False
        return self._now(callers, consumer) is not None

    def boundary(self, callers: Callers, consumer: Consumer) -> str:
        """The boundary that this consumer has now: its tenant may have been given another one."""
        found = self._now(callers, consumer)
        return consumer.boundary if found is None else found.boundary

    def _now(self, callers: Callers, consumer: Consumer) -> Consumer | None:
        principal = self.principal
        if principal is None:
            found: Consumer | str | None = callers.find(self.keys[0]) if self.keys else None
        else:
            found = callers.known(principal).consumer  # asked for every stream at once: once for each token
        return found if isinstance(found, Consumer) and found.number == consumer.number else None

    def _match(self, callers: Callers, principal: Principal) -> Consumer | str:
        found = callers.known(principal)
        self.principal = principal
        self.trail = found.trail
        self._any = bool(found.rules) and not found.rules[0].issuer
        return found.reason if found.consumer is None else found.consumer

    def user(self, consumer: Consumer) -> str:
        """Who uses it, where its token or a trusted proxy says so; empty: nobody is named."""
        if consumer.user_header:
            return named(self.headers.get(consumer.user_header, ""))
        principal = self.principal
        if principal is None:
            return ""
        name = claimed(principal, consumer.user_claim)
        return named(f"{principal.issuer}/{name}") if name and self._any else name

    def mark(self, callers: Callers) -> bytes:
        """What tells one credential of a consumer from another: for limits that count each. Of tokens who bears them,
        or each new one would have the limit anew."""
        principal = self.principal
        if principal is None:
            return callers.mark(self.keys[0])
        if not principal.issuer:
            return callers.mark(principal.mark)
        for name in ONE_BEARER:
            value = principal.claims.get(name)
            if isinstance(value, str) and value:
                return callers.mark(f"{principal.issuer}\0{name}\0{value}".encode("utf-8", "surrogatepass"))
        return callers.mark(f"{principal.issuer}\0".encode())


class Callers:
    """The key table."""

    __slots__ = (
        "_bound", "_by_digest", "_contexts", "_directory", "_keys", "_known", "_members", "_rules", "edition", "prover",
        "region",
    )  # fmt: skip

    def __init__(self, directory: Directory, region: str = "") -> None:
        self.edition = object()
        "Nobody else's: by it a request knows that it was these whom it asked."
        self.region = region
        "Where the gateway is: it stands in records."
        self.prover: Prover | None = None
        "Of tokens; None: there are keys only. Once requests were asked about, another one wants another table."
        self._contexts: dict[tuple[str, tuple[tuple[str, str], ...]], Context] = {}
        "By boundary and labels. A handful, for however many consumers."
        self._directory = Directory(directory.secrets, (), directory.tenants)
        self._keys = tuple(s.reveal().encode()[:64] for s in directory.secrets)
        self._by_digest: dict[bytes, Held] = {}
        self._bound: dict[int, Consumer] = {}
        "Those that asked of late, by number."
        self._rules = Rules()
        self._members: dict[tuple[int, bytes], Consumer] = {}
        self._known: dict[bytes, tuple[Principal, Found]] = {}
        self._add(directory.consumers)

    def altered(self, change: Change) -> Callers:
        """The table with this change; this one stays as it is. 3 ms for 100,000 consumers of which one changed."""
        callers = Callers(self._directory, self.region)
        callers.prover = self.prover
        callers._by_digest = table = self._by_digest.copy()
        callers._contexts = self._contexts
        for d in change.dropped:
            table.pop(d, None)
        callers._rules = self._rules
        touched = [n for n in (*change.gone, *[e.number for e in change.entries]) if self._rules.has(n)]
        if touched or any(e.match is not None or e.end_user.startswith(HEADER) for e in change.entries):
            callers._rules = self._rules.copy()  # 11 ms for 100,000 rules
            for number in touched:
                callers._rules.drop(number)
        callers._add(change.entries)
        return callers

    def name(self, number: int) -> str | None:
        """Of a consumer, by its number. At once of one that asked of late; of any other it looks at all of them: 4 ms
        for 100,000, so what counts each request by its name must not come here for others."""
        consumer = self._bound.get(number) or self._rules.consumer(number)
        if consumer is not None:
            return consumer.name
        for held in self._by_digest.values():
            if held.number == number:
                return held.name
        return None

    def called(self, name: str) -> Consumer | None:
        """By its name, or one of a family by its value behind a colon. Looks at all of them."""
        family, colon, value = name.partition(":")
        for rule in self._rules.all():
            if rule.consumer.name == family and bool(rule.match.each) == bool(colon and value):
                return rule.consumer.one(value) if value else rule.consumer
        return next((self._bind(held) for held in self._by_digest.values() if held.name == name), None)

    @property
    def ruled(self) -> bool:
        """Somebody is known by other means than a key."""
        return len(self._rules) > 0

    @property
    def headers(self) -> Collection[str]:
        """Names of those that rules read, in lower case."""
        return self._rules.headers

    def rules(self) -> Iterable[Rule]:
        """Of all consumers that have one."""
        return self._rules.all()

    def owner(self, mark: bytes) -> Consumer | None:
        """Whose key it is that has this digest."""
        held = self._by_digest.get(mark)
        return None if held is None else self._bind(held)

    def _bind(self, held: Held) -> Consumer:
        """The consumer itself, made when it asks, and kept for a while."""
        found = self._bound.get(held.number)
        if found is None:
            found = held.like
            if found.number != held.number:
                found = twin(found, Consumer(_NOBODY))
                found.number = held.number
                found.name = held.name
            if len(self._bound) >= LIVE:
                self._bound.clear()
            self._bound[held.number] = found
        return found

    def _add(self, entries: Iterable[ConsumerEntry]) -> None:
        groups = {t.name: t for t in self._directory.tenants if t.limits or t.params or t.boundary or t.labels}
        grants: dict[tuple[str, ...], frozenset[str]] = {}
        rules = []
        likes: dict[tuple[object, ...], Consumer] = {}
        seen: dict[tuple[int, ...], Consumer] = {}
        "By what the fields are, not what they say: looked at first because it is quick."
        for entry in entries:
            if entry.match is None:
                said = _SAID(entry)
                same = tuple([id(value) for value in said])
                like = seen.get(same) or likes.get(said)
                if like is not None:
                    seen[same] = like
                    if like.user_header:
                        self._rules.headers.add(like.user_header)
                    held = Held(entry.number, entry.name, like)
                    for d in entry.digests:
                        self._by_digest[d] = held
                    continue
            models = grants.get(entry.models)
            if models is None:
                models = grants[entry.models] = frozenset(entry.models)
            group = groups.get(entry.tenant)
            consumer = Consumer(entry, group, models, self._context(entry, group))
            held = Held(entry.number, entry.name, consumer)
            for d in entry.digests:
                self._by_digest[d] = held
            if entry.match is None:
                likes[said] = seen[same] = consumer
            if consumer.user_header:
                self._rules.headers.add(consumer.user_header)
            if entry.match is not None:
                rules.append(Rule(entry.match, consumer))
        if rules:
            self._rules.add(rules)

    def _context(self, entry: ConsumerEntry, group: TenantEntry | None) -> Context:
        boundary, labels = "", entry.labels
        if group is not None:
            boundary = group.boundary
            if group.labels:
                labels = tuple({**dict(group.labels), **dict(labels)}.items())
        return self._same(boundary, labels)

    def _same(self, boundary: str, labels: tuple[tuple[str, str], ...]) -> Context:
        context = self._contexts.get((boundary, labels))
        if context is None:
            context = PLAIN
            if boundary or labels or self.region:
                context = Context(boundary=boundary, labels=labels, region=self.region)
            self._contexts[boundary, labels] = context
        return context

    def move(self, region: str) -> None:
        """The gateway is said to be elsewhere: records say so from now on."""
        self.region = region
        self._contexts = {}
        self._members = {}
        self._known = {}
        self._bound = {}
        consumers = {id(held.like): held.like for held in self._by_digest.values()}
        for rule in self._rules.all():
            consumers[id(rule.consumer)] = rule.consumer
        for consumer in consumers.values():
            consumer.context = self._same(consumer.context.boundary, consumer.context.labels)

    def find(self, key: bytes) -> Consumer | None:
        """The consumer that owns this key, None for nobody."""
        if len(key) > LONGEST_KEY:
            return None
        for secret in self._keys:
            held = self._by_digest.get(blake2b(key, digest_size=DIGEST_BYTES, key=secret).digest())
            if held is not None:
                return self._bind(held)
        return None

    def match(self, principal: Principal) -> Consumer | str:
        """The consumer that a proved token or certificate belongs to, or the reason why there is none."""
        found = self.matched(principal)
        return found.reason if found.consumer is None else found.consumer

    def matched(self, principal: Principal) -> Found:
        """The same, with the rules that say so. Runs once a token: whoever asks keeps the answer with it, until other
        callers are in force."""
        found = self._rules.find(principal)
        if found.consumer is not None:
            rule = found.rules[0]
            each = rule.match.each
            if each:
                values = texts(principal.claims, each)
                if not rule.issuer:  # any issuer's: what one of them calls bob is nobody that another one knows
                    values = [f"{principal.issuer}/{value}" for value in values if value]
                found.consumer = self._member(found.consumer, values)
                if found.consumer is None:
                    found.reason = UNMATCHED
        return found

    def known(self, principal: Principal) -> Found:
        """As `matched`, and kept for whoever shows the same on another connection or in another head."""
        held = self._known.get(principal.mark)
        if held is not None and held[0] is principal:
            return held[1]
        found = self.matched(principal)
        groups = principal.claims.get("groups")
        if isinstance(groups, list) and len(groups) > GROUPS:
            return found  # found again for each connection, rather than up to a megabyte kept for each token
        if len(self._known) >= KNOWN:
            self._known.clear()
        self._known[principal.mark] = (principal, found)
        return found

    def _member(self, family: Consumer, values: Sequence[str]) -> Consumer | None:
        """The one of a family that has this value. Who has none, or several, is nobody."""
        if len(values) != 1 or not values[0]:
            return None
        made = family.one(values[0])
        key = (family.number, made.mark)
        held = self._members.pop(key, made)
        self._members[key] = held  # last: who was not seen for longest goes first
        if len(self._members) > LIVE:
            del self._members[next(iter(self._members))]
        return held

    def mark(self, key: bytes) -> bytes:
        """What tells one key of a consumer from another: its digest under the current secret."""
        return blake2b(key[:LONGEST_KEY], digest_size=DIGEST_BYTES, key=self._keys[0]).digest()

    def who(self, credentials: Sequence[bytes]) -> Consumer | str:
        """The one consumer that all credentials shown belong to, or the reason to refuse.

        One principal shown twice is fine (azure-ai-inference sends its key in two headers); two principals, or one
        valid and one unknown, are not: which of them was meant is not ours to guess. Nor is a token beside anything
        but itself. TOKEN: it is for `prover` to say.
        """
        if not credentials:
            return "credential.missing"
        first = credentials[0]
        if self.prover is not None and len(credentials) == 1 and like_a_token(first):
            return TOKEN  # a key that looks like one is found when it proves to be none: tokens are not digested twice
        found = self.find(first)
        token = found is None and self.prover is not None and like_a_token(first)
        for other in credentials[1:]:
            if other != first and (token or _others(self.find(other), found) or self._token(other)):
                return "credential.ambiguous"
        return TOKEN if token else found or "credential.unknown"

    def _token(self, shown: bytes) -> bool:
        return self.prover is not None and like_a_token(shown) and self.find(shown) is None


def like_a_token(shown: bytes) -> bool:
    """Whether it is to be read as a token: parts with dots between them, of which the first is a JSON object in base64
    (`{` makes the first letter an e)."""
    return shown.count(b".") >= 2 and shown[:1] == b"e"
