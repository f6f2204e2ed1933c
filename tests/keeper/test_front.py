"""The front through keeper and workers: certificates in a file that changes, doors that change, and a proxy before it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.abuse.outside import Upstream
from tests.certificates import Authority, Leaf
from tests.keeper.running import KEY, Gateway, config, until

DOOR = "9a3f2c1e-0000-4000-8000-5b1d7e000001"
BODY = json.dumps({"model": "chat", "messages": [{"role": "user", "content": "hi"}]})
HEADERS = {"api-key": KEY, "content-type": "application/json"}
MODELS = "  chat: {use: gpt-4o@2024-11-20}\n"


def written(folder: Path, upstream: Upstream, front: str, consumers: str = "", workers: int = 2, tls: str = "") -> str:
    text = config(folder, f"http://127.0.0.1:{upstream.port}", workers)
    text = text.replace("  listen: {address: '127.0.0.1:0'}\n", f"  listen: {{address: '127.0.0.1:0'{tls}}}\n{front}")
    return text + consumers


def answer(connection: http.client.HTTPConnection, headers: dict[str, str], path: str = "/v1/chat/completions") -> str:
    """Status, and the reason of a refusal."""
    connection.request("POST", path, BODY, headers)
    got = connection.getresponse()
    got.read()
    return f"{got.status} {got.getheader('x-sluicegate-reason') or ''}".strip()


def asked(port: int, leaf: Leaf | None, pki: Authority, headers: dict[str, str]) -> str:
    connection = http.client.HTTPSConnection("localhost", port, timeout=10, context=client(leaf, pki))
    try:
        return answer(connection, headers)
    finally:
        connection.close()


def client(leaf: Leaf | None, pki: Authority) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(pki.file))
    if leaf is not None:
        context.load_cert_chain(leaf.file, leaf.key_file)
    return context


def test_row_E7_a_list_in_a_file_that_changes_holds_on_every_worker_also_for_open_connections(tmp_path: Path):
    pki = Authority(tmp_path)
    server, shop, other = pki.server(), pki.leaf("shop"), pki.leaf("other")
    crl = pki.revoke([other], "revoked.pem")
    tls = f", tls: {{certificate: {server.file}, key: {server.key_file}, client: {{ca: {pki.file}}}}}"
    shown = {"content-type": "application/json"}
    by_certificate = f"  shop: {{match: {{certificate: {{thumbprint: {shop.thumbprint}}}}}, models: [chat]}}\n"
    with Upstream() as upstream:
        text = written(tmp_path, upstream, f"  certificates: {{crl: [{crl}]}}\n", by_certificate, tls=tls)
        with Gateway(tmp_path, text) as gateway:
            port = gateway.port
            assert [asked(port, shop, pki, shown) for _ in range(6)] == ["200"] * 6
            assert {asked(port, other, pki, HEADERS) for _ in range(6)} == {"403 credential.revoked"}
            kept = [
                http.client.HTTPSConnection("localhost", port, timeout=10, context=client(shop, pki)) for _ in range(6)
            ]
            assert [answer(one, shown) for one in kept] == ["200"] * 6
            forged = Authority(tmp_path, "forger").revoke([], "forged.pem").read_bytes()
            good = crl.read_bytes()
            crl.write_bytes(forged)
            gateway.event("config.refused")
            assert [answer(one, shown) for one in kept] == ["200"] * 6, "the list before stays in force"
            crl.write_bytes(good)
            pki.revoke([other, shop], "revoked.pem")
            gateway.event("config.adopted")
            assert {answer(one, shown) for one in kept} == {"403 credential.revoked"}
            assert {asked(port, shop, pki, shown) for _ in range(6)} == {"403 credential.revoked"}
            for one in kept:
                one.close()
            assert not any("shop" in line or shop.thumbprint in line for line in gateway.said), (
                "names of clients are not told"
            )


def test_row_F2_doors_change_while_it_runs_and_no_request_is_lost(tmp_path: Path):
    other = DOOR[:-1] + "2"
    with Upstream() as upstream:
        with Gateway(tmp_path, written(tmp_path, upstream, f"  front_door_ids: [{DOOR}]\n")) as gateway:
            connections = [http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10) for _ in range(6)]
            through = {**HEADERS, "X-Azure-FDID": DOOR}
            assert {answer(one, through) for one in connections} == {"200"}
            assert {answer(one, HEADERS) for one in connections} == {"403 front.door"}
            assert gateway.get("/health/ready")[0] == 200
            gateway.file.write_text(gateway.file.read_text().replace(f"[{DOOR}]", f"[{other}]"))
            gateway.event("config.adopted")
            assert {answer(one, through) for one in connections} == {"403 front.door"}
            assert {answer(one, {**HEADERS, "X-Azure-FDID": other}) for one in connections} == {"200"}
            for one in connections:
                one.close()


class Proxy:
    """A gateway in front of the gateway, as small as one can be: prefix, client address, one kept connection each."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                s, peer = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(s, peer[0]), daemon=True).start()

    def _carry(self, s: socket.socket, peer: str) -> None:
        with s, socket.create_connection(("127.0.0.1", self.port)) as up:
            try:
                head = b""
                while b"\r\n\r\n" not in head:
                    head += s.recv(65536)
                head, _, body = head.partition(b"\r\n\r\n")
                first, _, rest = head.partition(b"\r\n")
                method, path, version = first.split(b" ")
                up.sendall(b" ".join((method, b"/llm" + path, version)) + b"\r\n" + rest
                           + b"\r\nX-Forwarded-For: " + peer.encode() + b"\r\nVia: 1.1 proxy\r\n\r\n" + body)  # fmt: skip
                while got := up.recv(65536):
                    s.sendall(got)
            except OSError:
                pass


