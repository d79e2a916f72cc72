"""Lines of JSONL into Python objects, or into the reason why a line is none.

Must never change a value on the way: orjson turns integers beyond 64 bits into floats, so lines that may
hold one are parsed again by the standard library, with such integers kept as `Digits`. Must never raise for
a bad line.

orjson is strict (UTF-8, NaN, lone surrogates, depth over 1,024), so it alone decides what is valid; what
this module adds is speed for the good case (one list comprehension) and words for the bad one.
"""

from __future__ import annotations

import json
import re
from typing import TypeAlias

import orjson

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
DEPTH_LIMIT = 1_024  # orjson's own
DUMP_DEPTH_LIMIT = 254  # orjson's own

_DIGITS_TO_ZERO = bytes(48 if 48 <= code <= 57 else 32 for code in range(256))
_LONG_RUN = b"0" * 19  # the fewest digits of an integer beyond int64
_NO_DIGIT = re.compile(rb"[^0]")
_FIRST_VALUE_THEN_MORE = "unexpected content after document"
INCOMPLETE = "the file may be incomplete"


class Digits(str):
    """An integer beyond 64 bits, as its digits: text wherever it goes, a number again inside JSON text."""

    __slots__ = ()


Row: TypeAlias = dict[str, object]


def parse_rows(lines: list[bytes], *, is_unfinished: bool = False) -> tuple[list[Row], dict[int, str]]:
    """Parse lines, none of them blank.

    Args:
        lines: without newlines.
        is_unfinished: the last line has no newline, so it may have been cut.

    Returns:
        One dict per line (an empty one for a bad line), and position -> reason for the bad ones.
    """
    problems: dict[int, str] = {}
    try:
        values: list[object] = [orjson.loads(line) for line in lines]
    except orjson.JSONDecodeError:
        values = [_load_or_explain(line, at, problems) for at, line in enumerate(lines)]
    for at in _with_long_integers(lines):
        if at not in problems:
            values[at] = _load_exactly(lines[at], at, problems)
    if is_unfinished and len(lines) - 1 in problems:
        problems[len(lines) - 1] += f"; {INCOMPLETE}"
    rows: list[Row] = []
    for at, value in enumerate(values):
        if type(value) is dict:
            rows.append(value)
        else:
            rows.append({})
            problems.setdefault(at, f"the line is {_kind(value)}, not a JSON object")
    return rows, problems


def load_text(text: str) -> object:
    """JSON text that was written by `dump_text`, back into Python; every integer keeps its digits."""
    encoded = text.encode()
    if _LONG_RUN not in encoded.translate(_DIGITS_TO_ZERO):
        return orjson.loads(encoded)
    return json.loads(text, parse_int=_int_or_digits)


def dump_text(value: object) -> bytes:
    """A value as compact JSON, key order and digits kept.

    Raises:
        TypeError: nested deeper than 254 levels.
    """
    return orjson.dumps(value, default=_digits_as_number, option=orjson.OPT_PASSTHROUGH_SUBCLASS)


def scalar_text(value: object) -> str | None:
    """A value that landed in a column of text: strings as they are, other scalars as JSON without quotes."""
    if value is None:
        return None
    return str(value) if isinstance(value, str) else dump_text(value).decode()


def duplicate_key(line: bytes) -> str | None:
    """A key that stands twice in one object of the line, at any depth, or None. For valid lines only."""
    found: list[str] = []

    def check(pairs: list[tuple[str, object]]) -> dict[str, object]:
        unique = dict(pairs)
        if len(unique) < len(pairs):
            names = [name for name, _ in pairs]
            found.append(next(name for name in names if names.count(name) > 1))
        return unique

    try:
        json.loads(line, object_pairs_hook=check, parse_int=str)
    except (RecursionError, ValueError):
        return None  # deeper than the standard library goes; only a warning is lost
    return found[0] if found else None


def is_one_array(first_line: bytes) -> bool:
    """Whether a file whose first line this is (cut or whole) is one JSON array spread over lines."""
    if not first_line.lstrip().startswith(b"["):
        return False
    try:
        orjson.loads(first_line)
    except orjson.JSONDecodeError:
        return True
    return False


def _digits_as_number(value: object) -> orjson.Fragment:
    if isinstance(value, Digits):
        return orjson.Fragment(str(value))
    raise TypeError(f"{type(value).__name__} is not JSON")


def _int_or_digits(digits: str) -> int | Digits:
    # Longer than 20 characters cannot fit; int() itself refuses more than 4,300 digits.
    if len(digits) > 20:
        return Digits(digits)
    number = int(digits)
    return number if INT64_MIN <= number <= INT64_MAX else Digits(digits)


def _with_long_integers(lines: list[bytes]) -> list[int]:
    """Positions of lines that may hold an integer of 19 digits or more, fractions and quoted ids apart.

    One pass over all lines at once (translate and find, 1 GB/s); a regular expression per line costs 4 µs.
    """
    text = b"\n".join(lines)
    zeros = text.translate(_DIGITS_TO_ZERO)
    found: dict[int, None] = {}
    line = scanned = 0
    at = zeros.find(_LONG_RUN)
    while at >= 0:
        line += text.count(b"\n", scanned, at)
        scanned = at
        before = text[max(at - 2, 0) : at].removesuffix(b"-")[-1:]
        if before and before in b":,[ \t\n\r":
            found[line] = None
        end = _NO_DIGIT.search(zeros, at)
        at = zeros.find(_LONG_RUN, end.start()) if end else -1
    return list(found)


def _load_or_explain(line: bytes, at: int, problems: dict[int, str]) -> object:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as err:
        problems[at] = _explain(line, err)
        return None


def _load_exactly(line: bytes, at: int, problems: dict[int, str]) -> object:
    try:
        return json.loads(line, parse_int=_int_or_digits)
    except RecursionError:
        problems[at] = "nested too deep for a line with integers beyond 64 bits"
        return None


def _explain(line: bytes, err: orjson.JSONDecodeError) -> str:  # noqa: PLR0911 - one line per case
    try:
        text = line.decode()
    except UnicodeDecodeError as bad:
        return f"invalid UTF-8 at byte {bad.start} of the line (0x{line[bad.start]:02x})"
    if "surrogate" in err.msg:
        return f"a lone surrogate at character {err.pos}: not valid text"
    if "depth" in err.msg or "recursion" in err.msg.lower():
        return f"nested deeper than {DEPTH_LIMIT:,} levels"
    if text.find("NaN", err.pos, err.pos + 4) >= 0 or text.find("Infinity", err.pos, err.pos + 9) >= 0:
        return f"NaN or Infinity at character {err.pos}: not JSON"
    if err.msg.startswith(_FIRST_VALUE_THEN_MORE):
        return f"more than one JSON value (or a comment) on the line, at character {err.pos}"
    if text[err.pos : err.pos + 1] == "'":
        return f"single quotes at character {err.pos}: JSON wants double quotes"
    return f"not JSON: {err.msg} at character {err.pos}"


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, list):
        return "an array"
    return "a string" if isinstance(value, str) else "a number"
