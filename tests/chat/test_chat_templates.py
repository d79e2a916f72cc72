"""Templates: what is refused before the first row, and what one row can make of them."""

from __future__ import annotations

from typing import Any

import pytest

from batcher.chat.sandbox import MAX_RENDERED_CHARS
from batcher.chat.templates import (
    MISSING_VALUE,
    TEMPLATE_ERROR,
    RowError,
    columns_of,
    compile_template,
)
from batcher.errors import JobError

COLUMNS = ("id", "text", "tags", "order", "range", "items", "first name")


def rendered(template: str, **values: Any) -> str:
    return compile_template(template, COLUMNS).render(values)


def refused(template: str, columns: tuple[str, ...] = COLUMNS) -> str:
    with pytest.raises(JobError) as caught:
        compile_template(template, columns)
    return str(caught.value)


def failed(template: str, **values: Any) -> RowError:
    with pytest.raises(RowError) as caught:
        rendered(template, **values)
    return caught.value


# --- before the first row ------------------------------------------------------------


def test_a_name_that_no_row_has_is_refused_with_the_nearest_column() -> None:
    message = refused("Hello {{ txt }}")
    assert '"txt"' in message
    assert 'Did you mean "text"?' in message
    assert "id, text, tags" in message


def test_another_case_is_the_nearest_column() -> None:
    assert 'Did you mean "text"?' in refused("{{ TEXT }}")


def test_a_template_without_a_column_is_refused() -> None:
    assert "uses no column" in refused("Classify this.")
    assert "uses no column" in refused("{% for i in [1, 2] %}{{ i }}{% endfor %}")


def test_the_python_habit_is_recognised() -> None:
    message = refused("Classify: {text}")
    assert '"{text}" is Python' in message
    assert '"{{ text }}"' in message


def test_the_python_habit_with_a_wrong_name_suggests_the_column() -> None:
    assert 'Did you mean "text"?' in refused("Classify: {txet}")


@pytest.mark.parametrize(
    "template", ["{{ text", "a\n{% if text %}", "{{ text | nonsense }}", "{{ text is nonsense }}"]
)
def test_syntax_and_unknown_filters_are_refused_with_their_line(template: str) -> None:
    line = template.count("\n") + 1
    assert f"template error in line {line}" in refused(template)


@pytest.mark.parametrize(
    "template", ["{% include 'a' %}{{ text }}", "{% extends text %}", "{% import text as x %}"]
)
def test_other_templates_are_refused(template: str) -> None:
    assert "another template" in refused(template)


def test_a_random_filter_is_refused_because_a_row_must_always_give_the_same_request() -> None:
    assert "random" in refused("{{ tags | random }}")


def test_a_row_key_that_is_no_column_is_refused() -> None:
    assert 'Did you mean "text"?' in refused("{{ row.txt }}")
    assert '"nope"' in refused("{{ row['nope'] }}")


def test_columns_of_names_what_a_template_takes_from_outside() -> None:
    assert columns_of("{% for t in tags %}{{ t }}{{ text }}{% endfor %}{% set a = 1 %}{{ a }}") == {
        "tags",
        "text",
    }
    assert columns_of("{{ row.x }} {{ range(3) }}") == {"row"}
    with pytest.raises(JobError, match=r"request\.system: template error in line 1"):
        columns_of("{{", where="request.system")


@pytest.mark.parametrize(
    ("template", "columns"),
    [
        ("{{ text }}", {"text"}),
        ("{{ row.text }}{{ row['first name'] }}", {"text", "first name"}),
        ("{{ row | tojson }}", set(COLUMNS)),
        ("{% for k, v in row.items() %}{{ k }}{% endfor %}", set(COLUMNS)),
        ("{{ row[text] }}", set(COLUMNS)),
        ("{{ row.text }}{% for row in tags %}{{ row.x }}{% endfor %}", set(COLUMNS)),
    ],
)
def test_only_the_columns_a_template_reads_are_asked_for(template: str, columns: set[str]) -> None:
    assert compile_template(template, COLUMNS).columns == columns


