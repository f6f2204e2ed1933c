"""`python -m sluicegate.worker`: started by the keeper, not by hand."""

from __future__ import annotations

import os
import sys

from sluicegate.worker import main

if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(code)
