"""Modes of answers that are whole, and not in the form that was asked for: broken schemas, fences, odd calls.

Where nothing structured was asked for, and nothing was called, the answer stays the good one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import orjson

from batcher.simulator import lines
from batcher.simulator.dice import Dice
from batcher.simulator.plan import Mode

if TYPE_CHECKING:
    from collections.abc import Callable

    from batcher.simulator.plan import Delivery, Occasion

Json = dict[str, object]


def _broken(text: str, dice: Dice) -> str:
    """A JSON object that satisfied its schema, as models break them: prose around it, cut, a value of another
    type, a list around it.
    """
    kind, value = dice.below(4), orjson.loads(text)
    if kind == 0 or not isinstance(value, dict):
        return f"Sure, here is the answer: {text}"
    if kind == 1:
        return text[: max(1, len(text) * 2 // 3)]
    plain = [name for name, part in value.items() if not isinstance(part, dict)] if kind == 2 else []
    if not plain:
        return orjson.dumps([value]).decode()
    return orjson.dumps({**value, dice.pick(plain): {"unexpected": True}}).decode()


def _fenced(text: str, _: Dice) -> str:
    return f"```json\n{text}\n```"


def _functions(choice: Json) -> list[Json]:
    calls = cast("Json", choice["message"]).get("tool_calls") or []
    return [cast("Json", call["function"]) for call in cast("list[Json]", calls)]


def _rewritten(rewrite: Callable[[str, Dice], str], *, calls: bool) -> Callable[[Occasion], Delivery]:
    """A builder: the good answer with its JSON rewritten, and that of its calls' arguments if `calls`."""

    def build(occasion: Occasion) -> Delivery:
        dice = Dice(occasion.call.digest, occasion.config.seed + 1)
        for choice in cast("list[Json]", occasion.completion().content["choices"]):
            message = cast("Json", choice["message"])
            content = message["content"]
            if _is_object(content):
                message["content"] = rewrite(str(content), dice)
            for function in _functions(choice) if calls else ():
                function["arguments"] = rewrite(str(function["arguments"]), dice)
        return occasion.answer()

    return build


def _is_object(content: object) -> bool:
    try:
        return isinstance(content, str) and isinstance(orjson.loads(content), dict)
    except orjson.JSONDecodeError:
        return False


def _argument_objects(occasion: Occasion) -> Delivery:
    for choice in cast("list[Json]", occasion.completion().content["choices"]):
        for function in _functions(choice):
            function["arguments"] = orjson.loads(str(function["arguments"]))
    return occasion.answer()


def _parallel_calls(occasion: Occasion) -> Delivery:
    for choice in cast("list[Json]", occasion.completion().content["choices"]):
        message = cast("Json", choice["message"])
        calls = cast("list[Json]", message.get("tool_calls") or [])
        if calls:
            message["tool_calls"] = [*calls, {**calls[0], "id": f"{calls[0]['id']}b"}]
    return occasion.answer()


def _ok(name: str, description: str, build: Callable[[Occasion], Delivery]) -> Mode:
    return Mode(name, f"200, paid: {description}", True, lines.OK, True, build)


MISFITS: tuple[Mode, ...] = (
    _ok("schema_broken", "JSON or arguments that break their schema", _rewritten(_broken, calls=True)),
    _ok("json_fenced", "the JSON in a code fence", _rewritten(_fenced, calls=False)),
    _ok("arguments_object", "Ollama: arguments are an object, not text", _argument_objects),
    _ok("parallel_calls", "every call is made twice", _parallel_calls),
)
