"""Images of a row as content parts: bytes, paths and URLs in its columns behind what it says.

Rules, in order, for a value of an image column:
  1. None, an empty text, an empty list: no image; a row without any is not sent.
  2. A list: each of its items.
  3. Bytes: the file itself. A struct of bytes and path (as Hugging Face datasets have it): its bytes, else its path.
  4. ``data:``: decoded, judged and sent as bytes are. ``http://`` and ``https://``: passed on as they stand, never
     fetched. Another scheme: not sent.
  5. Any other text: a path below the job's root, read by who is given for that.

The images stand behind the text of the user's message, in the order of the columns; in a conversation, behind its
last user message. The media type is that of the bytes; what a URL or a name claims counts for nothing.
"""

from __future__ import annotations

import re
from base64 import b64encode
from binascii import Error as Base64Error
from binascii import a2b_base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from batcher.chat.forms import Said
from batcher.chat.pictures import PictureError, media_type
from batcher.chat.templates import INVALID_ROW, MISSING_VALUE, RowError
from batcher.records import ImageTrouble, Unusable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from batcher.chat.forms import Form
    from batcher.ports import ImageFiles

_PIECE: Final = 3 << 18
"""Bytes written as base64 at once, a multiple of 3: one call for 20 MB would hold up all other threads for 40 ms."""
_DATA_URL: Final = re.compile(r"data:[^,;]*(?:;[^,;]*)*;base64,", re.IGNORECASE)
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_NOT_IN_A_URL: Final = re.compile(r"[\x00-\x20\x7f]")


