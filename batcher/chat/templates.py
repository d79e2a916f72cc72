"""Jinja2 prompts over a row's columns, compiled once, checked against the columns before anything is paid.

Never compiles row data, never reads another template. What a template may do at run time, and what a null
does in it, is `sandbox`'s.
"""

from __future__ import annotations

import difflib
import re
from math import isfinite
from typing import TYPE_CHECKING, NamedTuple

from jinja2 import TemplateError, TemplateSyntaxError, nodes
from jinja2.exceptions import SecurityError
from jinja2.meta import find_undeclared_variables

from batcher.chat.sandbox import ANALYSIS, GLOBALS, MAX_RENDERED_CHARS, RENDERING, Null, NullOutputError
from batcher.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from jinja2 import Template

INVALID_ROW = "invalid_row"
MISSING_VALUE = "missing_value"
TEMPLATE_ERROR = "template_error"

ROW_ERRORS = (
    TemplateError,
    TypeError,
    ValueError,
    ArithmeticError,
    LookupError,
    AttributeError,
    RecursionError,
    MemoryError,
)
"""What an expression of a template can raise over the values of one row; anything else is a bug of ours."""

_PYTHON_HABIT = re.compile(r"(?<!\{)\{\s*(\w+)\s*\}(?!\})")
_ROW = "row"
_LISTED_COLUMNS = 20


class RowError(ValueError):
    """Why a row cannot become a request; turned into a `Problem` by the request builder.

    Attributes:
        error_type: `INVALID_ROW`, `MISSING_VALUE` or `TEMPLATE_ERROR`.
    """

    def __init__(self, error_type: str, message: str) -> None:
        super().__init__(message)
        self.error_type = error_type


def suggestion(name: str, known: Collection[str]) -> str:
    """``' Did you mean "x"?'`` for the nearest of `known`, another case first, or an empty text."""
    same = [other for other in known if other.lower() == name.lower()]
    near = same or difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f' Did you mean "{near[0]}"?' if near else ""


def listed(columns: Collection[str]) -> str:
    """The columns for a message, the first 20 by position."""
    names = list(columns)
    rest = f", and {len(names) - _LISTED_COLUMNS} more" if len(names) > _LISTED_COLUMNS else ""
    return (", ".join(names[:_LISTED_COLUMNS]) or "(none)") + rest


def _parsed(text: str, where: str) -> nodes.Template:
    try:
        return ANALYSIS.parse(text)
    except TemplateSyntaxError as err:
        raise JobError(f"{where}: template error in line {err.lineno}: {err.message}") from err


def columns_of(text: str, *, where: str = "request.prompt") -> frozenset[str]:
    """The names a template takes from outside (``row`` among them), whether or not such columns exist.

    Raises:
        JobError: the template has a syntax error; names the line.
    """
    return frozenset(_names_in(_parsed(text, where), where) - GLOBALS)


def _names_in(tree: nodes.Template, where: str) -> set[str]:
    try:
        return find_undeclared_variables(tree)
    except TemplateSyntaxError as err:  # an unknown filter or test is found by the code generator
        raise JobError(f"{where}: template error in line {err.lineno}: {err.message}") from err


def _row_columns(tree: nodes.Template, columns: tuple[str, ...]) -> set[str]:
    """The columns read through ``row``, as written; all of them where its use cannot be read off.

    Args:
        tree: a template that takes ``row`` from outside.
        columns: the input's columns.
    """
    mentions = sum(name.name == _ROW for name in tree.find_all(nodes.Name))
    by_attribute = [node.attr for node in tree.find_all(nodes.Getattr) if _is_row(node.node)]
    by_item = [node.arg for node in tree.find_all(nodes.Getitem) if _is_row(node.node)]
    named = {arg.value for arg in by_item if isinstance(arg, nodes.Const) and isinstance(arg.value, str)}
    is_plain = (
        len(by_attribute) + len(by_item) == mentions  # else row itself is passed on, or assigned somewhere
        and all(isinstance(arg, nodes.Const) and isinstance(arg.value, str) for arg in by_item)
        and not any(hasattr(dict, attribute) for attribute in by_attribute)  # row.items() takes them all
    )
    return named | set(by_attribute) if is_plain else set(columns)


def _is_row(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Name) and node.name == _ROW


class _Binding(NamedTuple):
    """One column a template reads, with its prepared nulls."""

    name: str
    by_name: bool
    in_row: bool
    null: Null
    null_inside: Null


