"""Modes of servers in trouble: timeouts, conflicts, 5xx, and error bodies of every shape.

Most pass: a retry helps. The texts are those of real servers and the proxies before them.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from batcher.simulator import lines
from batcher.simulator.replies import error_body, refusal

if TYPE_CHECKING:
    from batcher.simulator.plan import Mode

_passing = partial(refusal, persistent=False)

_HTML = (
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n"
    b"<body><center><h1>502 Bad Gateway</h1></center></body></html>"
)
_SERVER_ERROR = error_body(
    "The server had an error while processing your request. Sorry about that!", "server_error"
)


def _timeouts_and_conflicts() -> list[Mode]:
    timeout = error_body("Request timed out.", "timeout")
    modes = [
        _passing("request_timeout", "request timeout", lines.TIMEOUT, 408, timeout),
        _passing("gateway_timeout", "gateway timeout, answer lost", lines.TIMEOUT, 504, timeout, paid=True),
        _passing(
            "cloudflare_timeout",
            "the origin answered too late",
            lines.TIMEOUT,
            524,
            b"error code: 524",
            content_type="text/plain",
            paid=True,
        ),
    ]
    busy = {"conflict": 409, "locked": 423, "failed_dependency": 424, "too_early": 425, "misdirected": 421}
    for name, status in busy.items():
        body = error_body(f"{name.replace('_', ' ').capitalize()}.", "conflict_error", name)
        modes.append(_passing(name, name.replace("_", " "), lines.BUSY, status, body))
    return modes


def _server_errors() -> list[Mode]:
    line = lines.SERVER_ERROR
    unavailable = error_body(
        "The engine is currently overloaded, please try again later.", "service_unavailable"
    )
    modes = [
        _passing("server_error", "an internal error", line, 500, _SERVER_ERROR),
        _passing("bad_gateway", "nginx's HTML page", line, 502, _HTML, content_type="text/html"),
        _passing("unavailable", "unavailable, without Retry-After", line, 503, unavailable),
        _passing(
            "error_string",
            "error is a string",
            line,
            500,
            b'{"error":"upstream failed"}',
            odd=lines.ERROR_SHAPES,
        ),
        _passing(
            "error_list",
            "a list around the error, as Google sends it",
            line,
            500,
            b'[{"error":{"code":500,"message":"Internal error encountered.","status":"INTERNAL"}}]',
            odd=lines.ERROR_SHAPES,
        ),
        _passing(
            "error_nested",
            "an error inside an error",
            line,
            500,
            b'{"error":{"error":{"message":"worker died","type":"server_error","code":null}}}',
            odd=lines.ERROR_SHAPES,
        ),
        _passing(
            "error_detail",
            "transformers serve: only a detail",
            line,
            500,
            b'{"detail":"CUDA out of memory"}',
            odd=lines.TRANSFORMERS_DETAIL,
        ),
        _passing(
            "error_html",
            "HTML with status 500",
            line,
            500,
            b"<!DOCTYPE html><html><head><title>Application error</title></head><body>Oops</body></html>",
            content_type="text/html; charset=utf-8",
            odd=lines.ERROR_SHAPES,
        ),
        _passing(
            "error_xml",
            "XML with status 500",
            line,
            500,
            b'<?xml version="1.0"?><Error><Code>InternalError</Code><Message>Try again</Message></Error>',
            content_type="application/xml",
            odd=lines.ERROR_SHAPES,
        ),
        _passing(
            "error_text",
            "plain text with status 500",
            line,
            500,
            b"Internal Server Error",
            content_type="text/plain; charset=utf-8",
            odd=lines.PLAIN_TEXT_500,
        ),
        _passing(
            "should_retry_true",
            "a 400 whose x-should-retry says true",
            line,
            400,
            error_body("Temporarily out of capacity.", "invalid_request_error", "capacity"),
            headers="x-should-retry: true\r\n",
        ),
        refusal(
            "should_retry_false",
            "a 500 whose x-should-retry says false",
            lines.BAD_REQUEST,
            500,
            _SERVER_ERROR,
            headers="x-should-retry: false\r\n",
        ),
    ]
    for status in (520, 521, 522, 523, 530):
        page = b"error code: %d" % status
        modes.append(
            _passing(
                f"cloudflare_{status}", "Cloudflare's page", line, status, page, content_type="text/plain"
            )
        )
    return modes


FAILURES: tuple[Mode, ...] = (*_timeouts_and_conflicts(), *_server_errors())
