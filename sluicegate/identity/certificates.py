"""Client certificates: what stands in one, whether it was revoked, and what a proxy says of one in a header.

Of a TLS connection the handshake has proved the chain and that the client holds the key; of a header only that a proxy
wrote it, so its certificate is judged here: by its dates, and where authorities are named by their signature. Lists of
revoked certificates hold for both. A list whose time is over goes on to hold: what it says was revoked stays so, and a
list that nobody renewed must not stop everybody.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from urllib.parse import unquote_to_bytes
from warnings import catch_warnings

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from sluicegate.core.principal import Presented, Principal

KNOWN_MOST = 1024
"""Certificates that are kept as they were read: reading one costs 30 us."""

LARGEST = 16 * 1024
"""Bytes of a header that is read."""

CERTIFICATE = "credential.certificate"
REVOKED = "credential.revoked"

XFCC = "x-forwarded-client-cert"

_PEM = re.compile(rb"\s*-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----\s*\Z")
_UNREAD = Presented(None, CERTIFICATE)
_UNREADABLE = (
    ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)  # fmt: skip
"""What the library says of certificates that are none; not all of it is a ValueError."""


class Certificates:
    """Of one configuration. `authorities`: PEM files of those who may sign; `lists`: PEM or DER files of what they
    revoked; `forwarded`: PEM file of those whose certificates a proxy may pass on, empty: it has checked them."""

    def __init__(
        self, wall: Callable[[], float], authorities: Sequence[str] = (), lists: Sequence[str] = (), forwarded: str = ""
    ) -> None:
        self._wall = wall
        self._forwarded = _authorities(forwarded) if forwarded else []
        self._revoked: dict[bytes, frozenset[int]] = {}
        "Serial numbers by the DER of the issuer's name."
        signers = [one for path in dict.fromkeys(authorities) for one in _authorities(path)]
        self._until: dict[str, float] = {}
        "When lists were to be renewed."
        for path in lists:
            self._take(path, signers)
        self._known: dict[bytes, Presented] = {}

    def _take(self, path: str, signers: Iterable[x509.Certificate]) -> None:
        revoked = _list(path)
        issuer = revoked.issuer.public_bytes()
        for signer in signers:
            if signer.subject.public_bytes() == issuer and revoked.is_signature_valid(signer.public_key()):  # type: ignore[arg-type]
                break
        else:
            raise OSError(0, "a list of revoked certificates is signed by no authority that is named", path)
        serials = frozenset([entry.serial_number for entry in revoked])  # whatever the reason: 2 us each
        self._revoked[issuer] = self._revoked.get(issuer, frozenset()) | serials
        until = revoked.next_update_utc
        if until is not None:
            self._until[path] = until.timestamp()

    def overdue(self) -> list[str]:
        """Lists that were to be renewed by now."""
        now = self._wall()
        return [path for path, until in self._until.items() if until < now]

    def revoked(self, principal: Principal) -> bool:
        """As core/ports.py has it."""
        return principal.signed is not None and principal.signed[1] in self._revoked.get(principal.signed[0], ())

    def look(self, der: bytes) -> Presented:
        """At the certificate of a TLS connection."""
        return self._kept(b"t" + sha256(der).digest(), der, False)

    def forwarded(self, header: str, value: bytes) -> Presented:
        """At what a proxy wrote of one."""
        if len(value) > LARGEST:
            return _UNREAD
        mark = b"h" + sha256(value).digest()
        known = self._known.get(mark)
        if known is not None:
            return known
        der = xfcc(value) if header == XFCC else written(value)
        return _UNREAD if der is None else self._kept(mark, der, True)

    def _kept(self, mark: bytes, der: bytes, judged: bool) -> Presented:
        known = self._known.get(mark)
        if known is None:
            known = self._read(der, judged)
            if len(self._known) >= KNOWN_MOST:
                self._known.clear()
            if known.principal is not None or not judged:  # what is not yet valid may be so later
                self._known[mark] = known
        return known

    def _read(self, der: bytes, judged: bool) -> Presented:
        try:
            with catch_warnings(action="ignore", category=CryptographyDeprecationWarning):  # a serial below 1, say
                read = x509.load_der_x509_certificate(der)
                if judged and not self._good(read):
                    return _UNREAD
                principal = _principal(read, der)
        except _UNREADABLE:
            return _UNREAD
        return Presented(principal, REVOKED if self.revoked(principal) else "")

    def _good(self, read: x509.Certificate) -> bool:
        """By its dates, and by who signed it: directly, one of the authorities."""
        now = self._wall()
        if not read.not_valid_before_utc.timestamp() <= now < read.not_valid_after_utc.timestamp():
            return False
        if not self._forwarded:
            return True
        try:
            usage = read.extensions.get_extension_for_oid(ExtensionOID.EXTENDED_KEY_USAGE).value
            if ExtendedKeyUsageOID.CLIENT_AUTH not in usage:  # type: ignore[operator]
                return False
        except x509.ExtensionNotFound:
            pass
        for authority in self._forwarded:
            try:
                read.verify_directly_issued_by(authority)
            except (*_UNREADABLE, InvalidSignature):
                continue
            return authority.not_valid_before_utc.timestamp() <= now < authority.not_valid_after_utc.timestamp()
        return False


def written(value: bytes) -> bytes | None:
    """DER of a certificate as proxies write one: `:base64:` (RFC 9440), PEM, PEM escaped for URLs, or base64 of DER
    or of PEM."""
    value = value.strip()
    if len(value) > 2 and value[:1] == value[-1:] == b":":
        return _base64(value[1:-1])
    if value[:1] == value[-1:] == b'"' and len(value) > 1:
        value = value[1:-1]
    if b"%" in value:
        value = unquote_to_bytes(value)
    pem = _PEM.match(value)
    if pem is not None:
        return _base64(b"".join(pem[1].split()))
    found = _base64(value)
    if found is not None and found.startswith(b"-----BEGIN"):
        pem = _PEM.match(found)
        return _base64(b"".join(pem[1].split())) if pem is not None else None
    return found


def xfcc(value: bytes) -> bytes | None:
    """DER of the `Cert` of Envoy's header, of its last element: the one that the nearest proxy wrote."""
    elements: list[dict[bytes, bytes]] = [{}]
    at = 0
    while at < len(value):
        pair = _PAIR.match(value, at)
        if pair is None:
            return None
        name = pair[1].lower()
        if name in elements[-1] and name not in (b"uri", b"dns"):
            return None
        elements[-1][name] = re.sub(rb"\\(.)", rb"\1", pair[2]) if pair[2] is not None else pair[3]
        at = pair.end()
        if pair[4] == b",":
            elements.append({})
        if pair[4] and at == len(value):
            return None
    cert = elements[-1].get(b"cert")
    return written(cert) if cert else None


