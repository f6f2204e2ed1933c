"""What a request shows, as a connection keeps it: a token is judged each time, a key once, and both anew when who
proves tokens is another."""

import gc
from collections.abc import Iterable, Sequence

from sluicegate.core.caller import Callers, Consumer, Shown, digest, like_a_token
from sluicegate.core.expr.parse import parse
from sluicegate.core.keyset import KeySet
from sluicegate.core.principal import Principal
from sluicegate.core.settings import Gateway, Issuer
from sluicegate.core.snapshot import ConsumerEntry, Directory, Match, Snapshot
from sluicegate.core.state import World
from sluicegate.stores.memory.journal import Journal
from tests.gateway import KEY, SECRET

TOKEN = b"eyJ.e30.c2ln"
NOTHING = Snapshot("0", Gateway(), (), (), ())


class Proves:
    """Says what it is told to, and counts."""

    def __init__(self) -> None:
        self.says: Principal | str = Principal("contoso", {"oid": "u1"}, b"m" * 16, 2e9)
        self.asked: list[tuple[bytes, bytes]] = []

    def prove(self, token: bytes, mark: bytes = b"") -> Principal | str:
        self.asked.append((token, mark))
        return self.says

    def adopt(self, issuers: Sequence[Issuer]) -> None: ...
    def take(self, sets: Iterable[KeySet]) -> None: ...


def people() -> Directory:
    return Directory(
        (SECRET,),
        (
            ConsumerEntry(1, "app", "t", ("chat",), (digest(KEY.encode(), SECRET),)),
            ConsumerEntry(2, "u", "t", ("chat",), (), match=Match("contoso", (("oid", ("u1", "u2")),))),
        ),
    )


def name(found: Consumer | str) -> str:
    return found if isinstance(found, str) else found.name


def test_a_key_is_asked_about_once_and_never_taken_for_a_token():
    callers = Callers(people())
    callers.prover = proves = Proves()
    shown = Shown([KEY.encode()])
    assert {name(shown.who(callers)) for _ in range(3)} == {"app"}
    assert proves.asked == [] and shown.principal is None


def test_a_key_that_looks_like_a_token_is_a_key_where_it_proves_nothing():
    odd = b"eyJ.looks.like-a-token"
    callers = Callers(Directory((SECRET,), (ConsumerEntry(1, "odd", "t", ("chat",), (digest(odd, SECRET),)),)))
    callers.prover = proves = Proves()
    proves.says = "credential.token.malformed"
    assert name(Shown([odd]).who(callers)) == "odd" and name(Shown([odd, odd]).who(callers)) == "odd"
    assert name(Shown([odd + b"x"]).who(callers)) == "credential.token.malformed"
    assert name(Shown([odd, TOKEN]).who(callers)) == "credential.ambiguous"


def test_only_a_token_that_was_proved_is_passed_on():
    odd = b"eyJ.looks.like-a-token"
    entries = (*people().consumers, ConsumerEntry(3, "odd", "t", ("chat",), (digest(odd, SECRET),)))
    callers = Callers(Directory((SECRET,), entries))
    callers.prover = proves = Proves()
    shown = Shown([TOKEN])
    assert name(shown.who(callers)) == "u" and shown.bearer() == TOKEN
    proves.says = "credential.token.malformed"
    key = Shown([odd])
    assert name(key.who(callers)) == "odd"
    assert key.bearer() == b"", "a key of ours is nothing to show to an upstream"


def test_a_token_is_judged_at_every_request_and_digested_once():
    callers = Callers(people())
    callers.prover = proves = Proves()
    shown = Shown([TOKEN])
    first = shown.who(callers)
    assert name(first) == "u" and shown.who(callers) is first
    assert proves.asked == [(TOKEN, b""), (TOKEN, b"m" * 16)]
    proves.says = "credential.token.expired"
    assert shown.who(callers) == "credential.token.expired" and shown.principal is None
    proves.says = Principal("contoso", {"oid": "nobody"}, b"n" * 16, 2e9)
    assert shown.who(callers) == "identity.unmatched"