@contextmanager
def proxied(port: int) -> Iterator[Proxy]:
    proxy = Proxy(port)
    try:
        yield proxy
    finally:
        proxy.listener.close()


def test_row_A18_behind_another_gateway_path_address_and_trace_are_right(tmp_path: Path):
    """The proxy is at 127.0.0.1, trusted; its clients come from other addresses of this machine."""
    front = "  base_paths: [/llm]\n  trusted_proxies: [127.0.0.1/32]\n  allow: [127.0.0.2, 127.0.0.3]\n  failures: 3\n"
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with Upstream() as upstream, Gateway(tmp_path, written(tmp_path, upstream, front, workers=1)) as gateway:
        with proxied(gateway.port) as proxy:

            def through(
                address: str, headers: dict[str, str], method: str = "POST", path: str = "/v1/chat/completions"
            ) -> str:
                connection = http.client.HTTPConnection(
                    "127.0.0.1", proxy.address, timeout=10, source_address=(address, 0)
                )
                try:
                    connection.request(
                        method, path, BODY if method == "POST" else None, {**headers, "connection": "close"}
                    )
                    got = connection.getresponse()
                    got.read()
                    return f"{got.status} {got.getheader('x-sluicegate-reason') or ''}".strip()
                finally:
                    connection.close()

            assert through("127.0.0.2", {**HEADERS, "traceparent": trace, "tracestate": "a=b"}) == "200"
            (seen,) = upstream.requests
            assert seen.header(b"traceparent") == trace.encode() and seen.header(b"tracestate") == b"a=b"
            assert seen.target == b"/openai/v1/chat/completions"
            for name in (b"x-forwarded-for", b"via", b"forwarded"):
                assert seen.header(name) is None
            assert through("127.0.0.4", HEADERS) == "403 front.address"
            spoofed = {**HEADERS, "X-Forwarded-For": "127.0.0.2"}
            assert through("127.0.0.4", spoofed) == "403 front.address", "what the client wrote stands further left"
            bad = {**HEADERS, "api-key": "nobody"}
            assert [through("127.0.0.3", bad) for _ in range(4)][-1] == "429 credential.too_many_failures"
            assert through("127.0.0.2", bad) == "401 credential.unknown", "each client for itself"
            assert through("127.0.0.4", {}, "GET", "/health/region") == "200", "whoever asks"
            assert through("127.0.0.2", HEADERS, "GET", "/v1/models") == "200"
            assert len(upstream.requests) == 1


