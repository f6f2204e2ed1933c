"""Certificates of clients over real TLS: chain, dates, revocation, kept connections, resumed sessions, and proxies."""

from __future__ import annotations

import base64
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sluicegate.core.caller import Callers, digest
from sluicegate.core.expr.parse import parse
from sluicegate.core.settings import DigestedFile, ForwardedCertificate, Front, Listen, TlsFiles
from sluicegate.core.snapshot import ConsumerEntry, Directory, Match, Snapshot
from sluicegate.sim.fleet import FleetThread
from tests.abuse.outside import Broken, Client, Upstream, is_refusal, request
from tests.certificates import DAY, Authority, Leaf
from tests.gateway import KEY, SECRET, UPSTREAM_KEY, GatewayThread, instance, snapshot


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def shop(pki: Authority) -> Leaf:
    return pki.leaf("shop")


class Secure(Client):
    """A client with TLS."""

    def __init__(
        self, port: int, pki: Authority, leaf: Leaf | None, session: ssl.SSLSession | None = None,
        version: ssl.TLSVersion | None = None,
    ) -> None:  # fmt: skip
        context = ssl.create_default_context(cafile=str(pki.file))
        if version is not None:
            context.maximum_version = version
        if leaf is not None:
            context.load_cert_chain(leaf.file, leaf.key_file)
        if session is not None:
            context = self.kept[id(session)]
        plain = socket.create_connection(("127.0.0.1", port), 10.0)
        try:
            self.socket = context.wrap_socket(plain, server_hostname="localhost", session=session)
        except BaseException:
            plain.close()
            raise
        self.context = context
        self.buffer = b""
        self.was_reset = False

    kept: dict[int, ssl.SSLContext] = {}

    def session(self) -> ssl.SSLSession:
        """To be resumed."""
        assert isinstance(self.socket, ssl.SSLSocket) and self.socket.session is not None
        self.kept[id(self.socket.session)] = self.context
        return self.socket.session


def configured(port: int, pki: Authority, required: bool, front: dict[str, Any], own: bool = True) -> Snapshot:
    plain = snapshot([instance(1, port)])
    server = pki.server()
    tls = TlsFiles(str(server.file), str(server.key_file), str(pki.file) if own else "", required)
    asked = Front(**{"certificates": own, **front})
    return replace(plain, gateway=replace(plain.gateway, listen=Listen(port=0, tls=tls), front=asked))


@contextmanager
def asking(
    pki: Authority, shop: Leaf, required: bool = True, own: bool = True, at: int = 0, **front: Any
) -> Iterator[tuple[GatewayThread, Upstream]]:
    """A gateway that knows `shop` by its certificate, and `app` by its key. `at`: its upstream is there."""
    entries = (
        ConsumerEntry(1, "app", "default", ("chat",), (digest(KEY.encode(), SECRET),)),
        ConsumerEntry(2, "shop", "default", ("chat",), (), match=Match("", certificate=(("thumbprint", (shop.thumbprint,)),))),
    )  # fmt: skip
    with Upstream() as upstream:
        spec = configured(at or upstream.port, pki, required, front, own)
        with GatewayThread(spec, Directory((SECRET,), entries)) as gateway:
            yield gateway, upstream


def said(gateway: GatewayThread, pki: Authority, leaf: Leaf | None, *messages: bytes, **how: Any) -> list[Any]:
    with Secure(gateway.port, pki, leaf, **how) as client:
        got = []
        for message in messages:
            client.send(message)
            got.append(client.answer())
        return got


def consumers(gateway: GatewayThread) -> list[int]:
    return [record.consumer for record in gateway.journal.recent]


def shut_out(gateway: GatewayThread, pki: Authority, leaf: Leaf | None, **how: Any) -> bool:
    """Whether the handshake fails: with TLS 1.3 a client hears of it when it reads."""
    try:
        said(gateway, pki, leaf, request(), **how)
    except (ssl.SSLError, Broken, ConnectionError):
        return True
    return False


