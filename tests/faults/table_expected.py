"""What the failure rules say of every mode of the simulator, written down from the rules and not from a run."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

Kind = Literal["kept", "ended", "paid_retry", "unpaid_retry", "stop", "apart"]


class Expected(NamedTuple):
    """What a mode does to the one row that meets it.

    Attributes:
        kind: kept (an answer), ended (no retry helps), paid_retry (charged to P on every attempt), unpaid_retry,
            stop (the run ends), apart (a test of its own).
        outcome: of a row that meets it on every attempt; "" where the run stops, or only attempts apart in time end it.
        attempts: that such a row takes; 0 where it depends on time.
        paid: of them, those that were paid or may have been.
        exit_code: of a run that meets it in its only rows.
    """

    kind: Kind
    outcome: str = ""
    attempts: int = 0
    paid: int = 0
    exit_code: int = 0


def _all(names: str, expected: Expected) -> dict[str, Expected]:
    return dict.fromkeys(names.split(), expected)


PAID_TRIES: Final = 3
"""P: paid or ambiguous attempts of a row."""

TABLE: Final = {
    # 200, `stop` or `tool_calls`; usage missing, strings, floats, negative, absurd: ok
    **_all(
        "stream_litellm stream_as_text"
        " n_ignored usage_of_one_choice tools_ignored tool_unknown tool_calls_bare litellm_unpriced llamacpp_answer"
        " ok schema_broken json_fenced arguments_object parallel_calls tool_calls_stop"
        " content_parts content_number usage_cost litellm_cost answer_echoes_key keepalive_close"
        " chunked gzip in_pieces informational http_10 usage_missing usage_null usage_strings usage_floats usage_huge"
        " usage_negative usage_absurd streamed_unasked",
        Expected("kept", "ok", 1, 1),
    ),
    # to requests that ask for no stream they are the good answer; on streams they are judged in tests of their own
    **_all(
        "stream_cut stream_cut_reset stream_cut_clean stream_cut_late stream_stall stream_error stream_no_done"
        " stream_crlf stream_pings stream_bytes stream_usage_always stream_plain",
        Expected("kept", "ok", 1, 1),
    ),
    "length": Expected("kept", "truncated", 1, 1, 3),
    **_all("content_filter refusal", Expected("kept", "refused", 1, 1, 3)),
    # finish_reason null, abort, error, unknown; empty choices; no content and 0 tokens: once more, then failed
    **_all(
        "finish_null finish_abort finish_error finish_unknown choices_empty choices_null message_null no_content"
        " json_null json_list json_empty_object",
        Expected("paid_retry", "failed", 2, 2, 3),
    ),
    # reset or EOF after sending, before a reply; read timeout; attempt deadline: R P B, ambiguous
    **_all(
        "reset reset_unpaid no_reply silence headers_then_silence drip",
        Expected("paid_retry", "failed", PAID_TRIES, PAID_TRIES, 3),
    ),
    # body cut short, broken chunking, gzip error, 200 that is not JSON, HTML, empty, bad UTF-8: R P B, paid
    **_all(
        "body_cut body_cut_reset content_length_long content_length_short content_length_repeated"
        " content_length_negative content_length_garbage chunk_broken chunk_cut gzip_over_plain gzip_cut not_http"
        " malformed_json html_200 text_200 empty_200 bad_utf8",
        Expected("paid_retry", "failed", PAID_TRIES, PAID_TRIES, 3),
    ),
    # 408, 504, 524: R P B, ambiguous
    **_all(
        "request_timeout litellm_timeout gateway_timeout cloudflare_timeout",
        Expected("paid_retry", "failed", PAID_TRIES, PAID_TRIES, 3),
    ),
    # 200 with an error object and no choices: as that error's code, maybe paid
    **_all("error_in_200 error_in_200_string", Expected("paid_retry", "failed", PAID_TRIES, PAID_TRIES, 3)),
    "body_over_64_mib": Expected("ended", "failed", 1, 1, 3),
    # 400 context length, 413, 422; 400 other; 429 larger than the limit; permanent 500s; x-should-retry: false
    **_all(
        "context_length context_length_numeric_code context_length_vllm context_length_500 payload_too_large"
        " early_413 unprocessable bad_request bad_request_numeric_code malformed_json_500 unsupported_image_500"
        " express_413 should_retry_false exceeds_tpm",
        Expected("ended", "failed", 1, 0, 3),
    ),
    # 400/403 moderation, 451
    **_all(
        "moderation_400 moderation_400_azure moderation_403 legal_451", Expected("ended", "refused", 1, 0, 3)
    ),
    # closed before the body was sent, or a reused connection that was closed already: B, first one free
    **_all("close_before_body reset_before_body stale_reset stale_close", Expected("apart")),
    # 409, 423, 424, 425, 421: R B
    **_all("conflict locked failed_dependency too_early misdirected", Expected("unpaid_retry")),
    # 500, 502, 503, 520 to 523, 530: R B; x-should-retry: true
    **_all(
        "server_error bad_gateway unavailable error_string error_list error_nested error_detail error_html error_xml"
        " error_text should_retry_true cloudflare_520 cloudflare_521 cloudflare_522 cloudflare_523 cloudflare_530"
        " early_503",
        Expected("unpaid_retry"),
    ),
    # 429 rate limit, 402 with Retry-After; 529, 503 with Retry-After: T
    **_all(
        "rate_limit rate_limit_ms rate_limit_seconds rate_limit_date rate_limit_reset rate_limit_message"
        " rate_limit_no_hint rate_limit_litellm rate_limit_litellm_bare rate_limit_retry_after_zero"
        " rate_limit_retry_after_negative rate_limit_retry_after_nan rate_limit_retry_after_infinite"
        " rate_limit_retry_after_garbage payment_required_retry overloaded unavailable_retry_after",
        Expected("unpaid_retry"),
    ),
    # 201 to 206, 3xx: stop, exit 2
    **_all(
        "status_201 status_202 status_203 status_204 status_205 status_206 redirect_301 redirect_302 redirect_303"
        " redirect_307 redirect_308",
        Expected("stop", exit_code=2),
    ),
    # billing text, 402 without Retry-After, 429 insufficient_quota and its kin: stop, exit 5
    **_all(
        "insufficient_quota billing_hard_limit billing_hard_limit_400 spend_limit credit_400 credit_402 credit_403"
        " error_in_200_quota",
        Expected("stop", exit_code=5),
    ),
    # 401, 403 key/permission, 407: stop, exit 5
    **_all(
        "unauthorized litellm_no_db unauthorized_echo forbidden_key forbidden_permission proxy_auth",
        Expected("stop", exit_code=5),
    ),
    # 404 model or route, 405, 410, 415, 426, 501: stop, exit 2
    **_all(
        "model_not_found route_not_found method_not_allowed gone unsupported_media upgrade_required not_implemented",
        Expected("stop", exit_code=2),
    ),
    # Retry-After of a year is beyond 24 h of parking: exit 7
    "rate_limit_retry_after_year": Expected("stop", exit_code=7),
    "error_in_200_rate_limit": Expected("apart"),
    "outage": Expected("apart"),
    "daily_limit": Expected("apart"),
    "throttled_for_ever": Expected("apart"),
}
"""Mode -> what the rules say of it."""


def modes_of(*kinds: Kind) -> list[str]:
    return [name for name, expected in TABLE.items() if expected.kind in kinds]
