"""Error replies as data: OpenAI's error object, and modes that answer with a fixed status and body."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import orjson

from batcher.simulator.plan import End, Mode

if TYPE_CHECKING:
    from batcher.simulator.plan import Delivery, Occasion


def error_body(message: str, kind: str | None = None, code: object = None, **more: object) -> bytes:
    """OpenAI's error object."""
    return orjson.dumps({"error": {"message": message, "type": kind, "param": None, "code": code, **more}})


def _send(
    occasion: Occasion, *, status: int, body: bytes, headers: str, content_type: str, end: End = End.KEEP
) -> Delivery:
    body = body.replace(b"{model}", occasion.call.model.encode())
    return occasion.reply(status, body, headers=headers, content_type=content_type, end=end)


def refusal(
    name: str,
    description: str,
    line: str,
    status: int,
    body: bytes,
    *,
    headers: str = "",
    content_type: str = "application/json",
    paid: bool = False,
    persistent: bool = True,
    odd: str | None = None,
) -> Mode:
    build = partial(_send, status=status, body=body, headers=headers, content_type=content_type)
    return Mode(name, f"{status}: {description}", paid, line, persistent, build, odd_reply=odd)
