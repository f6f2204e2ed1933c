"""Until when a certificate is good, as the library for certificates says it; anything else is nothing."""

import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.spec.validity import EARLY_S, ends, words
from tests.certificates import named
from tests.spec.reading import found, gateway

KEY = ec.generate_private_key(ec.SECP256R1())


def made(end: datetime.datetime, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey = KEY) -> bytes:
    begin = datetime.datetime(1999, 1, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder(
        named("us"), named("gateway"), key.public_key(), x509.random_serial_number(), begin, end
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@given(st.datetimes(datetime.datetime(2000, 1, 1), datetime.datetime(2999, 12, 31)))
def test_the_end_is_read_as_the_library_reads_it(end: datetime.datetime):
    """Before 2050 years have two digits, from then on four."""
    pem = made(end.replace(tzinfo=datetime.UTC))
    assert ends(pem) == x509.load_pem_x509_certificate(pem).not_valid_after_utc.timestamp()


def test_of_a_chain_it_is_the_first_and_long_forms_of_length_are_read_too():
    end = datetime.datetime(2031, 5, 4, 3, 2, 1, tzinfo=datetime.UTC)
    first = made(end, rsa.generate_private_key(65537, 2048))
    assert ends(b"said before\n" + first + made(end.replace(year=2040))) == end.timestamp()


@given(st.binary(max_size=300))
def test_what_is_no_certificate_has_no_end(rest: bytes):
    assert ends(rest) is None
    pem = made(datetime.datetime(2031, 1, 1, tzinfo=datetime.UTC))
    ends(pem[: len(pem) // 2] + rest + pem[len(pem) // 2 :])  # whatever it says, it says it


def test_somebody_is_told_two_weeks_before_and_after():
    end = datetime.datetime(2031, 5, 4, tzinfo=datetime.UTC).timestamp()
    assert words("c.pem", end, end - EARLY_S - 1) == ""
    assert words("c.pem", end, end - EARLY_S) == "the certificate in c.pem ends 2031-05-04 00:00 UTC, in 14 days"
    assert words("c.pem", end, end - 90_000) == "the certificate in c.pem ends 2031-05-04 00:00 UTC, in a day"
    assert words("c.pem", end, end - 60) == "the certificate in c.pem ends 2031-05-04 00:00 UTC, today"
    assert words("c.pem", end, end) == "the certificate in c.pem ended 2031-05-04 00:00 UTC: clients refuse it"


@pytest.mark.parametrize(("days", "said"), [(-1, "clients refuse it"), (3, "in 2 days"), (60, "")])
def test_check_warns_of_a_certificate_that_ends_or_has_ended(tmp_path: Path, days: int, said: str):
    (tmp_path / "c.pem").write_bytes(made(datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)))
    (tmp_path / "c.key").write_bytes(
        KEY.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    text = gateway(f"listen: {{tls: {{certificate: {tmp_path}/c.pem, key: {tmp_path}/c.key}}}}")
    assert found(text) == []
    warned = [one for one in found(text, "warning") if "gateway.listen.tls.certificate" in one]
    assert bool(warned) == bool(said) and all(said in one for one in warned)
