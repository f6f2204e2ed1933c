"""A route: what it keeps of those who call it."""

from sluicegate.core.pool import Pool
from sluicegate.core.record import PLAIN
from sluicegate.core.route import CONTEXTS, Route
from sluicegate.core.snapshot import Model


def test_what_an_arm_keeps_of_its_callers_is_bounded():
    """Each request brings words of its own where records say the client's address."""
    route = Route(Model(1, "chat", (), ("chat_completions",)), Pool([]))
    plain = PLAIN.but(client="192.0.2.1")
    assert route.on_arm(plain) is route.on_arm(plain)
    for n in range(3 * CONTEXTS):
        assert route.on_arm(PLAIN.but(client=str(n))).client == str(n)
    assert len(route._contexts) <= CONTEXTS
