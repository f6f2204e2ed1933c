"""Client certificates: what is read of one, who is refused, and what proxies write."""

from __future__ import annotations

import base64
import datetime
import time
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import example, given
from hypothesis import strategies as st

from sluicegate.identity.certificates import XFCC, Certificates, written, xfcc
from tests.certificates import DAY, Authority, Leaf


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


def test_what_is_read_of_a_certificate(authority: Authority):
    leaf = authority.leaf("shop", alternative=[
        x509.DNSName("shop.contoso.example"), x509.UniformResourceIdentifier("spiffe://contoso/shop"),
        x509.RFC822Name("shop@contoso.example"), x509.DirectoryName(x509.Name([])),
    ])  # fmt: skip
    found = Certificates(time.time).look(leaf.der)
    assert found.refused == "" and found.principal is not None and found.principal.certificate is not None
    serial = f"{leaf.certificate.serial_number:x}"
    assert dict(found.principal.certificate) == {
        "thumbprint": leaf.thumbprint, "subject": "CN=shop,O=Contoso", "issuer": "CN=authority,O=Contoso",
        "serial": serial if len(serial) % 2 == 0 else "0" + serial, "dns": ["shop.contoso.example"],
        "uri": ["spiffe://contoso/shop"], "email": ["shop@contoso.example"],
    }  # fmt: skip
    assert found.principal.mark == bytes.fromhex(leaf.thumbprint)[:16] and found.principal.issuer == ""
    assert found.principal.expires == leaf.certificate.not_valid_after_utc.timestamp()


@pytest.mark.parametrize("encoding", [serialization.Encoding.PEM, serialization.Encoding.DER])
def test_row_E7_what_is_on_the_list_is_revoked_and_nothing_else(authority: Authority, encoding: serialization.Encoding):
    good, bad = authority.leaf("good"), authority.leaf("bad")
    crl = authority.revoke([bad], "some.crl", encoding=encoding)
    other = Authority(authority.folder, "other")
    twin = other.leaf("twin")
    certificates = Certificates(time.time, [str(authority.file), str(other.file)], [str(crl)])
    assert certificates.look(bad.der).refused == "credential.revoked"
    assert certificates.look(good.der).refused == certificates.look(twin.der).refused == ""
    assert certificates.forwarded("client-cert", rfc9440(bad)).refused == "credential.revoked"
    assert certificates.overdue() == []


def test_a_list_whose_time_is_over_goes_on_to_hold_and_is_told_of(authority: Authority):
    good, bad = authority.leaf("good"), authority.leaf("bad")
    crl = authority.revoke([bad], "old.crl", ends=-DAY)
    certificates = Certificates(time.time, [str(authority.file)], [str(crl)])
    assert certificates.look(bad.der).refused == "credential.revoked" and certificates.look(good.der).refused == ""
    assert certificates.overdue() == [str(crl)]


def test_a_list_that_cannot_be_relied_on_is_not_taken(authority: Authority, tmp_path: Path):
    bad = authority.leaf("bad")
    forged = authority.revoke([bad], "forged.crl", key=ec.generate_private_key(ec.SECP256R1()))
    foreign = Authority(tmp_path, "foreign").revoke([bad])
    delta = authority.revoke([bad], "delta.crl", delta=True)
    junk = tmp_path / "junk.crl"
    junk.write_text("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n")
    for path, why in ((forged, "signed by no authority"), (foreign, "signed by no authority"), (delta, "critical extension"),
                      (junk, "no list"), (authority.file, "no list"), (tmp_path / "none.crl", "No such file")):  # fmt: skip
        with pytest.raises(OSError, match=why):
            Certificates(time.time, [str(authority.file)], [str(path)])


def rfc9440(leaf: Leaf) -> bytes:
    return b":" + base64.b64encode(leaf.der) + b":"


def forms(leaf: Leaf) -> dict[str, tuple[str, bytes]]:
    """As proxies write it."""
    escaped = quote(leaf.pem.decode(), safe="").encode()
    return {
        "RFC 9440": ("client-cert", rfc9440(leaf)),
        "App Service, API Management": ("x-arr-clientcert", base64.b64encode(leaf.der)),
        "nginx, Application Gateway": ("ssl-client-cert", escaped),
        "HAProxy": ("x-ssl-client-cert", base64.b64encode(leaf.der)),
        "nginx, folded": ("ssl-client-cert", leaf.pem.replace(b"\n", b" ").strip()),
        "base64 of PEM": ("x-arr-clientcert", base64.b64encode(leaf.pem)),
        "Envoy": (XFCC, b'By=spiffe://x;Hash=%b;Cert="%b";Subject="CN=a,O=b;c";URI=spiffe://y;DNS=a;DNS=b'
                  % (leaf.thumbprint.encode(), escaped)),
        "Envoy, bare": (XFCC, b"Cert=" + escaped),
    }  # fmt: skip


