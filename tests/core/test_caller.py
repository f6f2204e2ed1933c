"""Who asks: one principal shown twice is fine, two are not, and keys are never kept."""

import tracemalloc

import pytest

from sluicegate.core.caller import LONGEST_KEY, Callers, Consumer, digest
from sluicegate.core.secret import Secret
from sluicegate.core.snapshot import ConsumerEntry, Directory

OLD, NEW = Secret("old"), Secret("new")


def callers() -> Callers:
    return Callers(
        Directory(
            (NEW, OLD),
            (
                ConsumerEntry(1, "a", "t", ("chat",), (digest(b"ka", NEW), digest(b"ka2", OLD))),
                ConsumerEntry(2, "b", "t", ("*",), (digest(b"kb", NEW),)),
            ),
        )
    )


@pytest.mark.parametrize(
    ("shown", "who"),
    [
        ([b"ka"], "a"),
        ([b"ka2"], "a"),
        ([b"kb"], "b"),
        ([b"ka", b"ka"], "a"),
        ([b"ka", b"ka2"], "a"),
        ([], "credential.missing"),
        ([b""], "credential.unknown"),
        ([b"nobody"], "credential.unknown"),
        ([b"x" * (LONGEST_KEY + 1)], "credential.unknown"),
        ([b"ka", b"kb"], "credential.ambiguous"),
        ([b"ka", b"nobody"], "credential.ambiguous"),
        ([b"nobody", b"ka"], "credential.ambiguous"),
    ],
)
def test_credentials_lead_to_one_consumer_or_a_reason(shown: list[bytes], who: str) -> None:
    found = callers().who(shown)
    assert (found.name if isinstance(found, Consumer) else found) == who


def test_a_grant_is_denied_unless_given() -> None:
    a, b = callers().who([b"ka"]), callers().who([b"kb"])
    assert isinstance(a, Consumer)
    assert isinstance(b, Consumer)
    assert a.may("chat")
    assert not a.may("other")
    assert not a.may("*")
    assert b.may("anything")


def test_a_secret_cannot_be_printed() -> None:
    assert "old" not in f"{OLD} {OLD!r} {OLD:>20} {[OLD]} %s" % OLD
    with pytest.raises(TypeError):
        OLD.__reduce__()


def test_G9_a_key_takes_at_most_400_bytes() -> None:
    """What a worker holds for each consumer: itself, its name, the digest, its place in the table."""
    count = 20_000
    made = (
        ConsumerEntry(n, f"consumer-{n:07d}", "default", ("chat",), (n.to_bytes(16, "big"),)) for n in range(1, count)
    )
    callers = Callers(Directory((NEW,), ()))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        callers._add(made)
        held = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert held / count <= 400
