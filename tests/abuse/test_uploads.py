"""Uploads over real sockets whose other side does what it should not: answers early, breaks off, leaves."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from sluicegate.sim.azure.audio import heard
from tests.clients.media import media_site
from tests.clients.members import until
from tests.clients.site import Site
from tests.edge.forms import DATED, END, field, file, head

SOUND = os.urandom(8_000_000)
FORM = field(b"model", b"ears") + file(SOUND) + END
PATH = DATED.replace(b"/chat/", b"/ears/")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with media_site(False, tmp_path_factory.mktemp("site")) as made:
        yield made


@pytest.fixture
def where(site: Site) -> Iterator[Site]:
    site.gateway.forget()
    yield site
    until(lambda: not site.gateway.call(lambda: len(site.gateway.worker.bound.live)))


def client(where: Site) -> socket.socket:
    return socket.create_connection(("127.0.0.1", where.gateway.port), 20)


def told(s: socket.socket) -> tuple[int, dict[str, str], Any]:
    """Status, headers, JSON of the answer."""
    raw = b""
    while b"\r\n\r\n" not in raw:
        piece = s.recv(65536)
        assert piece, raw
        raw += piece
    top, _, body = raw.partition(b"\r\n\r\n")
    line, *fields = top.decode("latin-1").split("\r\n")
    headers = {n.lower(): v.strip() for n, _, v in (f.partition(":") for f in fields)}
    while len(body) < int(headers["content-length"]):
        body += s.recv(65536)
    return int(line.split(" ")[1]), headers, json.loads(body)


def last(where: Site) -> Any:
    until(lambda: where.gateway.call(lambda: not where.gateway.worker.bound.live))
    return where.gateway.call(lambda: where.gateway.journal.recent[-1])


@pytest.mark.parametrize("fault", [{"kind": "throttle", "wait_s": 0.2}, {"kind": "status", "status": 500}])
def test_abuse_89_an_early_answer_hands_an_upload_on_while_it_comes(where: Site, fault: dict[str, Any]):
    more = dict(fault)
    where.fleet.fault(more.pop("kind"), instance="i1", early=True, times=1, **more)
    with client(where) as s:
        s.sendall(head(PATH, len(FORM)) + FORM[:4_000_000])
        until(lambda: len([e for e in where.fleet.ledger if e.instance == "i2"]) > 0)  # it is there already
        s.sendall(FORM[4_000_000:])
        status, _, said = told(s)
    assert (status, said["text"]) == (200, heard(SOUND))
    first, second = list(where.fleet.ledger)[-2:]
    assert (first.instance, first.complete, second.instance, second.complete) == ("i1", False, "i2", True)
    record = last(where)
    assert len(record.attempts) == 2 and record.attempts[0].cause and record.status == 200
    with client(where) as s:  # and what comes next is its own
        s.sendall(head(PATH, len(FORM)) + FORM)
        assert told(s)[2]["text"] == heard(SOUND)
    assert where.served().connection != first.connection


def test_abuse_89_when_all_answer_early_the_client_hears_it_while_it_sends(where: Site):
    where.fleet.fault("throttle", early=True, times=2, wait_s=3.0)
    with client(where) as s:
        s.sendall(head(PATH, len(FORM)) + FORM[:1_000_000])
        status, headers, _ = told(s)
    assert (status, headers["x-sluicegate-reason"], headers["connection"]) == (429, "pool.throttled", "close")


def test_a_client_that_leaves_in_the_middle_of_an_upload_ends_it(where: Site):
    before = len(where.fleet.ledger)
    with client(where) as s:
        s.sendall(head(PATH, len(FORM)) + FORM[:3_000_000])
        until(lambda: len(where.fleet.ledger) > before)
    record = last(where)
    assert (record.how, record.usage.input, record.attempts[0].sent) == ("gone", 0, "some")
    entry = where.served()
    until(lambda: entry.ended_at)
    assert not entry.complete


def test_an_instance_that_goes_down_in_the_middle_of_an_upload_is_made_good(where: Site):
    with client(where) as s:
        before = len(where.fleet.ledger)
        s.sendall(head(PATH, len(FORM)) + FORM[:3_000_000])
        until(lambda: len(where.fleet.ledger) > before)
        where.fleet.patch({"i1": {"mode": "down"}})
        try:
            s.sendall(FORM[3_000_000:])
            assert told(s)[2]["text"] == heard(SOUND)
        finally:
            where.fleet.patch({"i1": {"mode": "up"}})
    assert where.served().instance == "i2" and len(last(where).attempts) == 2


def test_a_form_that_is_none_at_its_end_reaches_nobody_whole(where: Site):
    bad = field(b"model", b"ears") + file(SOUND) + field(b"model", b"whisper") + END
    with client(where) as s:
        s.sendall(head(PATH, len(bad)) + bad)
        status, headers, said = told(s)
    assert (status, headers["x-sluicegate-reason"]) == (400, "request.duplicate_key")
    assert "'model'" in said["error"]["message"]
    entry = where.served()
    until(lambda: entry.ended_at)
    assert not entry.complete and last(where).usage.input == 0
