"""A process whose memory is nobody else's business: keys of instances and prompts are in it.

The kernel writes no core dump of it, neither to a file nor to a program that collects them (those are not held back by
a limit of size), and no other process of the same user reads its memory or attaches to it. Who may do everything
(CAP_SYS_PTRACE) still can. A program that is started begins without the seal, so each sets its own.
"""

from __future__ import annotations

import ctypes
import resource

_PR_SET_DUMPABLE = 4


def seal() -> bool:
    """From now on. False where the system knows no such thing."""
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))
    try:
        return bool(ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) == 0)
    except (OSError, AttributeError):
        return False