class PromptTemplate:
    """A compiled template; build it with `compile_template`.

    Attributes:
        columns: the input columns it reads; empty when the text is the same for every row.
    """

    def __init__(
        self,
        template: Template,
        *,
        by_name: Collection[str],
        in_row: Collection[str],
        takes_row: bool,
        globals_used: Mapping[str, object],
    ) -> None:
        """See `compile_template`, which checks what this takes as given."""
        self.columns = frozenset(by_name) | frozenset(in_row)
        self._template = template
        self._takes_row = takes_row
        self._globals = dict(globals_used)
        self._bindings = tuple(
            _Binding(
                name,
                name in by_name,
                name in in_row,
                Null(f'column "{name}" is missing or null in this row'),
                Null(f'column "{name}" has a null inside in this row'),
            )
            for name in sorted(self.columns)
        )

        self._constant: str | None = None
        if not self.columns and not takes_row:
            self._constant = self.render({})

    def render(self, values: Mapping[str, object]) -> str:
        """The text for one row.

        Args:
            values: column name -> value; a column that is absent counts as null.

        Raises:
            RowError: a null or NaN would become text, or an expression fails over these values.
        """
        if self._constant is not None:
            return self._constant
        chunks = []
        size = 0
        try:
            # A shared context takes our dict as it is: copying Jinja's globals into it costs 4 of 8 µs a row.
            context = self._template.new_context(self._bound(values), shared=True)
            for chunk in self._template.root_render_func(context):
                chunks.append(chunk)
                size += len(chunk)
                if size > MAX_RENDERED_CHARS:
                    raise SecurityError(f"the text is longer than {MAX_RENDERED_CHARS} characters")
        except NullOutputError as err:
            raise RowError(MISSING_VALUE, str(err)) from err
        except ROW_ERRORS as err:
            raise RowError(TEMPLATE_ERROR, f"template: {str(err) or type(err).__name__}") from err
        return "".join(chunks)

    def _bound(self, values: Mapping[str, object]) -> dict[str, object]:
        bound = self._globals.copy()
        row: dict[str, object] = {}
        for name, by_name, in_row, null, null_inside in self._bindings:
            value = values.get(name)
            if value is None:
                value = null
            elif type(value) is not str:
                value = _without_none(value, name, null_inside)
            if by_name:
                bound[name] = value
            if in_row:
                row[name] = value
        if self._takes_row:
            bound[_ROW] = row
        return bound


def _without_none(value: object, column: str, null: Null) -> object:
    """The value with every None inside as `null`; raises where a float is no number."""
    if isinstance(value, dict):
        return {
            key: null if item is None else _without_none(item, column, null) for key, item in value.items()
        }
    if isinstance(value, list):
        return [null if item is None else _without_none(item, column, null) for item in value]
    if type(value) is float and not isfinite(value):
        raise NullOutputError(f'column "{column}" is {value}, not a number, in this row')
    return value


def compile_template(
    text: str, columns: tuple[str, ...], *, where: str = "request.prompt", must_use_a_column: bool = True
) -> PromptTemplate:
    """Compile a template and check every name in it against the input's columns.

    Args:
        text: the template; beside the columns by name it may use ``row``, the whole row as a dict (unless a
            column is
            called so, which then wins).
        columns: the input's columns, in their order.
        where: the job's key, for messages.
        must_use_a_column: refuse a text that would be the same for every row.

    Raises:
        JobError: syntax, an unknown name, filter or test, another template asked for, or no column used.
    """
    tree = _parsed(text, where)
    foreign = next(tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)), None)
    if foreign is not None:
        raise JobError(f"{where}: line {foreign.lineno} asks for another template, and there are none.")
    names = _names_in(tree, where)
    globals_used = (names & GLOBALS) - set(columns)
    takes_row = _ROW in names and _ROW not in columns
    in_row = _row_columns(tree, columns) if takes_row else set()
    by_name = names - globals_used - ({_ROW} if takes_row else set())
    for name in sorted((by_name | in_row) - set(columns)):
        raise JobError(
            f'{where} uses "{name}", which is not a column of the input.{suggestion(name, columns)}'
            f" Columns: {listed(columns)}."
        )
    if must_use_a_column and not (by_name or takes_row):
        raise JobError(f"{where} uses no column, so every row would send the same.{_habit(text, columns)}")
    try:
        return PromptTemplate(
            RENDERING.from_string(text),
            by_name=by_name,
            in_row=in_row,
            takes_row=takes_row,
            globals_used={name: RENDERING.globals[name] for name in globals_used},
        )
    except TemplateSyntaxError as err:
        raise JobError(f"{where}: template error in line {err.lineno}: {err.message}") from err
    except RowError as err:  # the same text for every row, and it fails
        raise JobError(f"{where}: {err}") from err


def _habit(text: str, columns: tuple[str, ...]) -> str:
    written = [match.group(1) for match in _PYTHON_HABIT.finditer(text)]
    for name in written:
        if name in columns:
            return f' "{{{name}}}" is Python\'s way; a template says "{{{{ {name} }}}}".'
    if written:
        near = suggestion(written[0], columns)
        habit = f' "{{{written[0]}}}" is Python\'s way; a template says "{{{{ column }}}}".'
        return f"{habit}{near} Columns: {listed(columns)}."
    return f' Name one as "{{{{ column }}}}". Columns: {listed(columns)}.'
