"""The conditions that the modes stand for, word for word, so that a test can hold both lists against each
other.
"""

from __future__ import annotations

CONNECT = "DNS, refused, connect timeout"
TLS = "TLS verification, wrong host name"
BEFORE_BODY = (
    "closed before the body was sent; or on a reused connection that the peer had already closed (EOF "
    "readable before sending, or a reset within 100 ms of sending, no byte of a reply)"
)
NO_REPLY = "reset or EOF after sending, before a reply; read timeout; attempt deadline"
BODY_CUT = "body cut short, broken chunking, gzip error, 200 that is not JSON, HTML, empty, bad UTF-8"
TOO_LARGE = "body over 64 MiB"
OK = "200, `stop` or `tool_calls`"
LENGTH = "200, `length`"
REFUSED = "200, `content_filter`, or `refusal` set"
NO_ANSWER = "200, finish_reason null, `abort`, `error`, unknown; empty choices; no content and 0 tokens"
ERROR_IN_200 = "200 with an `error` object and no choices"
USAGE = "200, usage missing, strings, floats, negative, absurd"
NOT_200 = "201–206, 3xx"  # noqa: RUF001  # verbatim
CONTEXT = "400 context length (also numeric `code`, also as a 500 with such a type), 413, 422"
MODERATION = "400/403 moderation, 451"
BILLING = (
    '400/402/403 billing text ("credit balance is too low"), 402 without Retry-After, 429 '
    "`insufficient_quota`, `billing_hard_limit_reached`, `*_spend_limit_*`*"
)
AUTH = "401, 403 key/permission, 407"
ROUTE = "404 model or route, 405, 410, 415, 426, 501"
BAD_REQUEST = "400 other"
TIMEOUT = "408, 504, 524"
BUSY = "409, 423, 424, 425, 421"
RATE_LIMIT = "429 rate limit, 402 with Retry-After"
OVERLOADED = "529, 503 with Retry-After"
EXCEEDS_LIMIT = '429 "request larger than the limit" (requested > limit)'
DAILY = "429 daily limit or Retry-After > 10 min"
SERVER_ERROR = "500, 502, 503, 520–523, 530"  # noqa: RUF001  # verbatim
THROTTLED = "100 refusals of one row while >= 1,000 others succeed"
NEVER_SENT = "template error, missing value, invalid row"
BUG = "an exception that is our bug"

TABLE_LINES = (
    CONNECT,
    TLS,
    BEFORE_BODY,
    NO_REPLY,
    BODY_CUT,
    TOO_LARGE,
    OK,
    LENGTH,
    REFUSED,
    NO_ANSWER,
    ERROR_IN_200,
    USAGE,
    NOT_200,
    CONTEXT,
    MODERATION,
    BILLING,
    AUTH,
    ROUTE,
    BAD_REQUEST,
    TIMEOUT,
    BUSY,
    RATE_LIMIT,
    OVERLOADED,
    EXCEEDS_LIMIT,
    DAILY,
    SERVER_ERROR,
    THROTTLED,
    NEVER_SENT,
    BUG,
)
"""Every line of the failure table, in its order."""

NOT_SERVED = {
    TLS: "the listener speaks plain HTTP; an https:// base_url to it fails in the handshake",
    NEVER_SENT: "nothing is sent",
    BUG: "happens in the client",
}
"""Lines that no reply can stand for, and why."""

HEADERS_THEN_SILENCE = "headers then silence"
ONE_BYTE_A_MINUTE = "one byte a minute"
CONTENT_LENGTH = "Content-Length wrong, repeated, negative"
GZIP_OVER_PLAIN = "gzip header over plain body"
EMPTY_JSON = '`null`, `[]`, `{}`, `{"choices": null}`, message null'
CONTENT_PARTS = "content a list of parts"
CONTENT_NUMBER = "content a number"
USAGE_ODD = "usage strings, floats, 1e30, negative"
ERROR_SHAPES = 'error as string, list, nested, `{"detail": …}`, HTML, XML'
INFORMATIONAL = "1xx replies"
HTTP_10 = "HTTP/1.0 bodies without length"
KEPT_ALIVE_CLOSED = "kept-alive connection closed between requests"
EARLY_REPLY = "reply before the request was fully sent"
RETRY_AFTER_ODD = "`Retry-After` 0, negative, NaN, a year, garbage"
LLAMACPP_CODE = "llama.cpp sends `code: 400` as a number"
LLAMACPP_500 = "500 for malformed JSON and unsupported images"
TRANSFORMERS_DETAIL = 'transformers serve answers `{"detail": …}`'
PLAIN_TEXT_500 = "plain-text 500s"
LITELLM_429 = "the LiteLLM proxy's 429 may have type `internal_server_error` and no Retry-After"
LITELLM_TOOLS = "its tool calls finish with `stop`"
VLLM_ABORT = 'vLLM ends an aborted generation with 200 and `finish_reason: "abort"`'

ODD_REPLIES = (
    HEADERS_THEN_SILENCE,
    ONE_BYTE_A_MINUTE,
    CONTENT_LENGTH,
    GZIP_OVER_PLAIN,
    EMPTY_JSON,
    CONTENT_PARTS,
    CONTENT_NUMBER,
    USAGE_ODD,
    ERROR_SHAPES,
    INFORMATIONAL,
    HTTP_10,
    KEPT_ALIVE_CLOSED,
    EARLY_REPLY,
    RETRY_AFTER_ODD,
    LLAMACPP_CODE,
    LLAMACPP_500,
    TRANSFORMERS_DETAIL,
    PLAIN_TEXT_500,
    LITELLM_429,
    LITELLM_TOOLS,
    VLLM_ABORT,
)
"""Every odd plain (non-streaming) reply and known oddity of real servers."""
