"""Replies that say what went wrong, in every spelling that is known."""

from __future__ import annotations

import pytest
from chat_replies import page, said

from batcher.records import ApiError


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"error": {"message": "m", "type": "t", "code": "c", "param": None}}, ("m", "t", "c")),
        ({"error": {"message": "m", "type": "t", "code": 400}}, ("m", "t", "400")),
        ({"error": {"message": "m", "code": 400.0}}, ("m", None, "400")),
        ({"error": {"message": "m", "code": True}}, ("m", None, None)),
        ({"error": "m"}, ("m", None, None)),
        ({"error": ["m", "n"]}, ("m; n", None, None)),
        ({"error": [{"message": "m", "code": 5}]}, ("m", None, "5")),
        ({"error": {"error": {"message": "m", "type": "t"}}}, ("m", "t", None)),
        ({"error": {"error": {"message": "m"}, "code": 7}}, ("m", None, "7")),
        ({"error": {"message": '{"error": {"message": "m", "code": "c"}}', "type": "up"}}, ("m", "up", "c")),
        ({"error": {"message": {"message": "m"}}}, ("m", None, None)),
        ({"error": {"message": "{not json}"}}, ("{not json}", None, None)),
        ({"error": {"code": "c", "message": None}}, (None, None, "c")),
        ({"error": {"what": 1}}, ('{"what": 1}', None, None)),
        ({"error": 5}, ("5", None, None)),
        ({"error": "Bad Request", "message": "m", "statusCode": 400}, ("m", "Bad Request", None)),
        ({"error": "m", "error_type": "validation"}, ("m", "validation", None)),
        ({"detail": "m"}, ("m", None, None)),
        ({"detail": {"error": {"message": "m", "type": "t"}}}, ("m", "t", None)),
        (
            {"detail": [{"loc": ["body", "messages", 0], "msg": "required", "type": "missing"}]},
            ("body.messages.0: required", "missing", None),
        ),
        ({"message": "m", "code": "c"}, ("m", None, "c")),
        ({"object": "error", "message": "m", "type": "t", "code": 404}, ("m", "t", "404")),
        ({"msg": "m"}, ("m", None, None)),
        ({"errors": [{"code": 1000, "message": "m"}], "success": False}, ("m", None, "1000")),
        (
            {"type": "error", "error": {"type": "overloaded_error", "message": "m"}},
            ("m", "overloaded_error", None),
        ),
        (
            [{"error": {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED"}}],
            ("m", "RESOURCE_EXHAUSTED", "429"),
        ),
        ("Internal Server Error", ("Internal Server Error", None, None)),
        ({"error": "<html><title>502</title></html>"}, ("502", None, None)),
        ({"error": {"message": "a\x1b[31m\n\u202eb\x00", "type": "t\n"}}, ("a [31m b", "t", None)),
        ({"choices": [], "error": {"message": "m"}}, ("m", None, None)),
        ({"choices": None, "error": {"message": "m"}}, ("m", None, None)),
    ],
)
@pytest.mark.parametrize("status", [200, 400, 500])
def test_an_error_is_found_however_it_is_spelt(
    value: object, expected: tuple[str | None, str | None, str | None], status: int
) -> None:
    assert said(value, status) == ApiError(*expected)


def test_a_message_is_cut_at_its_promised_length() -> None:
    found = said({"error": {"message": "é" * 1_000_000, "type": "t" * 10_000}})
    assert len(found.message or "") == 2000
    assert len(found.type or "") <= 2000


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            b"<html><head><title>502 Bad &amp; Gateway</title></head><body>nginx</body></html>",
            "502 Bad & Gateway",
        ),
        (b"<html><style>p{}</style><body><h1>No</h1><script>x()</script> way</body>", "No way"),
        (b"<!-- c --><p>Only <b>text</b>", "Only text"),
        (b"Internal Server Error", "Internal Server Error"),
        (b"upstream\x1b[2J \x00 failed\n", "upstream [2J failed"),
        (b"bad \xff bytes", "bad \ufffd bytes"),
        (b"<<<<", "<<<<"),
        (b'{"error": {"message": "cut', '{"error": {"message": "cut'),
    ],
)
def test_a_page_or_plain_text_gives_its_message(body: bytes, message: str) -> None:
    found = page(body)
    assert found is not None
    assert found.message == message
    assert page(body, status=200) is None


def test_an_xml_error_gives_its_message_and_code() -> None:
    found = page(
        b'<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>Denied</Message></Error>', 403
    )
    assert found == ApiError("Denied", None, "AccessDenied")


def test_a_page_in_another_encoding_is_decoded() -> None:
    found = page("Überlastet".encode("latin-1"), content_type="text/plain; charset=ISO-8859-1")
    assert found == ApiError("Überlastet")
    assert page(b"plain", content_type='text/plain; charset="unicode_escape"') == ApiError("plain")


@pytest.mark.parametrize("body", [b"", b" \n", b"<p></p>"])
def test_a_page_that_says_nothing_has_no_error(body: bytes) -> None:
    assert page(body) is None


@pytest.mark.parametrize("body", [b"<" * 300_000, b"<script" * 50_000, b"<title>" * 50_000, b"<!--" * 50_000])
def test_hostile_markup_takes_no_time(body: bytes) -> None:
    page(body)  # quadratic searches over the whole body would take minutes
