"""G7 on one node: twenty kill -9 at 200 requests/s, each within 2 ms of an arrival at the upstream.

Nothing that a client has whole is missing from the ledger, nothing is there twice, every call that arrived has its
record, sums are equal to the token, and what was open at the kill is interrupted, with its prompt estimated.
"""

from pathlib import Path

import pytest

from tests.keeper.killing import kill_and_compare


@pytest.mark.timeout(300)
def test_goal_G7_usage_exactly_once_under_kill(short: bool, tmp_path: Path):
    found = kill_and_compare(tmp_path, 4 if short else 20)
    print(found)
