"""A body on its way in: what goes in comes out, in one piece, wherever it lived meanwhile."""

import os

import pytest

from sluicegate.edge.body import SPILL_BYTES, BodyBuffer


def taken(*chunks: bytes) -> bytes:
    buffer = BodyBuffer()
    for chunk in chunks:
        buffer.add(chunk)
    assert buffer.size == sum(map(len, chunks))
    return bytes(buffer.take())


@pytest.mark.parametrize("size", [0, 1, 1000, SPILL_BYTES - 1, SPILL_BYTES, SPILL_BYTES + 1, 3 * SPILL_BYTES])
@pytest.mark.parametrize("pieces", [1, 2, 3, 50])
def test_a_body_comes_out_as_it_went_in(size: int, pieces: int):
    body = os.urandom(size)
    step = max(1, size // pieces)
    assert taken(*(body[at : at + step] for at in range(0, size, step))) == body


def test_a_body_of_one_chunk_is_that_chunk():
    buffer, chunk = BodyBuffer(), b"x" * 1000
    buffer.add(chunk)
    assert buffer.take() is chunk


def test_a_large_body_is_a_file_without_a_name_that_goes_with_its_last_reader():
    def files() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = files()
    buffer = BodyBuffer()
    for _ in range(3):
        buffer.add(b"x" * SPILL_BYTES)
    assert files() == before + 1
    body = buffer.take()
    assert isinstance(body, memoryview) and body.readonly and len(body) == 3 * SPILL_BYTES
    del body
    assert files() == before
    for _ in range(3):
        buffer.add(b"x" * SPILL_BYTES)
    buffer.close()
    assert files() == before


def test_a_buffer_that_was_closed_or_taken_is_empty():
    buffer = BodyBuffer()
    buffer.add(b"abc")
    buffer.close()
    assert buffer.take() == b""
