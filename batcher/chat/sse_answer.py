"""The events of a streamed answer, put together to the completion that a plain reply would have been. Pure.

The rules:

1. ``[DONE]`` ends the stream; behind it only usage counts. Servers without it end by a finish_reason in every choice
2. pieces of text and of arguments are joined, and log probabilities; of usage, finish_reason and unknown keys the last
   counts, of everything else the first, of id and model the first that says something
3. choices are told apart by their index, and so are tool calls. Some servers give all calls one index or none: a new
   id begins a new call
4. data that is no JSON is noise (``ping``) and flagged; where it began like a piece of the answer, the answer has a
   hole and did not end
5. the first error object that came is kept beside what had come until then

Never raises, never loses text that can be read. All events are parsed in one go where they are good JSON, which is
nearly always, and the commonest piece, a text alone, is added first of all: a reply has a hundred of them.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import orjson

from batcher.chat.errors_said import error_in
from batcher.chat.json_text import json_text
from batcher.chat.mending import mended
from batcher.chat.sse import Stream, events, looks_streamed
from batcher.chat.sse_choice import Choice

_DONE = b"[DONE]"
_ABOUT_CHOICES = frozenset({"choices", "usage", "error"})


class Assembled(NamedTuple):
    """A stream's answer.

    Attributes:
        completion: as a plain reply's top-level object; with ``error`` where an error came.
        ended: the stream said that the answer is whole, and no error and no hole spoke against it.
        warnings: words for the ``warnings`` column.
    """

    completion: dict[str, Any]
    ended: bool
    warnings: tuple[str, ...]


class _Parsed(NamedTuple):
    """What the events hold.

    Attributes:
        values: of the events up to ``[DONE]``.
        late: of those behind it.
        has_hole: something that began like an object cannot be read.
    """

    values: list[Any]
    late: list[Any]
    is_done: bool
    has_hole: bool


def assembled(body: bytes) -> Assembled | None:
    """The answer in a stream, whole or not; None where no event of it is a JSON object that can be read."""
    stream = events(body)
    odd: dict[str, None] = {}
    parsed = _parsed(stream, odd)
    answer = _Answer()
    for value in parsed.values:
        answer.add(value)
    if parsed.late:
        odd["data_after_done"] = None
        answer.add_usage(parsed.late)
    if not answer.has_begun:
        return None
    completion = answer.completion()
    ended = not parsed.has_hole and (answer.is_finished or (parsed.is_done and answer.error is None))
    if odd:
        try:
            completion = mended(completion, odd)
        except RecursionError:  # nested deeper than the stack, and not strict: as a plain reply of that kind
            return None
    return Assembled(completion, ended, tuple(odd))


def reply_text(body: bytes) -> str:
    """A reply as text for a person and for JSON tools: a stream put together, everything else as it came."""
    stream = assembled(body) if looks_streamed(body) else None
    text = json_text(stream.completion) if stream is not None else None
    return body.decode("utf-8", errors="replace") if text is None else text


def _parsed(stream: Stream, odd: dict[str, None]) -> _Parsed:
    data = stream.data
    done = (
        next((at for at, each in enumerate(data) if each.strip() == _DONE), None) if _DONE in data else None
    )
    if done is None and data and data[-1].strip() == _DONE:
        done = len(data) - 1
    before = data if done is None else data[:done]
    if not stream.errors:
        try:
            values = orjson.loads(b"[%b]" % b",".join(before))
        except orjson.JSONDecodeError:
            values = None
        if values is not None and len(values) == len(before) and (done is None or done == len(data) - 1):
            return _Parsed(values, [], is_done=done is not None, has_hole=False)
    return _parsed_singly(stream, done, odd)


def _parsed_singly(stream: Stream, done: int | None, odd: dict[str, None]) -> _Parsed:
    values: list[Any] = []
    late: list[Any] = []
    has_hole = False
    for at, data in enumerate(stream.data):
        if not data.strip() or data.strip() == _DONE:
            continue
        found = _values(data, odd)
        is_cut_tail = stream.is_open and at == len(stream.data) - 1
        if not found and data.lstrip()[:1] == b"{":
            has_hole = has_hole or not is_cut_tail
        elif not found:
            odd["stream_noise"] = None
        elif at in stream.errors:
            found = [{"error": _inner_error(found[0])}]
        (values if done is None or at < done else late).extend(found)
    return _Parsed(values, late, is_done=done is not None, has_hole=has_hole)


def _values(data: bytes, odd: dict[str, None]) -> list[Any]:
    """The JSON values of one event: one, none, or, from servers that forget the blank lines, one per line."""
    value = _value(data, odd)
    if value is not None:
        return [value]
    lines = data.split(b"\n")
    if len(lines) == 1:
        return []
    found = [value for line in lines if (value := _value(line, odd)) is not None]
    if found:
        odd["events_not_separated"] = None
    return found


def _value(data: bytes, odd: dict[str, None]) -> Any:
    """None where it is no JSON, or null."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = data.decode(errors="replace")
        is_utf8 = False
    else:
        is_utf8 = True
    try:
        value = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None
    odd["stream_not_strict" if is_utf8 else "bad_utf8_replaced"] = None
    return value


def _inner_error(value: Any) -> Any:
    return value.get("error") or value if isinstance(value, dict) else value


class _Answer:
    """What has been put together so far.

    Attributes:
        has_begun: at least one object came.
        error: the first error that came, or None.
    """

    def __init__(self) -> None:
        self.has_begun = False
        self.error: object = None
        self._head: dict[str, Any] = {}
        self._is_named = False
        self._usage: object = None
        self._choices: dict[int, Choice] = {}

    def add(self, chunk: object) -> None:
        if not isinstance(chunk, dict):
            return
        if not self._is_named:
            self._add_head(chunk)
        usage = chunk.get("usage")
        if usage is not None:
            self._usage = usage
        choices = chunk.get("choices")
        if isinstance(choices, list):
            for place, piece in enumerate(choices):
                if isinstance(piece, dict):
                    self._add_piece(piece, place)
        if "error" in chunk or choices is None:
            self._add_error(chunk)

    def _add_head(self, chunk: dict[str, Any]) -> None:
        self.has_begun = True
        head = self._head
        for key, value in chunk.items():
            if key not in _ABOUT_CHOICES and not head.get(key):
                head[key] = value
        self._is_named = bool(head.get("id") and head.get("model"))

    def _add_error(self, chunk: dict[str, Any]) -> None:
        error = chunk.get("error")
        if not error and "choices" not in chunk and error_in(chunk) is not None:
            error = chunk
        if error and self.error is None:
            self.error = error

    def add_usage(self, chunks: list[Any]) -> None:
        for chunk in chunks:
            if isinstance(chunk, dict) and chunk.get("usage") is not None:
                self._usage = chunk["usage"]

    @property
    def is_finished(self) -> bool:
        """Every choice has ended by itself."""
        return bool(self._choices) and all(choice.is_finished for choice in self._choices.values())

    def _add_piece(self, piece: dict[str, Any], place: int) -> None:
        index = piece.get("index")
        if type(index) is not int:
            index = place
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = Choice(index)
        choice.add(piece)

    def completion(self) -> dict[str, Any]:
        """As a plain reply says it."""
        whole = {**self._head, "object": "chat.completion"}
        whole["choices"] = [self._choices[index].whole() for index in sorted(self._choices)]
        if self._usage is not None:
            whole["usage"] = self._usage
        if self.error is not None:
            whole["error"] = self.error
        return whole
