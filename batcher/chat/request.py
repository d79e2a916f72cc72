"""A row becomes the exact bytes that are sent for it, and the hash by which its answer is found again.

Rules, in order, for what a row says:
  1. OpenAI Batch lines: their ``body`` as it is; the job fills missing keys only (model, parameters).
  2. A prompt template.
  3. A column of conversations: the one named, or ``messages`` when no prompt column is named either.
  4. A column of prompts: the one named, or ``prompt``.
A system template goes first, except before batch bodies and conversations that have a system message. Images go with
what the user says (`batcher.chat.images`), except in batch bodies.

Never takes a URL or a header from a row, never sends a number JSON does not have (orjson writes NaN as null
without a word), never lets anything but body, endpoint and simulated-or-not into the hash: identity is not
tuning.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from math import isfinite
from typing import TYPE_CHECKING, Any, Literal

import orjson

from batcher.chat.forms import BATCH_COLUMNS, BatchForm, Frame, MessagesForm, PromptForm, TemplateForm
from batcher.chat.images import PicturedForm, images_in
from batcher.chat.templates import INVALID_ROW, RowError, compile_template, listed, suggestion
from batcher.errors import JobError
from batcher.records import Problem, Request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batcher.chat.forms import Form, Said
    from batcher.chat.images import Images
    from batcher.records import InputRow

MAX_MESSAGE_CHARS = 2000
"""The longest reason of a problem, as for every error message in the output."""

_RESERVED_PARAMS = {"model": "it has its own key, request.model", "messages": "rows make the messages"}


@dataclass(frozen=True, slots=True)
class RequestSpec:
    """What of a job decides what is sent.

    Attributes:
        model: None only where every row names its own (batch lines).
        prompt: Jinja2 template over the row's columns, or None.
        system: likewise; may be the same for every row. Empty means none.
        params: chat-completions parameters, in the user's order, passed through as given.
        prompt_column: None means ``prompt`` where the input has it.
        messages_column: None means ``messages`` where the input has it.
        id_column: carried as `custom_id`; None means the ``custom_id`` of batch lines, else nothing.
        endpoint_identity: what of the endpoint an answer depends on, in one canonical text (its base URL).
        simulated: an answer of the simulator is never taken for a real one.
        columns: the input's columns, in their order.
        images: what goes with each row, or None.
    """

    model: str | None
    prompt: str | None
    system: str | None
    params: Mapping[str, object]
    input_format: Literal["jsonl", "parquet", "openai-batch"]
    prompt_column: str | None
    messages_column: str | None
    id_column: str | None
    endpoint_identity: str
    simulated: bool
    columns: tuple[str, ...]
    images: Images | None = None


class RequestBuilder:
    """Builds requests; every mistake of the job is found when it is made, before the first row.

    Attributes:
        columns: the input columns `build` reads.
        raw_columns: those that hold images, so may hold bytes.
    """

    def __init__(self, spec: RequestSpec) -> None:
        """Check the whole specification.

        Raises:
            JobError: no model, an unknown column or name, a template error, a parameter JSON cannot carry, or
                no
                column that could be sent.
        """
        params = _sendable_params(spec.params)
        self._form = _batch_form(spec, params) if spec.input_format == "openai-batch" else _form(spec, params)
        self._id_column = _id_column(spec)
        self._hasher = blake2b(
            f"{spec.endpoint_identity}\0{int(spec.simulated)}\0".encode("utf-8", "surrogatepass"),
            digest_size=16,
        )
        self.raw_columns = frozenset(spec.images.columns if spec.images is not None else ())
        self.columns = self._form.columns | ({self._id_column} if self._id_column else frozenset())

    def build(self, row: InputRow) -> Request | Problem:
        """The request of a row, or why it has none. Raises nothing, whatever the row holds."""
        custom_id = None
        try:
            if self._id_column is not None:
                custom_id = _id_text(row.values.get(self._id_column), self._id_column)
            body, own_model = self._said(row)
            raw, request_hash = self._sealed(body)
        except RowError as err:
            reason = str(err)[:MAX_MESSAGE_CHARS].encode("utf-8", "replace").decode()
            return Problem(row.row_index, err.error_type, reason, custom_id)
        images, image_bytes = images_in(raw)
        return Request(
            row.row_index,
            raw,
            request_hash,
            body["model"],
            custom_id,
            own_model,
            max_tokens=_max_tokens(body),
            stream=body.get("stream") is True,
            images=images,
            image_bytes=image_bytes,
        )

    def _said(self, row: InputRow) -> Said:
        if row.problem is not None:
            raise RowError(INVALID_ROW, row.problem)
        return self._form.said(row.values)

    def _sealed(self, body: dict[str, Any]) -> tuple[bytes, str]:
        """The bytes as sent, and their hash (over sorted keys, so that it does not depend on their order)."""
        try:
            raw = orjson.dumps(body)
            ordered = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
        except TypeError as err:
            raise RowError(INVALID_ROW, f"the request cannot be written as JSON: {err}") from err
        # orjson writes NaN as null: only where there is one is a walk through the body worth its time.
        if b"null" in raw and not _is_finite(body):
            raise RowError(INVALID_ROW, "the request has a number that JSON does not have (NaN or Infinity)")
        hasher = self._hasher.copy()
        hasher.update(ordered)
        return raw, hasher.hexdigest()


def _form(spec: RequestSpec, params: dict[str, Any]) -> Form:
    text = _text_form(spec, params)
    if spec.images is None:
        return text
    for name in spec.images.columns:
        _check_column(name, spec, key="request.images.column")
    return PicturedForm(text, spec.images)


def _text_form(spec: RequestSpec, params: dict[str, Any]) -> Form:
    if not spec.model:
        raise JobError("No model is named.", hint='Add --model NAME, or model = "NAME" under [request].')
    system = None
    if spec.system:
        system = compile_template(spec.system, spec.columns, where="request.system", must_use_a_column=False)
    frame = Frame(spec.model, system, params)
    if spec.prompt is not None:
        if spec.messages_column is not None:
            raise JobError(
                "request.prompt and input.messages_column are both given; only one can say what is sent."
            )
        # With images even the same words ask something else of every row.
        template = compile_template(spec.prompt, spec.columns, must_use_a_column=spec.images is None)
        return TemplateForm(frame, template)
    if spec.messages_column is not None:
        _check_column(spec.messages_column, spec, key="input.messages_column")
        return MessagesForm(frame, spec.messages_column)
    if spec.prompt_column is not None:
        _check_column(spec.prompt_column, spec, key="input.prompt_column")
        return PromptForm(frame, spec.prompt_column)
    if "messages" in spec.columns:
        return MessagesForm(frame, "messages")
    if "prompt" in spec.columns:
        return PromptForm(frame, "prompt")
    raise JobError(
        'The input has neither a "prompt" nor a "messages" column, and the job has no template.'
        f"{suggestion('prompt', spec.columns)} Columns: {listed(spec.columns)}.",
        hint='Add --prompt "… {{ COLUMN }}", or name the column as input.prompt_column.',
    )


def _batch_form(spec: RequestSpec, params: dict[str, Any]) -> BatchForm:
    if spec.prompt is not None or spec.prompt_column is not None or spec.messages_column is not None:
        raise JobError(
            "The input is OpenAI Batch lines, which are requests already: leave out request.prompt,"
            " input.prompt_column and input.messages_column."
        )
    if spec.images is not None:
        raise JobError(
            "The input is OpenAI Batch lines, whose bodies hold their images already: leave out [request.images]."
        )
    if "body" not in spec.columns:
        raise JobError(f'OpenAI Batch lines need a "body". Columns: {listed(spec.columns)}.')
    return BatchForm(spec.model or None, params, frozenset(BATCH_COLUMNS) & frozenset(spec.columns))


def _check_column(name: str, spec: RequestSpec, *, key: str) -> None:
    if name not in spec.columns:
        raise JobError(
            f'{key} is "{name}", which is not a column of the input.{suggestion(name, spec.columns)}'
            f" Columns: {listed(spec.columns)}."
        )


def _id_column(spec: RequestSpec) -> str | None:
    if spec.id_column is not None:
        _check_column(spec.id_column, spec, key="input.id_column")
        return spec.id_column
    return "custom_id" if spec.input_format == "openai-batch" and "custom_id" in spec.columns else None


def _sendable_params(params: Mapping[str, object]) -> dict[str, Any]:
    """The parameters as plain JSON values, in the user's order."""
    for key, reason in _RESERVED_PARAMS.items():
        if key in params:
            raise JobError(f"request.{key} cannot be passed through as a parameter: {reason}.")
    sendable = {}
    for key, value in params.items():
        try:
            sendable[key] = orjson.loads(orjson.dumps({key: value}))[key]
        except TypeError as err:
            raise JobError(f"request.{key} cannot be written as JSON: {err}") from err
        if not _is_finite(value):
            raise JobError(f"request.{key} has a number that JSON does not have (NaN or Infinity).")
    return sendable


def _is_finite(value: Any) -> bool:
    """Whether no number in the value is NaN or infinite.

    Args:
        value: something orjson could write, so at most 254 levels deep.
    """
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or isfinite(value)


def _max_tokens(body: Mapping[str, Any]) -> int | None:
    for key in ("max_completion_tokens", "max_tokens"):
        value = body.get(key)
        if type(value) is int:  # a bool is an int to isinstance
            return value
    return None


def _id_text(value: object, column: str) -> str | None:
    """An id as text, whatever it holds: it is carried, never trusted, never a path."""
    if value is None:
        return None
    try:
        if isinstance(value, str):
            text = value
        elif isinstance(value, int) and not isinstance(value, bool):
            text = str(value)
        else:
            text = orjson.dumps(value).decode()
        if not text.isascii():
            text.encode()
    except (UnicodeEncodeError, TypeError, ValueError) as err:
        raise RowError(INVALID_ROW, f'column "{column}" cannot be carried as an id: {err}') from err
    return text