ALONE = request(key=None)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_row_E7_who_it_is_by_the_certificate_alone(pki: Authority, shop: Leaf, version: ssl.TLSVersion):
    with asking(pki, shop) as (gateway, upstream):
        assert [a.status for a in said(gateway, pki, shop, ALONE, ALONE, ALONE, version=version)] == [200, 200, 200]
        assert consumers(gateway) == [2, 2, 2]
        is_refusal(said(gateway, pki, pki.leaf("nobody"), ALONE, version=version)[0], "identity.unmatched")
        is_refusal(said(gateway, pki, shop, request(), version=version)[0], "credential.ambiguous")
        assert said(gateway, pki, pki.leaf("machine"), request(), version=version)[0].status == 200
        assert consumers(gateway)[-1] == 1 and len(upstream.requests) == 4


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_row_E7_without_a_good_chain_no_handshake_comes_about(
    pki: Authority, shop: Leaf, version: ssl.TLSVersion, tmp_path: Path
):
    other = Authority(tmp_path, "authority")  # of the same name
    with asking(pki, shop) as (gateway, upstream):
        for leaf in (
            None,
            pki.leaf("over", -2 * DAY, -DAY),
            pki.leaf("early", DAY, 2 * DAY),
            other.leaf("shop"),
            pki.server(),
        ):
            assert shut_out(gateway, pki, leaf, version=version)
        assert upstream.requests == [] and gateway.worker.server.refusals["tls.handshake"] == 5
    with asking(pki, shop, required=False) as (gateway, upstream):
        assert said(gateway, pki, None, request(), version=version)[0].status == 200
        is_refusal(said(gateway, pki, None, ALONE, version=version)[0], "credential.missing")
        assert said(gateway, pki, shop, ALONE, version=version)[0].status == 200
        assert shut_out(gateway, pki, other.leaf("shop"), version=version), "a bad one is worse than none"


HEADER = "client-cert"


def forwarded(leaf: Leaf) -> bytes:
    return b"Client-Cert: :" + base64.b64encode(leaf.der) + b":"


def file(path: Path, digest: str = "1") -> DigestedFile:
    return DigestedFile(str(path), digest)


def test_row_E7_who_is_revoked_is_refused_also_on_a_connection_that_is_open(pki: Authority, shop: Leaf):
    machine, revoked = pki.leaf("machine"), pki.leaf("revoked")
    crl = pki.revoke([revoked], "first.crl")
    with asking(pki, shop, crl=(file(crl),)) as (gateway, upstream):
        is_refusal(said(gateway, pki, revoked, request())[0], "credential.revoked")
        assert said(gateway, pki, revoked, request())[0].status == 403
        with Secure(gateway.port, pki, shop) as open_one, Secure(gateway.port, pki, machine) as other:

            def asked(client: Client, message: bytes) -> Any:
                client.send(message)
                return client.answer()

            assert [asked(open_one, ALONE).status for _ in range(3)] == [200] * 3
            assert asked(other, request()).status == 200
            pki.revoke([revoked, shop], "first.crl")
            before = gateway.snapshot
            now = replace(
                before, gateway=replace(before.gateway, front=replace(before.gateway.front, crl=(file(crl, "2"),)))
            )
            gateway.call(lambda: gateway.worker.adopt(now, gateway.worker.world.callers, gateway.worker.server.tls))
            is_refusal(asked(open_one, ALONE), "credential.revoked")
            is_refusal(asked(open_one, request()), "credential.revoked")
            assert asked(other, request()).status == 200
        assert len(upstream.requests) == 5


LONG = b'{"model":"chat","stream":true,"messages":[{"role":"user","content":"%b"}]}' % (b"long " * 20)


def begun(client: Client, message: bytes) -> None:
    """Send it, and wait for the first event of its answer."""
    client.send(message)
    while b"data:" not in client.buffer:
        got = client.socket.recv(65536)
        assert got, client.buffer
        client.buffer += got


