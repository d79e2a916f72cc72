"""What a request will weigh in tokens, before anybody knows.

- prompt: bytes / 3.5, corrected by a running ratio of what replies reported
- reserved: prompt + max tokens x completions asked for: what a provider debits when the request arrives
- likely: prompt + the running mean of completion tokens, never more than reserved
- worst: every byte of the body a token, each image the dearest known, + max tokens x completions: an upper
  bound, for money

Pure sums; the running means look back over about 50 replies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import orjson

from batcher.policy import constants as c

if TYPE_CHECKING:
    from batcher.records import Request, Usage

_MANY: Final = b'"n"'
_IMAGE: Final = b"image_url"
_MOST_COMPLETIONS: Final = 1_000


def completions_asked(body: bytes) -> int:
    """The body's ``n``, 1 when it asks for none; a body that is no JSON object asks for 1."""
    if _MANY not in body:  # 50 ns for nearly all requests
        return 1
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return 1
    asked = parsed.get("n") if isinstance(parsed, dict) else None
    return min(asked, _MOST_COMPLETIONS) if isinstance(asked, int) and asked > 1 else 1


def worst_tokens(request: Request) -> tuple[int, int | None]:
    """(prompt, completion) tokens that the request can cost at most; completion None: it has no maximum."""
    images = (request.body.count(_IMAGE) + 1) // 2  # the word stands twice in each image part
    prompt = len(request.body) + images * c.IMAGE_WORST_TOKENS
    if request.max_tokens is None:
        return prompt, None
    return prompt, request.max_tokens * completions_asked(request.body)


class Estimate:
    """Running means over what replies reported. Unknown at first: ratio 1, completions at their maximum."""

    def __init__(self) -> None:
        self._ratio = 1.0
        self._completion: float | None = None
        self._prompts = 0
        self._completions = 0

    def prompt(self, request: Request) -> float:
        return len(request.body) / c.BYTES_PER_TOKEN * self._ratio

    def of(self, request: Request) -> tuple[float, float]:
        """(reserved, likely) tokens of the request."""
        prompt = self.prompt(request)
        if request.max_tokens is None:
            likely = prompt + (c.COMPLETION_GUESS if self._completion is None else self._completion)
            return likely, likely
        most = request.max_tokens * completions_asked(request.body)
        completion = most if self._completion is None else min(most, self._completion)
        return prompt + most, prompt + completion

    def learn(self, request: Request, usage: Usage) -> None:
        """Correct the means by one reply's usage."""
        if usage.prompt_tokens and request.body:
            self._prompts = min(self._prompts + 1, c.ESTIMATE_MEMORY)
            seen = usage.prompt_tokens * c.BYTES_PER_TOKEN / len(request.body)
            ratio = self._ratio + (seen - self._ratio) / self._prompts
            self._ratio = min(max(ratio, c.ESTIMATE_RATIO_LEAST), c.ESTIMATE_RATIO_MOST)
        if usage.completion_tokens is not None:
            self._completions = min(self._completions + 1, c.ESTIMATE_MEMORY)
            before = self._completion or 0.0
            self._completion = before + (usage.completion_tokens - before) / self._completions