_PAIR = re.compile(rb'[ \t]*([A-Za-z]+)=(?:"((?:[^"\\]|\\.)*)"|([^",;]*))[ \t]*([,;]|\Z)')


def _base64(text: bytes) -> bytes | None:
    try:
        return binascii.a2b_base64(text, strict_mode=True) or None
    except binascii.Error:
        return None


def _principal(read: x509.Certificate, der: bytes) -> Principal:
    dns: list[str] = []
    uri: list[str] = []
    email: list[str] = []
    try:
        names = read.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
        if isinstance(names, x509.SubjectAlternativeName):
            dns = names.get_values_for_type(x509.DNSName)
            uri = names.get_values_for_type(x509.UniformResourceIdentifier)
            email = names.get_values_for_type(x509.RFC822Name)
    except x509.ExtensionNotFound:
        pass
    digest = sha256(der).digest()
    serial = f"{read.serial_number:x}"
    facts = {
        "thumbprint": digest.hex(), "subject": read.subject.rfc4514_string(), "issuer": read.issuer.rfc4514_string(),
        "serial": serial.zfill(len(serial) + len(serial) % 2), "dns": dns, "uri": uri, "email": email,
    }  # fmt: skip
    signed = (read.issuer.public_bytes(), read.serial_number)
    return Principal("", {}, digest[:16], read.not_valid_after_utc.timestamp(), facts, signed=signed)


def _authorities(path: str) -> list[x509.Certificate]:
    with open(path, "rb") as f:
        text = f.read()
    try:
        return x509.load_pem_x509_certificates(text)
    except ValueError:
        raise OSError(0, "holds no certificate that can be read", path) from None


def _list(path: str) -> x509.CertificateRevocationList:
    with open(path, "rb") as f:
        text = f.read()
    try:
        found = (x509.load_pem_x509_crl if text.lstrip().startswith(b"-----") else x509.load_der_x509_crl)(text)
        for extension in found.extensions:
            if extension.critical:  # parts of lists, and lists of others: what they leave out would seem good
                raise OSError(
                    0, f"a list of revoked certificates has a critical extension, {extension.oid._name}", path
                )
        return found
    except ValueError:
        raise OSError(0, "holds no list of revoked certificates that can be read", path) from None