@pytest.mark.parametrize("own", [True, False], ids=["its own", "as a proxy says"])
def test_row_E7_streams_of_a_certificate_that_is_revoked_end_and_no_others(pki: Authority, shop: Leaf, own: bool):
    machine = pki.leaf("machine")
    crl = pki.revoke([], "streams.crl")
    latency = {"latency": {"first_token_s": 0.01, "per_token_s": 0.1}}
    front: dict[str, Any] = {"crl": (file(crl),)}
    if not own:
        front |= {"forwarded": ForwardedCertificate(HEADER, file(pki.file)), "proxies": ("127.0.0.1/32",)}
    with (
        FleetThread({"a": {"key": UPSTREAM_KEY, "deployments": {"gpt-4o-1": latency}}}, seed=3) as fleet,
        asking(pki, shop, own=own, at=fleet["a"].port, **front) as (gateway, _),
    ):

        def shown(leaf: Leaf, key: str | None = None) -> tuple[Client, bytes]:
            lines = () if own else (forwarded(leaf),)
            return Secure(gateway.port, pki, leaf if own else None), request(*lines, key=key, body=LONG)

        clients = [shown(shop), shown(machine, key=KEY), shown(shop), shown(machine, key=KEY)]
        for client, message in clients:
            begun(client, message)
        pki.revoke([shop], "streams.crl")
        before = gateway.snapshot
        for n in ("1", "2"):  # first a reload that changes nothing here
            now = replace(
                before, gateway=replace(before.gateway, front=replace(before.gateway.front, crl=(file(crl, n),)))
            )
            gateway.call(
                lambda now=now: gateway.worker.adopt(now, gateway.worker.world.callers, gateway.worker.server.tls)
            )
        for n, (client, _) in enumerate(clients):
            answer = client.answer()
            assert answer.status == 200 and answer.whole
            assert (b'"reason":"credential.revoked"' in answer.body) == (n % 2 == 0)
            assert answer.body.rstrip().endswith(b"[DONE]") == (n % 2 == 1)
            client.socket.close()
        ended = [(r.consumer, r.how, r.state) for r in gateway.journal.recent]
        assert sorted(ended) == [(1, "done", "settled")] * 2 + [(2, "revoked", "interrupted")] * 2


def test_row_E7_a_certificate_that_ends_while_its_connection_is_open_proves_nothing_more(pki: Authority, shop: Leaf):
    with asking(pki, shop) as (gateway, upstream), Secure(gateway.port, pki, shop) as client:

        def asked() -> Any:
            client.send(ALONE)
            return client.answer()

        assert [asked().status, asked().status] == [200, 200]
        bound, server = gateway.worker.bound, gateway.worker.server
        wall = bound.wall
        ends = shop.certificate.not_valid_after_utc.timestamp()
        bound.wall = lambda: ends - 0.5
        gateway.call(server.tick)
        assert asked().status == 200
        bound.wall = lambda: ends
        gateway.call(server.tick)
        is_refusal(asked(), "credential.certificate")
        is_refusal(asked(), "credential.certificate")
        bound.wall = wall
        assert len(upstream.requests) == 3


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_row_E7_a_resumed_session_is_the_same_client_and_no_way_around(
    pki: Authority, shop: Leaf, version: ssl.TLSVersion
):
    with asking(pki, shop) as (gateway, _):
        with Secure(gateway.port, pki, shop, version=version) as client:
            client.send(ALONE)
            assert client.answer().status == 200
            session = client.session()
        ends = shop.certificate.not_valid_after_utc.timestamp()
        wall = gateway.worker.bound.wall
        for clock, reason in ((wall, ""), (lambda: ends + 1, "credential.certificate")):
            gateway.worker.bound.wall = clock
            with Secure(gateway.port, pki, shop, session=session) as client:
                assert isinstance(client.socket, ssl.SSLSocket) and client.socket.session_reused
                client.send(ALONE)
                assert client.answer().reason == reason
        gateway.worker.bound.wall = wall
        assert set(consumers(gateway)) == {2}


def test_row_E7_health_asks_for_no_certificate_that_is_not_revoked(pki: Authority, shop: Leaf):
    crl = pki.revoke([shop], "health.crl")
    with asking(pki, shop, crl=(file(crl),)) as (gateway, _):
        alive = request(path=b"/health/live", method=b"GET", key=None, body=b"", length=False)
        assert said(gateway, pki, shop, alive)[0].status == 200, "the handshake was good, and it tells nothing"


# ---------------------------------------------------------------- what a proxy says


def test_row_E7_a_certificate_in_a_header_counts_from_a_trusted_proxy_only(pki: Authority, shop: Leaf):
    passed = ForwardedCertificate(HEADER)
    with asking(pki, shop, own=False, forwarded=passed, proxies=("127.0.0.1/32",)) as (gateway, upstream):
        got = said(gateway, pki, None, request(forwarded(shop), key=None), request(forwarded(shop), key=None), ALONE,
                   request(forwarded(pki.leaf("x")), key=None), request(forwarded(shop), key=None))  # fmt: skip
        assert [a.reason for a in got] == ["", "", "credential.missing", "identity.unmatched", ""]
        assert consumers(gateway) == [2, 2, 2]
        for shown in ([forwarded(shop), forwarded(shop)], [b"Client-Cert: x"], [b"Client-Cert: "], [forwarded(shop) + b", " + forwarded(shop)[13:]],
                      [forwarded(pki.leaf("over", -2 * DAY, -DAY))]):  # fmt: skip
            is_refusal(said(gateway, pki, None, request(*shown, key=None))[0], "credential.certificate")
        for seen in upstream.requests:
            assert b"client-cert" not in seen.raw.lower()
    with asking(pki, shop, own=False, forwarded=passed, proxies=("127.0.0.2/32",)) as (gateway, upstream):
        is_refusal(said(gateway, pki, None, request(forwarded(shop), key=None))[0], "credential.missing")
        assert said(gateway, pki, None, request(b"Client-Cert: junk"))[0].status == 200, "not even read"
    with asking(pki, shop, own=False, proxies=("127.0.0.1/32",)) as (gateway, upstream):
        is_refusal(said(gateway, pki, None, request(forwarded(shop), key=None))[0], "credential.missing")


