"""What a picture is, told by its bytes and never by its name: PNG, JPEG, WebP or GIF, and whole.

Pure. It walks through the blocks of the file and decodes no pixel: what a server would refuse for certain (another
format, a header that lies, a file that was cut off on its way) is found before it is paid for or sent in vain. These
four formats are the ones that OpenAI's refusal of any other names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_CUT: Final = "is cut off: the file may be incomplete"

_OTHERS: Final = (
    (b"BM", "a BMP"),
    (b"II*\0", "a TIFF"),
    (b"MM\0*", "a TIFF"),
    (b"%PDF", "a PDF"),
    (b"<svg", "an SVG"),
    (b"<?xml", "XML, perhaps an SVG"),
    (b"<!DOCTYPE", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself"),
)
"""Beginnings that tell what else it is."""

_ISO_MEDIA: Final[Mapping[bytes, str]] = {b"heic": "a HEIC", b"mif1": "a HEIF", b"avif": "an AVIF"}


class PictureError(ValueError):
    """Why it cannot be sent, as the end of a sentence that begins with where it stood."""


def media_type(content: bytes) -> str:
    """The picture's media type.

    Args:
        content: the whole file.

    Raises:
        PictureError: no such picture, or a broken or incomplete one.
    """
    if not content:
        raise PictureError("is empty")
    for name, begins, check in _FORMATS:
        if begins(content):
            check(content)
            return f"image/{name}"
    raise PictureError(f"is {_other(content)}; only PNG, JPEG, WebP and GIF can be sent")


def _other(content: bytes) -> str:
    if content[4:8] == b"ftyp" and content[8:12] in _ISO_MEDIA:
        return _ISO_MEDIA[content[8:12]]
    start = content[:64].lstrip()
    return next((name for begin, name in _OTHERS if start.startswith(begin)), "no picture known here")


def _png(content: bytes) -> None:
    """Chunks: length, kind, content, CRC; IHDR first, IEND last. A wrong CRC counts where no reader skips the chunk."""
    view, at, has_pixels = memoryview(content), 8, False
    while True:
        if at + 12 > len(content):
            raise PictureError(_CUT)
        size, kind = int.from_bytes(view[at : at + 4]), content[at + 4 : at + 8]
        end = at + 12 + size
        if end > len(content):
            raise PictureError(_CUT)
        if kind[0:1].isupper() and crc32(view[at + 4 : end - 4]) != int.from_bytes(view[end - 4 : end]):
            raise PictureError(f"is a damaged PNG (its {kind.decode('latin-1')} chunk has another checksum)")
        if at == 8:
            sides = (view[at + 8 : at + 12], view[at + 12 : at + 16])
            if kind != b"IHDR" or size != 13 or not all(map(int.from_bytes, sides)):
                raise PictureError("is a PNG with a broken header")
        has_pixels = has_pixels or kind == b"IDAT"
        if kind == b"IEND":
            break
        at = end
    if not has_pixels:
        raise PictureError("is a PNG without a picture in it")


_JPEG_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Start-of-frame markers; the three are tables."""
_JPEG_BARE: Final = frozenset({0x01, *range(0xD0, 0xD9)})
"""Markers without a length."""


def _jpeg(content: bytes) -> None:
    """Segments up to the scan, then an end-of-image marker: within the scan's data every other FF is escaped."""
    at, has_frame = 2, False
    while True:
        if at + 4 > len(content):
            raise PictureError(_CUT)
        marker = content[at + 1]
        if content[at] != 0xFF or marker in {0x00, 0xD9}:
            raise PictureError("is a JPEG with a broken header")
        if marker == 0xFF or marker in _JPEG_BARE:  # FF FF: fill bytes
            at += 1 if marker == 0xFF else 2
            continue
        end = at + 2 + int.from_bytes(content[at + 2 : at + 4])
        if end > len(content):
            raise PictureError(_CUT)
        if end < at + 4 or (marker in _JPEG_FRAMES and not int.from_bytes(content[at + 7 : at + 9])):
            raise PictureError("is a JPEG with a broken header")
        has_frame = has_frame or marker in _JPEG_FRAMES
        if marker == 0xDA:
            break
        at = end
    if not has_frame:
        raise PictureError("is a JPEG with a broken header")
    if content.rfind(b"\xff\xd9", end) < 0:
        raise PictureError(_CUT)


def _webp(content: bytes) -> None:
    """RIFF chunks: kind, little-endian length, content, padded to even."""
    whole = 8 + int.from_bytes(content[4:8], "little")
    if whole > len(content):
        raise PictureError(_CUT)
    at, has_pixels = 12, False
    while at < whole:
        kind, start = content[at : at + 4], at + 8
        end = start + int.from_bytes(content[at + 4 : start], "little")
        if start > whole or end > whole:
            raise PictureError("is a WebP with a broken header")
        if (kind == b"VP8 " and content[start + 3 : start + 6] != b"\x9d\x01\x2a") or (
            kind == b"VP8L" and content[start : start + 1] != b"\x2f"
        ):
            raise PictureError("is a WebP with a broken header")
        has_pixels = has_pixels or kind in {b"VP8 ", b"VP8L", b"ANMF"}
        at = end + (end & 1)
    if not has_pixels:
        raise PictureError("is a WebP without a picture in it")


def _gif(content: bytes) -> None:
    """Screen, colours, then blocks up to the trailer."""
    if len(content) < 13:
        raise PictureError(_CUT)
    if not (int.from_bytes(content[6:8]) and int.from_bytes(content[8:10])):
        raise PictureError("is a GIF with a broken header")
    at, has_pixels = 13 + _colours(content[10]), False
    while at + 10 < len(content) and content[at] != 0x3B:
        if content[at] == 0x2C:
            has_pixels = True
            at = _after_blocks(content, at + 11 + _colours(content[at + 9]))
        elif content[at] == 0x21:
            at = _after_blocks(content, at + 2)
        else:
            raise PictureError("is a damaged GIF")
    if content[at : at + 1] != b"\x3b":
        raise PictureError(_CUT)
    if not has_pixels:
        raise PictureError("is a GIF without a picture in it")


def _colours(flags: int) -> int:
    """Bytes of the table of colours that the flags announce."""
    return 6 << (flags & 7) if flags & 0x80 else 0


def _after_blocks(content: bytes, at: int) -> int:
    while at < len(content) and content[at]:
        at += 1 + content[at]
    return at + 1


_FORMATS: Final[tuple[tuple[str, Callable[[bytes], bool], Callable[[bytes], None]], ...]] = (
    ("png", lambda content: content.startswith(b"\x89PNG\r\n\x1a\n"), _png),
    ("jpeg", lambda content: content.startswith(b"\xff\xd8\xff"), _jpeg),
    ("webp", lambda content: content[:4] == b"RIFF" and content[8:12] == b"WEBP", _webp),
    ("gif", lambda content: content.startswith((b"GIF87a", b"GIF89a")), _gif),
)
"""(name, whether it begins like one, what raises where it is broken)."""
