"""Images as content parts: what each kind of value becomes, and which pictures are never sent."""

from __future__ import annotations

import struct
import zlib
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import pytest
from chat_requests import BATCH, CHAT, PLAIN, problem, request, sent, with_

from batcher.chat.images import Images, images_in
from batcher.chat.pictures import PictureError, media_type
from batcher.chat.request import RequestBuilder, RequestSpec
from batcher.errors import JobError
from batcher.records import ImageTrouble, Unusable

PHOTOS = Path(__file__).parents[2] / "sample_data" / "photos"
PNG, JPEG, WEBP = ((PHOTOS / name).read_bytes() for name in ("red-ball.png", "red-ring.jpg", "red-cube.webp"))
GIF = b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
URL = "https://x.example/a.png?b=1"
KINDS = {"png": PNG, "jpeg": JPEG, "webp": WEBP, "gif": GIF}


class Files:
    def read(self, path: str, *, most_bytes: int) -> bytes | Unusable:
        assert most_bytes == 5_000
        return PNG if path == "a.jpg" else Unusable(ImageTrouble.NOT_FOUND, f"no {path}")


def data_url(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{b64encode(content).decode()}"


def pictured(
    *columns: str, detail: str | None = None, files: Files | None = None, **changes: Any
) -> RequestSpec:
    images = Images(columns or ("photo",), detail, 5_000, Files() if files is None else files)
    given = {"prompt": "Look.", "columns": ("photo", "back", "text"), **changes}
    return with_(images=images, **given)


def urls(spec: RequestSpec, **row: object) -> list[str]:
    content = sent(spec, **row)["messages"][-1]["content"]
    assert content[0] == {"type": "text", "text": "Look."}
    assert {part["type"] for part in content[1:]} == {"image_url"}
    return [part["image_url"]["url"] for part in content[1:]]


# --- pictures


@pytest.mark.parametrize("kind", KINDS)
def test_the_media_type_is_that_of_the_bytes(kind: str) -> None:
    assert media_type(KINDS[kind]) == f"image/{kind}"
    assert media_type(KINDS[kind] + b"something behind it") == f"image/{kind}"


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_cut_off_anywhere_is_never_sent(kind: str) -> None:
    whole = KINDS[kind]
    for length in range(len(whole) - 1 if kind != "webp" else len(whole)):
        with pytest.raises(PictureError):
            media_type(whole[:length])


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


HEAD = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
SIGNATURE, END = PNG[:8], chunk(b"IEND", b"")
DAMAGED = {
    "an empty file": (b"", "is empty"),
    "text": (b"hello", "is no picture known here; only PNG, JPEG, WebP and GIF"),
    "a BMP": (b"BM\x36\0\0\0", "is a BMP"),
    "a TIFF": (b"II*\0", "is a TIFF"),
    "a HEIC": (b"\0\0\0\x18ftypheic", "is a HEIC"),
    "a page": (b"\n<!DOCTYPE html><html>", "is an HTML page"),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1", "is a Git LFS pointer"),
    "no width": (SIGNATURE + chunk(b"IHDR", bytes(13)) + END, "broken header"),
    "no pixels": (SIGNATURE + HEAD + END, "without a picture"),
    "a flipped bit": (PNG.replace(PNG[60:61], b"\xaa", 1), "damaged PNG"),
    "a JPEG without a frame": (JPEG.replace(b"\xff\xc0", b"\xff\xe9"), "JPEG with a broken header"),
    "a JPEG of nothing": (b"\xff\xd8\xff\xd9\0\0", "JPEG with a broken header"),
    "a WebP of nothing": (b"RIFF\x04\0\0\0WEBP", "without a picture"),
    "a WebP that is none": (WEBP[:20] + b"\0" + WEBP[21:], "WebP with a broken header"),
    "a GIF of nothing": (GIF[:10] + bytes(3) + b"\x3b", "without a picture"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_what_no_server_would_read_is_told_for_what_it_is(name: str) -> None:
    content, said = DAMAGED[name]
    with pytest.raises(PictureError, match=said):
        media_type(content)


def test_a_chunk_that_may_be_left_out_may_be_wrong() -> None:
    wrong = chunk(b"tEXt", b"x")[:-1] + b"?"
    assert media_type(PNG[:33] + wrong + PNG[33:]) == "image/png"


# --- values


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_are_sent_as_a_data_url(kind: str) -> None:
    assert urls(pictured(), photo=KINDS[kind]) == [data_url(KINDS[kind], kind)]


def test_a_large_image_is_whole_in_its_data_url() -> None:
    large = PNG + bytes(range(256)) * 8_000 + b"end"
    spec = with_(prompt="Look.", columns=("photo",), images=Images(("photo",), None, len(large), None))
    assert urls(spec, photo=large) == [data_url(large, "png")]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a.jpg", [data_url(PNG, "png")]),  # by its bytes, not by its name
        (URL, [URL]),
        ("HTTP://x.example/a", ["HTTP://x.example/a"]),
        (data_url(JPEG, "png"), [data_url(JPEG, "jpeg")]),
        ({"bytes": WEBP, "path": "b.webp"}, [data_url(WEBP, "webp")]),
        ({"bytes": None, "path": "a.jpg"}, [data_url(PNG, "png")]),
        ([URL, None, "", PNG, ["a.jpg"]], [URL, data_url(PNG, "png"), data_url(PNG, "png")]),
    ],
)
def test_each_kind_of_value_becomes_what_is_sent(value: object, expected: list[str]) -> None:
    assert urls(pictured(), photo=value) == expected


@pytest.mark.parametrize(
    ("value", "error_type", "said"),
    [
        (None, "missing_value", '"photo" is missing, null or empty'),
        ("", "missing_value", "no image"),
        ([], "missing_value", "no image"),
        ({"bytes": None, "path": None}, "missing_value", "no image"),
        ("b.png", "image_not_found", 'column "photo": no b.png'),
        (b"BM", "invalid_image", 'column "photo" is a BMP'),
        (PNG + bytes(5_001), "image_too_large", "more than [request.images] max_bytes (5,000)"),
        (data_url(PNG + bytes(5_001), "png"), "image_too_large", "max_bytes (5,000)"),
        ("data:image/png,abc", "invalid_image", "not base64"),
        ("data:image/png;base64,a*b", "invalid_image", "broken base64"),
        ("data:image/png;base64,YWJj", "invalid_image", "no picture known here"),
        ("s3://bucket/a.png", "invalid_image", "s3:// URL"),
        ("file:///etc/passwd", "invalid_image", "file:// URL"),
        ("https://x.example/a b", "invalid_image", "a blank"),
        (7, "invalid_image", "holds int"),
        ({"url": "x"}, "invalid_image", "an object without bytes or path"),
    ],
)
def test_a_value_that_is_no_image_makes_the_row_invalid(value: object, error_type: str, said: str) -> None:
    found = problem(pictured(), photo=value)
    assert found.error_type == error_type
    assert said in found.message


def test_a_path_is_not_read_where_the_job_names_no_root() -> None:
    spec = with_(prompt="Look.", columns=("photo",), images=Images(("photo",), None, 5_000, None))
    found = problem(spec, photo="a.jpg")
    assert (found.error_type, "root" in found.message) == ("image_outside_root", True)
    assert urls(spec, photo=URL) == [URL]


def test_one_of_several_columns_is_enough() -> None:
    spec = pictured("photo", "back")
    assert urls(spec, photo=PNG, back=URL) == [data_url(PNG, "png"), URL]
    assert urls(spec, photo=None, back=URL) == [URL]
    assert '"photo", "back"' in problem(spec, photo=None, back=None).message


@pytest.mark.parametrize("detail", [None, "auto", "low", "high"])
def test_the_detail_is_sent_as_it_was_written(detail: str | None) -> None:
    part = sent(pictured(detail=detail), photo=URL)["messages"][0]["content"][1]
    assert part["image_url"] == {"url": URL} | ({} if detail is None else {"detail": detail})


# --- what they go with


def test_images_go_behind_the_last_user_message_of_a_conversation() -> None:
    images = Images(("photo",), None, 5_000, None)
    spec = with_(messages_column="chat", columns=("chat", "photo"), images=images)
    part = {"type": "image_url", "image_url": {"url": URL}}
    first, answer = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
    text = {"type": "text", "text": "c"}
    for content in ("c", [text]):
        chat = [first, {"role": "user", "content": content}, answer]
        messages = sent(spec, chat=chat, photo=URL)["messages"]
        assert messages == [first, {"role": "user", "content": [text, part]}, answer]
    assert "no user message" in problem(spec, chat=[answer], photo=URL).message


def test_a_template_may_name_the_file_but_never_print_an_image() -> None:
    spec = pictured(prompt="{{ photo }}")
    assert sent(spec, photo=URL)["messages"][0]["content"][0]["text"] == URL
    assert "cannot stand in a text" in problem(spec, photo=PNG).message


def test_a_job_that_cannot_have_images_is_refused() -> None:
    images = Images(("photo",), None, 5_000, None)
    for spec, said in (
        (with_(BATCH, images=images), "hold their images already"),
        (with_(images=Images(("foto",), None, 1, None), columns=("prompt", "photo")), 'Did you mean "photo"'),
        (with_(prompt="Look.", columns=("photo",), images=None), "uses no column"),
    ):
        with pytest.raises(JobError, match=said):
            RequestBuilder(spec)


def test_the_hash_covers_the_bytes_and_the_weight_leaves_them_out() -> None:
    one, other = request(pictured(), photo=PNG), request(pictured(), photo=PNG + b"?")
    assert one.request_hash != other.request_hash
    assert (one.images, one.image_bytes) == (1, len(data_url(PNG, "png")))
    assert request(pictured(), photo=[URL, PNG]).images == 2
    assert (request(PLAIN, prompt="Hi").images, images_in(b"{}")) == (0, (0, 0))
    claims = 'an "image_url":{"url":"data:image/png;base64,AAAA"}'
    assert request(PLAIN, prompt=claims).image_bytes == 0, "a text is a text, whatever it says"
    assert request(CHAT, messages=sent(pictured(), photo=PNG)["messages"]).image_bytes == one.image_bytes
