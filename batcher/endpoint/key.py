"""The API key: read from the environment only, never printed, and scrubbed out of whatever others print.

Two strengths of scrubbing. A key of 16 characters or more is replaced everywhere. A shorter one (vLLM's
`EMPTY`) is an ordinary word: it is replaced in headers, URLs and errors, but never in answers, where it
would damage paid bytes.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from batcher.endpoint.split_key import without_split_key
from batcher.errors import AccountError

if TYPE_CHECKING:
    from collections.abc import Mapping

MASK: Final = "***"
LONG_KEY: Final = 16
"""Characters from which on a key is never an ordinary word."""


class ApiKey:
    """A key whose `repr` and `str` are `***`.

    Attributes:
        variable: the environment variable it came from.
        stripped: what was taken off its ends, in words, or None.
    """

    __slots__ = ("_text", "stripped", "variable")

    def __init__(self, text: str, *, variable: str, stripped: str | None = None) -> None:
        self._text = text
        self.variable = variable
        self.stripped = stripped

    def reveal(self) -> str:
        """The key itself, for the Authorization header and the scrubber only."""
        return self._text

    def __repr__(self) -> str:
        return MASK

    def __str__(self) -> str:
        return MASK

    def __len__(self) -> int:
        return len(self._text)

    def __reduce__(self) -> str:
        raise TypeError("an API key is not written anywhere")

    @property
    def description(self) -> str:
        """For error texts: `$NAME, 51 characters, ended in a line break (stripped)`."""
        words = f"${self.variable}, {len(self._text)} characters"
        return f"{words}, {self.stripped} (stripped)" if self.stripped else words


def read_key(environ: Mapping[str, str], variable: str) -> ApiKey:
    """The key in that variable, without white space at its ends.

    Raises:
        AccountError: not set, empty, or holding characters that cannot be part of a key; the key is not
            echoed.
    """
    raw = environ.get(variable)
    if raw is None or not raw.strip():
        state = "is not set" if raw is None else "is empty"
        raise AccountError(f"${variable} {state}: the endpoint needs a key.", hint=f"export {variable}=…")
    text = raw.strip()
    for position, character in enumerate(text, start=1):
        if not "!" <= character <= "~":
            raise AccountError(
                f"${variable} holds {_name_of(character)} at position {position} of {len(text)},"
                " which no key contains; it was not sent.",
                hint=f"copy the key again and set {variable}",
            )
    return ApiKey(text, variable=variable, stripped=_what_was_stripped(raw))


def _name_of(character: str) -> str:
    if character in "\r\n":
        return "a line break"
    if character in "\u2018\u2019\u201c\u201d":
        return "a curly quote"
    if character.isspace():
        return "a space"
    return "a control character" if character.isascii() else "a non-ASCII character"


def _what_was_stripped(raw: str) -> str | None:
    head, tail = raw[: len(raw) - len(raw.lstrip())], raw[len(raw.rstrip()) :]
    words = []
    if head:
        words.append("began with white space")
    if tail:
        words.append("ended in a line break" if "\n" in tail or "\r" in tail else "ended in white space")
    return " and ".join(words) or None


class Scrubber:
    """Replaces one key, however it is encoded, by `***`; without a key it changes nothing.

    Always scrub before truncating: half a key at the end of a shortened text is not found any more.
    """

    def __init__(self, key: ApiKey | None) -> None:
        text = key.reveal() if key is not None else ""
        # The longest first: no form may leave the rest of a longer one standing.
        self._forms = sorted(_forms(text), key=len, reverse=True) if text else []
        self._byte_forms = [form.encode() for form in self._forms]
        self._is_long = len(text) >= LONG_KEY

    def text(self, value: str) -> str:
        """For headers, URLs, errors, logs: every key is replaced, short ones too."""
        for form in self._forms:
            if form in value:
                value = value.replace(form, MASK)
        return value

    def headers(self, pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        """As `text`, for the values of headers."""
        joined = "\n".join([value for _, value in pairs])  # no form holds a line break
        for form in self._forms:  # not any(): a generator costs as much as all the searching
            if form in joined:
                return tuple((name, self.text(value)) for name, value in pairs)
        return pairs

    def bytes(self, value: bytes, *, is_answer: bool = True) -> bytes:
        """For bodies: in an answer only keys that cannot be an ordinary word are replaced, elsewhere every key; in
        streams also one that came in pieces.
        """
        if is_answer and not self._is_long:
            return value
        for form in self._byte_forms:
            if form in value:
                value = value.replace(form, MASK.encode())
        return without_split_key(value, self._byte_forms, mask=MASK.encode()) if self._byte_forms else value

    def __repr__(self) -> str:
        return "Scrubber(***)"


def _forms(text: str) -> set[str]:
    """The key as it may appear: plain, JSON-escaped, URL-encoded, and in base64 at any offset."""
    quoted = quote(text, safe="")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    forms = {text, quoted, quoted.lower(), quote(text), escaped, escaped.replace("/", "\\/")}
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + text.encode()).decode()
        # Characters that also encode neighbours differ with them; what lies between is the key's own.
        core = encoded[(0, 2, 3)[offset] : len(encoded) - (0, 3, 2)[(offset + len(text)) % 3]]
        if len(core) >= 4:
            forms |= {core, core.replace("+", "-").replace("/", "_")}
    return forms
