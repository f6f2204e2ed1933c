"""The installation's own secret, where the configuration names none: made once, at the first start.

It keys the digests of consumers' keys. Gateways that share a configuration need the same one: `gateway.secrets`.
"""

from __future__ import annotations

import os
import secrets
import stat

from sluicegate.core.secret import Secret
from sluicegate.spec.references import Wrong, read_file

FILE = "secret"


def known(data: str) -> Secret | None:
    """The secret kept in `data`, None when there is none yet. Raises Wrong."""
    path = os.path.join(data, FILE)
    if not os.path.lexists(path):
        return None
    text = read_file(path)
    if os.stat(path).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise Wrong(f"holds a secret that others may read: {path}", f"chmod 600 {path}")
    if len(text) < 32:
        raise Wrong(f"holds a secret that is damaged: {path}", "restore it, or remove it: a new one is made")
    return Secret(text)


def made(data: str) -> Secret:
    """The secret kept in `data`, made now if there is none; starting twice at once makes one. Raises Wrong."""
    path = os.path.join(data, FILE)
    draft = f"{path}.{os.getpid()}.{secrets.token_hex(4)}"
    try:
        os.makedirs(data, mode=0o700, exist_ok=True)
        found = known(data)
        if found is not None:
            return found
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as f:
            f.write(secrets.token_hex(32) + "\n")
            f.flush()
            os.fsync(f.fileno())
        try:
            os.link(draft, path)  # fails if somebody was faster; a rename would replace what they already use
        except FileExistsError:
            pass
        finally:
            os.unlink(draft)
    except OSError as e:
        hint = f"make {data} writable for this user, or write gateway.secrets"
        raise Wrong(f"cannot keep the installation's secret: {(e.strerror or 'error').lower()}", hint) from None
    found = known(data)
    assert found is not None
    return found
