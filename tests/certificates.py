"""Authorities, certificates and lists of revoked ones, made for a test."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)
Key = ec.EllipticCurvePrivateKey


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def named(name: str) -> x509.Name:
    return x509.Name([
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Contoso"), x509.NameAttribute(NameOID.COMMON_NAME, name)
    ])  # fmt: skip


class Leaf:
    """A certificate, its key, and both as a file for a client or server."""

    def __init__(self, certificate: x509.Certificate, key: Key, folder: Path, name: str) -> None:
        self.certificate = certificate
        self.pem = certificate.public_bytes(serialization.Encoding.PEM)
        self.der = certificate.public_bytes(serialization.Encoding.DER)
        pkcs8 = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(self.pem)
        self.key_file = folder / f"{name}.key"
        self.key_file.write_bytes(pkcs8)
        self.thumbprint = certificate.fingerprint(hashes.SHA256()).hex()


class Authority:
    """Signs certificates, and revokes them."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self.folder = folder
        self.name = name
        self.key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(named(name), self.key, -DAY, 3650 * DAY)
        builder = builder.add_extension(x509.BasicConstraints(True, None), True)
        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        builder = builder.add_extension(usage, True)
        self.certificate = builder.sign(self.key, hashes.SHA256())
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def _builder(
        self, subject: x509.Name, key: Key, begins: datetime.timedelta, ends: datetime.timedelta
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder().subject_name(subject).issuer_name(named(self.name)).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now() + begins).not_valid_after(now() + ends)
        )  # fmt: skip

    def leaf(
        self, name: str, begins: datetime.timedelta = -DAY, ends: datetime.timedelta = DAY,
        uses: Sequence[x509.ObjectIdentifier] = (ExtendedKeyUsageOID.CLIENT_AUTH,), alternative: Sequence[x509.GeneralName] = (),
    ) -> Leaf:  # fmt: skip
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(named(name), key, begins, ends).add_extension(x509.BasicConstraints(False, None), True)
        if uses:
            builder = builder.add_extension(x509.ExtendedKeyUsage(list(uses)), False)
        if alternative:
            builder = builder.add_extension(x509.SubjectAlternativeName(list(alternative)), False)
        return Leaf(builder.sign(self.key, hashes.SHA256()), key, self.folder, name)

    def server(self) -> Leaf:
        return self.leaf("server", uses=[ExtendedKeyUsageOID.SERVER_AUTH], alternative=[x509.DNSName("localhost")])

    def revoke(
        self, leaves: Iterable[Leaf], file: str = "revoked.crl", ends: datetime.timedelta = DAY, key: Key | None = None,
        encoding: serialization.Encoding = serialization.Encoding.PEM, delta: bool = False,
    ) -> Path:  # fmt: skip
        """Write the list of these."""
        builder = x509.CertificateRevocationListBuilder().issuer_name(named(self.name))
        builder = builder.last_update(now() - 2 * DAY).next_update(now() + ends)
        for leaf in leaves:
            entry = x509.RevokedCertificateBuilder().serial_number(leaf.certificate.serial_number)
            builder = builder.add_revoked_certificate(entry.revocation_date(now() - DAY).build())
        if delta:
            builder = builder.add_extension(x509.DeltaCRLIndicator(1), True)
        path = self.folder / file
        path.write_bytes(builder.sign(key or self.key, hashes.SHA256()).public_bytes(encoding))
        return path
