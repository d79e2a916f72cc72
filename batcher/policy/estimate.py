"""What a request will weigh in tokens, before anybody knows.

- prompt: bytes / 3.5, corrected by a running ratio of what replies reported; an image the running mean of what images
  weighed beyond that, and none of its bytes
- reserved: prompt + max tokens x completions asked for: what a provider debits when the request arrives
- likely: prompt + the running mean of completion tokens, never more than reserved
- worst: every byte of the body a token, each image the dearest known in place of its bytes, + max tokens x
  completions: an upper bound, for money

Pure sums; the running means look back over about 50 replies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import orjson

from batcher.policy import constants as c

if TYPE_CHECKING:
    from batcher.records import Request, Usage

_MANY: Final = b'"n"'
_MOST_COMPLETIONS: Final = 1_000
_TOKENS_PER_BYTE: Final = 1.0 / c.BYTES_PER_TOKEN


def completions_asked(body: bytes) -> int:
    """The body's ``n``, 1 when it asks for none; a body that is no JSON object asks for 1."""
    if _MANY not in body:
        return 1
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return 1
    asked = parsed.get("n") if isinstance(parsed, dict) else None
    return min(asked, _MOST_COMPLETIONS) if isinstance(asked, int) and asked > 1 else 1


def worst_tokens(request: Request, *, completions: int | None = None) -> tuple[int, int | None]:
    """(prompt, completion) tokens that the request can cost at most; completion None: it has no maximum.

    `completions`: how many it asks for; None: look into the body.
    """
    prompt = len(request.body) - request.image_bytes + request.images * c.IMAGE_WORST_TOKENS
    if request.max_tokens is None:
        return prompt, None
    asked = completions_asked(request.body) if completions is None else completions
    return prompt, request.max_tokens * asked


class Weigher:
    """`worst_tokens` for the request that is asked about again and again: it searches the body once.

    `completions`: what every request asks for, >= 1; None: each body says so itself.
    """

    def __init__(self, completions: int | None = None) -> None:
        self._completions = completions
        self._request: Request | None = None
        self._worst: tuple[int, int | None] = (0, None)

    def most_completion(self, request: Request, most: int) -> int:
        """Completion tokens of the request, whose maximum per completion is `most`."""
        if self._completions is not None:
            return most * self._completions
        return self.worst(request)[1] or most

    def worst(self, request: Request) -> tuple[int, int | None]:
        """As `worst_tokens`."""
        if request is not self._request:
            self._request, self._worst = request, worst_tokens(request, completions=self._completions)
        return self._worst


class Estimate:
    """Running means over what replies reported. Unknown at first: ratio 1, completions at their maximum."""

    def __init__(self, weigher: Weigher | None = None) -> None:
        self._weigher = weigher or Weigher()
        self._seen = 0
        self._ratio = 1.0
        self._completion: float | None = None
        self._prompts = 0
        self._completions = 0
        self._image = float(c.IMAGE_TOKENS_GUESS)
        self._images = 0

    def prompt(self, request: Request) -> float:
        if not request.images:
            return len(request.body) * _TOKENS_PER_BYTE * self._ratio
        return self._text(request) + request.images * self._image

    def of(self, request: Request) -> tuple[float, float]:
        """(reserved, likely) tokens of the request."""
        prompt = self.prompt(request)
        if request.max_tokens is None:
            likely = prompt + (c.COMPLETION_GUESS if self._completion is None else self._completion)
            return likely, likely
        most = self._weigher.most_completion(request, request.max_tokens)
        mean = self._completion
        return prompt + most, prompt + (most if mean is None or mean > most else mean)

    def learn(self, request: Request, usage: Usage) -> None:
        """Correct the means by one reply's usage; once they stand, by one of 8."""
        self._seen += 1
        if self._seen > c.ESTIMATE_MEMORY and self._seen % c.ESTIMATE_EVERY:
            return
        if usage.prompt_tokens and request.images:
            self._images = min(self._images + 1, c.ESTIMATE_MEMORY)
            seen = max(0.0, usage.prompt_tokens - self._text(request)) / request.images
            self._image += (seen - self._image) / self._images
        elif usage.prompt_tokens and request.body:
            self._prompts = min(self._prompts + 1, c.ESTIMATE_MEMORY)
            seen = usage.prompt_tokens * c.BYTES_PER_TOKEN / len(request.body)
            ratio = self._ratio + (seen - self._ratio) / self._prompts
            self._ratio = min(max(ratio, c.ESTIMATE_RATIO_LEAST), c.ESTIMATE_RATIO_MOST)
        if usage.completion_tokens is not None:
            self._completions = min(self._completions + 1, c.ESTIMATE_MEMORY)
            before = self._completion or 0.0
            self._completion = before + (usage.completion_tokens - before) / self._completions

    def _text(self, request: Request) -> float:
        return (len(request.body) - request.image_bytes) * _TOKENS_PER_BYTE * self._ratio