def test_who_proves_tokens_may_change_while_the_directory_stays():
    world = World(NOTHING, people(), Journal())
    token, key = Shown([TOKEN]), Shown([KEY.encode()])
    proves = Proves()
    for _ in range(3):
        kept = world.callers
        assert name(token.who(world.callers)) == "credential.unknown" and name(key.who(world.callers)) == "app"
        world.know(proves)
        world.adopt(NOTHING, kept)  # as a worker does that was offered a configuration with the same people
        assert name(token.who(world.callers)) == "u" and name(key.who(world.callers)) == "app"
        kept = world.callers
        world.know(None)
        world.adopt(NOTHING, kept)


def test_limits_that_count_each_key_count_who_bears_a_token():
    callers = Callers(people())
    callers.prover = proves = Proves()

    def marked(claims: dict[str, object], mark: bytes, issuer: str = "contoso") -> bytes:
        proves.says = Principal(issuer, claims, mark, 2e9)
        shown = Shown([TOKEN])
        shown.who(callers)
        return shown.mark(callers)

    first = marked({"oid": "u1", "iat": 1}, b"a" * 16)
    assert marked({"oid": "u1", "iat": 2}, b"b" * 16) == first, "a new token is no new limit"
    others = {marked({"oid": "u2"}, b"c" * 16), marked({"sub": "u1"}, b"d" * 16), marked({"oid": "u1"}, b"e" * 16, "partner"),
              marked({}, b"f" * 16), Shown([KEY.encode()]).mark(callers)}  # fmt: skip
    assert len(others) == 5 and first not in others


def test_what_looks_like_a_token():
    assert like_a_token(b"eyJhbGciOiJub25lIn0.e30.") and like_a_token(b"e30.e30.x.y.z")
    assert not like_a_token(b"sk-proj.a.b") and not like_a_token(b"eyJ.one") and not like_a_token(b"")


def test_what_a_request_showed_keeps_no_table_of_callers_alive():
    """A stream of an hour, or a connection that is open, began under callers of whom there were others since: with a
    million keys each of these tables is tens of megabytes."""
    callers = Callers(people())
    callers.prover = Proves()
    for shown in (Shown([KEY.encode()]), Shown([TOKEN]), Shown([b"nobody's"]), Shown([])):
        shown.who(callers)
        reached = [shown]
        for _ in range(3):
            reached += [inner for one in reached for inner in gc.get_referents(one) if not isinstance(inner, type)]
        assert all(one is not callers for one in reached)
        assert shown.who(callers) is shown.who(callers)


def test_a_user_that_one_issuer_names_is_nobody_that_another_one_knows():
    tree = parse('issuer in ["contoso", "partner"]')
    one = ConsumerEntry(1, "one", "t", ("chat",), (), match=Match("contoso", (("oid", ("u1",)),)), end_user="claim:sub")
    several = ConsumerEntry(2, "several", "t", ("chat",), (), match=Match(tree=tree), end_user="claim:sub")
    callers = Callers(Directory((SECRET,), (one, several)))
    callers.prover = proves = Proves()
    shown = Shown([TOKEN])
    said = []
    for number, (issuer, oid) in enumerate(
        (("contoso", "u1"), ("contoso", "u2"), ("partner", "u1"), ("contoso", "u1"))
    ):
        proves.says = Principal(issuer, {"oid": oid, "sub": "bob"}, b"%16d" % number, 2e9)
        found = shown.who(callers)
        assert isinstance(found, Consumer)
        said.append((found.name, shown.user(found)))
    assert said == [("one", "bob"), ("several", "contoso/bob"), ("several", "partner/bob"), ("one", "bob")]
    proves.says = Principal("contoso", {"oid": "u2"}, b"n" * 16, 2e9)
    found = shown.who(callers)
    assert isinstance(found, Consumer) and shown.user(found) == "", "nobody is named"
