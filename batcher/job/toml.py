"""TOML text to tables: the job file with errors as `file:line`, and `--set table.key=value`."""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from typing import TYPE_CHECKING

from batcher.errors import JobError

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES = 16 << 20
"""A job is written by hand; a dataset given in its place is told so instead of being parsed."""

UTF16_OR_32 = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")
DATASETS = (".jsonl", ".ndjson", ".parquet", ".json", ".csv", ".gz", ".zst")
PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)\Z")
NAME = r"""(?:"(?:[^"\\]|\\.)*"|'[^']*'|[A-Za-z0-9_-]+)"""
KEY = re.compile(rf"\s*{NAME}(?:\s*\.\s*{NAME})*\s*\Z")


def read_job(path: Path, *, shown: str) -> dict[str, object]:
    """The tables of a job file.

    Args:
        path: the file.
        shown: how the user named it.

    Raises:
        JobError: it cannot be read, is not UTF-8 or is not TOML; says the line where there is one.
    """
    hint = "a dataset is given with -i" if path.suffix.lower() in DATASETS else None
    try:
        if path.is_dir():
            raise JobError(f"{shown} is a directory; a job is a .toml file")
        if path.stat().st_size > MAX_BYTES:
            raise JobError(f"{shown} is over {MAX_BYTES >> 20} MiB, so it is no job file", hint=hint)
        content = path.read_bytes()
    except FileNotFoundError as err:
        raise JobError(
            f"there is no job file {shown}", hint=hint or "batcher init label  writes one to start from"
        ) from err
    except (OSError, ValueError) as err:  # ValueError: a NUL in the name
        raise JobError(f"cannot read the job file {shown}: {getattr(err, 'strerror', None) or err}") from err
    return parse(decode(content, shown=shown), shown=shown, hint=hint)


def decode(content: bytes, *, shown: str) -> str:
    """The text of a job file, which must be UTF-8; a byte order mark is dropped."""
    if content.startswith(UTF16_OR_32):
        raise JobError(f"{shown} is UTF-16 or UTF-32; save it as UTF-8")
    try:
        return content.removeprefix(b"\xef\xbb\xbf").decode("utf-8")
    except UnicodeDecodeError as err:
        line = content.count(b"\n", 0, err.start) + 1
        raise JobError(f"{shown}:{line}: byte {err.start} is not UTF-8; save the file as UTF-8") from err


def parse(text: str, *, shown: str, hint: str | None = None) -> dict[str, object]:
    """TOML to tables; errors say `file:line:column`."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as err:
        message = str(err)
        found = PLACE.search(message)
        at = f":{text.count(chr(10)) + 1}"
        if found is not None and found[1] is not None:
            at = f":{found[1]}:{found[2]}"
        raise JobError(f"{shown}{at}: not TOML: {PLACE.sub('', message)}", hint=hint) from err
    except (ValueError, RecursionError) as err:  # an integer of thousands of digits; endless brackets
        raise JobError(f"{shown}: not TOML that can be read: {err}") from err


def parse_set(given: str) -> tuple[tuple[str, ...], object]:
    """`table.key=value` to its place and value: a TOML literal where it is one, else the text as it stands.

    A date is taken as text: no key wants a date, and `tags.day=2026-11-21` does not mean one.
    """
    key, value = _split(given)
    if not KEY.match(key):
        raise JobError(
            f"--set {key[:60]}: not a key; write table.key=value, names with dots in quotes: "
            'prices."gpt-4.1".input=2'
        )
    place: tuple[str, ...] = ()
    inner: object = tomllib.loads(f"{key}=0")
    while isinstance(inner, dict):
        name, inner = next(iter(inner.items()))
        place = (*place, name)
    if len(place) == 1:
        raise JobError(f"--set {key}: names no table; write table.key=value, such as request.{key}=…")
    return place, literal(value)


def literal(text: str) -> object:
    """The TOML value that the text is, else the text."""
    try:
        found = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):  # ValueError: also an integer of thousands of digits
        return text
    value = found["value"]
    return text if len(found) != 1 or isinstance(value, dt.date | dt.time) else value


def _split(given: str) -> tuple[str, str]:
    """At the first `=` outside quotes."""
    quote = ""
    for position, letter in enumerate(given):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        elif letter == "=":
            return given[:position].strip(), given[position + 1 :]
    raise JobError(f"--set {given[:60]}: has no value; write --set table.key=value")
