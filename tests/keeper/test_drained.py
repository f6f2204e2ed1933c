"""What an operator drained: out of every pool, kept by name, and never a reason not to start."""

import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sluicegate.core.settings import Admin, OperatorKey, Rollout
from sluicegate.keeper import drained, revoked
from sluicegate.keeper.parcels import for_workers
from tests.gateway import instance, snapshot


def test_a_drained_deployment_is_in_no_pool_and_still_declared():
    whole = snapshot([instance(1, 1), instance(2, 2)], rollout=Rollout((2, 1), 0.5))
    left = drained.without(whole, {"i1/gpt-4o-1", "not/known"})
    assert left.models[0].deployments == (2,)
    assert left.models[0].rollout is not None and left.models[0].rollout.deployments == (2,)
    assert left.deployments == whole.deployments
    assert left.hash == whole.hash
    assert drained.without(whole, {"not/known"}) is whole


def test_workers_get_no_operators_keys():
    whole = snapshot([instance(1, 1)])
    admin = Admin("127.0.0.1", 9, keys=(OperatorKey("ops", "operator", b"0" * 16),))
    whole = replace(whole, gateway=replace(whole.gateway, admin=admin))
    sent = for_workers(whole, ())
    assert sent.gateway.admin == Admin("127.0.0.1", 9) and sent.hash == whole.hash and sent.models == whole.models


def test_what_is_kept_is_found_again_and_what_is_damaged_says_so(tmp_path: Path):
    data = str(tmp_path / "data")
    assert drained.load(data) == frozenset()
    drained.keep(data, {"b/x", "a/y"})
    assert drained.load(data) == {"a/y", "b/x"}
    (tmp_path / "data" / drained.FILE).write_text('{"a": 1}')
    with pytest.raises(ValueError, match=r"drained\.json is damaged: remove it"):
        drained.load(data)


@pytest.mark.parametrize("keep", [lambda data: drained.keep(data, ["a/b"]), lambda data: revoked.keep(data, [])])
def test_what_is_kept_is_kept_through_a_power_cut(
    keep: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The folder is written, too, after the new file has taken the old one's place: it may be the old one else."""
    did: list[str] = []
    replace_, fsync = os.replace, os.fsync
    monkeypatch.setattr(os, "replace", lambda a, b: (did.append("replace"), replace_(a, b)))
    kind = lambda fd: "folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file"  # noqa: E731
    monkeypatch.setattr(os, "fsync", lambda fd: (did.append(kind(fd)), fsync(fd)))
    keep(str(tmp_path))
    assert did == ["file", "replace", "folder"]