@dataclass(frozen=True, slots=True)
class Images:
    """What of a job says which images go with a row.

    Attributes:
        columns: in the order of the parts, at least one.
        detail: "auto", "low" or "high"; None: not sent, which servers take for "auto".
        max_bytes: of one image as a file, so before it grows by a third in base64.
        files: reads paths; None: the job names no root, so no path may be read.
    """

    columns: tuple[str, ...]
    detail: str | None
    max_bytes: int
    files: ImageFiles | None

    def parts(self, values: Mapping[str, object]) -> list[dict[str, Any]]:
        """The row's images as content parts, at least one. Raises RowError."""
        parts = [
            self._part(item, f'column "{name}"') for name in self.columns for item in _items(values.get(name))
        ]
        if not parts:
            names = ", ".join(f'"{name}"' for name in self.columns)
            raise RowError(MISSING_VALUE, f"no image in this row: {names} is missing, null or empty")
        return parts

    def _part(self, item: object, where: str) -> dict[str, Any]:
        image: dict[str, Any] = {"url": self._url(item, where)}
        if self.detail is not None:
            image["detail"] = self.detail
        return {"type": "image_url", "image_url": image}

    def _url(self, item: object, where: str) -> str:
        if isinstance(item, bytes):
            return self._data_url(item, where)
        if not isinstance(item, str):
            kind = "an object without bytes or path" if isinstance(item, dict) else type(item).__name__
            raise RowError(ImageTrouble.INVALID, f"{where} holds {kind}, not an image's bytes, path or URL")
        if item[:5].lower() == "data:":
            return self._data_url(self._decoded(item, where), where)
        if scheme := _SCHEME.match(item):
            return _checked_url(item, scheme[1].lower(), where)
        return self._data_url(self._read(item, where), f"{where}: {item[:200]}")

    def _decoded(self, url: str, where: str) -> bytes:
        found = _DATA_URL.match(url)
        if found is None:
            raise RowError(ImageTrouble.INVALID, f"{where} holds a data URL that is not base64")
        if (len(url) - found.end()) * 3 // 4 - 2 > self.max_bytes:
            raise self._too_large((len(url) - found.end()) * 3 // 4, where)
        try:
            return a2b_base64(url[found.end() :], strict_mode=True)
        except (Base64Error, ValueError) as err:
            raise RowError(
                ImageTrouble.INVALID, f"{where} holds a data URL with broken base64: {err}"
            ) from err

    def _read(self, path: str, where: str) -> bytes:
        if self.files is None:
            raise RowError(
                ImageTrouble.OUTSIDE_ROOT,
                f"{where} holds a path ({path[:200]}), and files are read only below [request.images] root,"
                " which the job does not name",
            )
        found = self.files.read(path, most_bytes=self.max_bytes)
        if isinstance(found, Unusable):
            raise RowError(found.error_type, f"{where}: {found.message}")
        return found

    def _data_url(self, content: bytes, where: str) -> str:
        if len(content) > self.max_bytes:
            raise self._too_large(len(content), where)
        try:
            kind = media_type(content)
        except PictureError as err:
            raise RowError(ImageTrouble.INVALID, f"{where} {err}") from err
        view = memoryview(content)
        pieces = (view[at : at + _PIECE] for at in range(0, len(content), _PIECE))
        return f"data:{kind};base64,{''.join(b64encode(piece).decode('ascii') for piece in pieces)}"

    def _too_large(self, size: int, where: str) -> RowError:
        said = f"{where} holds {size:,} bytes, more than [request.images] max_bytes ({self.max_bytes:,})"
        return RowError(ImageTrouble.TOO_LARGE, said)


@dataclass(frozen=True, slots=True)
class PicturedForm:
    """What a row says, with its images."""

    said_by: Form
    images: Images

    @property
    def columns(self) -> frozenset[str]:
        return self.said_by.columns | frozenset(self.images.columns)

    def said(self, values: Mapping[str, object]) -> Said:
        for name in self.said_by.columns.intersection(self.images.columns):
            if not isinstance(values.get(name), str | None):
                raise RowError(
                    INVALID_ROW, f'column "{name}" holds an image, so its value cannot stand in a text'
                )
        body, own_model = self.said_by.said(values)
        return Said({**body, "messages": _with_parts(body["messages"], self.images.parts(values))}, own_model)


def images_in(body: bytes) -> tuple[int, int]:
    """(image parts of a request body, bytes of their data URLs), for those who weigh it; `body` as orjson writes it.

    The word stands twice in each part; where a text names it too, there seem to be more. No text can hold what is
    looked for in front of a data URL, because quotes in a text are escaped.
    """
    if b'"image_url"' not in body:
        return 0, 0
    words = size = at = 0
    while (url := body.find(b'"url":"data:image/', at)) >= 0:
        words += body.count(b"image_url", at, url)
        at = body.find(b'"', url + 7)
        size += at - url - 7
    return (words + body.count(b"image_url", at) + 1) // 2, size


def _items(value: object) -> Iterator[object]:
    if isinstance(value, list):
        for each in value:
            yield from _items(each)
    elif isinstance(value, dict) and value.keys() & {"bytes", "path"}:
        yield from _items(value.get("bytes") or value.get("path"))
    elif value is not None and not (isinstance(value, str | bytes) and not value):
        yield value


def _checked_url(url: str, scheme: str, where: str) -> str:
    if scheme not in {"http", "https"}:
        raise RowError(
            ImageTrouble.INVALID, f"{where} holds a {scheme}:// URL; only http and https are passed on"
        )
    if _NOT_IN_A_URL.search(url):
        raise RowError(ImageTrouble.INVALID, f"{where} holds a URL with a blank or a control character in it")
    return url


def _with_parts(messages: Sequence[dict[str, Any]], parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages with the parts behind what the user said last."""
    for at in range(len(messages) - 1, -1, -1):
        message = messages[at]
        if message["role"] == "user":
            said = message["content"]
            before = said if isinstance(said, list) else [{"type": "text", "text": said}]
            return [*messages[:at], {**message, "content": [*before, *parts]}, *messages[at + 1 :]]
    raise RowError(INVALID_ROW, "the conversation has no user message that images could go with")