@pytest.mark.parametrize("form", ["RFC 9440", "App Service, API Management", "nginx, Application Gateway", "HAProxy", "nginx, folded",
                                  "base64 of PEM", "Envoy", "Envoy, bare"])  # fmt: skip
def test_row_E7_what_proxies_write_is_read_and_judged(form: str, authority: Authority):
    other = Authority(authority.folder, "elsewhere")
    trusting = Certificates(time.time)
    judging = Certificates(time.time, forwarded=str(authority.file))
    good = authority.leaf("good")
    for certificates in (trusting, judging):
        for _ in range(2):
            found = certificates.forwarded(*forms(good)[form])
            assert found.refused == "" and found.principal is not None and found.principal.certificate is not None
            assert found.principal.certificate["thumbprint"] == good.thumbprint
    over = authority.leaf("over", -2 * DAY, -DAY)
    early = authority.leaf("early", DAY, 2 * DAY)
    for leaf in (over, early):
        assert trusting.forwarded(*forms(leaf)[form]).refused == "credential.certificate"
    for leaf in (other.leaf("foreign"), authority.leaf("server", uses=[ExtendedKeyUsageOID.SERVER_AUTH])):
        assert judging.forwarded(*forms(leaf)[form]).refused == "credential.certificate"
        assert trusting.forwarded(*forms(leaf)[form]).refused == ""
    assert judging.forwarded(*forms(authority.leaf("plain", uses=[]))[form]).refused == ""


def test_what_becomes_valid_later_is_looked_at_again(authority: Authority):
    clock = [time.time()]
    certificates = Certificates(lambda: clock[0])
    header = rfc9440(authority.leaf("soon", datetime.timedelta(hours=1)))
    assert certificates.forwarded("client-cert", header).refused == "credential.certificate"
    clock[0] += 4000
    assert certificates.forwarded("client-cert", header).refused == ""


def test_of_several_elements_the_one_counts_that_the_nearest_proxy_wrote(authority: Authority):
    near, far = authority.leaf("near"), authority.leaf("far")
    value = forms(far)["Envoy"][1] + b"," + forms(near)["Envoy"][1]
    assert xfcc(value) == near.der
    assert xfcc(forms(near)["Envoy"][1] + b", By=x;Hash=y") is None, "the last has none, and another's is not taken"
    tricky = b'Subject="\\",Cert=x";' + forms(near)["Envoy, bare"][1]
    assert xfcc(tricky) == near.der


@pytest.mark.parametrize(
    "value",
    [b"", b":", b"::", b":AA", b":AAAA:", b"AAAA", b"x", b"%", b"%00", b"-----BEGIN CERTIFICATE-----", b"\"\"", b"\xff" * 9,
     b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", b"A" * 20_000, b"Cert=", b"Cert=x;", b'Cert="', b"=x",
     b"Cert=x;Cert=y", b";", b",", b'Cert="a"b', b"(null)"],
)  # fmt: skip
def test_what_is_no_certificate_proves_nothing(value: bytes):
    for header in ("client-cert", XFCC):
        found = Certificates(time.time).forwarded(header, value)
        assert found.refused == "credential.certificate" and found.principal is None


def test_two_certificates_in_one_header_are_none(authority: Authority):
    one, two = authority.leaf("one"), authority.leaf("two")
    assert written(one.pem + two.pem) is None
    assert written(base64.b64encode(one.pem + two.pem)) is None


@given(value=st.binary(max_size=200))
def test_whatever_a_header_holds_nothing_breaks(value: bytes):
    certificates = Certificates(time.time)
    for header in ("client-cert", XFCC):
        assert certificates.forwarded(header, value).principal is None
    assert certificates.look(value).refused == "credential.certificate"


@example(at=[(0.04296875, 128)])  # a serial below 0
@given(at=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=3))
def test_a_certificate_of_which_some_bytes_are_others_breaks_nothing(
    at: list[tuple[float, int]], authority: Authority
) -> None:  # fmt: skip
    der = bytearray(authority.leaf("bent").der)
    for where, byte in at:
        der[int(where * len(der))] = byte
    for signed in ("", str(authority.file)):
        Certificates(time.time, forwarded=signed).forwarded("client-cert", base64.b64encode(der))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a003020102", "a003020107"),  # version 8
        ("0603551d25", "0603551d13"),  # two extensions of one kind
    ],
)
def test_what_the_library_calls_no_certificate_in_words_of_its_own_is_none(old: str, new: str, authority: Authority):
    der = authority.leaf("odd").der
    assert der.count(bytes.fromhex(old)) == 1
    bent = base64.b64encode(der.replace(bytes.fromhex(old), bytes.fromhex(new)))
    for signed in ("", str(authority.file)):  # read before any signature is looked at
        certificates = Certificates(time.time, forwarded=signed)
        assert certificates.forwarded("client-cert", bent).refused == "credential.certificate"
        assert certificates.look(base64.b64decode(bent)).refused == "credential.certificate"
