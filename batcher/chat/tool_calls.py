"""Function calls of an answer, held against the tools that were given.

Where one function only can be called, its arguments are the row's value, as the text of a structured answer
would be: ``parsed`` holds them and they become columns. Several calls of it (parallel calls) give a list in
``parsed`` and the first call's columns, flagged. Where several functions can be called, ``parsed`` is the list
of ``{name, arguments}`` and there are no columns.

Servers differ: arguments as an object instead of JSON text (Ollama), an empty text for no arguments, the
old ``function_call``, a finish_reason ``stop`` beside calls. All of them are calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from batcher.chat.contract import ANYTHING, MAX_PROBLEM_CHARS, Fit
from batcher.chat.json_text import NotJson, json_in, json_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batcher.chat.contract import Check, Contract
    from batcher.records import Answer

SEVERAL = "several_tool_calls"
NOT_TEXT = "arguments_not_text"


class Function(NamedTuple):
    """A function that can be called.

    Attributes:
        schema: of its arguments; None when it was given without parameters.
    """

    check: Check
    schema: Mapping[str, Any] | None


class _Call(NamedTuple):
    name: str
    arguments: object
    text: str


class _BadCall(ValueError):
    """Why a call cannot be used."""


@dataclass(frozen=True, slots=True)
class ToolContract:
    """Calls of known functions.

    Attributes:
        functions: by name; those that the server may call, at least one.
        must_call: ``tool_choice`` demanded a call.
        otherwise: what an answer without a call must be.
    """

    functions: Mapping[str, Function]
    must_call: bool = False
    otherwise: Contract = ANYTHING

    @property
    def schema(self) -> Mapping[str, Any] | None:
        if self.otherwise.schema is not None:
            return self.otherwise.schema
        return self._only.schema if self._only is not None else None

    @property
    def _only(self) -> Function | None:
        return next(iter(self.functions.values())) if len(self.functions) == 1 else None

    def fit(self, answer: Answer) -> Fit:
        said = calls_in(answer.tool_calls)
        if not said:
            if self.must_call:
                return Fit(f"no tool was called; {', '.join(sorted(self.functions))} should have been")
            return self.otherwise.fit(answer)
        odd: list[str] = []
        calls, problems = [], []
        for position, each in enumerate(said):
            try:
                calls.append(self._call(each, odd))
            except _BadCall as err:
                problems.append(f"call {position}: {err}")
        if problems:
            return Fit("; ".join(problems)[:MAX_PROBLEM_CHARS], warnings=tuple(odd))
        return self._fitting(calls, odd)

    def _call(self, said: object, odd: list[str]) -> _Call:
        function = said.get("function") if isinstance(said, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(function, dict) or not isinstance(name, str):
            raise _BadCall("it names no function")
        known = self.functions.get(name)
        if known is None:
            raise _BadCall(f"{name[:100]!r} is not among the functions {', '.join(sorted(self.functions))}")
        arguments, text = _arguments(function.get("arguments"), odd)
        problem = known.check.errors(arguments)
        if problem is not None:
            raise _BadCall(f"arguments of {name}: {problem}")
        return _Call(name, arguments, text)

    def _fitting(self, calls: Sequence[_Call], odd: list[str]) -> Fit:
        if self._only is None:
            listed = [{"name": call.name, "arguments": call.arguments} for call in calls]
            return Fit(None, None, json_text(listed), tuple(odd))
        value = calls[0].arguments if self.otherwise.schema is None else None
        if len(calls) == 1:
            return Fit(None, value, calls[0].text, tuple(odd))
        odd.append(SEVERAL)
        return Fit(None, value, f"[{','.join(call.text for call in calls)}]", tuple(odd))


def calls_in(tool_calls: str | None) -> list[Any]:
    """The calls in the ``tool_calls`` of an answer; what is no list is one call that cannot be used."""
    if tool_calls is None:
        return []
    try:
        found = orjson.loads(tool_calls)
    except orjson.JSONDecodeError:  # nested deeper than orjson reads
        found = None
    return found if isinstance(found, list) else [found]


def _arguments(said: object, odd: list[str]) -> tuple[object, str]:
    """The arguments as a value and as JSON text."""
    if isinstance(said, dict):
        odd.append(NOT_TEXT)
        return said, json_text(said) or "{}"
    if said is None or (isinstance(said, str) and not said.strip()):
        return {}, "{}"
    if not isinstance(said, str):
        raise _BadCall("its arguments are neither JSON text nor an object")
    try:
        found = json_in(said)
    except NotJson as err:
        raise _BadCall(f"its arguments are {err}") from err
    if not isinstance(found.value, dict):
        raise _BadCall("its arguments are not an object")
    odd.extend(found.warnings)
    return found.value, found.text
