"""Every mode, over a real socket, yields what it says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from simulator_wire import KEY, Raw, ask, chat, connect, post, read_all, read_reply

from batcher.simulator import MODES, SimulatorConfig, launch
from batcher.simulator.lines import NOT_SERVED, ODD_REPLIES, TABLE_LINES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batcher.simulator import Simulator

ANSWER = rb'"object":"chat.completion".*"system_fingerprint":"simulated"\}'
HUGE = 1_000_000

# mode -> (status a client reads, pattern that everything after the status line must contain)
EXPECTED: dict[str, tuple[int | None, bytes]] = {
    "ok": (200, ANSWER),
    # nothing structured is asked for here: what they do to it stands in test_simulator_misfits
    "schema_broken": (200, ANSWER),
    "json_fenced": (200, ANSWER),
    "arguments_object": (200, ANSWER),
    "parallel_calls": (200, ANSWER),
    "stream_litellm": (200, ANSWER),
    "stream_as_text": (200, ANSWER),
    "n_ignored": (200, ANSWER),
    "usage_of_one_choice": (200, ANSWER),
    "tools_ignored": (200, ANSWER),
    "tool_unknown": (200, ANSWER),
    "tool_calls_bare": (200, ANSWER),
    "litellm_unpriced": (200, rb"x-litellm-response-cost-original: 0.0\r\n.*" + ANSWER),
    "llamacpp_answer": (200, rb'allow-origin: \r\n.*"timings":\{"cache_n"'),
    "litellm_no_db": (400, rb'"type":"no_db_connection"'),
    "litellm_timeout": (408, rb'"type":"invalid_request_error"'),
    "express_413": (413, rb'"type":"internal_error"'),
    # no stream is asked for here: what they do to one stands in test_simulator_streams
    "stream_cut": (200, ANSWER),
    "stream_cut_reset": (200, ANSWER),
    "stream_cut_clean": (200, ANSWER),
    "stream_cut_late": (200, ANSWER),
    "stream_stall": (200, ANSWER),
    "stream_error": (200, ANSWER),
    "stream_no_done": (200, ANSWER),
    "stream_crlf": (200, ANSWER),
    "stream_pings": (200, ANSWER),
    "stream_bytes": (200, ANSWER),
    "stream_usage_always": (200, ANSWER),
    "stream_plain": (200, ANSWER),
    "streamed_unasked": (200, rb"text/event-stream.*data: \[DONE\]\n\n\r\n0\r\n\r\n$"),
    "tool_calls_stop": (200, rb'"tool_calls":\[\{.*"finish_reason":"stop"'),
    "content_parts": (200, rb'"content":\[\{"type":"text","text":".+"\},\{"type":"text"'),
    "content_number": (200, rb'"content":42'),
    "usage_cost": (200, rb'"cost":0.000123'),
    "litellm_cost": (200, rb"x-litellm-response-cost: 0.000456\r\n"),
    "answer_echoes_key": (200, rb'"content":"[^"]*' + KEY.encode()),
    "length": (200, rb'"finish_reason":"length"'),
    "content_filter": (200, rb'"finish_reason":"content_filter"'),
    "refusal": (200, rb'"content":null,"refusal":"I\'m sorry'),
    "finish_null": (200, rb'"finish_reason":null'),
    "finish_abort": (200, rb'"finish_reason":"abort"'),
    "finish_error": (200, rb'"finish_reason":"error"'),
    "finish_unknown": (200, rb'"finish_reason":"eos_token_reached"'),
    "choices_empty": (200, rb'"choices":\[\]'),
    "choices_null": (200, rb'"choices":null'),
    "message_null": (200, rb'"message":null'),
    "no_content": (200, rb'"content":null\}.*"completion_tokens":0'),
    "json_null": (200, rb"\r\n\r\nnull$"),
    "json_list": (200, rb"\r\n\r\n\[\]$"),
    "json_empty_object": (200, rb"\r\n\r\n\{\}$"),
    "usage_missing": (200, rb'"finish_reason":"stop"\}\],"system_fingerprint"'),
    "usage_null": (200, rb'"usage":null'),
    "usage_strings": (200, rb'"prompt_tokens":"12"'),
    "usage_floats": (200, rb'"prompt_tokens":10.5'),
    "usage_huge": (200, rb'"prompt_tokens":1e\+?30'),
    "usage_negative": (200, rb'"prompt_tokens":-1,'),
    "usage_absurd": (200, rb'"prompt_tokens":1000000000000000,'),
    "error_in_200": (200, rb'\{"error":\{"message":"Provider returned error","code":502\}\}$'),
    "error_in_200_rate_limit": (200, rb'\{"error":.*"code":429\}\}$'),
    "error_in_200_string": (200, rb'\{"error":"Service'),
    "error_in_200_quota": (200, rb'"code":"insufficient_quota"\}\}$'),
    "status_201": (201, ANSWER),
    "status_203": (203, ANSWER),
    "status_206": (206, ANSWER),
    "status_202": (202, rb'"status":"queued"'),
    "status_204": (204, rb"\r\n\r\n$"),
    "status_205": (205, rb"content-length: 0\r\n"),
    **{f"redirect_{s}": (s, rb"location: /v1/moved/chat/completions\r\n") for s in (301, 302, 303, 307, 308)},
    "close_before_body": (None, rb"^$"),
    "reset_before_body": (None, rb"^$"),
    "stale_reset": (None, rb"^$"),
    "stale_close": (None, rb"^$"),
    "keepalive_close": (200, ANSWER),
    "reset": (None, rb"^$"),
    "reset_unpaid": (None, rb"^$"),
    "no_reply": (None, rb"^$"),
    "silence": (None, rb"^$"),
    "headers_then_silence": (200, rb"content-length: [1-9].*\r\n\r\n$"),
    "drip": (200, ANSWER),
    "body_cut": (200, rb'\r\n\r\n\{"id"'),
    "body_cut_reset": (200, rb""),
    "content_length_long": (200, ANSWER),
    "content_length_short": (200, ANSWER),
    "content_length_repeated": (200, rb"content-length: \d+\r\ncontent-length: \d+\r\n"),
    "content_length_negative": (200, rb"content-length: -\d+\r\n"),
    "content_length_garbage": (200, rb"content-length: many\r\n"),
    "chunk_broken": (200, rb"\r\nzz\r\n"),
    "chunk_cut": (200, rb'"simulated"\}\r\n$'),
    "gzip_over_plain": (200, rb"content-encoding: gzip\r\n.*" + ANSWER),
    "gzip_cut": (200, rb"content-encoding: gzip\r\n.*\r\n\x1f\x8b"),
    "not_http": (None, rb"^SSH-2.0"),
    "malformed_json": (200, rb'\r\n\r\n\{"id"'),
    "html_200": (200, rb"text/html.*<!DOCTYPE html>"),
    "text_200": (200, rb"text/plain.*upstream connect error$"),
    "empty_200": (200, rb"content-length: 0\r\n.*\r\n\r\n$"),
    "bad_utf8": (200, rb"\xff\xfe"),
    "body_over_64_mib": (200, rb"\r\n\r\n {1000}"),
    "chunked": (200, rb"transfer-encoding: chunked\r\n.*\r\n0\r\n\r\n$"),
    "gzip": (200, rb"content-encoding: gzip\r\n.*\r\n\x1f\x8b"),
    "in_pieces": (200, ANSWER),
    "informational": (100, rb"HTTP/1.1 103 Early Hints.*HTTP/1.1 200 OK.*" + ANSWER),
    "http_10": (200, ANSWER),
    "early_503": (503, rb"connection: close\r\n"),
    "early_413": (413, rb"connection: close\r\n"),
    "context_length": (400, rb'"code":"context_length_exceeded"'),
    "context_length_numeric_code": (400, rb'"type":"exceed_context_size_error".*"code":400'),
    "context_length_vllm": (
        400,
        rb'\r\n\r\n\{"object":"error","message":"This model\'s maximum context length',
    ),
    "context_length_500": (500, rb'"type":"exceed_context_size_error".*"code":500'),
    "payload_too_large": (413, rb"too large"),
    "unprocessable": (422, rb'\{"detail":\['),
    "moderation_400": (400, rb'"code":"content_policy_violation"'),
    "moderation_400_azure": (400, rb'"code":"content_filter"'),
    "moderation_403": (403, rb"flagged"),
    "legal_451": (451, rb"legal"),
    "insufficient_quota": (429, rb'"code":"insufficient_quota"'),
    "billing_hard_limit": (429, rb'"code":"billing_hard_limit_reached"'),
    "billing_hard_limit_400": (400, rb'"code":"billing_hard_limit_reached"'),
    "spend_limit": (429, rb"_spend_limit_"),
    "credit_400": (400, rb"credit balance is too low"),
    "credit_402": (402, rb"(?s)^(?!.*retry-after).*Insufficient credits"),
    "credit_403": (403, rb"credit balance is too low"),
    "unauthorized": (401, rb'"code":"invalid_api_key"'),
    "unauthorized_echo": (401, rb"provided: " + KEY.encode() + rb".*Bearer " + KEY.encode()),
    "forbidden_key": (403, rb"API key"),
    "forbidden_permission": (403, rb"permission"),
    "proxy_auth": (407, rb"proxy-authenticate: "),
    "model_not_found": (404, rb"`gpt-4o`.*model_not_found"),
    "route_not_found": (404, rb'\{"detail":"Not Found"\}'),
    "method_not_allowed": (405, rb"allow: GET\r\n"),
    "gone": (410, rb"removed"),
    "unsupported_media": (415, rb"Unsupported Media"),
    "upgrade_required": (426, rb"upgrade: "),
    "not_implemented": (501, rb"Not implemented"),
    "bad_request": (400, rb'"code":"unsupported_value"'),
    "bad_request_numeric_code": (400, rb'"code":400\}'),
    "malformed_json_500": (500, rb"parse error"),
    "unsupported_image_500": (500, rb"image input is not supported"),
    "request_timeout": (408, rb"timed out"),
    "gateway_timeout": (504, rb"timed out"),
    "cloudflare_timeout": (524, rb"error code: 524"),
    "conflict": (409, rb"Conflict"),
    "locked": (423, rb"Locked"),
    "failed_dependency": (424, rb"Failed dependency"),
    "too_early": (425, rb"Too early"),
    "misdirected": (421, rb"Misdirected"),
    "server_error": (500, rb'"type":"server_error"'),
    "bad_gateway": (502, rb"text/html.*<html>"),
    "unavailable": (503, rb"(?s)^(?!.*retry-after).*overloaded"),
    "error_string": (500, rb'\{"error":"upstream failed"\}$'),
    "error_list": (500, rb'\r\n\r\n\[\{"error":'),
    "error_nested": (500, rb'\{"error":\{"error":\{'),
    "error_detail": (500, rb'\{"detail":"CUDA'),
    "error_html": (500, rb"text/html.*<html>"),
    "error_xml": (500, rb"application/xml.*<Message>"),
    "error_text": (500, rb"text/plain.*\r\n\r\nInternal Server Error$"),
    "should_retry_true": (400, rb"x-should-retry: true\r\n"),
    "should_retry_false": (500, rb"x-should-retry: false\r\n"),
    **{f"cloudflare_{s}": (s, b"error code: %d" % s) for s in (520, 521, 522, 523, 530)},
    "rate_limit": (429, rb"retry-after-ms: 20\r\nretry-after: 1\r\n"),
    "rate_limit_ms": (429, rb"retry-after-ms: 20\r\n(?!retry-after)"),
    "rate_limit_seconds": (429, rb"retry-after: 0.02\r\n"),
    "rate_limit_date": (429, rb"retry-after: \w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT\r\n"),
    "rate_limit_reset": (429, rb"x-ratelimit-remaining-requests: 0\r\nx-ratelimit-reset-requests: 10s\r\n"),
    "rate_limit_message": (429, rb"(?s)^(?!.*retry-after).*Please try again in 20ms"),
    "rate_limit_no_hint": (429, rb"(?s)^(?!.*retry-after)(?!.*try again).*rate_limit_exceeded"),
    "rate_limit_litellm": (429, rb"\r\nllm_provider-retry-after: 0.02\r\n"),
    "rate_limit_litellm_bare": (429, rb'(?s)^(?!.*retry-after).*"type":"internal_server_error"'),
    "rate_limit_retry_after_zero": (429, rb"retry-after: 0\r\n"),
    "rate_limit_retry_after_negative": (429, rb"retry-after: -1\r\n"),
    "rate_limit_retry_after_nan": (429, rb"retry-after: nan\r\n"),
    "rate_limit_retry_after_infinite": (429, rb"retry-after: 1e999\r\n"),
    "rate_limit_retry_after_garbage": (429, rb"retry-after: soon"),
    "rate_limit_retry_after_year": (429, rb"retry-after: 31536000\r\n"),
    "daily_limit": (429, rb"retry-after: 1200\r\n.*per day"),
    "payment_required_retry": (402, rb"retry-after: 0.02\r\n"),
    "throttled_for_ever": (429, rb"retry-after-ms: 20\r\n"),
    "exceeds_tpm": (429, rb"Limit 30000, Requested 45211"),
    "overloaded": (529, rb"overloaded_error"),
    "unavailable_retry_after": (503, rb"retry-after: 0.02\r\n"),
}
RESET = {"reset", "reset_unpaid", "reset_before_body", "stale_reset", "body_cut_reset"}
NOT_WHOLE = RESET | {
    "close_before_body",
    "stale_close",
    "no_reply",
    "silence",
    "headers_then_silence",
    "body_cut",
    "content_length_long",
    "content_length_short",
    "content_length_repeated",
    "content_length_negative",
    "content_length_garbage",
    "chunk_broken",
    "chunk_cut",
    "not_http",
}


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    config = SimulatorConfig(
        latency="fixed:0",
        drip_s=0,
        hold_s=0,
        huge_body_bytes=HUGE,
        faults_by_substring={f"<{name}>": name for name in MODES},
        ledger_key=r"<(\w+)>",
    )
    with launch(config) as running:
        yield running


def _provoke(port: int, name: str) -> Raw:
    with connect(port) as sock:
        if MODES[name].reused_only:
            sock.sendall(post(chat(), keep=True))
            read_reply(sock)
        sock.sendall(post(chat(f"<{name}>")))
        return read_all(sock)


@pytest.mark.parametrize("name", sorted(set(MODES) - {"outage"}))
def test_mode_yields_what_it_says(simulator: Simulator, name: str) -> None:
    raw = _provoke(simulator.port, name)
    status, pattern = EXPECTED[name]
    assert raw.status == status
    assert re.search(pattern, raw.data, re.DOTALL), raw.data[:2000]
    assert raw.end == ("reset" if name in RESET else "eof")
    if status is not None and name != "informational":
        assert "x-batcher-simulated: 1" in raw.head
        assert re.search(r"x-request-id: req_[0-9a-f]{24}", raw.head)


@pytest.mark.parametrize("name", sorted(set(MODES) - {"outage"}))
def test_ledger_tells_whether_a_mode_was_paid_and_came_whole(simulator: Simulator, name: str) -> None:
    before = simulator.totals()["requests"]
    raw = _provoke(simulator.port, name)
    entry = simulator.ledger(since=before)[-1]
    assert (entry["key"], entry["mode"]) == (name, name)
    assert entry["generated"] is MODES[name].paid
    assert entry["complete"] is (name not in NOT_WHOLE)
    assert (entry["completion_tokens"] > 0) is MODES[name].paid
    if raw.end == "eof":
        assert entry["bytes_written"] == len(raw.data)


def test_every_mode_has_an_expectation() -> None:
    assert set(EXPECTED) == set(MODES) - {"outage"}


def test_every_line_of_the_failure_table_that_a_server_can_show_has_a_mode() -> None:
    served = {mode.table_line for mode in MODES.values()}
    assert served | set(NOT_SERVED) == set(TABLE_LINES)
    assert not served & set(NOT_SERVED)


def test_every_odd_reply_has_a_mode() -> None:
    assert {mode.odd_reply for mode in MODES.values()} - {None} == set(ODD_REPLIES)


def test_names_are_unique_and_filed_under_themselves() -> None:
    assert all(name == mode.name for name, mode in MODES.items())
    assert len(MODES) == len(EXPECTED) + 1


def test_huge_body_is_as_large_as_configured(simulator: Simulator) -> None:
    assert HUGE <= len(_provoke(simulator.port, "body_over_64_mib").body) < HUGE + 200_000


def test_stale_reset_spares_a_fresh_connection(simulator: Simulator) -> None:
    assert ask(simulator.port, post(chat("<stale_reset>"))).status == 200


def test_wrong_lengths_are_wrong(simulator: Simulator) -> None:
    for name, difference in (("content_length_long", -100), ("content_length_short", 1)):
        raw = _provoke(simulator.port, name)
        found = re.search(r"content-length: (\d+)", raw.head)
        assert found is not None
        surplus = len(raw.body) - int(found[1])
        assert surplus == difference if difference < 0 else surplus >= difference


def test_keepalive_close_promises_to_stay_and_leaves(simulator: Simulator) -> None:
    with connect(simulator.port) as sock:
        sock.sendall(post(chat("<keepalive_close>"), keep=True))
        raw = read_reply(sock)
        assert "connection: close" not in raw.head
        assert read_all(sock).data == b""


def test_early_reply_comes_before_the_body_was_sent(simulator: Simulator) -> None:
    body = chat("<early_413>" + "x" * 20_000_000)
    request = post(body, keep=True)
    with connect(simulator.port) as sock:
        sock.sendall(request[:100_000])
        assert read_reply(sock).status == 413
        entry = simulator.ledger()[-1]
        assert (entry["mode"], entry["received"]) == ("early_413", False)


def test_connection_closed_before_a_large_body_was_read_breaks_the_sender(simulator: Simulator) -> None:
    with connect(simulator.port) as sock, pytest.raises((BrokenPipeError, ConnectionResetError)):
        sock.sendall(post(chat("<reset_before_body>" + "x" * 30_000_000)))


def test_outage_refuses_connections_and_ends() -> None:
    config = SimulatorConfig(latency="fixed:0", outage_s=0.05, faults_by_substring={"<down>": "outage"})
    with launch(config) as simulator, connect(simulator.port) as idle:
        assert ask(simulator.port, post(chat("<down>"))).end == "reset"
        assert read_all(idle).end == "reset"
        refused = 0
        status = None
        while status is None:  # a refused connection answers at once, so this ends with the outage
            try:
                status = ask(simulator.port, post(chat("again"))).status
            except ConnectionRefusedError:
                refused += 1
        assert refused > 0
        assert status == 200
