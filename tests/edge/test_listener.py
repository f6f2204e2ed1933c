"""Where clients come in and how they are let go: health, TLS, ids, leaving without breaking anybody."""

import json
import socket
import ssl
import threading
from pathlib import Path

import pytest

from bench.certificates import make
from sluicegate.core.settings import Listen, TlsFiles
from tests.abuse.outside import ANSWER, EVENTS, STREAMED, Broken, Client, Seen, Upstream, ask, chunked, request, stream
from tests.edge.line import House
from tests.gateway import GatewayThread, instance, snapshot


def get(path: bytes, method: bytes = b"GET") -> bytes:
    return method + b" " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n"


def test_health_needs_no_credential_and_says_states_only():
    house = House()
    live, ready, other = (
        house.line().send(get(b"/health/live"), get(b"/health/ready"), get(b"/health/live", b"DELETE")).answers()
    )
    assert (live.status, live.json) == (200, {"status": "live"})
    assert (ready.status, ready.json) == (200, {"status": "ready", "config": house.snapshot.hash})
    assert live.header("cache-control") == b"no-store" and other.status == 404
    house.server.draining = True
    assert [house.line().send(get(p)).answers()[0].status for p in (b"/health/live", b"/health/ready")] == [200, 503]


def test_ids_are_unique_sort_by_time_and_stand_in_every_answer():
    house = House()
    line = house.line().send(request(), request(key="nobody"), request(path=b"/x"), b"\x00")
    ids = [a.header("x-sluicegate-request-id") for a in line.answers()]
    assert len(set(ids)) == 4 and ids == sorted(ids, key=lambda i: i or b"") and all(i and len(i) == 32 for i in ids)


def test_refusals_before_an_exchange_are_counted_by_their_reason():
    house = House()
    for message in (b"\x00", b"\x00", request(path=b"/x"), request(b"Host: y")):
        house.line().send(message)
    assert dict(house.server.refusals) == {"request.malformed": 2, "route.path": 1, "request.host": 1}


def test_a_base_url_that_ends_too_early_or_too_late_is_answered_with_how_they_end():
    """`OpenAI(base_url=...)` without /v1 asks for /chat/completions, one with too much of it for /v1/openai/...: the
    first mistake of most."""
    house = House()
    for path in (
        b"/chat/completions",
        b"/v1/chat/completions/chat/completions",
        b"/openai/v1/openai/deployments/chat/x",
    ):
        (said,) = house.line().send(request(path=path)).answers()
        assert said.status == 404 and said.json["error"]["reason"] == "route.path"
        assert "Base URLs of OpenAI's SDKs end in /openai/v1 or /v1" in said.json["error"]["message"]


def tls(folder: Path) -> tuple[Listen, ssl.SSLContext]:
    files = make(folder)
    trusting = ssl.create_default_context(cafile=str(files.ca))
    return Listen(port=0, head_s=1.0, tls=TlsFiles(str(files.certificate), str(files.key))), trusting


def test_over_tls_requests_are_served_and_plain_ones_are_not(tmp_path: Path):
    listen, trusting = tls(tmp_path)
    with Upstream() as upstream, GatewayThread(snapshot([instance(1, upstream.port)], listen)) as gateway:
        for _ in range(3):
            client = Client(gateway.port)
            client.socket = trusting.wrap_socket(client.socket, server_hostname="localhost")
            with client:
                client.send(request(), request())
                assert [client.answer().body for _ in range(2)] == [ANSWER] * 2
                assert (client.socket.version() or "") >= "TLSv1.2" and client.socket.selected_alpn_protocol() in (
                    None,
                    "http/1.1",
                )
        with Client(gateway.port) as plain:
            plain.send(request())
            assert b"HTTP" not in plain.rest()
        with Client(gateway.port) as silent:  # a handshake that never comes
            assert silent.rest() == b""
        assert len(upstream.requests) == 6
    assert gateway.totals["refused_early"] == {"tls.handshake": 2}


def test_a_listener_that_is_full_of_handshakes_serves_those_that_are_done(tmp_path: Path):
    listen, trusting = tls(tmp_path)
    listen = Listen(port=0, head_s=1.0, tls=listen.tls, handshakes=2)
    with Upstream() as upstream, GatewayThread(snapshot([instance(1, upstream.port)], listen)) as gateway:
        good = Client(gateway.port)
        good.socket = trusting.wrap_socket(good.socket, server_hostname="localhost")
        with good:
            silent = [Client(gateway.port) for _ in range(4)]
            for _ in range(20):
                good.send(request())
                assert good.answer().status == 200
            late = Client(gateway.port)
            late.socket = trusting.wrap_socket(late.socket, server_hostname="localhost")  # waits in the backlog
            with late:
                late.send(request())
                assert late.answer().status == 200
            for client in silent:
                client.socket.close()


