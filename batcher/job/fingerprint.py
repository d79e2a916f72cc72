"""Whether two runs ask for the same answers: a digest over what changes answers, and over nothing else.

`IDENTITY` and `TUNING` together name every key of a job; a test holds them against the models, so that a
new key must be classified before it can be used. Parts are kept beside the digest because a refusal has to
say what changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batcher.job.loading import Job

DIGEST_BYTES = 16

IDENTITY = frozenset(
    {
        "labels.*",
        "input.path",  # by the content's hash: a renamed file is the same input
        "input.format",
        "input.id_column",
        "input.prompt_column",
        "input.messages_column",
        "request.model",
        "request.system",
        "request.prompt",
        "request.temperature",
        "request.max_completion_tokens",
        "request.max_tokens",
        "request.top_p",
        "request.seed",
        "request.stop",
        "request.n",
        "request.stream",  # and with it stream_options: both stand in the body
        "request.reask",
        "request.response_format",
        "request.tools",
        "request.tool_choice",
        "request.images.column",
        "request.images.detail",
        "request.images.max_bytes",
        "request.*",  # parameters that pass through
        "endpoint.base_url",
    }
)
"""Keys that change answers; `*` is any name."""

TUNING = frozenset(
    {
        "input.limit",
        "input.allow_empty",
        "request.dedupe",
        "request.images.root",  # a moved folder holds the same images, and they stand in each request's hash
        "endpoint.api_key_env",
        "endpoint.headers",
        "endpoint.timeout_s",
        "endpoint.idle_timeout_s",
        "endpoint.ca_file",
        "limits.concurrency",
        "limits.requests_per_minute",
        "limits.tokens_per_minute",
        "limits.max_attempts",
        "limits.max_paid_attempts",
        "limits.max_cost_usd",
        "limits.deadline",
        "output.path",
        "output.prefix",
        "output.keep_raw",
        "output.expand",
        "output.report",
        "tags.*",
        "prices.*.input",
        "prices.*.cached_input",
        "prices.*.output",
    }
)
"""Keys that are free to change between the sessions of a run."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a run is.

    Attributes:
        digest: 32 hex digits over `parts`, `input.rows` left out.
        parts: key -> JSON value, for `diff`; keys that are not set do not stand in it.
    """

    digest: str
    parts: Mapping[str, object]


def fingerprint(
    job: Job, *, input_hash: str, endpoint_identity: str, simulated: bool, input_rows: int | None = None
) -> Fingerprint:
    """The fingerprint of a job over one input.

    Args:
        job: the job.
        input_hash: hash of the input's content, as the scan found it.
        endpoint_identity: what the endpoint calls itself: its normalised URL, without any key.
        simulated: whether the embedded endpoint answers.
        input_rows: rows of the input, only to be shown in a diff.
    """
    given: dict[str, object] = {
        "input.hash": input_hash,
        "input.format": job.input.format,
        "input.id_column": job.input.id_column,
        "input.prompt_column": job.input.prompt_column,
        "input.messages_column": job.input.messages_column,
        "request.system": job.request.system,
        "request.prompt": job.request.prompt,
        "request.reask": job.request.reask or None,
        "endpoint.base_url": endpoint_identity,
        "simulated": simulated,
    }
    given |= {f"request.{key}": value for key, value in job.request.parameters().items()}
    if job.request.images is not None:
        table = job.request.images.model_dump(mode="json", exclude={"root"})
        given |= {f"request.images.{key}": value for key, value in table.items()}
    given |= {f"labels.{label}": list(values) for label, values in job.labels.items()}
    parts = {key: value for key, value in sorted(given.items()) if value is not None}
    digest = blake2b(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS), digest_size=DIGEST_BYTES).hexdigest()
    if input_rows is not None:
        parts["input.rows"] = input_rows
    return Fingerprint(digest, parts)
