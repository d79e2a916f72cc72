"""Deterministic draws from a digest: the same content and seed always throw the same numbers.

Not `random.Random`: seeding its Mersenne Twister costs several µs per request, a small hash costs one.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")


class Draw(NamedTuple):
    """Three independent uniform numbers in [0, 1): one for the fault, two for the latency."""

    fault: float
    first: float
    second: float


def draw(digest: bytes, attempt: int, seed: int) -> Draw:
    """The numbers of one attempt of one content."""
    raw = blake2b(b"%b%d:%d" % (digest, attempt, seed), digest_size=16, person=b"attempt").digest()
    return Draw(
        (int.from_bytes(raw[:8], "big") >> 11) / 2**53,
        int.from_bytes(raw[8:12], "big") / 2**32,
        int.from_bytes(raw[12:], "big") / 2**32,
    )


class Dice:
    """A stream of small numbers from (digest, seed), used up 256 bits at a time."""

    __slots__ = ("_digest", "_left")

    def __init__(self, digest: bytes, seed: int) -> None:
        self._digest = b"%b:%d" % (digest, seed)
        self._left = 1

    def below(self, sides: int) -> int:
        """A number in 0 .. sides - 1; `sides` at least 1, and small against 2^192 so that the bias does not
        matter.
        """
        if self._left < 2**64 * sides:
            self._digest = blake2b(self._digest, digest_size=32, person=b"answer").digest()
            self._left = int.from_bytes(self._digest, "big")
        self._left, number = divmod(self._left, sides)
        return number

    def pick(self, choices: Sequence[T]) -> T:
        return choices[self.below(len(choices))]
