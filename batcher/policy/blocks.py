"""Whether a larger window brings more: the judge for servers that queue instead of refusing.

- A block is the requests sent while the window was about one size: the next begins when the window has grown
  20 %.
- It is judged after max(window, 50) replies: its tokens/s must be 5 % above those of the block before.
- Tokens/s of a block is mean in flight x tokens / time in flight (Little's law): unlike tokens over a span
  it is not bent by where the span begins, and hardly by a few long answers.
- Growth goes on while a block is judged, so in slow start the window is two sizes further when the answer is
  there. The step back goes to the smallest block that was as fast (within 5 %) as the one that failed, or
  between it and the one below, in proportion to what the one below lacked, and a little more.

A reply without usage makes its block count requests instead of tokens, and the block it is compared with too.
"""

from __future__ import annotations

import math

from batcher.policy.constants import BLOCK_GAIN, BLOCK_GROWTH, BLOCK_LEAST_REPLIES, BLOCK_MARGIN


class Block:
    """Sums over the replies to the requests sent while it was the current block.

    Attributes:
        window: its size when the block began.
    """

    __slots__ = ("in_flight", "is_judged", "replies", "spent_s", "tokens", "unknown", "window")

    def __init__(self, window: int) -> None:
        self.window = window
        self.replies = 0
        self.tokens = 0
        self.unknown = 0
        self.spent_s = 0.0
        self.in_flight = 0
        self.is_judged = False

    def add(self, *, tokens: int | None, spent_s: float, in_flight: int) -> None:
        """Count a reply: its tokens, its seconds in flight, and how many were in flight when it was sent."""
        self.replies += 1
        self.spent_s += spent_s
        self.in_flight += in_flight
        if tokens:
            self.tokens += tokens
        else:
            self.unknown += 1

    def per_second(self, *, in_tokens: bool) -> float:
        """Tokens (or requests) a second; 0 when nothing came back yet."""
        if self.spent_s <= 0.0:
            return 0.0
        units = self.tokens if in_tokens else self.replies
        return units * self.in_flight / (self.spent_s * self.replies)


class Blocks:
    """The blocks since the last cut or step back, by growing window. `window` is the size to begin with."""

    def __init__(self, window: int) -> None:
        self._all = [Block(window)]

    @property
    def current(self) -> Block:
        """The block that a request sent now belongs to."""
        return self._all[-1]

    def restart(self, window: int) -> None:
        """Other conditions: what was measured before compares with nothing any more."""
        self._all = [Block(window)]

    def grown(self, window: int) -> None:
        """The window has grown to this size."""
        if window >= BLOCK_GROWTH * self._all[-1].window:
            self._all.append(Block(window))

    def verdict(self, block: Block) -> int | None:
        """The window to step back to when this block has just failed; None: it has not, or not yet."""
        if block.is_judged or block.replies < max(block.window, BLOCK_LEAST_REPLIES):
            return None
        block.is_judged = True
        before = self._measured_before(block)
        if before is None:
            return None
        in_tokens = not (block.unknown or before.unknown)
        speed = block.per_second(in_tokens=in_tokens)
        if speed >= BLOCK_GAIN * before.per_second(in_tokens=in_tokens):
            return None
        return self._as_fast(speed, before, in_tokens=in_tokens)

    def _measured_before(self, block: Block) -> Block | None:
        """The largest earlier block of which at least a window of replies came back."""
        found = None
        for earlier in self._all:
            if earlier is block:
                return found
            if earlier.replies >= earlier.window:
                found = earlier
        return None  # a block from before a restart

    def _as_fast(self, speed: float, before: Block, *, in_tokens: bool) -> int:
        """The window that was, or would have been, as fast: between the last block too slow and the next."""
        below: Block | None = None
        slower = 1e-9
        for block in self._all:
            if block.replies < block.window:
                continue
            own = block.per_second(in_tokens=in_tokens)
            if block is before or own * BLOCK_GAIN >= speed:
                if below is None:
                    return block.window
                enough = math.ceil(BLOCK_MARGIN * below.in_flight / below.replies * speed / slower)
                return max(below.window, min(block.window, enough))
            below, slower = block, max(own, 1e-9)
        return before.window
