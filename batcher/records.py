"""The words everybody shares: the domain as frozen values, without behaviour and without I/O.

One row's way, in these words: an **input row** becomes a **request** (or is a **problem** and never sent); an
**attempt** is one POST of it, and what came back is a **reply**; reading a reply gives a **reading**; judging the
reading gives an **outcome**. What is durable of all this is a **journal record**. A **shard** is a run of
consecutive rows, a **part** a sealed shard, a **session** one process at work on a **run**.

None means unknown (never 0), in every field. Times are seconds since the epoch (UTC), durations milliseconds.
This module imports the standard library and `quick` only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from batcher.quick import quick

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Outcome(StrEnum):
    """What became of a row; the values of the output's ``outcome`` column."""

    OK = "ok"
    TRUNCATED = "truncated"  # finish_reason "length": an answer, cut at the token limit
    REFUSED = "refused"  # the model or its filter declined
    FAILED = "failed"  # no answer, and its budgets are used up or no retry helps
    INVALID = "invalid"  # never sent


ANSWERED = frozenset({Outcome.OK, Outcome.TRUNCATED, Outcome.REFUSED})
"""Outcomes that hold an answer which was paid for, so reuse takes them over and ``retry`` never loses them."""


class Progress(StrEnum):
    """How far an attempt came; decides whether it may have been paid."""

    NOT_SENT = "not_sent"  # the request did not leave whole
    SENT = "sent"  # the request left whole, no status line came back
    CUT = "cut"  # a status line came, the body is not whole
    COMPLETE = "complete"


class FaultKind(StrEnum):
    """What ended an exchange that is not complete, or whose bytes could not be decoded."""

    DNS = "dns"
    CONNECT_REFUSED = "connect_refused"
    CONNECT_TIMEOUT = "connect_timeout"
    CONNECT_FAILED = "connect_failed"  # unreachable, proxy refused, anything else before a connection stood
    TLS = "tls"  # verification failed, wrong host name, protocol mismatch
    NOT_SENT = "not_sent"  # closed, or stuck, before the request left whole
    STALE = "stale_connection"  # a reused connection that the peer had already closed
    RESET = "connection_reset"  # after sending, before a reply
    EOF = "no_reply"  # closed after sending, before a reply
    READ_TIMEOUT = "read_timeout"
    DEADLINE = "deadline"  # the attempt's own deadline
    BODY_CUT = "body_cut"  # status line came, body not whole (includes wrong Content-Length, broken chunking)
    BAD_ENCODING = "bad_content_encoding"  # gzip header over a plain body, damaged gzip
    BAD_HTTP = "bad_http"  # bytes came back that are not HTTP
    TOO_LARGE = "response_too_large"


@dataclass(frozen=True, slots=True)
class Fault:
    kind: FaultKind
    message: str
    """For a person; scrubbed of the key, at most 2,000 characters."""


@dataclass(frozen=True, slots=True)
class InputRow:
    """One input row as the templates see it.

    Attributes:
        row_index: zero-based position in the whole input.
        values: column name -> Python value (str, int, float, bool, None, list, dict); only the columns asked for.
        problem: why the row cannot be used (never sent, outcome ``invalid``), or None.
    """

    row_index: int
    values: Mapping[str, object]
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """A row that cannot become a request: outcome ``invalid`` with this reason, never sent."""

    row_index: int
    error_type: str
    message: str
    custom_id: str | None = None


class ImageTrouble(StrEnum):
    """Why an image of a row cannot be sent; the ``error_type`` of the row, which is invalid then."""

    INVALID = "invalid_image"  # no image, another format, broken, cut off
    TOO_LARGE = "image_too_large"
    OUTSIDE_ROOT = "image_outside_root"
    NOT_FOUND = "image_not_found"
    UNREADABLE = "image_unreadable"