def test_a_worker_that_reads_no_certificate_has_not_loaded_what_does(tmp_path: Path):
    def loaded(gateway: Gateway) -> bool:
        return any("cryptography" in Path(f"/proc/{pid}/maps").read_text() for pid in until(lambda: gateway.workers))

    with Upstream() as upstream:
        with Gateway(tmp_path, written(tmp_path, upstream, f"  front_door_ids: [{DOOR}]\n", workers=1)) as gateway:
            assert not loaded(gateway)
            text = gateway.file.read_text()
            proxies = "  trusted_proxies: [10.0.0.0/8]\n  certificates: {forwarded: {header: client-cert}}\n"
            gateway.file.write_text(text.replace("  front_door", proxies + "  front_door"))
            gateway.event("config.adopted")
            assert loaded(gateway)


def test_what_is_refused_before_any_exchange_has_lines_and_counts_over_all_workers(tmp_path: Path):
    """A platform team that is paged for a wrong door sees it; a flood of it is some lines and a number."""
    with Upstream() as upstream:
        text = written(tmp_path, upstream, f"  front_door_ids: [{DOOR}]\n")
        text += f"telemetry: {{access_log: {tmp_path}/access.log, client_address: true}}\n"
        with Gateway(tmp_path, text) as gateway:
            connections = [http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10) for _ in range(6)]
            for _ in range(20):
                assert {answer(one, HEADERS) for one in connections} == {"403 front.door"}
            for one in connections:
                one.close()
            until(lambda: b'reason="front.door"} 120' in metrics(gateway), 10.0)
            gateway.end()
        lines = [json.loads(line) for line in (tmp_path / "access.log").read_text().splitlines()]
        assert sum(1 + line.get("more", 0) for line in lines) == 120 and len(lines) < 120
        assert {(line["reason"], line["status"], line["client"]) for line in lines} == {
            ("front.door", 403, "127.0.0.1")
        }


def test_failures_are_counted_over_all_workers_and_so_is_what_was_good(tmp_path: Path):
    """Three workers: a guesser on many connections, which the kernel spreads, has the tries of one. Who was let in by
    one worker is let in by all."""
    with Upstream() as upstream:
        text = written(tmp_path, upstream, "  failures: 10\n", workers=3)
        with Gateway(tmp_path, text) as gateway:

            def ask(key: str) -> str:
                connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
                try:
                    return answer(connection, {**HEADERS, "api-key": key})
                finally:
                    connection.close()

            def room() -> float:
                return 10 + (time.monotonic() - began) / 6 + 1

            began = time.monotonic()
            assert ask(KEY) == "200"
            got = Counter(ask(f"guess-{n}") for n in range(60))
            assert got.keys() == {"401 credential.unknown", "429 credential.too_many_failures"}
            assert 10 <= got["401 credential.unknown"] <= room(), "ten, and what the time makes room for"
            assert {ask(KEY) for _ in range(20)} == {"200"}, "on whichever worker"
            [one, *_] = gateway.workers
            os.kill(one, signal.SIGKILL)
            gateway.event("worker.ready")
            assert {ask(KEY) for _ in range(20)} == {"200"}
            got += Counter(ask(f"guess-{n}") for n in range(30))
            assert got["401 credential.unknown"] <= room(), "a new worker knows"


def metrics(gateway: Gateway) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.admin, timeout=10)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read()
    finally:
        connection.close()
