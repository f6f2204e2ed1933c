"""Whether a credential is its consumer's yet, asked again while an answer streams."""

from __future__ import annotations

from dataclasses import replace

from sluicegate.core.caller import Callers, Consumer, Shown, digest
from sluicegate.core.principal import Principal
from sluicegate.core.secret import Secret
from sluicegate.core.snapshot import Change, ConsumerEntry, Directory, Match

OLD, NEW = Secret("o" * 64), Secret("n" * 64)
KEYS = ConsumerEntry(1, "keys", "t", ("*",), (digest(b"one", OLD), digest(b"two", OLD)))
TOKENS = ConsumerEntry(2, "tokens", "t", ("*",), (), match=Match("contoso", (("azp", ("app-1",)),)))
FAMILY = ConsumerEntry(3, "teams", "t", ("*",), (), match=Match("contoso", (("azp", ("app-2",)),), each="oid"))


def callers(*entries: ConsumerEntry, secrets: tuple[Secret, ...] = (OLD,)) -> Callers:
    return Callers(Directory(secrets, entries))


def key(raw: bytes) -> tuple[Shown, Consumer]:
    shown = Shown([raw])
    found = shown.who(callers(KEYS))
    assert isinstance(found, Consumer)
    return shown, found


def token(app: str) -> tuple[Shown, Consumer]:
    """As it was let in."""
    shown = Shown([b"a.b.c"])
    shown.principal = Principal("contoso", {"azp": app, "oid": "o-1"}, b"m" * 16, 1.0)  # long over
    found = callers(KEYS, TOKENS, FAMILY).match(shown.principal)
    assert isinstance(found, Consumer)
    return shown, found


def test_a_key_is_its_own_until_it_is_taken_away_or_another_has_it():
    shown, consumer = key(b"one")
    assert shown.still(callers(KEYS), consumer)
    assert shown.still(callers(replace(KEYS, name="renamed", models=("less",))), consumer), (
        "that is for its next request"
    )
    assert not shown.still(callers(), consumer)
    assert not shown.still(callers(KEYS).altered(Change((digest(b"one", OLD),), ())), consumer)
    assert not shown.still(callers(replace(KEYS, number=9)), consumer), "the key is somebody else's by now"
    other, same = key(b"two")
    assert other.still(callers(KEYS).altered(Change((digest(b"one", OLD),), ())), same), "the other key of the same"


def test_a_rotated_secret_takes_no_key_away_while_the_old_one_is_accepted():
    shown, consumer = key(b"one")
    moved = replace(KEYS, digests=(digest(b"one", NEW),))
    assert shown.still(callers(moved, secrets=(NEW, OLD)), consumer)
    assert shown.still(callers(KEYS, secrets=(NEW, OLD)), consumer), "a digest under the old one"
    assert not shown.still(callers(KEYS, secrets=(NEW,)), consumer)


def test_a_token_is_its_consumers_while_a_rule_says_so_however_old_it_is():
    for app, entry in (("app-1", TOKENS), ("app-2", FAMILY)):
        shown, consumer = token(app)
        assert shown.still(callers(KEYS, TOKENS, FAMILY), consumer)
        assert not shown.still(callers(KEYS), consumer)
        assert entry.match is not None
        elsewhere = replace(entry, match=replace(entry.match, issuer="fabrikam"))
        assert not shown.still(callers(KEYS, elsewhere), consumer)


def test_of_many_streams_of_one_token_whose_it_is_is_asked_once():
    """Rules that are expressions are all tried, and every stream is looked at in one turn of the loop."""
    shown, consumer = token("app-1")
    other = Shown([b"a.b.c"])
    other.principal = shown.principal
    now = callers(KEYS, TOKENS)
    assert shown.principal is not None and shown.still(now, consumer)
    assert now._known[shown.principal.mark][0] is shown.principal
    found = now.known(shown.principal)
    assert other.still(now, consumer) and now.known(shown.principal) is found
    assert not other.still(callers(KEYS), consumer), "by others than those who said so before"
