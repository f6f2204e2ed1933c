"""TLS to an instance: who is believed, what is resumed, and that shared buffers are nobody's leak."""

import asyncio
import contextlib
import datetime as dt
import ipaddress
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sluicegate.upstream.tls import TlsConnection, client_context
from tests.upstream.rig import Answer, Rig, Server, Serving, exchange, instance, ok, open_files, run, spin, until

LARGE = bytes(range(256)) * (12 * 1024)
HOUR = dt.timedelta(hours=1)


class Authority:
    """Signs certificates, into files."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.number = 0
        certificate = self.build(self.name, self.key.public_key(), ca=True).sign(self.key, hashes.SHA256())
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def build(self, subject: x509.Name, key: Any, ca: bool, days: int = 1) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        end = now + dt.timedelta(days=days)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(min(now, end) - 48 * HOUR)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )

    def server(self, *names: str, days: int = 1, most: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
        """Context of a server with a certificate for these names."""
        key = ec.generate_private_key(ec.SECP256R1())
        san = [
            x509.IPAddress(ipaddress.ip_address(n)) if n[0].isdigit() else x509.DNSName(n) for n in names
        ]  # fmt: skip
        certificate = (
            self.build(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])]), key.public_key(), False, days)
            .add_extension(x509.SubjectAlternativeName(san), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        self.number += 1
        file = self.folder / f"server-{self.number}.pem"
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.maximum_version = most
        context.load_cert_chain(file)
        return context


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def sealed(port: int, authority: Authority, **more: Any) -> Any:
    return instance(port, scheme="https", **{"host": "localhost", "ca": str(authority.file), **more})


VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.mark.parametrize("version", VERSIONS)
def test_calls_go_over_tls(authority: Authority, version: ssl.TLSVersion) -> None:
    async def main() -> None:
        rig = Rig()
        async with Server(authority.server("localhost", most=version)) as server:
            here = sealed(server.port, authority)
            peer = await exchange(rig, server, here)
            tls = peer.writer.get_extra_info("ssl_object")
            assert tls.version() == {VERSIONS[0]: "TLSv1.2", VERSIONS[1]: "TLSv1.3"}[version]
            for body in (b"", b"x", LARGE):
                answer = rig.start(here, body)
                assert await peer.request() == body
                peer.send(ok(body))
                assert await answer.over() == "done" and answer.body == body and answer.sent == "all"
            assert rig.counts.opened == rig.counts.idle == 1

    run(main)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_second_connection_resumes_the_session_of_the_first(authority: Authority, version: ssl.TLSVersion) -> None:
    async def main() -> None:
        rig = Rig()
        async with Server(authority.server("localhost", most=version)) as server:
            here = sealed(server.port, authority)
            for i in range(4):
                peer = await exchange(rig, server, here)
                resumed = peer.writer.get_extra_info("ssl_object").session_reused
                assert resumed == (i > 0) and rig.counts.resumed == i
                if i == 0:
                    peer.close()
                elif i == 1:
                    rig.client.pool(here).idle[0].close()
                else:
                    rig.start(here).cancel()  # without a goodbye
                await until(lambda: rig.counts.idle == 0)
            pool = rig.client.pool(here)
            first = pool.session
            rig.pass_time(700)
            await exchange(rig, server, here)
            assert pool.session is not first, "before it is too old to be honoured"
            assert rig.counts.resumed == 4

    run(main)


def test_a_server_that_forgot_the_session_is_shaken_hands_with_anew(authority: Authority) -> None:
    async def main() -> None:
        rig = Rig()
        async with Server(authority.server("localhost")) as one, Server(authority.server("localhost")) as two:
            here = sealed(one.port, authority)
            peer = await exchange(rig, one, here)
            peer.close()
            await until(lambda: rig.counts.idle == 0)
            there = sealed(two.port, authority)
            rig.client.pool(there).session = rig.client.pool(here).session
            peer = await exchange(rig, two, there)
            assert rig.counts.resumed == 0 and not peer.writer.get_extra_info("ssl_object").session_reused

    run(main)


def test_sessions_are_an_instances_own(authority: Authority) -> None:
    async def main() -> None:
        rig = Rig()
        async with Server(authority.server("localhost", "127.0.0.1")) as server:
            await exchange(rig, server, sealed(server.port, authority))
            peer = await exchange(rig, server, sealed(server.port, authority, host="127.0.0.1"))
            assert not peer.writer.get_extra_info("ssl_object").session_reused

    run(main)


@pytest.mark.parametrize(
    "why", ["another authority", "the system's authorities", "another host", "an address", "expired"]
)
def test_a_certificate_that_proves_nothing_is_refused(authority: Authority, tmp_path: Path, why: str) -> None:
    names = {"another host": ["example.com"], "an address": ["127.0.0.1"]}.get(why, ["localhost"])
    context = authority.server(*names, days=-1 if why == "expired" else 1)
    ca = {"another authority": str(Authority(tmp_path, "other").file), "the system's authorities": None}

    async def main() -> None:
        rig = Rig()
        async with Server(context) as server:
            asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # the server's, who was refused
            answer = rig.start(sealed(server.port, authority, ca=ca.get(why, str(authority.file))))
            assert await answer.over() == "connect.tls"
            assert answer.sent == "nothing" and rig.counts[:4] == (0, 0, 0, 0)

    run(main)


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_authorities_that_cannot_be_read_are_no_authorities(authority: Authority, content: bytes | None) -> None:
    file = authority.folder / "missing.pem"
    if content is not None:
        file.write_bytes(content)

    async def main() -> None:
        rig = Rig()
        async with Server(authority.server("localhost")) as server:
            here = sealed(server.port, authority, ca=str(file))
            rig.client.warm([here])
            assert await rig.start(here).over() == "connect.tls"
            assert server.accepted == 0

    run(main)


def test_older_tls_is_refused(authority: Authority) -> None:
    context = client_context(str(authority.file))
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_REQUIRED and context.check_hostname

    async def main() -> None:
        rig = Rig()
        with pytest.warns(DeprecationWarning):
            old = authority.server("localhost", most=ssl.TLSVersion.TLSv1_1)
        old.set_ciphers("DEFAULT:@SECLEVEL=0")
        async with Server(old) as server:
            asyncio.get_running_loop().set_exception_handler(lambda *_: None)
            assert await rig.start(sealed(server.port, authority)).over() == "connect.tls"

    run(main)


def test_a_server_that_speaks_no_tls_is_refused(authority: Authority) -> None:
    async def main() -> None:
        rig = Rig()
        async with Server() as server:
            answer = rig.start(sealed(server.port, authority))
            peer = await server.peer()
            peer.send(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
            assert await answer.over() == "connect.tls" and answer.status == 0

    run(main)


@pytest.mark.parametrize("proper", [True, False], ids=["fin", "reset"])
def test_a_server_that_leaves_during_the_handshake_failed_it(authority: Authority, proper: bool) -> None:
    async def main() -> None:
        rig = Rig()
        async with Server() as server:
            answer = rig.start(sealed(server.port, authority))
            peer = await server.peer()
            await peer.reader.readexactly(1)
            peer.close() if proper else peer.reset()
            assert await answer.over() == "connect.tls"

    run(main)


def test_a_handshake_that_hangs_is_given_up(authority: Authority) -> None:
    async def main() -> None:
        rig = Rig()
        async with Server() as server:
            before = open_files()
            answer = rig.start(sealed(server.port, authority), connect_s=3.0)
            peer = await server.peer()
            await peer.reader.readexactly(1)
            await spin()
            rig.pass_time(3.0)
            assert await answer.over() == "connect.timeout"
            await peer.gone()
            peer.close()
            await until(lambda: open_files() <= before)

    run(main)


class Middle:
    """A plain proxy that passes on as many bytes of the server as the test says, in pieces as it says."""

    def __init__(self, port: int, limit: int, piece: int = 1 << 20) -> None:
        self.port = port
        self.limit = limit
        self.piece = piece
        self.passed = 0
        self.heard = 0

    async def __aenter__(self) -> "Middle":
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.here = self.server.sockets[0].getsockname()[1]
        self.writers: list[asyncio.StreamWriter] = []
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.server.close()
        for writer in self.writers:
            writer.transport.abort()
        await spin()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writers += [writer, up_writer]
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        async def down() -> None:
            while data := await up_reader.read(self.piece):
                data = data[: self.limit - self.passed]
                self.passed += len(data)
                writer.write(data)
                await spin(3)
                if self.passed >= self.limit:
                    break
            writer.close()

        task = asyncio.create_task(down())
        while data := await reader.read(65536):
            self.heard += len(data)
            up_writer.write(data)
        await task


def test_an_answer_cut_at_any_sealed_byte_is_never_done(authority: Authority) -> None:
    """Records cut in half, and connections that end without a goodbye."""
    context = authority.server("localhost")

    async def main() -> None:
        async with Serving(ok(b"x" * 40_000), context) as server:
            seen: set[str] = set()
            async with Middle(server.port, 1 << 30) as middle:
                rig = Rig()
                answer = rig.start(sealed(middle.here, authority))
                assert await answer.over() == "done"
                whole = middle.passed
                rig.client.close()
            cuts = [*range(1, 40), *range(40, whole - 60, 997), *range(whole - 60, whole + 9)]
            for cut in cuts:
                async with Middle(server.port, cut) as middle:
                    rig = Rig()
                    answer = rig.start(sealed(middle.here, authority))
                    how = await answer.over()
                    seen.add(how)
                    assert how != "done" or answer.body == b"x" * 40_000
                    rig.client.close()
            assert seen == {"connect.tls", "cut", "done"}, "signatures differ in length by some bytes"

    run(main)


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_records_may_come_in_pieces(authority: Authority, piece: int) -> None:
    """With several connections taking turns, so that each must keep its own half records."""
    size = 300 * piece

    async def main() -> None:
        rig = Rig()
        async with Serving(ok(b"x" * size), authority.server("localhost")) as server:
            async with Middle(server.port, 1 << 30, piece) as middle:
                answers = [rig.start(sealed(middle.here, authority)) for _ in range(8)]
                for answer in answers:
                    assert await answer.over() == "done" and answer.body == b"x" * size
                assert rig.counts.idle == 8
                rig.client.close()

    run(main)


def test_many_connections_share_the_buffers_and_never_a_byte(authority: Authority) -> None:
    async def main() -> None:
        rig = Rig()
        async with Server(authority.server("localhost")) as server:
            here = sealed(server.port, authority)
            bodies = [b"%d " % i * (1 + 4000 * (i % 7)) for i in range(30)]

            async def echo() -> None:
                peer = await server.peer()
                with contextlib.suppress(asyncio.IncompleteReadError):
                    while True:
                        data = ok(await peer.request())
                        for at in range(0, len(data), 5000):
                            peer.send(data[at : at + 5000])
                            await spin(1)

            echoes = [asyncio.create_task(echo()) for _ in bodies]
            for _ in range(4):
                answers = [rig.start(here, body) for body in bodies]
                for answer, body in zip(answers, bodies, strict=True):
                    assert await answer.over() == "done" and answer.body == body
            rig.client.close()
            for task in echoes[: rig.counts.opened]:
                await task
            for task in echoes:
                task.cancel()
            assert not rig.client.sealing.incoming.pending and not rig.client.sealing.outgoing.pending

    run(main)


def test_a_forged_record_ends_the_answer_and_harms_no_other(authority: Authority) -> None:
    async def main() -> None:
        rig = Rig()
        async with Server(authority.server("localhost")) as server:
            here = sealed(server.port, authority)
            good, bad = rig.start(here), rig.start(here)
            peers = [await server.peer(), await server.peer()]
            await peers[0].request()
            await peers[1].request()
            bad_connection: TlsConnection = bad.attempt.connection
            record = b"\x17\x03\x03\x00\x20" + b"\0" * 32
            bad_connection.get_buffer(-1)[: len(record)] = record
            bad_connection.buffer_updated(len(record))
            assert bad.how == "reset" and rig.counts.busy == 1
            for peer in peers:
                peer.send(ok())
            assert await good.over() == "done"
            assert not rig.client.sealing.incoming.pending and not rig.client.sealing.outgoing.pending

    run(main)


@pytest.mark.parametrize("phase", ["connecting", "shaking hands", "waiting for the head", "in the body", "writing"])
def test_a_cancel_leaves_nothing_behind(authority: Authority, phase: str) -> None:
    async def main() -> None:
        rig = Rig()
        context = None if phase == "shaking hands" else authority.server("localhost")
        async with Server(context) as server:
            await spin()
            before = open_files()
            answer = rig.start(sealed(server.port, authority), LARGE * 10 if phase == "writing" else b"")
            if phase == "shaking hands":
                peer = await server.peer()
                await peer.reader.readexactly(1)
                await spin()
            elif phase != "connecting":
                peer = await server.peer()
                if phase == "writing":
                    await until(lambda: answer.attempt.connection and answer.attempt.connection.write_paused)
                    assert answer.attempt.connection.transport.get_write_buffer_size() < 200_000
                else:
                    await peer.request()
                if phase == "in the body":
                    peer.send(ok()[:-1])
                    await answer.hear(lambda: answer.body)
            answer.cancel()
            assert rig.counts[:4] == (0, 0, 0, 0) and len(rig.wheel) == 0
            await spin()
            assert not answer.too_late
        await until(lambda: open_files() <= before)

    run(main)


def test_a_goodbye_on_an_idle_connection_closes_it(authority: Authority) -> None:
    async def main() -> None:
        rig = Rig()
        async with Server(authority.server("localhost")) as server:
            here = sealed(server.port, authority)
            peer = await exchange(rig, server, here)
            peer.writer.close()
            await until(lambda: rig.counts.idle == 0)
            peer = await exchange(rig, server, here)
            peer.send(ok(b"poison"))
            await until(lambda: rig.counts.idle == 0)

    run(main)


def test_an_answer_and_a_goodbye_in_one_read_are_an_answer_and_no_connection(authority: Authority) -> None:
    async def main() -> None:
        rig = Rig()
        async with Server(authority.server("localhost")) as server:
            here = sealed(server.port, authority)
            answer = rig.start(here)
            peer = await server.peer()
            await peer.request()
            peer.send(ok())
            peer.close()
            assert await answer.over() == "done" and answer.body == b"hello"
            await until(lambda: rig.counts.idle == 0)

    run(main)


def test_an_idle_connection_is_closed_with_a_goodbye(authority: Authority) -> None:
    async def main() -> None:
        rig = Rig()
        async with Server(authority.server("localhost")) as server:
            async with Middle(server.port, 1 << 30) as middle:
                peer = await exchange(rig, server, sealed(middle.here, authority))
                before = middle.heard
                rig.pass_time(61)
                assert rig.counts.idle == 0
                assert await peer.reader.read() == b""
                assert middle.heard > before

    run(main)


def test_a_call_started_at_the_end_of_a_last_answer_does_not_go_where_goodbye_was_said(authority: Authority) -> None:
    async def main() -> None:
        rig = Rig()
        async with Server(authority.server("localhost")) as server:
            here = sealed(server.port, authority)
            last, following = Answer(), Answer()
            last.on_end = lambda: rig.start(here, answer=following, repeatable=False) and None
            rig.start(here, answer=last)
            peer = await server.peer()
            await peer.request()
            connection = last.attempt.connection
            last.attempt.pause()
            peer.send(ok())
            peer.close()
            await spin(50)
            last.attempt.resume()  # the answer and the goodbye are read at once
            assert await last.over() == "done"
            assert following.attempt.connection is not connection
            await (await server.peer()).answer(ok())
            assert await following.over() == "done"

    run(main)


def test_a_request_that_cannot_be_sealed_closes_its_connection_and_spoils_no_other(authority: Authority) -> None:
    class Broken:
        def write(self, data: bytes) -> int:
            rig.client.sealing.outgoing.write(b"half of a record")
            raise ssl.SSLError

    rig: Rig

    async def main() -> None:
        nonlocal rig
        rig = Rig()
        async with Server(authority.server("localhost")) as server:
            here = sealed(server.port, authority)
            await exchange(rig, server, here)
            connection: Any = rig.client.pool(here).idle[0]
            connection._tls = Broken()
            answer = rig.start(here)
            await (await server.peer()).answer(ok())
            assert await answer.over() == "done" and rig.counts.opened == 2

    run(main)


def test_connections_ahead_of_time_are_ready_to_be_written_to(authority: Authority) -> None:
    async def main() -> None:
        rig = Rig()
        async with Server(authority.server("localhost")) as server:
            here = sealed(server.port, authority, idle_min=3, handshakes=2)
            rig.client.warm([here])
            await until(lambda: rig.counts.idle == 3)
            await spin(50)
            assert rig.counts.idle == 3, "tickets that come late are no poison"
            answer = rig.start(here)
            assert answer.attempt.connection is not None
            answer.cancel()
            rig.client.close()
            await spin()

    run(main)


def test_a_kept_connection_that_died_is_replaced_over_tls_too(authority: Authority) -> None:
    async def main() -> None:
        rig = Rig()
        async with Server(authority.server("localhost")) as server:
            here = sealed(server.port, authority)
            peer = await exchange(rig, server, here)
            answer = rig.start(here, b"the body")
            await peer.request()
            peer.reset()
            again = await server.peer()
            assert await again.request() == b"the body"
            again.send(ok())
            assert await answer.over() == "done"
            assert rig.counts.resumed == 1

    run(main)


def test_an_unread_answer_is_bounded_over_tls_too(authority: Authority) -> None:
    async def main() -> None:
        rig = Rig()
        async with Server(authority.server("localhost")) as server:
            answer = Answer()
            answer.on_head = lambda: answer.attempt.pause()
            rig.start(sealed(server.port, authority), answer=answer)
            peer = await server.peer()
            await peer.answer(ok(LARGE))
            await answer.hear(lambda: answer.status)
            await spin(100)
            assert len(answer.body) <= 64 * 1024
            answer.attempt.resume()
            assert await answer.over() == "done" and answer.body == LARGE

    run(main)


def test_contexts_are_made_once_for_the_same_authorities(authority: Authority) -> None:
    async def main() -> None:
        rig = Rig()
        async with Server(authority.server("localhost")) as server:
            for number in range(3):
                await exchange(rig, server, sealed(server.port, authority, number=number))
            made: Callable[[str], ssl.SSLContext] = rig.client.contexts.get
            assert len(rig.client.contexts._made) == 1 and made(str(authority.file)) is made(str(authority.file))

    run(main)


def test_authorities_that_changed_count_for_the_next_connection(authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path, "other")
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(authority.file.read_bytes())

    async def main() -> None:
        rig = Rig()
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        async with Server(authority.server("localhost")) as one, Server(other.server("localhost")) as two:
            before, after = (sealed(s.port, authority, ca=str(trusted), number=s.port) for s in (one, two))
            await exchange(rig, one, before)
            assert await rig.start(after).over() == "connect.tls"
            trusted.write_bytes(b"half written")
            rig.start(before).cancel()
            await exchange(rig, one, before)
            trusted.write_bytes(other.file.read_bytes())
            await exchange(rig, two, after)
            rig.start(before).cancel()
            assert await rig.start(before).over() == "connect.tls"

    run(main)
