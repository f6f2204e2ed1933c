"""What is revoked stays so: several at once are all written down, and what cannot be read is said with its file."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sluicegate.keeper import drained, revoked
from sluicegate.keeper.keeper import Keeper
from sluicegate.keeper.revoked import Revoked


def test_revocations_at_the_same_time_are_all_written_down(tmp_path: Path):
    """Each wrote the same draft, or put an older list in the place of a newer one: after the next start a revoked key
    was let in again, or nothing started."""

    async def told(digests: list[str]) -> list[int]:
        return []

    async def run() -> list[tuple[bool, list[int]]]:
        settings = SimpleNamespace(data=str(tmp_path))
        keeper: Any = SimpleNamespace(
            revoked={}, supervisor=SimpleNamespace(revoke=told), settings=settings, _keeping=asyncio.Lock()
        )
        ones = [Revoked(bytes([n] * 16).hex(), f"app-{n}", "k", "ops", "now") for n in range(60)]
        return list(await asyncio.gather(*(Keeper._revoke(keeper, {bytes.fromhex(one.digest): one}) for one in ones)))

    assert all(kept for kept, _ in asyncio.run(run()))
    assert {one.consumer for one in revoked.load(str(tmp_path)).values()} == {f"app-{n}" for n in range(60)}
    assert [path.name for path in tmp_path.iterdir()] == [revoked.FILE]


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"{}", b"[1]"])
@pytest.mark.parametrize("what", [drained, revoked])
def test_a_list_that_cannot_be_read_is_said_with_its_file(tmp_path: Path, text: bytes, what: Any):
    (tmp_path / what.FILE).write_bytes(text)
    with pytest.raises(ValueError, match=f"{what.FILE} is damaged: re(move|store) it"):
        what.load(str(tmp_path))