def test_a_constant_system_text_is_allowed_where_no_column_is_needed() -> None:
    template = compile_template(
        "You label tickets.", COLUMNS, where="request.system", must_use_a_column=False
    )
    assert template.columns == frozenset()
    assert template.render({}) == "You label tickets."


def test_a_constant_text_that_cannot_be_rendered_is_the_jobs_mistake() -> None:
    with pytest.raises(JobError, match=r"request\.system"):
        compile_template("{{ 1 // 0 }}", COLUMNS, where="request.system", must_use_a_column=False)


# --- one row ------------------------------------------------------------


def test_text_is_rendered_as_it_is_without_escaping_and_with_its_last_newline() -> None:
    assert rendered("Say: {{ text }}\n", text='<b>"A & B"</b>\x00\n') == 'Say: <b>"A & B"</b>\x00\n\n'


def test_row_data_is_never_compiled() -> None:
    assert rendered("{{ text }}", text="{{ 7 * 7 }}{% raw %}") == "{{ 7 * 7 }}{% raw %}"


def test_the_whole_row_is_there_as_row() -> None:
    assert rendered("{{ row['first name'] }}", **{"first name": "Ada"}) == "Ada"
    assert rendered("{{ row.order.total }}", order={"total": 3}) == "3"


def test_a_column_called_row_wins_over_the_whole_row() -> None:
    template = compile_template("{{ row }}", ("row", "text"))
    assert template.columns == {"row"}
    assert template.render({"row": "mine"}) == "mine"


def test_a_column_may_have_the_name_of_a_global() -> None:
    assert compile_template("{{ range }}", COLUMNS).columns == {"range"}
    assert rendered("{{ range }}", range="A-B") == "A-B"


def test_globals_still_work_where_no_column_has_their_name() -> None:
    template = compile_template("{% for i in range(2) %}{{ text }}{{ i }}{% endfor %}", ("text",))
    assert template.columns == {"text"}
    assert template.render({"text": "a"}) == "a0a1"
    assert (
        compile_template("{% set n = namespace(x=1) %}{{ n.x }}{{ text }}", ("text",)).render({"text": "a"})
        == "1a"
    )


@pytest.mark.parametrize(
    "template",
    [
        "{{ text }}",
        "{{ text | upper }}",
        "{{ text | trim }}",
        "{{ text ~ '!' }}",
        "{{ 'Hi ' + text }}",
        "{{ 'Hi %s' % text }}",
        "{{ 'Hi %s' | format(text) }}",
        "{{ 'Hi {}'.format(text) }}",
        "{{ text | string }}",
        "{{ [text] | join }}",
        "{{ [text] }}",
        "{{ {'a': text} }}",
        "{{ row.text }}",
        "{{ row.get('text') }}",
        "{{ row }}",
        "{% for k, v in row.items() %}{{ v }}{% endfor %}",
        "{{ text.more }}",
        "{{ text | length }}",
        "{% for c in text %}{{ c }}{% endfor %}",
        "{{ 'a' in text }}",
        "{% set x = text %}{{ x }}",
        "{% macro m(x) %}{{ x }}{% endmacro %}{{ m(text) }}",
        "{% filter upper %}{{ text }}{% endfilter %}",
        "{{ text if true else '' }}",
    ],
)
@pytest.mark.parametrize("values", [{"text": None}, {}])
def test_a_null_never_becomes_text_and_its_column_is_named(template: str, values: dict[str, Any]) -> None:
    present = dict.fromkeys(set(COLUMNS) - {"text"}, "x") | values
    error = failed(template, **present)
    assert error.error_type == MISSING_VALUE
    assert '"text"' in str(error)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{% if text %}yes{% else %}no{% endif %}", "no"),
        ("{% if not text %}no{% endif %}", "no"),
        ("{% if text is none %}none{% endif %}", "none"),
        ("{% if text is not none %}some{% endif %}", ""),
        ("{% if text == none %}none{% endif %}", "none"),
        ("{% if text != none %}some{% endif %}", ""),
        ("{% if text == 'a' %}a{% endif %}", ""),
        ("{% if text in ['a', 'b'] %}a{% endif %}", ""),
        ("{{ text or 'empty' }}", "empty"),
        ("{{ text | default('empty') }}", "empty"),
        ("{{ text | default('empty', true) }}", "empty"),
        ("{{ text | d('') }}", ""),
        ("{{ 'x' if text else 'y' }}", "y"),
        ("{{ text | tojson }}", "null"),
        ("{{ [text, 'b'] | select | join }}", "b"),
        ("{{ [text, 'b'] | reject('none') | join }}", "b"),
        ("{% if row.text is none %}none{% endif %}", "none"),
    ],
)
def test_a_template_can_ask_whether_a_value_is_null(template: str, expected: str) -> None:
    assert rendered(template, text=None) == expected


