"""`sluicegate serve -c FILE`, with a certificate that no check has seen: the second argument is its path."""

import os
import sys
from dataclasses import replace

from sluicegate import main
from sluicegate.apis import APIS
from sluicegate.core.settings import TlsFiles
from sluicegate.spec.load import Loaded, load_file

FILE, CERTIFICATE = sys.argv[1:]


def load() -> Loaded:
    found = load_file(FILE, os.environ, tuple(APIS), start=True)
    assert found.snapshot is not None
    gateway = found.snapshot.gateway
    gateway = replace(gateway, listen=replace(gateway.listen, tls=TlsFiles(CERTIFICATE, CERTIFICATE)))
    return replace(found, snapshot=replace(found.snapshot, gateway=gateway))


if __name__ == "__main__":
    sys.exit(main.Live().serve(load(), load, [FILE]))