def test_row_E7_a_proxys_own_certificate_is_not_its_clients(pki: Authority, shop: Leaf):
    """Here the proxy connects with the certificate of `shop` itself."""
    with asking(pki, shop, forwarded=ForwardedCertificate(HEADER, file(pki.file)), proxies=("127.0.0.1/32",)) as (
        gateway,
        _,
    ):
        is_refusal(said(gateway, pki, shop, ALONE)[0], "credential.missing")
        assert said(gateway, pki, pki.leaf("proxy"), request(forwarded(shop), key=None))[0].status == 200
        is_refusal(said(gateway, pki, shop, request(forwarded(pki.server()), key=None))[0], "credential.certificate")
    with asking(pki, shop, forwarded=ForwardedCertificate(HEADER), proxies=("127.0.0.2/32",)) as (gateway, _):
        assert said(gateway, pki, shop, request(forwarded(pki.leaf("other")), key=None))[0].status == 200, "its own"
        assert consumers(gateway) == [2]


def test_row_E7_what_was_revoked_is_so_in_a_header_too(pki: Authority, shop: Leaf):
    crl = pki.revoke([shop], "forwarded.crl")
    passed = ForwardedCertificate(HEADER, file(pki.file))
    with asking(pki, shop, own=False, forwarded=passed, proxies=("127.0.0.1/32",), crl=(file(crl),)) as (
        gateway,
        upstream,
    ):
        is_refusal(said(gateway, pki, None, request(forwarded(shop), key=None))[0], "credential.revoked")
        is_refusal(said(gateway, pki, None, request(forwarded(shop)))[0], "credential.revoked")
        assert upstream.requests == []


def test_a_list_that_cannot_be_used_leaves_the_configuration_as_it_is(pki: Authority, shop: Leaf, tmp_path: Path):
    foreign = Authority(tmp_path, "foreign").revoke([])
    with asking(pki, shop) as (gateway, _):
        before = gateway.snapshot
        wrong = replace(
            before, gateway=replace(before.gateway, front=replace(before.gateway.front, crl=(file(foreign),)))
        )
        with pytest.raises(OSError, match="signed by no authority"):
            gateway.call(lambda: gateway.worker.prepare(wrong))
        assert said(gateway, pki, shop, ALONE)[0].status == 200


def test_what_is_in_force_needs_no_file_a_second_time_whatever_was_prepared_meanwhile(pki: Authority, shop: Leaf):
    """Revoking a key adopts the configuration in force again: a list that was broken since must not be in the way."""
    crl = pki.revoke([], "mine.crl")
    with asking(pki, shop, crl=(file(crl),)) as (gateway, _):
        worker, before = gateway.worker, gateway.snapshot
        for n in range(3):
            pki.revoke([], "other.crl")
            listed = (file(pki.folder / "other.crl", str(n)),)
            other = replace(before, gateway=replace(before.gateway, front=replace(before.gateway.front, crl=listed)))
            gateway.call(lambda other=other: worker.prepare(other))
        crl.write_text("junk")
        assert gateway.call(lambda: worker.revoke([digest(KEY.encode(), SECRET).hex()])) is True
        assert said(gateway, pki, shop, ALONE)[0].status == 200
        is_refusal(said(gateway, pki, pki.leaf("machine"), request())[0], "credential.unknown")


