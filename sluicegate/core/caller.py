"""Who asks: from the credentials of a request to the consumer that owns them.

One table, keyed by a keyed digest of the key: a dump of it gives no usable key, and a look-up takes the same time for
a wrong key as for a right one. The digest costs 0.65 us; that is the price of never holding keys in clear.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Final

from sluicegate.core.record import PLAIN, Context
from sluicegate.core.secret import Secret
from sluicegate.core.snapshot import Change, ConsumerEntry, Directory, TenantEntry

DIGEST_BYTES = 16
LONGEST_KEY = 4096


def digest(key: bytes, secret: Secret) -> bytes:
    """Keyed BLAKE2b of a consumer's key, 16 bytes; `secret` is the installation's (at most 64 bytes are used)."""
    return blake2b(key, digest_size=DIGEST_BYTES, key=secret.reveal().encode()[:64]).digest()


EVERY: Final[frozenset[str]] = frozenset()
"""One for all: an empty set of its own would be 216 bytes a consumer, of whom there may be a million."""


class Consumer:
    """The application that calls us, bound: its grants as sets."""

    __slots__ = (
        "boundary", "by_key", "by_user", "context", "diagnostics", "end_user", "everything", "group", "limits",
        "models", "name", "number", "operations", "params", "ruled", "tenant",
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
        self.end_user = entry.end_user
        "Field of its bodies that names who uses it; empty: none."
        self.by_user = any(limit.each == "end_user" for limit in limits)
        "A limit counts each of these."

    def may(self, model: str) -> bool:
        """Whether the grant covers the model: default deny."""
        return self.everything or model in self.models


class Shown:
    """The credentials that a request showed, and whom they belong to once that was looked up. An edge that meets the
    same head again on a connection hands in the same object, so that a client's key is digested once a connection."""

    __slots__ = ("_by", "_found", "keys")

    def __init__(self, keys: Sequence[bytes]) -> None:
        self.keys = keys
        self._by: Callers | None = None
        self._found: Consumer | str = ""

    def __repr__(self) -> str:
        return f"Shown({len(self.keys)} keys)"

    def who(self, callers: Callers) -> Consumer | str:
        """As `callers` says; asked again when another configuration is in force."""
        if self._by is not callers:
            self._found = callers.who(self.keys)
            self._by = callers
        return self._found


class Callers:
    """The key table."""

    __slots__ = ("_by_digest", "_contexts", "_directory", "_keys", "region")

    def __init__(self, directory: Directory, region: str = "") -> None:
        self.region = region
        "Where the gateway is: it stands in records."
        self._contexts: dict[tuple[str, tuple[tuple[str, str], ...]], Context] = {}
        "By boundary and labels. A handful, for however many consumers."
        self._directory = Directory(directory.secrets, (), directory.tenants)
        self._keys = tuple(s.reveal().encode()[:64] for s in directory.secrets)
        self._by_digest: dict[bytes, Consumer] = {}
        self._add(directory.consumers)

    def altered(self, change: Change) -> Callers:
        """The table with this change; this one stays as it is. 3 ms for 100,000 consumers of which one changed."""
        callers = Callers(self._directory, self.region)
        callers._by_digest = table = self._by_digest.copy()
        callers._contexts = self._contexts
        for d in change.dropped:
            table.pop(d, None)
        callers._add(change.entries)
        return callers

    def name(self, number: int) -> str | None:
        """Of a consumer, by its number. Looks at all of them."""
        for consumer in self._by_digest.values():
            if consumer.number == number:
                return consumer.name
        return None

    def owner(self, mark: bytes) -> Consumer | None:
        """Whose key it is that has this digest."""
        return self._by_digest.get(mark)

    def _add(self, entries: Iterable[ConsumerEntry]) -> None:
        groups = {t.name: t for t in self._directory.tenants if t.limits or t.params or t.boundary or t.labels}
        grants: dict[tuple[str, ...], frozenset[str]] = {}
        for entry in entries:
            models = grants.get(entry.models)
            if models is None:
                models = grants[entry.models] = frozenset(entry.models)
            group = groups.get(entry.tenant)
            consumer = Consumer(entry, group, models, self._context(entry, group))
            for d in entry.digests:
                self._by_digest[d] = consumer

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
        for consumer in self._by_digest.values():
            consumer.context = self._same(consumer.context.boundary, consumer.context.labels)

    def find(self, key: bytes) -> Consumer | None:
        """The consumer that owns this key, None for nobody."""
        if len(key) > LONGEST_KEY:
            return None
        for secret in self._keys:
            consumer = self._by_digest.get(blake2b(key, digest_size=DIGEST_BYTES, key=secret).digest())
            if consumer is not None:
                return consumer
        return None

    def mark(self, key: bytes) -> bytes:
        """What tells one key of a consumer from another: its digest under the current secret."""
        return blake2b(key[:LONGEST_KEY], digest_size=DIGEST_BYTES, key=self._keys[0]).digest()

    def who(self, credentials: Sequence[bytes]) -> Consumer | str:
        """The one consumer that all credentials shown belong to, or the reason to refuse.

        One principal shown twice is fine (azure-ai-inference sends its key in two headers); two principals, or one
        valid and one unknown, are not: which of them was meant is not ours to guess.
        """
        if not credentials:
            return "credential.missing"
        found = self.find(credentials[0])
        for other in credentials[1:]:
            if other != credentials[0] and self.find(other) is not found:
                return "credential.ambiguous"
        return found or "credential.unknown"
