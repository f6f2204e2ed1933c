"""`sluicegate serve -c FILE` with as many workers as the second argument says; a third one is a path to a certificate
that no check has seen."""

import os
import sys
from dataclasses import replace

from sluicegate import main
from sluicegate.apis import APIS
from sluicegate.core.settings import Admin, Telemetry, TlsFiles
from sluicegate.spec.load import Loaded, load_file

FILE, WORKERS = sys.argv[1], int(sys.argv[2])


def load() -> Loaded:
    found = load_file(FILE, os.environ, tuple(APIS), start=True)
    if found.snapshot is None:
        return found
    gateway = replace(
        found.snapshot.gateway,
        workers=WORKERS,
        admin=Admin(port=0),
        telemetry=Telemetry(access_log=os.environ.get("ACCESS_LOG", "")),
    )
    if len(sys.argv) > 3:
        gateway = replace(gateway, listen=replace(gateway.listen, tls=TlsFiles(sys.argv[3], sys.argv[3])))
    return replace(found, snapshot=replace(found.snapshot, gateway=gateway))


if __name__ == "__main__":
    sys.exit(main.Live().serve(load(), load, [FILE]))
