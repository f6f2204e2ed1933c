"""Certificates: what could not be served with is an error at load, not at the first handshake."""

import datetime
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sluicegate.core.settings import TlsFiles
from tests.spec.reading import gateway, instance, loaded


@pytest.fixture
def pem(tmp_path: Path) -> Iterator[Path]:
    """cert.pem and key.pem that belong together, other.pem that does not, locked.pem with a passphrase."""

    def save(name: str, key: ec.EllipticCurvePrivateKey, how: serialization.KeySerializationEncryption) -> None:
        pkcs8 = serialization.PrivateFormat.PKCS8
        (tmp_path / name).write_bytes(key.private_bytes(serialization.Encoding.PEM, pkcs8, how))

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    begin = datetime.datetime(2026, 1, 1)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, begin, begin + datetime.timedelta(days=36500))
    ).sign(key, hashes.SHA256())
    (tmp_path / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    save("key.pem", key, serialization.NoEncryption())
    save("other.pem", ec.generate_private_key(ec.SECP256R1()), serialization.NoEncryption())
    save("locked.pem", key, serialization.BestAvailableEncryption(b"passphrase"))
    (tmp_path / "junk.pem").write_text("-----BEGIN NOTHING-----\n")
    yield tmp_path


def errors(text: str, base: Path) -> list[str]:
    return [
        f"{p.place.line}:{p.place.column} {p.path}: {p.what}" for p in loaded(text, base=str(base)).problems.of("error")
    ]


def tls(certificate: str, key: str) -> str:
    return gateway(f"listen: {{tls: {{certificate: {certificate}, key: {key}}}}}")


def test_paths_start_beside_the_configuration(pem: Path):
    snapshot = loaded(tls("cert.pem", "./key.pem"), base=str(pem)).snapshot
    assert snapshot and snapshot.gateway.listen.tls == TlsFiles(f"{pem}/cert.pem", f"{pem}/key.pem")
    snapshot = loaded(instance("tls: {ca: cert.pem}"), base=str(pem)).snapshot
    assert snapshot and snapshot.instances[0].ca == f"{pem}/cert.pem"


def test_what_cannot_be_served_with_is_refused(pem: Path):
    pair = "4:31 gateway.listen.tls.certificate: certificate and key do not make a pair we can serve with"
    assert errors(tls("cert.pem", "other.pem"), pem) == [pair]
    assert errors(tls("junk.pem", "key.pem"), pem) == [pair]
    assert errors(tls("cert.pem", "locked.pem"), pem) == ["4:46 gateway.listen.tls.key: has a passphrase"]
    (missing,) = errors(tls("cert.pem", "none.pem"), pem)
    assert missing.startswith("4:46 gateway.listen.tls.key: ") and missing.endswith(
        "cannot be read: no such file or directory"
    )
    assert errors(instance("tls: {ca: junk.pem}"), pem) == [
        "9:15 instances.weu.tls.ca: holds no certificate that we can read"
    ]
    assert errors(gateway("listen: {tls: {certificate: cert.pem}}"), pem) == ["4:12 gateway.listen.tls: needs key"]
