"""What lies beside the configuration: files that it names, and whether they hold what they are named for."""

from __future__ import annotations

import os
import ssl
import time
from hashlib import blake2b

from sluicegate.core import settings
from sluicegate.spec.kinds import Context
from sluicegate.spec.problems import Path, Severity
from sluicegate.spec.references import Wrong
from sluicegate.spec.validity import ends, words


class Files:
    """Relative paths start in `base`, the directory of the configuration."""

    def __init__(self, cx: Context, base: str) -> None:
        self.cx = cx
        self._base = base

    def path(self, name: str) -> str:
        """The whole path."""
        return os.path.normpath(os.path.join(self._base, name))

    def read(self, name: str, at: Path) -> settings.DigestedFile | None:
        """A file that is looked at for changes from now on; None after saying that it cannot be read."""
        path = self.path(name)
        self.cx.sources.files.append(path)
        try:
            with open(path, "rb") as f:
                return settings.DigestedFile(path, blake2b(f.read(), digest_size=8).hexdigest())
        except OSError as e:
            self._unreadable(name, at, e)
            return None

    def readable(self, path: str, at: Path, severity: Severity = "error") -> bool:
        """Whether it is; else that is said."""
        try:
            with open(path, "rb") as f:
                f.read(1)
        except OSError as e:
            self._unreadable(path, at, e, severity)
            return False
        return True

    def _unreadable(self, path: str, at: Path, e: OSError, severity: Severity = "error") -> None:
        what = f"{self.cx.shown(at, path)} cannot be read: {(e.strerror or 'error').lower()}"
        self.cx.say(at, what, "relative paths start beside the configuration", severity)

    def certificate(self, name: str, at: Path) -> str:
        """Of a service principal: the whole path."""
        path = self.path(name)
        self.readable(path, at)
        return path

    def pair(self, tls: settings.TlsFiles, at: Path) -> None:
        """Whether certificate and key can be served with."""
        if self.readable(tls.certificate, (*at, "certificate")) and self.readable(tls.key, (*at, "key")):
            try:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(tls.certificate, tls.key, password=_no_passphrase)
            except Wrong as e:
                self.cx.say((*at, "key"), e.what, e.hint)
            except (ssl.SSLError, ValueError):
                hint = "both are PEM files, the certificate first in its chain, and the key belongs to it"
                self.cx.say((*at, "certificate"), "certificate and key do not make a pair we can serve with", hint)
            else:
                with open(tls.certificate, "rb") as f:
                    end = ends(f.read())
                what = words(os.path.basename(tls.certificate), end, time.time()) if end is not None else ""
                if what:
                    self.cx.say((*at, "certificate"), what, "put another into that file", "warning")

    def authorities(self, ca: str, at: Path) -> None:
        """Whether certificates of upstreams can be checked against these."""
        if self.readable(ca, at):
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(ca)
            except (ssl.SSLError, ValueError):
                self.cx.say(at, "holds no certificate that we can read", "write a PEM file: BEGIN CERTIFICATE ...")

    def certificates(self, path: str, at: Path) -> None:
        """Whether there is one in it."""
        if not self._holds(path)["x509"]:
            self.cx.say(at, "holds no certificate that we can read", "write a PEM file: BEGIN CERTIFICATE ...")

    def revoked(self, path: str, at: Path) -> None:
        """Whether it is a list of revoked ones. Who signed it is looked at by those who use it."""
        if not self._holds(path)["crl"]:
            hint = "write a PEM file: BEGIN X509 CRL ...; of DER: openssl crl -inform der -in LIST -out LIST.pem"
            self.cx.say(at, "holds no list of revoked certificates that we can read", hint)

    def _holds(self, path: str) -> dict[str, int]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_verify_locations(path)
        except (OSError, ValueError):  # ssl.SSLError is one
            return {"x509": 0, "crl": 0}
        return context.cert_store_stats()


def _no_passphrase() -> str:
    raise Wrong("has a passphrase", "store it without one, readable by this user only: openssl pkey -in KEY -out PLAIN")
