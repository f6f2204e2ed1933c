"""Who may come in by TCP: keys, roles, names, guesses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.admin.base import OPEN, Who, Wrong
from sluicegate.admin.gate import GUESS_S, GUESSES, PEERS, Denied, Gate, host_of, loopback
from sluicegate.core.caller import digest
from sluicegate.core.operators import MAY, ROLES, may, operator_digest
from sluicegate.core.secret import Secret
from sluicegate.core.settings import Admin, OperatorKey

SECRETS = (Secret("s" * 64), Secret("t" * 64))
KEYS = {
    "eve": ("viewer", b"sga_1", SECRETS[0]),
    "ops": ("operator", b"sga_2", SECRETS[0]),
    "old": ("operator", b"sga_3", SECRETS[1]),
}
ADMIN = Admin(
    hosts=("admin.example",), keys=tuple(OperatorKey(n, r, operator_digest(k, s)) for n, (r, k, s) in KEYS.items())
)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def gate(clock: Clock | None = None, admin: Admin = ADMIN) -> Gate:
    return Gate(lambda: admin, lambda: SECRETS, clock or Clock())


def status(gate: Gate, credential: str | None, role: str = "viewer", peer: str = "10.0.0.1") -> int | str:
    try:
        return gate.who(peer, [credential] if credential is not None else [], role).name
    except Denied as e:
        return e.status


def test_a_key_opens_what_its_role_may_and_the_secret_before_still_counts():
    found = gate()
    assert [status(found, f"Bearer {k}") for k in ("sga_1", "sga_2", "sga_3")] == ["eve", "ops", "old"]
    assert [status(found, f"bearer {k}", "operator") for k in ("sga_1", "sga_2", "sga_3")] == [403, "ops", "old"]
    assert found.who("", [], OPEN) == Who("", OPEN)


@pytest.mark.parametrize(
    "credential",
    [None, "", "Bearer", "Bearer ", "Bearer sga_4", "Basic sga_1", "sga_1", "Bearer sga_1 sga_1", "Bearer " + "x" * 513,
     "Bearer sga_1\u00e9"],
)  # fmt: skip
def test_anything_else_is_nobody(credential: str | None):
    assert status(gate(), credential) == 401


def test_two_credentials_are_none():
    with pytest.raises(Denied) as e:
        gate().who("10.0.0.1", ["Bearer sga_1", "Bearer sga_1"], "viewer")
    assert e.value.status == 401


def test_the_digest_of_a_consumers_key_opens_nothing_even_where_it_is_declared_for_an_operator():
    key = b"sgk_1"
    admin = Admin(keys=(OperatorKey("x", "operator", digest(key, SECRETS[0])),))
    assert status(gate(admin=admin), "Bearer sgk_1") == 401


def test_whoever_guesses_waits_and_nobody_else_does():
    clock = Clock()
    found = gate(clock)
    assert [status(found, "Bearer no") for _ in range(GUESSES + 5)] == [401] * GUESSES + [429] * 5
    assert status(found, "Bearer sga_1") == 429, "not even the right key, or guessing would go on"
    assert status(found, "Bearer sga_1", peer="10.0.0.2") == "eve"
    assert status(found, None) == 401, "who shows nothing does not guess"
    clock.now += GUESS_S
    assert status(found, "Bearer sga_1") == "eve"
    assert [status(found, "Bearer no") for _ in range(2)] == [401, 429]


def test_addresses_that_guess_are_remembered_up_to_a_bound():
    found = gate()
    for n in range(2 * PEERS):
        status(found, "Bearer no", peer=f"10.0.{n // 256}.{n % 256}")
    assert len(found._guesses) == PEERS


@pytest.mark.parametrize(
    ("host", "well"),
    [("127.0.0.1:8081", True), ("10.1.2.3", True), ("[::1]:8081", True), ("localhost:8081", True), ("LOCALHOST", True),
     ("admin.example", True), ("Admin.Example:443", True), ("evil.example", False), ("localhost.evil.example", False),
     ("127.0.0.1.evil.example", False), ("", False), (None, False), ("admin.example.", False), ("@127.0.0.1", False)],
)  # fmt: skip
def test_a_page_in_a_browser_cannot_have_its_own_name_lead_here(host: str | None, well: bool):
    found = gate()
    if well:
        found.called(host)
    else:
        with pytest.raises(Wrong) as e:
            found.called(host)
        assert e.value.status == 421 and "gateway.admin.hosts" in e.value.message


@given(st.text(max_size=40))
def test_any_host_header_is_read(text: str):
    assert isinstance(host_of(text), str)


def test_each_role_may_what_the_table_says():
    assert {role: [what for what in MAY if may(role, what)] for role in ROLES} == {
        "viewer": ["tenant", "viewer"],
        "tenant_admin": ["tenant", "people"],
        "auditor": ["tenant", "viewer", "audit"],
        "operator": ["tenant", "viewer", "people", "operator"],
        "owner": ["tenant", "viewer", "people", "audit", "operator"],
    }


def test_loopback_is_this_machine_alone():
    assert [loopback(h) for h in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "10.0.0.1", "example.org")] == [
        True, True, True, False, False, False,
    ]  # fmt: skip