@dataclass(frozen=True, slots=True)
class Unusable:
    """Something that a row names and that cannot be had; the message ends in no full stop."""

    error_type: str
    message: str


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent for one row.

    Attributes:
        body: the JSON body, byte for byte as sent on every attempt.
        request_hash: 32 hex digits; equal exactly when body (keys sorted), endpoint and simulated-or-not are equal. A
            row that is asked again keeps the hash of its first request.
        model: the body's ``model``.
        own_model: the row, not the job, named the model: then an unknown model fails the row, not the run.
        max_tokens: the body's token maximum per completion, None when it sets none.
        stream: the body asks for the answer piece by piece.
        images: its image parts, at least; a text that speaks of them may seem to be one.
        image_bytes: of the body that are images as data URLs, so weigh as images and not as text.
    """

    row_index: int
    body: bytes
    request_hash: str
    model: str
    custom_id: str | None = None
    own_model: bool = False
    max_tokens: int | None = None
    stream: bool = False
    images: int = 0
    image_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """What one attempt brought back, before anybody interpreted it.

    Attributes:
        status: None when no status line arrived.
        headers: in order of arrival, names in lower case.
        body: every byte that arrived, content-encoding undone where it could be, else as it came.
        progress: see `Progress`; COMPLETE also where the body is whole but nonsense.
        fault: what ended the exchange, or None; with COMPLETE only BAD_ENCODING is possible.
        sent_at: when the attempt began to write, seconds since the epoch.
        received_at: when the last byte (or the fault) came.
        latency_ms: from the first byte written to the last byte read, by the monotonic clock.
        reused_connection: whether the attempt went out on a kept-alive connection.
        ttft_ms: from the first byte written to the first piece that says something; None where nobody watched.
    """

    status: int | None
    headers: tuple[tuple[str, str], ...]
    body: bytes
    progress: Progress
    fault: Fault | None
    sent_at: float
    received_at: float
    latency_ms: float
    reused_connection: bool = False
    ttft_ms: float | None = None

    def header(self, name: str) -> str | None:
        """The first header of that (lower-case) name, or None."""
        return next((value for key, value in self.headers if key == name), None)


@dataclass(frozen=True, slots=True)
class ApiError:
    """An error object, however the server spelt it, as text; None where absent.

    Scrubbed; the message has at most 2,000 characters.
    """

    message: str | None = None
    type: str | None = None
    code: str | None = None


class Shape(StrEnum):
    """What a body is, whatever the status said."""

    CHOICES = "choices"  # an object with at least one usable choice (a message object)
    EMPTY = "empty"  # JSON without a usable choice or an error: null, [], {}, choices null, message null
    ERROR = "error"  # an error object, `detail`, or error text, and no choices
    NOT_JSON = "not_json"  # HTML, plain text, no bytes, bad UTF-8, half a JSON


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one reply; None is unknown. `cached` and `cache_write` are parts of `prompt`, `reasoning` of
    `completion`. `cost_usd` is what the gateway says that the reply cost, None where it says nothing believable.
    """

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    cache_write_tokens: int | None = None
    cost_usd: float | None = None


class CostSource(StrEnum):
    """Who says what something cost; the values of the output's ``cost_source`` column.

    A sum of both is PRICES: a part of it was reckoned and not reported.
    """

    GATEWAY = "gateway"
    PRICES = "prices"


class Cost(NamedTuple):
    """US dollars, 0 or more, and who says so."""

    usd: float
    source: CostSource


if TYPE_CHECKING:
    Price = Callable[[str | None, str | None, Usage], Cost | None]
    """(request model, response model, usage) -> what a reply cost, None when nobody knows."""
    PriceUsd = Callable[[str | None, str | None, Usage], float | None]
    """The same for those who do not ask who says so."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The parts of a chat completion that become columns. JSON texts are verbatim re-serialisations of what came."""

    response_id: str | None = None
    response_model: str | None = None
    finish_reason: str | None = None
    completion: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: str | None = None
    choices_json: str | None = None
    """Further completions of ``n > 1`` as a JSON array, or None."""
    logprobs_json: str | None = None
    """Of the answer's own choice."""
    usage: Usage = field(default_factory=Usage)
    usage_json: str | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """A reply body, parsed once.

    Attributes:
        answer: for CHOICES always; for EMPTY the parts that stood there (id, model, usage); for a stream that an error
            ended what had come; for others nothing but the cost that the gateway told, if it did; else None.
        error: the error object for ERROR (and, for NOT_JSON of a non-2xx status, the extracted message); else None.
        warnings: words for the ``warnings`` column, in order: what was odd in a reply that is kept.
        ended: of a stream, whether it said that its answer is whole; None: it was none.
    """

    shape: Shape
    answer: Answer | None = None
    error: ApiError | None = None
    warnings: tuple[str, ...] = ()
    ended: bool | None = None


