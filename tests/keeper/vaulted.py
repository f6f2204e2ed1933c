"""`sluicegate ...` with a key vault on loopback: the first argument is its address, the rest those of the program."""

import os
import sys

from sluicegate import main
from sluicegate.upstream.credentials.keyvault import Vault

ADDRESS = sys.argv.pop(1)


class Live(main.Live):
    """With the vault of the test."""

    @property
    def vault(self) -> Vault:  # type: ignore[override]
        return VAULTS.setdefault("one", Vault(os.environ, self.sources.fetch, address=lambda host: ADDRESS))


VAULTS: dict[str, Vault] = {}

if __name__ == "__main__":
    main.Live = Live  # type: ignore[misc]
    main.main()
