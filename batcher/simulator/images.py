"""Pure: the image parts of a request, as a vision model's endpoint judges and counts them.

An independent, coarse reading of what a client sends: whether each data URL is base64 and begins as its media type
says, not whether the picture is whole. Tokens are those that OpenAI counts for gpt-4o: 85 at low detail, else 85 and
four tiles of 170, as for a picture of 1,024 x 1,024 pixels, whatever its size is.
"""

from __future__ import annotations

import re
from binascii import Error as Base64Error
from binascii import a2b_base64
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LOW_TOKENS: Final = 85
TOKENS: Final = 85 + 4 * 170
DETAILS: Final = frozenset({None, "auto", "low", "high"})

_MARK: Final = b'"image_url"'
_DATA_URL: Final = re.compile(r"data:([a-z]+/[a-z+.-]+);base64,")
_BEGINNINGS: Final[Mapping[str, re.Pattern[bytes]]] = {
    "image/png": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "image/jpeg": re.compile(rb"\xff\xd8\xff"),
    "image/webp": re.compile(rb"RIFF....WEBP", re.DOTALL),
    "image/gif": re.compile(rb"GIF8[79]a"),
}
_UNSUPPORTED: Final = (
    "You uploaded an unsupported image. Please make sure your image has of one the following formats:"
    " ['png', 'jpeg', 'gif', 'webp']."
)


class Refusal(NamedTuple):
    message: str
    code: str


class Weight(NamedTuple):
    """What of a body is images: bytes that are no text, and the tokens that stand for them."""

    image_bytes: int
    tokens: int


def refusal(fields: Mapping[str, object], body: bytes) -> Refusal | None:
    """Why the first bad image part would be refused, or None."""
    if _MARK not in body:
        return None
    return next((found for part in _parts(fields) if (found := _refused(part)) is not None), None)


def weight(fields: Mapping[str, object], body: bytes) -> Weight:
    """Of a request that `refusal` lets pass."""
    if _MARK not in body:
        return Weight(0, 0)
    size = tokens = 0
    for part in _parts(fields):
        if isinstance(part, dict):
            url = part.get("url")
            size += len(url) if isinstance(url, str) and url.startswith("data:") else 0
            tokens += LOW_TOKENS if part.get("detail") == "low" else TOKENS
    return Weight(size, tokens)


def _parts(fields: Mapping[str, object]) -> Iterator[object]:
    messages = fields.get("messages")
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        for part in content if isinstance(content, list) else ():
            if isinstance(part, dict) and part.get("type") == "image_url":
                yield part.get("image_url")


def _refused(part: object) -> Refusal | None:
    url = part.get("url") if isinstance(part, dict) else None
    if not isinstance(part, dict) or not isinstance(url, str):
        return Refusal("Missing required parameter: 'image_url.url'.", "missing_required_parameter")
    if part.get("detail") not in DETAILS:
        return Refusal(
            "Invalid value for 'detail'. Supported values are: 'low', 'high', 'auto'.", "invalid_value"
        )
    if url.startswith(("http://", "https://")):
        return None
    found = _DATA_URL.match(url)
    if found is None:
        return Refusal("Invalid image URL: it is neither http(s) nor a base64 data URL.", "invalid_image_url")
    begins = _BEGINNINGS.get(found[1])
    try:
        content = a2b_base64(url[found.end() :], strict_mode=True)
    except (Base64Error, ValueError):
        return Refusal("Invalid base64 image data.", "invalid_base64")
    return (
        None
        if begins is not None and begins.match(content)
        else Refusal(_UNSUPPORTED, "invalid_image_format")
    )