# --- what is durable ------------------------------------------------------------------------------------------------

KEPT_HEADERS = (
    "x-request-id",
    "request-id",
    "content-type",
    "x-litellm-response-cost",
    "x-litellm-call-id",
    "cf-ray",
)
"""Reply headers worth journalling; the others are for flow control and die with the attempt."""


@dataclass(frozen=True, slots=True)
class IntentRecord:
    """Written before an attempt is dispatched, never synced: after a crash it says which rows may have been paid for.

    A row has at most one open intent: a retry of an attempt that was not paid needs no second one. `attempts`
    is the number of this attempt in the row's life, from 1.
    """

    row_index: int
    request_hash: str
    attempts: int


@dataclass(frozen=True, slots=True)
class VoidRecord:
    """The attempt of an intent came back and was certainly not paid (a 429, a refused connection).

    Written at most a few times per row: in a storm of refusals an intent simply stays open, so the disk cannot fill.
    """

    row_index: int
    attempts: int


@dataclass(frozen=True, slots=True)
class ReplyRecord:
    """A reply that is, or may have been, paid for, raw. Headers are cut down to `KEPT_HEADERS`.

    Attributes:
        attempts: attempts of the row up to and with this one.
        paid_attempts: those of them that were paid or ambiguous, this one included.
        queue_ms: from the row's first admission to this attempt's dispatch.
    """

    row_index: int
    request_hash: str
    model: str
    attempts: int
    paid_attempts: int
    queue_ms: float
    reply: Reply
    custom_id: str | None = None


@dataclass(frozen=True, slots=True)
class EndRecord:
    """How a row ended without a reply that settles it: invalid, failed, or refused by an error status.

    `ambiguous` counts attempts whose payment is unknown and whose reply never came.
    """

    row_index: int
    outcome: Outcome
    error_type: str
    error_code: str | None = None
    error_message: str | None = None
    status_code: int | None = None
    request_hash: str | None = None
    model: str | None = None
    attempts: int = 0
    paid_attempts: int = 0
    ambiguous: int = 0
    queue_ms: float | None = None
    latency_ms: float | None = None
    sent_at: float | None = None
    received_at: float | None = None
    request_id: str | None = None
    custom_id: str | None = None


@dataclass(frozen=True, slots=True)
class ReopenRecord:
    """The row's EndRecord no longer counts: what ended it stopped the whole run, so the row is pending again."""

    row_index: int


@dataclass(frozen=True, slots=True)
class ReuseRecord:
    """An answer taken over: nothing was sent. `values` are output columns by their unprefixed names."""

    row_index: int
    request_hash: str
    reused_from: str
    """Id of the run that bought the answer."""
    values: Mapping[str, object]
    custom_id: str | None = None


JournalRecord = IntentRecord | VoidRecord | ReplyRecord | EndRecord | ReopenRecord | ReuseRecord


@dataclass(frozen=True, slots=True)
class RowHistory:
    """Everything journalled about one row, over all sessions, each list in order of writing.

    Attributes:
        replies: paid or ambiguous replies.
        end: the last EndRecord that no ReopenRecord follows, or None.
        reuse: the answer taken over, or None.
        open_intents: intents that nothing answers, one per session at most: possibly paid and lost in a crash.
    """

    row_index: int
    replies: tuple[ReplyRecord, ...] = ()
    end: EndRecord | None = None
    reuse: ReuseRecord | None = None
    open_intents: int = 0


for _each in (InputRow, Request, Reply, Usage, Answer, Reading, IntentRecord, ReplyRecord, RowHistory):
    quick(_each)  # every row needs one or more of each
