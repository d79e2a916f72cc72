"""Pictures of two colours as PNG, JPEG and WebP, small, and without a library for pictures.

Each format in its plainest form: PNG with a palette of two; JPEG whose blocks have one colour each, so only the mean
of a block is coded; lossless WebP with codes of one bit. Enough for a shape on a ground.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


class Colour(NamedTuple):
    red: int
    green: int
    blue: int


class Drawing(NamedTuple):
    """Rows of a square grid; True where the shape is."""

    grid: Sequence[Sequence[bool]]
    ground: Colour
    shape: Colour


class Bits:
    """Bits put together to bytes, the first one lowest or highest."""

    def __init__(self, *, lowest_first: bool) -> None:
        self._lowest_first = lowest_first
        self._bits: list[int] = []

    def put(self, value: int, width: int) -> None:
        places = range(width) if self._lowest_first else range(width - 1, -1, -1)
        self._bits += [value >> place & 1 for place in places]

    def packed(self, fill: int = 0) -> bytes:
        bits = self._bits + [fill] * (-len(self._bits) % 8)
        step = 1 if self._lowest_first else -1
        return bytes(
            sum(bit << place for place, bit in enumerate(bits[at : at + 8][::step]))
            for at in range(0, len(bits), 8)
        )


def png(drawing: Drawing, *, scale: int = 4) -> bytes:
    """Each cell of the grid `scale` pixels wide. Stored, not compressed: the same bytes from every zlib."""
    side = len(drawing.grid) * scale
    bits = Bits(lowest_first=False)
    for row in _scaled(drawing.grid, scale):
        bits.put(0, 8)  # no filter
        for cell in row:
            bits.put(cell, 1)
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 3, 0, 0, 0)),
        (b"PLTE", bytes((*drawing.ground, *drawing.shape))),
        (b"IDAT", zlib.compress(bits.packed(), 0)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def jpeg(drawing: Drawing) -> bytes:
    """Each cell of the grid one block of 8 x 8 pixels."""
    side = len(drawing.grid) * 8
    frame = struct.pack(">BHHB", 8, side, side, 3) + b"".join(bytes((part, 0x11, 0)) for part in (1, 2, 3))
    codes = b"\0" + bytes((0, 0, 0, 12, *[0] * 12)) + bytes(range(12))  # twelve codes of four bits
    nothing_else = b"\x10" + bytes((1, *[0] * 15)) + b"\0"  # "end of block" is the bit 0
    scan = b"\x03" + b"".join(bytes((part, 0)) for part in (1, 2, 3)) + bytes((0, 63, 0))
    segments = (
        (0xE0, b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0"),
        (0xDB, b"\0" + bytes([8] * 64)),
        (0xC0, frame),
        (0xC4, codes),
        (0xC4, nothing_else),
        (0xDA, scan),
    )
    head = b"".join(bytes((0xFF, kind)) + struct.pack(">H", len(body) + 2) + body for kind, body in segments)
    pixels = _blocks(drawing).packed(fill=1).replace(b"\xff", b"\xff\0")
    return b"\xff\xd8" + head + pixels + b"\xff\xd9"


def _blocks(drawing: Drawing) -> Bits:
    """Of each block the difference of its three means to those of the block before."""
    bits = Bits(lowest_first=False)
    before = (0, 0, 0)
    for row in drawing.grid:
        for cell in row:
            means = _ycbcr(drawing.shape if cell else drawing.ground)
            for mean, last in zip(means, before, strict=True):
                change = mean - last
                width = abs(change).bit_length()
                bits.put(width, 4)
                bits.put(change if change > 0 else change + (1 << width) - 1, width)
                bits.put(0, 1)
            before = means
    return bits


def _ycbcr(colour: Colour) -> tuple[int, int, int]:
    """Brightness and two colour differences, each minus 128 (JFIF)."""
    red, green, blue = colour
    y = 0.299 * red + 0.587 * green + 0.114 * blue
    return round(y) - 128, round(0.564 * (blue - y)), round(0.713 * (red - y))


def webp(drawing: Drawing, *, scale: int = 4) -> bytes:
    """Each cell of the grid `scale` pixels wide."""
    side = len(drawing.grid) * scale
    bits = Bits(lowest_first=True)
    bits.put(0x2F, 8)
    bits.put(side - 1, 14)
    bits.put(side - 1, 14)
    bits.put(0, 1 + 3 + 1 + 1 + 1)  # no alpha, version 0, no transform, no colour cache, one group of codes
    ground, shape = drawing.ground, drawing.shape
    channels = ((ground.green, shape.green), (ground.red, shape.red), (ground.blue, shape.blue))
    for values in (*channels, (255, 255), (0, 0)):  # then alpha, and distances that nothing uses
        _code(bits, sorted(set(values)))
    for row in _scaled(drawing.grid, scale):
        for cell in row:
            for of_ground, of_shape in channels:
                if of_ground != of_shape:
                    bits.put((of_shape if cell else of_ground) > min(of_ground, of_shape), 1)
    pixels = bits.packed()
    pixels += b"\0" * (len(pixels) % 2)
    body = b"WEBPVP8L" + struct.pack("<I", len(pixels)) + pixels
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _code(bits: Bits, values: Sequence[int]) -> None:
    """A code for one or two values, written as they are."""
    bits.put(1, 1)
    bits.put(len(values) - 1, 1)
    bits.put(1, 1)
    for value in values:
        bits.put(value, 8)


def _scaled(grid: Sequence[Sequence[bool]], scale: int) -> list[list[bool]]:
    return [[cell for cell in row for _ in range(scale)] for row in grid for _ in range(scale)]


WRITERS: Mapping[str, Callable[[Drawing], bytes]] = {"png": png, "jpg": jpeg, "webp": webp}
"""By the ending of a file's name."""
