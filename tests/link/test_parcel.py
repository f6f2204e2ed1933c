"""The parcel: what goes in comes out, typed, with its secrets, and says nothing when it is broken."""

import subprocess
import sys
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.core.caller import Callers, Consumer
from sluicegate.core.secret import Secret
from sluicegate.core.settings import Gateway, Listen, OnDisconnect, Timeouts, TlsFiles
from sluicegate.core.snapshot import Auth, ConsumerEntry, Deployment, Directory, Instance, Model, Snapshot
from sluicegate.link.parcel import FORMAT, Parcel, Unreadable, pack, unpack

CANARY = "canary-5f2a9c10"

SNAPSHOT = Snapshot(
    "0123456789ab",
    Gateway("g", "westeurope", "/data", Listen("0.0.0.0", 8443, TlsFiles("c", "k")), 5.0),
    (
        Instance(1, "weu", "azure_openai", "https", "a.example", 443, "", Auth("key", Secret(CANARY)), "2024-10-21"),
        Instance(2, "vllm", "openai_compatible", "http", "::1", 8000, "/v1", ca="/ca.pem", region="fra"),
    ),
    (
        Deployment(1, "gpt-4o", 1, "gpt-4o", "2024-11-20", "Standard", 1),
        Deployment(2, "m", 2, "m", "3.2", "Standard", 1),
    ),
    (Model(1, "chat", (1, 2), ("chat_completions",), Timeouts(1.0, 2.0, 3.0, 4.0), 2, OnDisconnect(1.0, 0.0), 1024),),
)
DIRECTORY = Directory((Secret(CANARY * 3),), (ConsumerEntry(1, "app", "default", ("*",), (b"\x00\xff" * 8,)),))


def test_what_goes_in_comes_out():
    snapshot, directory = unpack(pack(SNAPSHOT, DIRECTORY))
    assert (snapshot, directory) == (SNAPSHOT, DIRECTORY)
    assert type(snapshot.instances[0].auth.secret) is Secret
    assert type(snapshot.models[0].deployments) is tuple
    assert snapshot.instances[1].auth.secret is None


def test_what_comes_out_prints_no_secret():
    snapshot, directory = unpack(pack(SNAPSHOT, DIRECTORY))
    assert CANARY not in repr(snapshot) + repr(directory)


@given(st.lists(st.tuples(st.text(), st.text(), st.binary(min_size=16, max_size=16)), max_size=20), st.text(min_size=1))
def test_any_directory_goes_round(people: list[tuple[str, str, bytes]], secret: str):
    entries = tuple(ConsumerEntry(n, name, tenant, ("a",), (d,)) for n, (name, tenant, d) in enumerate(people))
    directory = Directory((Secret(secret),), entries)
    assert unpack(pack(SNAPSHOT, directory))[1] == directory


def test_ten_thousand_consumers_travel_quickly_enough_to_be_compiled_beside_traffic():
    entry = DIRECTORY.consumers[0]
    many = tuple(replace(entry, number=n, digests=(n.to_bytes(16, "big"),)) for n in range(10_000))
    packed = pack(SNAPSHOT, Directory(DIRECTORY.secrets, many))
    assert len(packed) < 1_500_000
    who = Callers(unpack(packed)[1])
    assert isinstance(next(iter(who._by_digest.values())), Consumer)


@pytest.mark.parametrize("how", ["empty", "cut", "junk", "format", "field"])
def test_what_is_no_parcel_is_refused_without_showing_it(how: str):
    packed = pack(SNAPSHOT, DIRECTORY)
    broken = {
        "empty": b"",
        "cut": packed[:-10],
        "junk": CANARY.encode(),
        "format": msgspec.msgpack.encode({**msgspec.msgpack.decode(packed), "format": FORMAT + 1}),
        "field": msgspec.msgpack.encode({**msgspec.msgpack.decode(packed), "directory": CANARY}),
    }[how]
    with pytest.raises(Unreadable) as caught:
        unpack(broken)
    assert CANARY not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@given(st.binary(max_size=300))
def test_no_bytes_whatever_raise_anything_else(raw: bytes):
    with pytest.raises(Unreadable):
        unpack(raw)


def test_only_what_a_snapshot_is_made_of_can_be_packed():
    with pytest.raises(TypeError, match="cannot hold a object"):
        pack(replace(SNAPSHOT, hash=object()), DIRECTORY)  # type: ignore[arg-type]
    assert list(Parcel.__dataclass_fields__) == ["format", "snapshot", "directory"]


def test_reading_one_needs_neither_the_language_nor_its_libraries():
    code = (
        "import sys, sluicegate.link.parcel; print([m for m in sys.modules if m.split('.')[0] in ('yaml', 'pydantic', "
    )
    code += "'click') or m.startswith('sluicegate.spec')])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
