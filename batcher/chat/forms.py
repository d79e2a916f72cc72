"""What a row says, in each form it may have: batch line, template, conversation, prompt.

A form turns a row's values into a request body; it never writes bytes, never hashes, never looks at the
schema (the request builder chose it by the schema). Every one keeps what the row says word for word.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import urlsplit

import orjson

from batcher.chat.messages import checked, has_system, messages_of
from batcher.chat.templates import INVALID_ROW, MISSING_VALUE, RowError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batcher.chat.templates import PromptTemplate

BATCH_COLUMNS = ("body", "custom_id", "method", "url")
"""The fields of an OpenAI Batch line."""

_ANSWERED_BY_CONTRACT = frozenset({"response_format", "tools", "tool_choice"})
"""Parameters by which the job's columns are laid out: an answer to others could only fail, after it was paid for."""

_FOR_STREAMS = "stream_options"
"""After `stream` in the job's parameters, and sent only beside it."""

_CHAT_PATH = "/v1/chat/completions"


class Said(NamedTuple):
    """A request body, its keys in the order they are sent, and whether the row itself named the model."""

    body: dict[str, Any]
    own_model: bool


class Form(Protocol):
    """From a row's values to what it says."""

    @property
    def columns(self) -> frozenset[str]: ...

    def said(self, values: Mapping[str, object]) -> Said:
        """Raises RowError where the row says nothing that could be sent."""
        ...


@dataclass(frozen=True, slots=True)
class Frame:
    """What the job puts around every row's words.

    Attributes:
        system: None for no system message.
        params: parsed JSON values, in the user's order.
    """

    model: str
    system: PromptTemplate | None
    params: Mapping[str, Any]

    @property
    def columns(self) -> frozenset[str]:
        return self.system.columns if self.system is not None else frozenset()

    def around_text(self, text: str, values: Mapping[str, object]) -> Said:
        messages = [{"role": "user", "content": text}]
        return self.around(messages, values)

    def around(self, messages: list[dict[str, Any]], values: Mapping[str, object]) -> Said:
        """Model, messages, parameters: always in this order, so that equal requests are equal bytes."""
        if self.system is not None and not has_system(messages):
            messages = [{"role": "system", "content": self.system.render(values)}, *messages]
        return Said({"model": self.model, "messages": messages, **self.params}, own_model=False)


@dataclass(frozen=True, slots=True)
class TemplateForm:
    frame: Frame
    template: PromptTemplate

    @property
    def columns(self) -> frozenset[str]:
        return self.template.columns | self.frame.columns

    def said(self, values: Mapping[str, object]) -> Said:
        text = self.template.render(values)
        if not text or text.isspace():
            raise RowError(MISSING_VALUE, "the template renders to an empty prompt for this row")
        return self.frame.around_text(text, values)


@dataclass(frozen=True, slots=True)
class PromptForm:
    frame: Frame
    column: str

    @property
    def columns(self) -> frozenset[str]:
        return self.frame.columns | {self.column}

    def said(self, values: Mapping[str, object]) -> Said:
        text = values.get(self.column)
        if text is None:
            raise RowError(MISSING_VALUE, f'column "{self.column}" is missing or null in this row')
        if not isinstance(text, str):
            raise RowError(
                INVALID_ROW, f'column "{self.column}" is {type(text).__name__}, not text, in this row'
            )
        if not text or text.isspace():
            raise RowError(MISSING_VALUE, f'column "{self.column}" is empty in this row')
        return self.frame.around_text(text, values)


@dataclass(frozen=True, slots=True)
class MessagesForm:
    frame: Frame
    column: str

    @property
    def columns(self) -> frozenset[str]:
        return self.frame.columns | {self.column}

    def said(self, values: Mapping[str, object]) -> Said:
        return self.frame.around(messages_of(values.get(self.column), column=self.column), values)


@dataclass(frozen=True, slots=True)
class BatchForm:
    """OpenAI Batch lines. The host of their ``url`` is ignored: where requests go is the job's alone.

    Attributes:
        model: for lines that name none; None where the job names none either.
        params: for keys that a line does not have; a key that is there, even null, stays.
    """

    model: str | None
    params: Mapping[str, Any]
    columns: frozenset[str]

    def said(self, values: Mapping[str, object]) -> Said:
        _check_target(values)
        line = _batch_body(values.get("body"))
        own_model = line.get("model") is not None
        model = line["model"] if own_model else self.model
        if not isinstance(model, str) or not model:
            raise RowError(INVALID_ROW, "neither the line's body nor the job names a model")
        checked(line.get("messages"), what="messages of the line's body")
        if line.get("stream") and not self.params.get("stream"):
            raise RowError(
                INVALID_ROW, "the line's body asks for a stream: add stream = true to [request] of the job"
            )
        for key in _ANSWERED_BY_CONTRACT & line.keys() & self.params.keys():
            if line[key] != self.params[key]:
                raise RowError(
                    INVALID_ROW, f"the line's body has another {key} than the job, whose columns it fills"
                )
        body = {**line, "model": model}
        for key, value in self.params.items():
            if key != _FOR_STREAMS or body.get("stream"):
                body.setdefault(key, value)
        return Said(body, own_model)


def _batch_body(value: object) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError as err:
            raise RowError(INVALID_ROW, f"the line's body is text, but not JSON: {err}") from err
    if value is None:
        raise RowError(MISSING_VALUE, "the line has no body")
    if not isinstance(value, dict):
        raise RowError(INVALID_ROW, "the line's body is not an object")
    return value


def _check_target(values: Mapping[str, object]) -> None:
    url, method = values.get("url"), values.get("method")
    if url is not None and url != _CHAT_PATH and not _is_chat_url(url):
        raise RowError(INVALID_ROW, f"the line's url is {str(url)[:200]!r}, not {_CHAT_PATH}")
    if method is not None and not (isinstance(method, str) and method.upper() == "POST"):
        raise RowError(INVALID_ROW, f"the line's method is {str(method)[:40]!r}, not POST")


def _is_chat_url(url: object) -> bool:
    if not isinstance(url, str):
        return False
    try:
        return urlsplit(url).path.rstrip("/").endswith("/chat/completions")
    except ValueError:  # brackets that hold no address
        return False
