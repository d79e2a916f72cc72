"""Conversations that rows bring along: is this a `messages` array an endpoint can take?

Judges only what makes a request certain to be refused; an unknown role may be known to some server and
passes. Never changes what a message says.
"""

from __future__ import annotations

from typing import Any

import orjson

from batcher.chat.templates import INVALID_ROW, MISSING_VALUE, RowError

_SPEAKS_OTHERWISE = ("tool_calls", "function_call", "refusal", "audio")
"""Fields that make a null content valid: the assistant said something else than text."""

_SYSTEM_ROLES = frozenset({"system", "developer"})


def messages_of(value: object, *, column: str) -> list[dict[str, Any]]:
    """The conversation in a column: a list of {role, content}, or that as JSON text.

    A native list may come from an Arrow struct, which has a null in every field that some other message of
    the file uses; those are left out (servers refuse ``"name": null``). JSON text is taken word for word.

    Raises:
        RowError: naming the column and the message.
    """
    if value is None:
        raise RowError(MISSING_VALUE, f'column "{column}" is missing or null in this row')
    if isinstance(value, str):
        try:
            return checked(orjson.loads(value), what=f'column "{column}"')
        except orjson.JSONDecodeError as err:
            raise RowError(INVALID_ROW, f'column "{column}" is text, but not JSON: {err}') from err
    messages = checked(value, what=f'column "{column}"')
    try:
        return [_without_null_fields(message) for message in messages]
    except RecursionError as err:
        raise RowError(INVALID_ROW, f'column "{column}" is nested too deeply') from err


def checked(value: object, *, what: str) -> list[dict[str, Any]]:
    """The value as a conversation, unchanged.

    Args:
        value: anything.
        what: where it stood, for messages.

    Raises:
        RowError: not a list, empty, an item that is no object, no role, or a null content that nothing makes
            up for.
    """
    if not isinstance(value, list):
        raise RowError(INVALID_ROW, f"{what} is not a list of messages")
    if not value:
        raise RowError(INVALID_ROW, f"{what} is an empty list of messages")
    for position, message in enumerate(value):
        if not isinstance(message, dict):
            raise RowError(INVALID_ROW, f"{what}: message {position} is not an object with role and content")
        role = message.get("role")
        if not isinstance(role, str) or not role:
            raise RowError(INVALID_ROW, f"{what}: message {position} has no role")
        if message.get("content") is None and all(message.get(field) is None for field in _SPEAKS_OTHERWISE):
            raise RowError(MISSING_VALUE, f"{what}: message {position} ({role[:40]}) has no content")
    return value


def has_system(messages: list[dict[str, Any]]) -> bool:
    return any(message["role"] in _SYSTEM_ROLES for message in messages)


def _without_null_fields(message: dict[str, Any]) -> dict[str, Any]:
    return {
        key: item if type(item) is str else _pruned(item)
        for key, item in message.items()
        if item is not None or key == "content"
    }


def _pruned(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _pruned(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_pruned(item) for item in value]
    return value
