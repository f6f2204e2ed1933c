"""What the answers of one consumer and model taught us: how long they get, and how many tokens its bytes are.

A log-histogram of 64 bytes: four buckets an octave, so a reserve is at most 19 % above the p95 it stands for. The
first guess counts as one sample: it holds until twenty answers are known. At 240 samples all counts are halved, so
that a consumer that changes its ways is believed after a few hundred answers.
"""

from __future__ import annotations

from math import ceil, log2

FIRST = 1000
"""Tokens that the answer of an unknown consumer is taken to have."""

SHARE = 0.95
BUCKETS = 72
"""Up to 2^18 tokens."""

FULL = 240
LEAST_RATIO = 0.25
MOST_RATIO = 4.0
STEP = 0.1


def _bucket(tokens: int) -> int:
    return min(int(4 * log2(tokens)) + 1, BUCKETS - 1) if tokens > 0 else 0


class Learned:
    """One consumer and model."""

    __slots__ = ("_counts", "_samples", "ratio", "reserve")

    def __init__(self) -> None:
        self.reserve = FIRST
        "Tokens to reserve for a choice of an answer without a maximum: 95 % of the last ones were not longer."
        self.ratio = 1.0
        "Tokens of text, told by the upstream, to tokens estimated from bytes."
        self._counts = bytearray(BUCKETS)
        self._counts[_bucket(FIRST)] = 1
        self._samples = 1

    def input(self, estimate: int, media: int) -> int:
        """Prompt tokens, from the estimate and the part of it that is media and not text. Rounded up: a prompt that
        was seen before reserves no less than it takes."""
        return ceil((estimate - media) * self.ratio) + media

    def prompt(self, estimate: int, tokens: int) -> None:
        """A prompt of text, estimated so, had so many tokens."""
        if estimate > 0:
            seen = tokens / estimate
            seen = LEAST_RATIO if seen < LEAST_RATIO else MOST_RATIO if seen > MOST_RATIO else seen
            self.ratio += STEP * (seen - self.ratio)

    def answer(self, tokens: int) -> None:
        """An answer to a request without a maximum had so many tokens."""
        counts = self._counts
        if self._samples >= FULL:
            for i in range(BUCKETS):
                counts[i] >>= 1
            self._samples = sum(counts)
        counts[_bucket(tokens)] += 1
        self._samples += 1
        if tokens > self.reserve or not self._samples & 7:  # looking at every answer would cost 2 us more
            self.reserve = self._p95()

    def _p95(self) -> int:
        counts = self._counts
        longer = int(self._samples * (1.0 - SHARE))
        at = BUCKETS - 1
        while counts[at] <= longer:
            longer -= counts[at]
            at -= 1
        return int(2.0 ** (at / 4)) + 1 if at else 0
