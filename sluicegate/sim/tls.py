"""Certificates for a simulator that speaks HTTPS: given ones, or its own authority, made by the openssl program."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

DAYS = 365
_NAMES = "DNS:localhost,IP:127.0.0.1,IP:::1,DNS:*.openai.azure.com,DNS:*.cognitiveservices.azure.com"


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM files. `ca` is what callers must trust."""

    ca: str
    certificate: str
    key: str

    def context(self) -> ssl.SSLContext:
        """For the server's side."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        context.set_alpn_protocols(["http/1.1"])
        return context


def certificates(directory: str | Path) -> Certificates:
    """ca.pem, server.pem, server.key of a directory, made if they are not there. Raises ValueError with what to do."""
    here = Path(directory)
    found = Certificates(*(str(here / name) for name in ("ca.pem", "server.pem", "server.key")))
    if all(Path(p).exists() for p in (found.certificate, found.key)):
        return found
    openssl = shutil.which("openssl")
    if openssl is None:
        raise ValueError(f"{here}: put ca.pem, server.pem and server.key there, or install openssl to have them made")
    here.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    extensions = here / "server.ext"
    extensions.write_text(f"subjectAltName={_NAMES}\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n")
    steps = [
        ["req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", str(DAYS), "-subj", "/CN=simulated CA"],
        ["req", *key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost"],
        ["x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
         "-days", str(DAYS), "-extfile", "server.ext", "-out", "server.pem"],
    ]  # fmt: skip
    for step in steps:
        done = subprocess.run([openssl, *step], cwd=here, capture_output=True, text=True)
        if done.returncode:
            raise ValueError(f"openssl {step[0]} failed: {done.stderr.strip().splitlines()[-1:]}")
    for leftover in ("server.csr", "server.ext"):
        (here / leftover).unlink(missing_ok=True)
    return found
