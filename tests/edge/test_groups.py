"""Requests that wait for the directory, at the edge: what arrives meanwhile is neither lost nor believed."""

from collections.abc import Callable

import pytest

from sluicegate.core.params import ParamSpec
from sluicegate.core.principal import Whose
from sluicegate.core.snapshot import ConsumerEntry, Directory, Match
from tests.edge.forms import DATED, END, TEXT, V1, body_of, field, file, head, house, reason
from tests.edge.line import House
from tests.gateway import KEY, SECRET
from tests.laws.test_groups import GROUP, TOKEN, Proves

FORM = field(b"model", b"chat") + file(b"sound" * 2000) + field(b"language", b"de") + END
CHAT = b'{"model": "chat", "messages": [{"role": "user", "content": "%b"}]}'


class Waiting:
    """Stands for who waits for the keeper."""

    def __init__(self, proves: Proves) -> None:
        self.proves = proves
        self.done: list[Callable[[], None]] = []

    def ask(self, token: bytes, done: Callable[[], None]) -> bool:
        self.done.append(done)
        return True

    def answer(self, *groups: str) -> None:
        self.proves.told(Whose("contoso", "t", "users", "1"), list(groups), 2e9)
        for done in self.done:
            done()
        self.done = []


def waiting(*rules: ParamSpec, **model: object) -> tuple[House, Waiting]:
    h = house(**model)
    proves = Proves()
    entry = ConsumerEntry(
        1, "group", "default", ("chat",), (), match=Match("contoso", (("groups", (GROUP,)),)), params=rules
    )
    h.world.adopt(h.snapshot, Directory((SECRET,), (entry,)))
    h.world.know(proves)
    h.bound.adopted()
    h.bound.groups = waiter = Waiting(proves)
    return h, waiter


def shown(request: bytes) -> bytes:
    return request.replace(b"api-key: " + KEY.encode(), b"authorization: Bearer " + TOKEN % 1)


def chat(body: bytes, path: bytes = b"/v1/chat/completions") -> bytes:
    lines = [
        b"POST " + path + b" HTTP/1.1",
        b"Host: gateway",
        b"api-key: " + KEY.encode(),
        b"Content-Type: application/json",
    ]
    return shown(b"\r\n".join([*lines, b"Content-Length: %d" % len(body)]) + b"\r\n\r\n") + body


@pytest.mark.parametrize(
    "path", [b"/v1/chat/completions", b"/openai/deployments/chat/chat/completions?api-version=2024-10-21"]
)
def test_a_body_that_came_waits_and_the_next_request_behind_it_does_not_get_before_it(path: bytes):
    h, waiter = waiting()
    line = h.line()
    line.send(chat(CHAT % b"one", path), chat(CHAT % b"two", path))
    assert not h.upstream.calls and not line.out and len(waiter.done) == 1
    waiter.answer(GROUP)
    assert [b"one" in call.bytes for call in h.upstream.calls] == [True]
    h.upstream.calls[0].answer(b'{"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}')
    line.settle()
    assert b"two" in h.upstream.calls[1].bytes and waiter.done == [], "it asks nobody"
    assert h.journal.recent[-1].trail[:2] == ["credential: token of contoso", h.journal.recent[-1].trail[1]]


def test_a_body_that_is_too_large_for_the_model_is_refused_as_soon_as_it_is_known_whose_it_is():
    h, waiter = waiting(body_max=100)
    h.world.routes.largest_body = 10_000  # another model takes more
    for path in (b"/v1/chat/completions", b"/openai/deployments/chat/chat/completions?api-version=2024-10-21"):
        line = h.line()
        h.world.prover.known.clear()  # type: ignore[union-attr]
        line.send(chat(CHAT % (b"x" * 200), path))
        waiter.answer(GROUP)
        assert reason(line) == "request.body_too_large" and not h.upstream.calls


@pytest.mark.parametrize("path", [V1, DATED])
def test_a_form_goes_on_coming_while_it_waits_and_goes_up_whole(path: bytes):
    h, waiter = waiting()
    line = h.line()
    line.send(shown(head(path, len(FORM))) + FORM[:5000])
    line.send(FORM[5000:7000])
    assert len(waiter.done) == 1 and not h.upstream.calls
    waiter.answer(GROUP)
    line.send(FORM[7000:])
    [call] = h.upstream.calls
    assert body_of(call.bytes) == (
        FORM if path == DATED else FORM.replace(b"\r\n\r\nchat\r\n", b"\r\n\r\ngpt-4o-1\r\n")
    )
    call.answer(TEXT)
    assert line.answers()[0].status == 200


@pytest.mark.parametrize("rules", [(), (ParamSpec("language", "deny"),)])
def test_a_form_that_breaks_while_it_waits_is_refused_and_nothing_hangs(rules: tuple[ParamSpec, ...]):
    h, waiter = waiting(*rules)
    line = h.line()
    line.send(shown(head(V1, len(FORM))) + FORM[:5000])
    line.send(FORM[5000 : -len(END)] + b"x" * len(END))
    assert len(waiter.done) == 1
    waiter.answer(GROUP)
    assert reason(line).startswith("request.") and line.answers()[0].status == 400


def test_who_is_not_in_the_group_is_refused_whatever_came():
    h, waiter = waiting()
    line = h.line()
    line.send(shown(head(V1, len(FORM))) + FORM[:5000])
    waiter.answer()
    assert reason(line) == "identity.unmatched" and not h.upstream.calls


def test_who_leaves_while_it_waits_leaves_nothing_behind():
    h, waiter = waiting()
    for request in (chat(CHAT % b"one"), shown(head(V1, len(FORM))) + FORM[:5000]):
        line = h.line()
        line.send(request)
        line.leave()
    assert not h.bound.live and len(waiter.done) == 2
    waiter.answer(GROUP)
    assert not h.upstream.calls and h.is_empty()