def test_a_list_that_was_to_be_renewed_is_an_alert_until_it_is(pki: Authority, shop: Leaf):
    crl = pki.revoke([], "late.crl", ends=-DAY)
    with asking(pki, shop, crl=(file(crl),)) as (gateway, _):
        told: list[tuple[str, str, bool]] = []
        gateway.worker.on_alarm = lambda alarm: told.append((alarm.kind, alarm.subject, alarm.over))
        gateway.worker.untold.clear()
        gateway.worker.alarms.forget("certificate.list")
        gateway.call(gateway.worker.look_at_lists)
        pki.revoke([], "late.crl")
        before = gateway.snapshot
        now = replace(
            before, gateway=replace(before.gateway, front=replace(before.gateway.front, crl=(file(crl, "2"),)))
        )
        gateway.call(lambda: gateway.worker.adopt(now, gateway.worker.world.callers, gateway.worker.server.tls))
        gateway.call(gateway.worker.look_at_lists)
        assert told == [("certificate.list", str(crl), False), ("certificate.list", str(crl), True)]


# ---------------------------------------------------------------- headers that rules read


def ruled(pki: Authority, shop: Leaf, upstream: Upstream, **front: Any) -> GatewayThread:
    """One certificate, two consumers: which of them, a header says."""
    thumbprint = ("thumbprint", (shop.thumbprint,))
    tree = parse(f'certificate.thumbprint == "{shop.thumbprint}" && headers["x-team"] in ["ops"]')
    entries = (
        ConsumerEntry(1, "retail", "default", ("chat",), (), match=Match("", (), (thumbprint,), (("x-tenant", ("retail",)),))),
        ConsumerEntry(2, "hr", "default", ("chat",), (), match=Match("", (), (thumbprint,), (("x-tenant", ("hr", "people")),))),
        ConsumerEntry(3, "ops", "default", ("chat",), (), match=Match(tree=tree)),
    )  # fmt: skip
    return GatewayThread(configured(upstream.port, pki, True, front), Directory((SECRET,), entries))


def test_a_header_of_a_trusted_proxy_decides_whose_a_caller_is(pki: Authority, shop: Leaf):
    with Upstream() as upstream, ruled(pki, shop, upstream, proxies=("127.0.0.1/32",)) as gateway:

        def asked(*headers: bytes) -> bytes:
            return request(*headers, key=None)

        got = said(gateway, pki, shop, asked(b"X-Tenant: retail"), asked(b"x-tenant: people"), asked(b"X-Team: ops"),
                   asked(b"X-Tenant: retail"), asked(b"X-Tenant: retail"), asked(), asked(b"X-Tenant: none"),
                   asked(b"X-Tenant: retail", b"X-Tenant: hr"), asked(b"X-Tenant: retail", b"X-Team: ops"))  # fmt: skip
        assert [a.reason for a in got] == [""] * 5 + ["identity.unmatched"] * 3 + [""]
        assert consumers(gateway) == [1, 2, 3, 1, 1, 1]
        assert all(b"x-t" not in seen.raw.lower() for seen in upstream.requests), "they go no further"


def test_of_anybody_else_no_header_decides(pki: Authority, shop: Leaf):
    for front in ({}, {"proxies": ("127.0.0.2/32",)}):
        with Upstream() as upstream, ruled(pki, shop, upstream, **front) as gateway:
            got = said(gateway, pki, shop, request(b"X-Tenant: retail", key=None), request(b"X-Team: ops", key=None))
            assert [a.reason for a in got] == ["identity.unmatched"] * 2
            assert upstream.requests == []


def test_rules_that_come_to_read_a_header_find_it_on_connections_that_are_open(pki: Authority, shop: Leaf):
    thumbprint = ("thumbprint", (shop.thumbprint,))

    def directory(*wanted: tuple[str, tuple[str, ...]]) -> Directory:
        return Directory(
            (SECRET,), (ConsumerEntry(1, "shop", "default", ("chat",), (), match=Match("", (), (thumbprint,), wanted)),)
        )

    with Upstream() as upstream:
        spec = configured(upstream.port, pki, True, {"proxies": ("127.0.0.1/32",)})
        with GatewayThread(spec, directory()) as gateway, Secure(gateway.port, pki, shop) as client:

            def asked() -> Any:
                client.send(request(b"X-Tenant: retail", key=None))
                return client.answer()

            assert [asked().status for _ in range(3)] == [200] * 3
            worker = gateway.worker
            now = Callers(directory(("x-tenant", ("retail",))))
            gateway.call(lambda: worker.adopt(worker.snapshot, now, worker.server.tls))
            assert [asked().status for _ in range(3)] == [200] * 3
            other = Callers(directory(("x-tenant", ("hr",))))
            gateway.call(lambda: worker.adopt(worker.snapshot, other, worker.server.tls))
            is_refusal(asked(), "identity.unmatched")
