"""One choice of a streamed answer, grown piece by piece. Pure; see `sse_answer` for the rules."""

from __future__ import annotations

from typing import Any

_TEXTS = frozenset({"content", "refusal", "reasoning_content", "reasoning"})
_KNOWN = frozenset({"index", "delta", "message", "finish_reason", "logprobs"})
_CALL_KEYS = ("id", "type")


class Choice:
    """A choice, as far as it came.

    Args:
        index: of the choice.
    """

    __slots__ = ("_calls", "_fields", "_legacy", "_logprobs", "_message", "_reason", "_texts", "index")

    def __init__(self, index: int) -> None:
        self.index = index
        self._texts: dict[str, list[Any]] = {}
        self._calls: list[Call] = []
        self._legacy: Call | None = None
        self._message: dict[str, Any] = {}
        self._fields: dict[str, Any] = {}
        self._logprobs: dict[str, Any] | None = None
        self._reason: object = None

    @property
    def is_finished(self) -> bool:
        """It has a reason to have ended that is not an error."""
        return bool(self._reason) and self._reason != "error"

    def add(self, piece: dict[str, Any]) -> None:
        delta = piece.get("delta")
        if isinstance(delta, dict):
            content = delta.get("content")
            if len(delta) == 1 and content is not None:
                self._texts.setdefault("content", []).append(content)
            else:
                self._add_delta(delta)
        elif isinstance(piece.get("message"), dict) and not self._texts and not self._calls:
            self._add_delta(piece["message"])  # a whole answer in one event
        reason = piece.get("finish_reason")
        if reason:
            self._reason = reason
        logprobs = piece.get("logprobs")
        if isinstance(logprobs, dict):
            self._add_logprobs(logprobs)
        if not piece.keys() <= _KNOWN:
            self._fields |= {key: value for key, value in piece.items() if key not in _KNOWN}

    def _add_delta(self, delta: dict[str, Any]) -> None:
        for key, value in delta.items():
            if value is None:
                continue
            if key in _TEXTS:
                self._texts.setdefault(key, []).append(value)
            elif key == "tool_calls" and isinstance(value, list):
                for place, piece in enumerate(value):
                    self._add_call(piece, place)
            elif key == "function_call" and isinstance(value, dict):
                self._legacy = self._legacy or Call(0)
                self._legacy.add({"function": value})
            elif not self._message.get(key) or key != "role":
                self._message[key] = value

    def _add_call(self, piece: object, place: int) -> None:
        if not isinstance(piece, dict):
            return
        index = piece.get("index")
        if type(index) is int:
            call = next((each for each in reversed(self._calls) if each.index == index), None)
        else:  # whole calls in one event, or pieces of the latest
            index = place
            call = self._calls[-1] if self._calls and not (piece.get("id") is None and place) else None
        if call is None or call.is_other_than(piece):
            call = Call(index)
            self._calls.append(call)
        call.add(piece)

    def _add_logprobs(self, more: dict[str, Any]) -> None:
        known = self._logprobs = {} if self._logprobs is None else self._logprobs
        for key, value in more.items():
            if isinstance(value, list):
                known.setdefault(key, [])
            if isinstance(value, list) and isinstance(known[key], list):
                known[key].extend(value)
            else:
                known.setdefault(key, value)

    def whole(self) -> dict[str, Any]:
        """As a plain reply's choice."""
        message: dict[str, Any] = {"role": "assistant", "content": None, **self._message}
        for key, pieces in self._texts.items():
            message[key] = _joined(pieces)
        if self._calls:
            message["tool_calls"] = [call.whole() for call in self._calls]
        if self._legacy is not None:
            message["function_call"] = self._legacy.whole()["function"]
        if message["content"] == "" and (self._calls or self._legacy is not None):
            message["content"] = None  # what streams begin with where a plain reply has null
        whole = {"index": self.index, "message": message, "finish_reason": self._reason}
        if self._logprobs is not None:
            whole["logprobs"] = self._logprobs
        return {**self._fields, **whole}


class Call:
    """A tool call, as far as it came."""

    __slots__ = ("_arguments", "_fields", "_function", "index")

    def __init__(self, index: int) -> None:
        self.index = index
        self._fields: dict[str, Any] = {}
        self._function: dict[str, Any] = {}
        self._arguments: list[Any] = []

    def is_other_than(self, piece: dict[str, Any]) -> bool:
        """Whether the piece begins another call under the same index."""
        known, told = self._fields.get("id"), piece.get("id")
        return bool(known) and bool(told) and known != told

    def add(self, piece: dict[str, Any]) -> None:
        for key, value in piece.items():
            if (
                key not in {"index", "function"}
                and value
                and not (key in _CALL_KEYS and self._fields.get(key))
            ):
                self._fields[key] = value
        function = piece.get("function")
        if not isinstance(function, dict):
            return
        for key, value in function.items():
            if key == "arguments" and value is not None:
                self._arguments.append(value)
            elif value and not self._function.get(key):
                self._function[key] = value

    def whole(self) -> dict[str, Any]:
        fields = {key: self._fields[key] for key in _CALL_KEYS if key in self._fields}
        fields.setdefault("type", "function")
        fields |= self._fields
        return {**fields, "function": {**self._function, "arguments": _joined(self._arguments) or ""}}


def _joined(pieces: list[Any]) -> Any:
    """Pieces of one value: texts become one text; parts, and texts beside parts, one list of parts."""
    try:
        return "".join(pieces)
    except TypeError:
        pass
    if len(pieces) == 1 or not any(isinstance(piece, list) for piece in pieces):
        told = [piece for piece in pieces if piece != ""]
        return told[-1] if all(not isinstance(piece, str) for piece in told) else "".join(map(str, told))
    parts: list[Any] = []
    for piece in pieces:
        parts += piece if isinstance(piece, list) else [piece]
    return parts
