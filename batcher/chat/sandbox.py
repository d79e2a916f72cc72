"""Where templates run: a Jinja2 environment that cannot reach out, is bounded, and knows nulls.

Never renders a missing value as text ("None" in a prompt is paid for and answered), never offers a clock or a
random number: a template that renders differently twice would buy its answer twice.

A null is bound as `Null`, an undefined value that knows its column: every way of turning it into text raises,
while ``{% if x %}``, ``x is none``, ``x or ""`` and ``x | default("")`` work as a reader of the template
expects. Checking output alone (Jinja's finalize) would miss ``x | upper`` and ``x ~ "!"``, which turn None
into text before output.
"""

from __future__ import annotations

import json
from math import isfinite
from typing import TYPE_CHECKING, Any

from jinja2 import StrictUndefined, Undefined
from jinja2.exceptions import SecurityError, UndefinedError
from jinja2.sandbox import ImmutableSandboxedEnvironment

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAX_RENDERED_CHARS = 64 * 1024 * 1024
"""The longest text a template may make: a line of input may be 64 MiB, so an honest prompt may be as long."""

MAX_POWER_BITS = 65_536
"""The widest integer ``**`` may make: ``9 ** (9 ** 9)`` would compute for hours."""


class NullOutputError(UndefinedError):
    """A null, or a number that is none, was about to become text."""


class Null(Undefined):
    """A null of the row: false, none, replaced by ``default``; raises wherever it would become text."""

    __slots__ = ()

    def __init__(self, hint: str) -> None:
        super().__init__(hint=hint, exc=NullOutputError)

    def __eq__(self, other: object) -> bool:
        return other is None or isinstance(other, Null)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(None)

    def __bool__(self) -> bool:
        return False

    def __str__(self) -> str:
        raise NullOutputError(self._undefined_message)

    def __repr__(self) -> str:
        # A printed list shows its items by repr: a null in it must not become a word of the prompt either.
        self._fail_with_undefined_error()

    def __len__(self) -> int:
        raise NullOutputError(self._undefined_message)

    def __iter__(self) -> Iterator[object]:
        self._fail_with_undefined_error()

    def __contains__(self, item: object) -> bool:
        self._fail_with_undefined_error()


def _printable(value: Any) -> Any:
    if value is None:
        raise NullOutputError("the template outputs a null")
    if type(value) is float and not isfinite(value):
        raise NullOutputError(f"the template outputs {value}, which is not a number")
    return value


def _null_as_json(value: object) -> None:
    if not isinstance(value, Null):
        raise TypeError(f"a value of type {type(value).__name__} cannot be written as JSON")


def _to_json(value: Any, indent: int | None = None) -> str:
    """Plain JSON; Jinja's own ``tojson`` escapes ``<``, ``&`` and quotes for HTML: wrong in a prompt."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent, default=_null_as_json)


def _is_none(value: object) -> bool:
    return value is None or isinstance(value, Null)


class _PromptEnvironment(ImmutableSandboxedEnvironment):
    """The sandbox, with bounds on the two operators that make a huge value out of two small ones."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" and isinstance(left, int) and isinstance(right, int):
            if left.bit_length() * abs(right) > MAX_POWER_BITS:
                raise SecurityError(f"{operator} makes a number of more than {MAX_POWER_BITS} bits")
        elif operator == "*":
            for sequence, times in ((left, right), (right, left)):
                if (
                    isinstance(sequence, str | list | tuple)
                    and isinstance(times, int)
                    and len(sequence) * times > MAX_RENDERED_CHARS
                ):
                    raise SecurityError(
                        f"{operator} makes a text of more than {MAX_RENDERED_CHARS} characters"
                    )
        return super().call_binop(context, operator, left, right)


def _environment(global_names: Iterable[str]) -> _PromptEnvironment:
    environment = _PromptEnvironment(
        undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True, finalize=_printable
    )
    for name in set(environment.globals) - set(global_names):
        del environment.globals[name]
    del environment.filters["random"]  # the same row must always give the same request
    environment.filters["tojson"] = _to_json
    environment.tests["none"] = _is_none
    return environment


GLOBALS = frozenset({"range", "dict", "namespace", "cycler", "joiner"})
RENDERING = _environment(GLOBALS)
# Jinja leaves its globals out of a template's names, but a column may be called "range": looked up without
# globals.
ANALYSIS = _environment(())