@pytest.mark.parametrize("drain_s", [5.0, 0.3])
def test_leaving_lets_a_stream_end_in_its_time_and_then_cuts_it_with_an_error_frame(drain_s: float):
    begun, go = threading.Event(), threading.Event()

    def script(seen: Seen, s: socket.socket) -> bool:
        s.sendall(stream(EVENTS[0], end=b""))
        begun.set()
        if drain_s > 1:
            go.wait(10)
            s.sendall(chunked(*EVENTS[1:]))
        else:
            s.settimeout(10)
            s.recv(1)
        return False

    with Upstream() as upstream:
        upstream.answer = script
        gateway = GatewayThread(snapshot([instance(1, upstream.port)], drain_s=drain_s))
        with gateway, Client(gateway.port) as client, Client(gateway.port) as idle:
            client.send(request(body=STREAMED))
            assert begun.wait(10)
            begin = client.until(b"data: ")
            stopping = threading.Thread(target=gateway.stop)
            stopping.start()
            assert idle.rest() == b"" and not idle.was_reset, "an idle connection is closed at once, properly"
            go.set()
            client.buffer = begin + client.buffer
            got = client.answer()
            stopping.join()
            assert got.whole
            if drain_s > 1:
                assert got.events()[-1] == b"data: [DONE]"
            else:
                assert b"stream.drained" in got.events()[-1] and b"[DONE]" not in got.body
    assert gateway.totals["open"] == 0 and gateway.totals["records"] == 1


def test_after_leaving_nobody_is_let_in():
    with Upstream() as upstream:
        with GatewayThread(snapshot([instance(1, upstream.port)])) as gateway:
            assert ask(gateway.port, request()).status == 200
        with pytest.raises((ConnectionRefusedError, Broken)):
            ask(gateway.port, request())


def test_a_gateway_out_of_files_for_a_moment_goes_on():
    """accept() that fails for want of descriptors is tried again, it does not end the listener."""
    with Upstream() as upstream, GatewayThread(snapshot([instance(1, upstream.port)])) as gateway:
        server = gateway.worker.server

        class Full:
            def accept(self) -> None:
                raise OSError(24, "Too many open files")

        gateway.call(lambda: server._accept(Full()))  # type: ignore[arg-type]
        assert not gateway.call(lambda: server._accepting)
        assert json.loads(ask(gateway.port, request()).body)["id"] == "c", "accepted when it was tried again"


def test_a_client_that_was_not_told_to_close_may_send_its_next_request_while_the_gateway_leaves():
    """Its answer began before the gateway was told to leave, so its head could not say `Connection: close`. Peers that
    close after it reset the request that follows."""
    begun, go = threading.Event(), threading.Event()

    def script(seen: Seen, s: socket.socket) -> bool:
        s.sendall(stream(EVENTS[0], end=b""))
        begun.set()
        go.wait(10)
        s.sendall(chunked(*EVENTS[1:]))
        return True

    with Upstream() as upstream:
        plain, upstream.answer = upstream.answer, script
        gateway = GatewayThread(snapshot([instance(1, upstream.port)], drain_s=20.0))
        gateway.still_listen_s = 2.0
        with gateway, Client(gateway.port) as client:
            client.send(request(body=STREAMED))
            assert begun.wait(10)
            stopping = threading.Thread(target=gateway.stop)
            stopping.start()
            while not gateway.call(lambda: gateway.worker.server.draining):
                pass
            go.set()
            first = client.answer()
            assert first.whole and first.header("connection") != b"close"
            upstream.answer = plain
            client.send(request())
            second = client.answer()
            assert second.status == 200 and second.header("connection") == b"close"
            stopping.join()
    assert gateway.totals["records"] == 2


def test_a_connection_with_bytes_nobody_has_read_yet_is_not_quiet():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        line = House().line()
        line.connection.transport.get_extra_info = lambda name: ours if name == "socket" else None
        now = line.connection.server.now()
        assert line.connection.quiet(now) and not line.connection.quiet(now - 1)
        theirs.send(b"POST")
        assert not line.connection.quiet(now)
