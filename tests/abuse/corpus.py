"""Forty-two raw messages: thirty-four that a strict front door refuses, eight that it answers.

Each is what HTTP servers in use let through or stumble over. The bad ones carry a valid key and a valid body as far
as that goes, so that only the strictness of the front door stands between them and the upstream.
"""

from __future__ import annotations

from tests.abuse.outside import CHAT, PATH, chunked, request
from tests.gateway import KEY

TE = b"Transfer-Encoding: chunked"
LENGTH = b"Content-Length: %d" % len(CHAT)


def framed(*headers: bytes, body: bytes = CHAT, version: bytes = b"1.1") -> bytes:
    """A request whose framing is given by these header lines."""
    return request(*headers, body=body, length=False, version=version)


def in_chunks(line: bytes, piece: bytes = CHAT, after: bytes = b"\r\n") -> bytes:
    """A chunked request whose first chunk begins with this line."""
    return framed(TE, body=line + piece + after + b"0\r\n\r\n")


SIZE = b"%x" % len(CHAT)

BAD: dict[str, bytes] = {
    # two framings, odd framings
    "length_and_chunked": framed(LENGTH, TE, body=chunked(CHAT)),
    "chunked_and_length": framed(TE, LENGTH, body=chunked(CHAT)),
    "two_lengths": framed(LENGTH, b"Content-Length: 3"),
    "listed_length": framed(b"Content-Length: %d, %d" % (len(CHAT), len(CHAT))),
    "signed_length": framed(b"Content-Length: +%d" % len(CHAT)),
    "hex_length": framed(b"Content-Length: 0x" + SIZE),
    "underscored_length": framed(b"Content-Length: 6_0"),
    "chunked_twice": framed(TE, TE, body=chunked(CHAT)),
    "unknown_encoding": framed(b"Transfer-Encoding: xchunked", body=chunked(CHAT)),
    "odd_blank_before_chunked": framed(b"Transfer-Encoding: \x0bchunked", body=chunked(CHAT)),
    "chunked_in_http_1_0": framed(TE, body=chunked(CHAT), version=b"1.0"),
    # chunks
    "chunk_size_0x": in_chunks(b"0x" + SIZE + b"\r\n"),
    "chunk_size_signed": in_chunks(b"+" + SIZE + b"\r\n"),
    "chunk_size_underscored": in_chunks(b"0_" + SIZE + b"\r\n"),
    "chunk_size_of_17_digits": in_chunks(b"1" + b"0" * 14 + SIZE + b"\r\n"),
    "chunk_line_ends_in_lf": in_chunks(SIZE + b"\n"),
    "lf_in_chunk_extension": in_chunks(SIZE + b";a\nb\r\n"),
    "no_crlf_after_chunk": in_chunks(SIZE + b"\r\n", after=b""),
    # lines
    "bare_lf": request().replace(b"\r\n", b"\n"),
    "bare_cr": request(b"x-a: 1\rx-b: 2"),
    "nul_in_value": request(b"x-a: 1\x002"),
    "folded_line": request(b"x-a: 1\r\n 2"),
    "blank_before_colon": request(b"x-a : 1"),
    "no_name": request(b": 1"),
    # host and target
    "no_host": request(host=None),
    "two_hosts": request(b"Host: gateway"),
    "host_with_path": request(host=b"gateway/openai?x#y"),
    "host_with_user": request(host=b"user@gateway"),
    "other_host_in_target": request(path=b"http://elsewhere.example" + PATH),
    "fragment_in_target": request(path=PATH + b"#x"),
    "http_9_9": request(version=b"9.9"),
    # sizes
    "header_of_100_kb": request(b"x-a: " + b"a" * 100_000),
    "1000_headers": request(*(b"x-%d: 1" % n for n in range(1000))),
    "target_of_64_kb": request(path=PATH + b"?x=" + b"a" * 65_536),
}

GOOD: dict[str, bytes] = {
    "length": request(b"Connection: close"),
    "chunked": framed(TE, b"Connection: close", body=chunked(CHAT[:7], CHAT[7:30], CHAT[30:])),
    "chunk_extension_and_trailer": framed(
        TE, b"Connection: close", b"Trailer: x-a",
        body=b"%x;name=value\r\n%b\r\n0\r\nx-a: 1\r\n\r\n" % (len(CHAT), CHAT),
    ),
    "http_1_0": request(version=b"1.0"),
    "blank_line_before": b"\r\n" + request(b"Connection: close"),
    "names_in_any_case": request(b"CONNECTION: close").replace(b"Host:", b"hOsT:").replace(b"api-key:", b"API-Key:"),
    "twin_headers": request(b"X_Tenant: a", b"X-Tenant: b", b"Connection: close"),
    "bearer_and_blanks": request(
        b"Authorization:\t Bearer %b \t" % KEY.encode(), b"Connection: close", key=None, host=b"[::1]:8080",
    ),
}  # fmt: skip
