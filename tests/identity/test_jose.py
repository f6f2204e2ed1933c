"""Keys of a set: which can be used, and which are passed over as if they were not there."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from typing import Any

import pytest

from sluicegate.identity.jose import CURVES, RSA_BITS, Malformed, keyset

GOOD = {"kty": "EC", "kid": "good", "crv": "P-256", "x": "A" * 43, "y": "A" * 43}


def number(value: int) -> str:
    return urlsafe_b64encode(value.to_bytes((value.bit_length() + 7) // 8)).decode().rstrip("=")


def rsa(bits: int = 2048, exponent: int = 65537) -> dict[str, Any]:
    return {"kty": "RSA", "kid": "asked", "n": number((1 << bits - 1) + 1), "e": number(exponent)}


def taken(key: dict[str, Any]) -> bool:
    """Whether it is, beside one that is good in any case."""
    return len(keyset("source", json.dumps({"keys": [key, GOOD]}).encode(), 1.0).keys) == 2


@pytest.mark.parametrize(
    ("exponent", "good"),
    [(1, False), (2, False), (3, True), (4, False), (65537, True), (2**32 - 1, True), (2**32 + 1, False)],
)
def test_an_exponent_is_odd_more_than_one_and_no_reason_to_reckon_for_long(exponent: int, good: bool):
    assert taken(rsa(exponent=exponent)) == good


@pytest.mark.parametrize("off", [-1, 0, 1])
def test_a_modulus_is_neither_weak_nor_a_reason_to_reckon_for_long(off: int):
    least, most = RSA_BITS
    assert taken(rsa(bits=least + off)) == (off >= 0) and taken(rsa(bits=most + off)) == (off <= 0)


@pytest.mark.parametrize("curve", CURVES)
def test_a_point_has_the_size_of_its_curve(curve: str):
    def point(size: int) -> dict[str, Any]:
        return {"kty": "EC", "crv": curve, **dict.fromkeys("xy", urlsafe_b64encode(bytes(size)).decode().rstrip("="))}

    assert taken(point(CURVES[curve]))
    assert not taken(point(CURVES[curve] - 1)) and not taken(point(CURVES[curve] + 1))


@pytest.mark.parametrize(
    "more", [{"use": "enc"}, {"key_ops": ["sign"]}, {"key_ops": "verify"}, {"kty": "oct"}, {"n": 3}]
)
def test_a_key_for_something_else_is_none(more: dict[str, Any]):
    assert taken(rsa()) and not taken({**rsa(), **more})


def test_a_set_of_none_that_can_be_used_is_an_error():
    with pytest.raises(Malformed, match="none of its keys can be used"):
        keyset("source", json.dumps({"keys": [rsa(bits=512)]}).encode(), 1.0)