def test_a_null_inside_a_column_is_no_text_either() -> None:
    assert failed("{{ tags | join(', ') }}", tags=["a", None]).error_type == MISSING_VALUE
    assert '"order"' in str(failed("{{ order.note | upper }}", order={"note": None}))
    assert rendered("{{ order.note or '-' }}", order={"note": None}) == "-"
    assert rendered("{{ order | tojson }}", order={"n": None, "a": ["é<"]}) == '{"n": null, "a": ["é<"]}'


def test_a_none_made_by_the_template_itself_is_no_text() -> None:
    assert failed("{{ text }}{{ none }}", text="a").error_type == MISSING_VALUE
    assert failed("{{ order.get('x') }}", order={"y": 1}).error_type == MISSING_VALUE


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_is_none_is_no_text(number: float) -> None:
    assert '"id"' in str(failed("{{ id }}", id=number))
    assert '"id"' in str(failed("{{ '%.1f' % id }}", id=number))
    assert '"tags"' in str(failed("{{ tags }}", tags=[1.0, number]))


def test_a_missing_key_inside_a_value_names_the_key() -> None:
    error = failed("{{ order.totl }}", order={"total": 1})
    assert error.error_type == TEMPLATE_ERROR
    assert "totl" in str(error)


@pytest.mark.parametrize(
    ("template", "values"),
    [
        ("{{ 1 / id }}", {"id": 0}),
        ("{{ text + 1 }}", {"text": "a"}),
        ("{{ tags.x.y }}", {"tags": []}),
        ("{{ '%d' % text }}", {"text": "a"}),
        ("{{ '{x}'.format(text) }}", {"text": "a"}),
        ("{{ id ** 0.5 ** id }}", {"id": 10**400}),
        ("{{ tags.append(1) }}", {"tags": []}),
        ("{{ text.__class__.__mro__ }}", {"text": "a"}),
        ("{{ text | slice(0) | list }}", {"text": "abc"}),
        ("{{ text() }}", {"text": "a"}),
        ("{{ tags | sort }}", {"tags": [1, "a"]}),
        ("{{ id | string }}", {"id": 10**5000}),
        ("{% macro m(x) %}{{ m(x) }}{% endmacro %}{{ m(text) }}", {"text": "a"}),
    ],
)
def test_what_an_expression_raises_is_the_rows_problem(template: str, values: dict[str, Any]) -> None:
    assert failed(template, **values).error_type == TEMPLATE_ERROR


@pytest.mark.parametrize(
    "template",
    [
        "{{ text * 10 ** 9 }}",
        "{{ 10 ** 9 * text }}",
        "{{ 9 ** (9 ** 9) }}{{ text }}",
        "{{ ([text] * 10 ** 9) | length }}",
        "{% for i in [1] * 10 ** 9 %}{{ text }}{% endfor %}",
    ],
)
def test_a_template_cannot_grow_without_bound(template: str) -> None:
    assert failed(template, text="abc").error_type == TEMPLATE_ERROR


def test_a_loop_that_writes_too_much_is_stopped() -> None:
    half = "x" * (MAX_RENDERED_CHARS // 2)
    assert "longer than" in str(failed("{{ text }}{{ text }}{{ text }}", text=half))


def test_the_same_template_renders_many_rows_without_a_trace_of_the_last() -> None:
    template = compile_template("{% set seen = text %}{{ seen }}{{ tags or '' }}", COLUMNS)
    assert template.render({"text": "a", "tags": "t"}) == "at"
    assert template.render({"text": "b"}) == "b"
