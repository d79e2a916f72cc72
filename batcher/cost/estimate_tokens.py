"""Pure: how many prompt tokens a request will be, before any server has counted them.

Never characters / 4: that is right for English and off by half on Chinese. Every character is counted by what it is
(letter, digit, sign, line break; script, told by the first byte of its UTF-8 form), and each kind has a rate. What is
counted is what a server puts before the model: texts of messages, the schema, the tools; not the JSON around them.

Rates are those of the vocabularies of about 200,000 tokens in use since 2024; older ones need up to twice as many for
scripts other than Latin. Sources: 6.09 million characters of English at 4.38 characters per token and 7.01 million of
Hungarian at 2.66 (both o200k_base, published with the counts), and the sentence that OpenAI published in 20 languages
with its token counts when gpt-4o came out; `tests/cost` holds the rates against those counts. Real text of one kind
lies within about 20 % of them, which is why `batcher.cost.estimate` puts it right as soon as some usage is known.

The bytes are counted by `bytes.translate` and `bytes.count`: 6 us for 1 kB of English.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

UNSURE_SHARE: Final = 0.25
"""Without usage to hold it against, a sum is told as within this share of the truth."""
PER_MESSAGE: Final = 4
"""Tokens that a chat template puts around a message (OpenAI: 3, and 1 for the role)."""
PER_REQUEST: Final = 3
"""Tokens that begin the answer (OpenAI's cookbook)."""
PER_IMAGE: Final = 765
"""A picture of 1,024 x 1,024 in high detail (OpenAI: 85, and 170 for each tile of 512); others differ tenfold."""
PER_IMAGE_LOW: Final = 85
"""The same in low detail, whatever its size."""

_KINDS: Final[Mapping[bytes, tuple[str, float]]] = {
    b"a": ("ascii letters", 0.25),
    b"0": ("digits", 0.42),
    b".": ("ascii signs", 0.75),
    b" ": ("spaces", 0.03),
    b"\n": ("line breaks", 0.6),
    b"L": ("accented Latin letters", 1.6),
    b"G": ("Greek", 0.42),
    b"C": ("Cyrillic", 0.27),
    b"S": ("Hebrew, Arabic", 0.4),
    b"I": ("scripts of India, Thai and their neighbours", 0.42),
    b"V": ("further Latin letters, Georgian, Khmer", 0.6),
    b"P": ("typographic signs", 1.0),
    b"J": ("kana, CJK signs", 0.62),
    b"H": ("CJK ideographs", 0.72),
    b"K": ("Hangul", 0.55),
    b"E": ("emoji and rare signs", 2.0),
}
"""Kind -> (its name, tokens per character)."""
_SKIPPED: Final = 0xFF
"""Stands for bytes within a character; never occurs in UTF-8."""


def _kind_of(byte: int) -> int:  # noqa: PLR0911 - a table of ranges
    """The kind of a character by its first byte; the ranges are those of Unicode's blocks in UTF-8."""
    if byte < 0x80:
        letter = chr(byte)
        if letter.isalpha():
            return ord("a")
        if letter.isdigit():
            return ord("0")
        if letter in " \t":
            return ord(" ")
        return ord("\n") if letter in "\r\n" else ord(".")
    if byte < 0xC0:
        return _SKIPPED
    for last, kind in _FIRST_BYTES:
        if byte <= last:
            return ord(kind)
    return _SKIPPED


_FIRST_BYTES: Final = (
    (0xC2, "P"), (0xC9, "L"), (0xCD, "L"), (0xCF, "G"), (0xD4, "C"), (0xDB, "S"), (0xDF, "S"),
    (0xE0, "I"), (0xE1, "V"), (0xE2, "P"), (0xE3, "J"), (0xE9, "H"), (0xEA, "K"), (0xED, "K"),
    (0xEE, "P"), (0xEF, "J"), (0xF7, "E"),
)  # fmt: skip
_TABLE: Final = bytes(_kind_of(byte) for byte in range(256))
_ASCII: Final = tuple((kind, rate) for kind, (_, rate) in _KINDS.items() if kind[0] in b"a0. \n")
_OTHERS: Final = tuple((kind, rate) for kind, (_, rate) in _KINDS.items() if kind[0] not in b"a0. \n")


def text_tokens(text: str) -> float:
    """Tokens of a text, about; lone surrogates count as rare signs."""
    raw = text.encode("utf-8", "surrogatepass")
    kinds = raw.translate(_TABLE)
    found = sum(kinds.count(kind) * rate for kind, rate in _ASCII)
    if not raw.isascii():
        found += sum(kinds.count(kind) * rate for kind, rate in _OTHERS)
    return found


def prompt_tokens(body: bytes) -> float:
    """Prompt tokens of a request body, about; of one that is no chat completion, of all its text."""
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError:
        return text_tokens(body.decode("utf-8", "replace"))
    if not isinstance(asked, dict):
        return text_tokens(body.decode())
    messages = asked.get("messages")
    told = messages if isinstance(messages, list) else []
    found = PER_REQUEST + PER_MESSAGE * len(told) + sum(_of_message(each) for each in told)
    for key in ("tools", "response_format"):
        if asked.get(key) is not None:
            found += text_tokens(orjson.dumps(asked[key]).decode())
    return found


def _of_message(message: object) -> float:
    if not isinstance(message, dict):
        return 0.0
    found = sum(_of_content(each) for each in _contents(message.get("content")))
    for key in ("tool_calls", "name"):
        if message.get(key) is not None:
            found += text_tokens(orjson.dumps(message[key]).decode())
    return found


def _contents(content: object) -> Iterator[object]:
    if isinstance(content, list):
        yield from content
    elif content is not None:
        yield content


def _of_content(part: object) -> float:
    """A text, or a part of a message: a text or a picture; anything else by its JSON."""
    if isinstance(part, str):
        return text_tokens(part)
    if isinstance(part, dict) and isinstance(part.get("text"), str):
        return text_tokens(part["text"])
    if isinstance(part, dict) and part.get("type") == "image_url":
        image = part.get("image_url")
        is_low = isinstance(image, dict) and image.get("detail") == "low"
        return float(PER_IMAGE_LOW if is_low else PER_IMAGE)
    return text_tokens(orjson.dumps(part).decode())
