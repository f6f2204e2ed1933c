"""What a configuration says of the front: files that cannot be used, what has no effect, what is warned of."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluicegate.core.settings import Cors, DigestedFile, ForwardedCertificate, Front
from tests.certificates import Authority
from tests.spec.reading import gateway, loaded


@pytest.fixture
def pki(tmp_path: Path) -> Authority:
    authority = Authority(tmp_path, "ca")
    authority.server()
    authority.revoke([], "revoked.pem")
    (tmp_path / "junk.pem").write_text("-----BEGIN NOTHING-----\n")
    return authority


TLS = "listen: {tls: {certificate: server.pem, key: server.key, client: {ca: ca.pem}}}"


def found(text: str, pki: Authority, severity: str = "error") -> list[str]:
    problems = loaded(gateway(text), base=str(pki.folder)).problems.of(severity)  # type: ignore[arg-type]
    return [f"{p.path}: {p.what} | {p.hint}" for p in problems if p.path.startswith("gateway")]


def test_all_of_it_is_compiled_and_what_stands_in_files_counts(pki: Authority):
    text = f"""{TLS}
public_url: https://llm.contoso.example:8443/llm/
trusted_proxies: [10.0.0.0/8, 192.0.2.1]
client_address: forwarded
front_door_ids: [9A3F2C1E-0000-4000-8000-5B1D7E000001]
allow: [2001:DB8::/32]
base_paths: [/llm]
cors: {{origins: ["https://App.contoso.example"], max_age: 1m}}
query_keys: true
failures: 60
certificates: {{crl: [revoked.pem], forwarded: {{header: Client-Cert, ca: ca.pem}}}}"""
    got = loaded(gateway(text), base=str(pki.folder))
    assert got.snapshot and got.problems.of("error") == []
    front = got.snapshot.gateway.front
    crl, ca = front.crl[0], front.forwarded.ca if front.forwarded else None
    assert ca is not None and crl.digest != ca.digest
    assert front == Front(
        doors=("9a3f2c1e-0000-4000-8000-5b1d7e000001",), proxies=("10.0.0.0/8", "192.0.2.1/32"), client_address="forwarded",
        allow=("2001:db8::/32",), base_paths=("/llm",), cors=Cors(("https://app.contoso.example",), 60.0), query_keys=True,
        failures=60, certificates=True, forwarded=ForwardedCertificate("client-cert", DigestedFile(f"{pki.folder}/ca.pem", ca.digest)),
        crl=(DigestedFile(f"{pki.folder}/revoked.pem", crl.digest),),
    )  # fmt: skip
    assert got.snapshot.gateway.public_url == "https://llm.contoso.example:8443/llm"
    pki.revoke([pki.leaf("somebody")], "revoked.pem")
    again = loaded(gateway(text), base=str(pki.folder))
    assert again.snapshot and again.snapshot.hash != got.snapshot.hash, "another list is another configuration"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f"{TLS}\ncertificates: {{crl: [junk.pem]}}", "gateway.certificates.crl: holds no list of revoked certificates that we can "
         "read | write a PEM file: BEGIN X509 CRL ...; of DER: openssl crl -inform der -in LIST -out LIST.pem"),
        (f"{TLS}\ncertificates: {{crl: [ca.pem]}}", "gateway.certificates.crl: holds no list of revoked certificates that we can "
         "read | write a PEM file: BEGIN X509 CRL ...; of DER: openssl crl -inform der -in LIST -out LIST.pem"),
        (f"{TLS}\ncertificates: {{crl: [nowhere.pem]}}", 'gateway.certificates.crl: "nowhere.pem" cannot be read: no such file or '
         "directory | relative paths start beside the configuration"),
        ("certificates: {crl: [revoked.pem]}", "gateway.certificates.crl: has no effect: no authority is named whose certificates it "
         "could be about | write gateway.listen.tls.client, or forwarded with its ca"),
        ("certificates: {forwarded: {header: client-cert}}", "gateway.certificates.forwarded: has no effect: no proxy is trusted "
         "| write gateway.trusted_proxies: of anybody else it is not read"),
        ("trusted_proxies: [10.0.0.0/8]\ncertificates: {forwarded: {header: client-cert, ca: junk.pem}}",
         "gateway.certificates.forwarded.ca: holds no certificate that we can read | write a PEM file: BEGIN CERTIFICATE ..."),
        ("trusted_proxies: [10.0.0.0/8]\ncertificates: {forwarded: {header: 'client cert'}}",
         'gateway.certificates.forwarded.header: "client cert" is not the name of a header | write the name of a header such as '
         "client-cert"),
        (TLS.replace("ca.pem", "junk.pem"), "gateway.listen.tls.client.ca: holds no certificate that we can read | write a PEM file: "
         "BEGIN CERTIFICATE ..."),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_said(text: str, problem: str, pki: Authority):
    assert found(text, pki) == [problem]


def test_what_may_not_be_meant_is_said(pki: Authority):
    (warning,) = found("query_keys: true", pki, "warning")
    assert "keys in URLs end in the logs" in warning
    notes = found("trusted_proxies: [10.0.0.0/8]\ncertificates: {forwarded: {header: client-cert}}", pki, "note")
    assert any("whoever signed it counts" in note for note in notes)
