"""What a job file, `--set`, `--var` and options become, and every way they are refused."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

import pytest

from batcher.errors import JobError
from batcher.job import Job, JobOptions, job_from_table, load_job
from batcher.job.loading import OPTION_PLACES
from batcher.job.toml import MAX_BYTES

if TYPE_CHECKING:
    from pathlib import Path

SMALL = """
[input]
path = "rows.jsonl"
[request]
model = "gpt-4o-mini"
prompt = "Say {{ word }}"
[output]
path = "out/rows.parquet"
"""


def job_file(directory: Path, text: str | bytes = SMALL, name: str = "job.toml") -> Path:
    path = directory / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refusal(path: Path | None, **given: object) -> str:
    with pytest.raises(JobError) as caught:
        load_job(path, **given)  # type: ignore[arg-type]
    assert caught.value.exit_code == 2
    return str(caught.value)


def with_key(directory: Path, line: str, table: str = "request") -> Path:
    return job_file(directory, SMALL.replace(f"[{table}]", f"[{table}]\n{line}"))


# --- what stands in the job


def test_defaults_are_those_of_the_design(tmp_path: Path) -> None:
    job = load_job(job_file(tmp_path))
    assert (job.limits.concurrency, job.limits.max_attempts, job.limits.max_paid_attempts) == (None, 5, 3)
    assert (job.endpoint.base_url, job.endpoint.api_key_env) == ("https://api.pipellm.ai/v1", None)
    assert (job.labels, job.tags, job.prices) == ({}, {}, {})
    assert job.name == "job"


def test_parameters_are_what_goes_into_the_body_and_nothing_else(tmp_path: Path) -> None:
    text = SMALL + '[request.logit_bias]\n"50256" = -100\n'
    lines = 'temperature = 0\ntop_p = 1\nseed = 7\nstop = ["\\n"]\nn = 2\nmax_tokens = 5\nflux = [1, "two"]'
    job = load_job(job_file(tmp_path, text.replace("[request]\n", f"[request]\nstream = false\n{lines}\n")))
    assert job.request.parameters() == {
        "model": "gpt-4o-mini",
        "temperature": 0.0,
        "top_p": 1.0,
        "seed": 7,
        "stop": ["\n"],
        "n": 2,
        "max_tokens": 5,
        "flux": [1, "two"],
        "logit_bias": {"50256": -100},
    }


def test_labels_tags_and_prices_keep_what_was_written(tmp_path: Path) -> None:
    more = '[labels]\nmood = ["good", "bad"]\n[tags]\nteam = "support"\n[prices."gpt-4o-mini"]\n'
    more += "input = 1\noutput = 2.5\n"
    job = load_job(job_file(tmp_path, SMALL + more))
    assert job.labels == {"mood": ("good", "bad")}
    assert job.tags == {"team": "support"}
    price = job.prices["gpt-4o-mini"]
    assert (price.input, price.cached_input, price.output) == (1.0, None, 2.5)


def test_a_stored_table_makes_the_same_job_again_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "s.json").write_text('{"type": "object", "properties": {}}')
    text = SMALL.replace("rows.jsonl", "rows-{{ ds }}.jsonl") + '[request.response_format]\nfile = "s.json"\n'
    job = load_job(job_file(tmp_path, text), variables={"ds": "1"}, sets=["limits.concurrency=3"])
    monkeypatch.chdir("/")
    again = job_from_table(job.table, sets=["request.max_tokens=9"])
    assert (again.input, again.output, again.limits) == (job.input, job.output, job.limits)
    assert again.request.response_format == job.request.response_format
    assert again.request.max_tokens == 9
    assert job.request.max_tokens is None


# --- without a job file


def test_input_output_and_model_suffice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    job = load_job(None, options=JobOptions(input="a.jsonl", output="out/b.parquet", model="gpt-4o"))
    assert (job.input.path, job.output.path) == (
        str(tmp_path / "a.jsonl"),
        str(tmp_path / "out" / "b.parquet"),
    )
    assert (job.file, job.name, job.request.prompt) == (None, "b", None)


def test_what_is_missing_without_a_job_file_is_named() -> None:
    assert "missing: -o, --model" in refusal(None, options=JobOptions(input="a.jsonl"))


def test_set_can_stand_in_for_an_option() -> None:
    job = load_job(None, sets=["request.model=gpt-4o"], options=JobOptions(input="-", output="b.parquet"))
    assert job.request.model == "gpt-4o"


def test_stdin_stays_a_dash() -> None:
    assert load_job(None, options=JobOptions(input="-", output="b.parquet", model="m")).input.path == "-"


# --- paths and variables


def test_paths_in_the_file_start_beside_it_and_on_the_command_line_where_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, here = tmp_path / "jobs", tmp_path / "here"
    there.mkdir()
    here.mkdir()
    monkeypatch.chdir(here)
    path = job_file(there, SMALL.replace("out/rows", "../out/rows"))
    assert load_job(path).output.path == str(tmp_path / "out" / "rows.parquet")
    assert load_job(path, options=JobOptions(output="x.parquet")).output.path == str(here / "x.parquet")
    assert load_job(path, sets=["input.path=../y.jsonl"]).input.path == str(tmp_path / "y.jsonl")


def test_dotdot_in_a_linked_folder_means_what_the_disk_says(tmp_path: Path) -> None:
    real = tmp_path / "real" / "jobs"
    real.mkdir(parents=True)
    job_file(real, SMALL.replace("out/rows", "../rows"))
    (tmp_path / "jobs").symlink_to(real)
    job = load_job(tmp_path / "jobs" / "job.toml")
    assert job.output.path == str(tmp_path / "real" / "rows.parquet")


def test_what_the_user_typed_is_kept_for_display(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    job_file(tmp_path, SMALL.replace("rows.jsonl", "r-{{ds}}.jsonl"))
    shown = load_job(tmp_path / "job.toml", variables={"ds": "7"}).shown
    assert (shown.job, shown.input, shown.output) == (
        str(tmp_path / "job.toml"),
        "r-7.jsonl",
        "out/rows.parquet",
    )


def test_variables_fill_every_path(tmp_path: Path) -> None:
    text = SMALL.replace("rows.jsonl", "{{ ds }}/{{who}}.jsonl").replace("out/rows", "out/{{  ds  }}")
    job = load_job(job_file(tmp_path, text), variables={"ds": "2026-11-21", "who": "a=b"})
    assert job.input.path == str(tmp_path / "2026-11-21" / "a=b.jsonl")
    assert job.output.path == str(tmp_path / "out" / "2026-11-21.parquet")


@pytest.mark.parametrize(
    ("path", "variables", "said"),
    [
        ("{{ ds }}.jsonl", {}, "uses {{ ds }}; give it with --var ds=…"),
        ("{{ ds }}.jsonl", {"dss": "1"}, 'did you mean "dss"?'),
        ("{{ ds }}.jsonl", {"ds": ""}, "--var ds= is empty"),
        ("{{ ds | upper }}.jsonl", {"ds": "1"}, "only {{ NAME }} can stand in a path"),
        (
            "{{ ds }}.jsonl",
            {"ds": "1", "dx": "2"},
            '--var dx: no path of this job uses {{ dx }}; did you mean "ds"?',
        ),
    ],
)
def test_a_variable_that_does_not_fit_is_named(
    tmp_path: Path, path: str, variables: dict[str, str], said: str
) -> None:
    assert said in refusal(job_file(tmp_path, SMALL.replace("rows.jsonl", path)), variables=variables)


def test_the_same_job_read_twice_is_the_same(tmp_path: Path) -> None:
    path = job_file(tmp_path)
    assert load_job(path) == load_job(path)


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("-", "cannot go to stdout"),
        ("out/", "names a directory"),
        ("s3://bucket/out.parquet", "s3:// is not built yet"),
        ("out.csv", "end the name in .parquet"),
        ("rows.jsonl", "end the name in .parquet"),
    ],
)
def test_an_output_that_cannot_be_one_is_refused(tmp_path: Path, output: str, said: str) -> None:
    assert said in refusal(job_file(tmp_path, SMALL.replace("out/rows.parquet", output)))


def test_output_must_not_be_the_input(tmp_path: Path) -> None:
    text = SMALL.replace("rows.jsonl", "./x/../rows.parquet").replace("out/rows.parquet", "rows.parquet")
    assert "are the same file" in refusal(job_file(tmp_path, text))


def test_a_url_as_input_is_left_for_the_dataset_to_judge(tmp_path: Path) -> None:
    job = load_job(job_file(tmp_path, SMALL.replace("rows.jsonl", "s3://bucket/rows.jsonl")))
    assert job.input.path == "s3://bucket/rows.jsonl"


# --- the file itself


def test_a_missing_job_file_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "nope.toml") == f"there is no job file {tmp_path / 'nope.toml'}"


def test_a_directory_is_no_job_file(tmp_path: Path) -> None:
    assert "is a directory" in refusal(tmp_path)


def test_a_dataset_in_place_of_a_job_is_told_where_it_belongs(tmp_path: Path) -> None:
    with pytest.raises(JobError) as caught:
        load_job(job_file(tmp_path, '{"prompt": "a"}\n', name="rows.jsonl"))
    assert caught.value.hint == "a dataset is given with -i"


def test_a_file_too_large_to_be_a_job_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "job.toml"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    assert "16 MiB" in refusal(path)


def test_a_byte_order_mark_is_no_matter(tmp_path: Path) -> None:
    assert load_job(job_file(tmp_path, codecs.BOM_UTF8 + SMALL.encode())).request.model == "gpt-4o-mini"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_utf_16_and_32_are_named(tmp_path: Path, encoding: str) -> None:
    assert "save it as UTF-8" in refusal(job_file(tmp_path, SMALL.encode(encoding)))


def test_a_byte_that_is_not_utf_8_is_found_by_line(tmp_path: Path) -> None:
    path = job_file(tmp_path, b"[input]\npath = 'b\xfcro'\n")
    assert refusal(path).startswith(f"{path}:2: byte 17 is not UTF-8")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[input]\npath = x\n", ":2:8: "),
        ("[input]\npath = 'a'\npath = 'b'\n", ":3:11: "),
        ("[input\n", ":1:7: "),
        ("a = [1,\n", ":2: "),
        ("a = " + "[" * 5000, ": not TOML"),
        ("a = " + "1" * 5000, ": not TOML"),
    ],
)
def test_a_toml_error_names_file_line_and_column(tmp_path: Path, text: str, place: str) -> None:
    path = job_file(tmp_path, text)
    assert refusal(path).startswith(f"{path}{place}")


# --- values


@pytest.mark.parametrize(
    ("table", "line", "said"),
    [
        ("request", "temperature = 2.1", "[request] temperature: must be at most 2, not 2.1"),
        ("request", "temperature = -0.1", "[request] temperature: must be at least 0, not -0.1"),
        ("request", "temperature = nan", "[request] temperature: must be a finite number"),
        ("request", 'temperature = "hot"', '[request] temperature: must be a number, not "hot"'),
        ("request", "temperature = true", "[request] temperature: must be a number, not true"),
        ("request", "top_p = 1.5", "[request] top_p: must be at most 1, not 1.5"),
        ("request", "n = 0", "[request] n: must be at least 1, not 0"),
        ("request", "seed = 1.5", "[request] seed: must be a whole number, not 1.5"),
        ("request", "seed = 9223372036854775808", "[request] seed: does not fit in 64 bits"),
        ("request", "stop = 3", "[request] stop: must be text or a list of texts"),
        ("request", "max_tokens = 0", "[request] max_tokens: must be at least 1, not 0"),
        ("request", "max_tokens = 5\nmax_completion_tokens = 5", "one limit under two names"),
        ("request", "logit_bias = {a = inf}", "nan and inf are not JSON"),
        ("request", "metadata = {day = 2026-11-21}", "a date is not JSON"),
        ("request", 'system = " "', "[request] system: is empty"),
        ("request", 'tool_choice = ""', "[request] tool_choice: must be"),
        ("request", 'tools = ["search"]', "[request] tools, item 1: must be a table with type and function"),
        (
            "request",
            'tools = [{type = "function"}]',
            "[request] tools, item 1: needs a table function with a name",
        ),
        ("input", "limit = 0", "[input] limit: must be at least 1, not 0"),
        (
            "input",
            'format = "csv"',
            '[input] format: must be "jsonl", "parquet" or "openai-batch", not "csv"',
        ),
        ("input", 'prompt_column = "word"', "keep one"),
        ("input", 'messages_column = "a"', "keep one"),
        ("output", 'prefix = ""', "[output] prefix: is empty"),
        ("output", 'report = "out.parquet"', "[output] report: is a page, so its name ends in .html"),
        ("output", 'keep_raw = "yes"', '[output] keep_raw: must be true or false, not "yes"'),
    ],
)
def test_a_value_out_of_range_or_type_is_told_with_its_place(
    tmp_path: Path, table: str, line: str, said: str
) -> None:
    assert said in refusal(with_key(tmp_path, line, table))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("[limits]\nconcurrency = 0", "[limits] concurrency: must be at least 1, not 0"),
        ("[limits]\nconcurrency = true", "[limits] concurrency: must be a whole number"),
        ('[limits]\nconcurrency = "many"', '[limits] concurrency: must be a whole number or "auto"'),
        ("[limits]\nmax_attempts = 0", "[limits] max_attempts: must be at least 1, not 0"),
        ('[endpoint]\ntimeout_s = "5 minutes"', "[endpoint] timeout_s: must be a number"),
        ("[endpoint]\ntimeout_s = 0", "[endpoint] timeout_s: must be more than 0"),
        ("[endpoint]\nbase_url = 5", "[endpoint] base_url: must be text"),
        ('[endpoint]\nheaders = {"a b" = "x"}', '"a b" is not a header name'),
        ('[endpoint]\nheaders = {Host = "x"}', "Host is set by batcher itself"),
        ('[endpoint]\nheaders = {X-A = "a\\nb"}', "the value of X-A must be plain ASCII"),
        ("[labels]\nmood = []", "[labels] mood: needs at least two values"),
        ('[labels]\nmood = ["a", "a"]', '[labels] mood: "a" stands in it twice'),
        ('[labels]\nmood = ["a", ""]', "[labels] mood, item 2: is empty"),
        ('[labels]\nmood = "a"', "[labels] mood: must be a list"),
        ("[tags]\nteam = 5", "[tags] team: must be text, not 5"),
        ('[tags]\n"my team" = "a"', '[tags] "my team" becomes a column'),
        ('[prices."gpt-4o"]\ninput = -1\noutput = 1', "[prices.gpt-4o] input: must be at least 0, not -1"),
        ('[prices."gpt-4o"]\ninput = 1', "[prices.gpt-4o] output: is missing"),
        ('[prices."gpt-4.1"]\ninput = inf\noutput = 1', '[prices."gpt-4.1"] input: must be a finite number'),
        ("[prices]\ninput = 1", "[prices] input: must be a table"),
        (
            '[labels]\nm = ["a", "b"]\n[request.response_format]\ntype = "json_object"',
            "[labels] builds the response_format",
        ),
    ],
)
def test_a_table_with_a_wrong_value_is_refused(tmp_path: Path, more: str, said: str) -> None:
    assert said in refusal(job_file(tmp_path, f"{SMALL}{more}\n"))


def test_a_chosen_tool_must_be_among_the_tools(tmp_path: Path) -> None:
    tools = 'tools = [{type = "function", function = {name = "look"}}]\n'
    chosen = 'tool_choice = {type = "function", function = {name = "lok"}}'
    assert 'names "lok"; the tools are: look' in refusal(with_key(tmp_path, tools + chosen))


def test_everything_wrong_is_told_at_once(tmp_path: Path) -> None:
    path = job_file(
        tmp_path, "[request]\ntemperature = 3\n[limits]\nconcurrency = 0\ndeadline = '1 hour'\n[otput]\n"
    )
    said = refusal(path).splitlines()
    assert said[0] == "7 things in this job need a change:"
    assert all(line.startswith(f"{path} [") for line in said[1:])
    for word in (
        "temperature",
        "concurrency",
        "deadline",
        "[request] model",
        "[input]",
        "[output]",
        '"output"?',
    ):
        assert any(word in line for line in said[1:]), word


# --- names


@pytest.mark.parametrize(
    ("table", "line", "said"),
    [
        ("input", 'pth = "x"', '[input] pth: unknown key; did you mean "path"?'),
        ("input", 'temperature = "x"', "[input] temperature: unknown key; temperature belongs in [request]"),
        ("request", "concurrency = 5", "[request] concurrency: unknown key; concurrency belongs in [limits]"),
        ("request", 'base_url = "x"', "belongs in [endpoint]"),
        ("request", "temperatur = 0", 'did you mean "temperature"?'),
        ("request", "maxTokens = 5", 'did you mean "max_tokens"?'),
        ("request", "top-p = 0.5", 'did you mean "top_p"?'),
        ("request", "temp = 0", 'did you mean "temperature"?'),
        ("request", "frequency_penality = 0", 'did you mean "frequency_penalty"?'),
        ("request", "messages = []", "messages come from the rows"),
        ("request", "max_output_tokens = 5", "max_completion_tokens"),
    ],
)
def test_an_unknown_key_is_refused_with_what_was_meant(
    tmp_path: Path, table: str, line: str, said: str
) -> None:
    assert said in refusal(with_key(tmp_path, line, table))


@pytest.mark.parametrize(
    "name", ["top_k", "min_p", "reasoning_effort", "chat_template_kwargs", "flux_capacitor", "top_a"]
)
def test_a_parameter_of_some_server_passes_through(tmp_path: Path, name: str) -> None:
    assert load_job(with_key(tmp_path, f"{name} = 1")).request.parameters()[name] == 1


def test_an_unknown_table_is_refused_with_what_was_meant(tmp_path: Path) -> None:
    assert 'unknown table; did you mean "limits"?' in refusal(job_file(tmp_path, f"{SMALL}[limit]\n"))


# --- keys never show


@pytest.mark.parametrize(
    "line",
    [
        'api_key_env = "sk-proj-verysecret123456"',
        'api_key_env = "very secret 123456 with spaces"',
        'api_key_env = "verysecret123456aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"',
        'api_key = "verysecret123456"',
        'headers = {Authorization = "Bearer verysecret123456"}',
        'headers = {X-Api-Key = "verysecret123456"}',
        'headers = {X = "verysecret123456\\n"}',
        'headers = "verysecret123456"',
        'timeout_s = "verysecret123456"',
    ],
)
def test_what_may_be_a_key_is_refused_without_being_shown(tmp_path: Path, line: str) -> None:
    assert "secret" not in refusal(job_file(tmp_path, f"{SMALL}[endpoint]\n{line}\n"))


def test_a_key_in_the_request_is_refused_without_being_shown(tmp_path: Path) -> None:
    said = refusal(with_key(tmp_path, 'api_key = "verysecret123456"'))
    assert "api_key_env" in said
    assert "verysecret" not in said


@pytest.mark.parametrize("name", ["PIPELLM_API_KEY", "_k2", ""])
def test_a_variable_name_is_accepted(tmp_path: Path, name: str) -> None:
    assert load_job(job_file(tmp_path), options=JobOptions(api_key_env=name)).endpoint.api_key_env == name


# --- schema


SCHEMA = '{"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}'


@pytest.mark.parametrize(
    ("content", "expected_name"),
    [
        (SCHEMA, "my_schema"),
        ('{"name": "given", "schema": %s}' % SCHEMA, "given"),  # noqa: UP031 - braces
        ('{"type": "json_schema", "json_schema": {"name": "whole", "schema": %s}}' % SCHEMA, "whole"),  # noqa: UP031
    ],
)
def test_a_schema_file_is_read_in_each_of_its_forms(tmp_path: Path, content: str, expected_name: str) -> None:
    (tmp_path / "my schema.json").write_text(content)
    job = load_job(job_file(tmp_path, f'{SMALL}[request.response_format]\nfile = "my schema.json"\n'))
    found = job.request.response_format
    assert found is not None
    assert found["type"] == "json_schema"
    assert found["json_schema"]["name"] == expected_name
    assert found["json_schema"]["schema"]["required"] == ["a"]
    assert "strict" not in found["json_schema"]


def test_strict_is_sent_when_asked_for(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text(SCHEMA)
    job = load_job(job_file(tmp_path, f'{SMALL}[request.response_format]\nfile = "s.json"\nstrict = true\n'))
    assert job.request.response_format is not None
    assert job.request.response_format["json_schema"]["strict"] is True


def test_a_response_format_of_the_api_is_sent_as_given(tmp_path: Path) -> None:
    job = load_job(job_file(tmp_path, f'{SMALL}[request.response_format]\ntype = "json_object"\n'))
    assert job.request.parameters()["response_format"] == {"type": "json_object"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot read the schema file"),
        ("{\n nope", ":2: not JSON"),
        ("[1]", "holds no JSON object"),
        ('{"nothing": 1}', "neither a type"),
        ('{"type": "json_schema"}', "needs a table json_schema"),
    ],
)
def test_a_schema_that_cannot_be_one_is_told_with_its_file(
    tmp_path: Path, content: str | None, said: str
) -> None:
    if content is not None:
        (tmp_path / "s.json").write_text(content)
    path = job_file(tmp_path, f'{SMALL}[request.response_format]\nfile = "s.json"\n')
    assert said in refusal(path)
    assert f"{path} [request] response_format: " in refusal(path)


# --- streams, images, asking again


@pytest.mark.parametrize(
    ("lines", "options"),
    [
        ("stream = true", {"include_usage": True}),
        ("stream = true\nstream_options = {include_usage = false}", {"include_usage": False}),
        ("stream = true\nstream_options = {x = 1}", {"include_usage": True, "x": 1}),
    ],
)
def test_a_stream_is_asked_for_its_usage_unless_the_user_says_otherwise(
    tmp_path: Path, lines: str, options: dict[str, object]
) -> None:
    parameters = load_job(with_key(tmp_path, lines)).request.parameters()
    assert parameters["stream"] is True
    assert parameters["stream_options"] == options


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("stream_options = {include_usage = true}", "stands without stream = true"),
        ("stream = true\nstream_options = 1", "stream_options must be a table"),
    ],
)
def test_options_of_a_stream_that_servers_would_refuse_are_told(
    tmp_path: Path, lines: str, said: str
) -> None:
    assert said in refusal(with_key(tmp_path, lines))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('images = {root = "pictures"}', "[request.images] column: is missing"),
        ("images = {column = []}", "must be the name of a column, or a list of different names"),
        ('images = {column = ["a", "a"]}', "must be the name of a column, or a list of different names"),
        ('images = {column = "a", detail = "max"}', '"low"'),
        ('images = {column = "a", max_bytes = 0}', "must be at least 1, not 0"),
        ('images = {colum = "a"}', 'did you mean "column"?'),
    ],
)
def test_a_table_of_images_that_cannot_be_one_is_told(tmp_path: Path, line: str, said: str) -> None:
    assert said in refusal(with_key(tmp_path, line))


def test_images_stand_in_one_column_or_several(tmp_path: Path) -> None:
    one = load_job(with_key(tmp_path, 'images = {column = "a", root = "pictures"}')).request.images
    assert one is not None
    assert (one.column, one.root, one.detail, one.max_bytes) == (
        ("a",),
        str(tmp_path / "pictures"),
        None,
        20_000_000,
    )
    several = load_job(with_key(tmp_path, 'images = {column = ["a", "b"]}')).request.images
    assert several is not None
    assert several.column == ("a", "b")


@pytest.mark.parametrize("line", ["reask = 2", "reask = -1", 'reask = "1"', "reask = 1.0"])
def test_a_row_is_asked_again_once_or_not_at_all(tmp_path: Path, line: str) -> None:
    assert "must be 0 or 1" in refusal(with_key(tmp_path, line))


def test_asking_again_needs_something_that_an_answer_can_break(tmp_path: Path) -> None:
    assert "there is none" in refusal(with_key(tmp_path, "reask = true"))
    with_schema = "reask = true\nresponse_format = {type = 'json_object'}"
    assert load_job(with_key(tmp_path, with_schema)).request.reask == 1


@pytest.mark.parametrize("line", ["stream = false", "reask = false", "dedupe = false"])
def test_what_asks_for_nothing_is_accepted(tmp_path: Path, line: str) -> None:
    assert line.partition(" ")[0] not in load_job(with_key(tmp_path, line)).request.parameters()


# --- limits


def test_nobody_has_to_choose_a_limit(tmp_path: Path) -> None:
    limits = load_job(job_file(tmp_path)).limits
    assert limits.concurrency is None
    assert (limits.requests_per_minute, limits.tokens_per_minute) == (None, None)
    assert (limits.max_cost_usd, limits.deadline) == (None, None)


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ('concurrency = "auto"', "concurrency", None),
        ("concurrency = 64", "concurrency", 64),
        ("requests_per_minute = 90", "requests_per_minute", 90),
        ("tokens_per_minute = 0.5", "tokens_per_minute", 0.5),
        ("max_cost_usd = 0", "max_cost_usd", 0),
        ("max_cost_usd = 12.5", "max_cost_usd", 12.5),
        ('deadline = "8h"', "deadline", 28_800),
        ('deadline = "90m"', "deadline", 5_400),
        ('deadline = "1h30m"', "deadline", 5_400),
        ('deadline = "1.5h"', "deadline", 5_400),
        ('deadline = "45s"', "deadline", 45),
        ('deadline = "1d"', "deadline", 86_400),
    ],
)
def test_a_limit_is_what_was_written(tmp_path: Path, line: str, name: str, value: float | None) -> None:
    job = load_job(job_file(tmp_path, f"{SMALL}[limits]\n{line}\n"))
    assert getattr(job.limits, name) == value
    assert job_from_table(job.table).limits == job.limits


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("concurrency = 0", "concurrency: must be at least 1, not 0"),
        ("concurrency = 1.5", "concurrency: must be a whole number, not 1.5"),
        ('concurrency = "lots"', 'concurrency: must be a whole number or "auto"'),
        ("concurrency = true", "concurrency: must be a whole number, not true"),
        ("requests_per_minute = 0", "requests_per_minute: must be more than 0, not 0"),
        ("tokens_per_minute = -1", "tokens_per_minute: must be more than 0, not -1"),
        ("tokens_per_minute = inf", "tokens_per_minute: must be a finite number"),
        ("max_cost_usd = -0.01", "max_cost_usd: must be at least 0, not -0.01"),
        ("max_cost_usd = nan", "max_cost_usd: must be a finite number"),
        ('max_cost_usd = "5"', 'max_cost_usd: must be a number, not "5"'),
        ('deadline = "5 minutes"', 'such as "8h", "90m", "1h30m" or "45s", not "5 minutes"'),
        ('deadline = ""', 'or "45s", not ""'),
        ("deadline = 0", "must be a duration"),
        ("deadline = 3600", "text with a unit"),
        ('deadline = "30m1h"', 'not "30m1h"'),
        ('deadline = "-1h"', 'not "-1h"'),
        ('deadline = "0s"', "must be more than 0"),
        ('deadline = "400d"', "at most 366 days"),
    ],
)
def test_a_limit_out_of_its_range_is_refused_in_one_line(tmp_path: Path, line: str, said: str) -> None:
    told = refusal(job_file(tmp_path, f"{SMALL}[limits]\n{line}\n"))
    assert said in told
    assert "[limits] " in told
    assert "\n" not in told


@pytest.mark.parametrize(
    ("options", "flag"),
    [
        (JobOptions(max_cost_usd=-5), "--max-cost"),
        (JobOptions(requests_per_minute=0), "--rpm"),
        (JobOptions(tokens_per_minute=float("nan")), "--tpm"),
        (JobOptions(deadline="soon"), "--deadline"),
    ],
)
def test_a_limit_on_the_command_line_is_refused_by_its_own_name(
    tmp_path: Path, options: JobOptions, flag: str
) -> None:
    assert refusal(job_file(tmp_path), options=options).startswith(f"{flag}: ")


# --- what overrides what


def test_options_win_over_set_and_set_over_the_file(tmp_path: Path) -> None:
    path = job_file(tmp_path)
    assert load_job(path, sets=["request.model=a", "request.model=b"]).request.model == "b"
    assert load_job(path, sets=["request.model=a"], options=JobOptions(model="c")).request.model == "c"


def test_every_option_reaches_its_place(tmp_path: Path) -> None:
    given: dict[str, object] = {
        "input": "/a.jsonl", "output": "/b.parquet", "model": "m", "prompt": "p", "system": "s",
        "base_url": "u", "api_key_env": "K", "limit": 3, "concurrency": 4, "keep_raw": True, "allow_empty": True,
    }  # fmt: skip
    job = load_job(job_file(tmp_path), options=JobOptions(**given))  # type: ignore[arg-type]
    for name, value in given.items():
        (table, key), _ = OPTION_PLACES[name]
        assert getattr(getattr(job, table), key) == value, name


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("request.max_tokens=5", 5),
        ("request.max_tokens = 5", 5),
        ("request.temperature=1e-1", 0.1),
        ("request.prompt=plain text", "plain text"),
        ('request.prompt="quoted\\n"', "quoted\n"),
        ("request.prompt=a=b", "a=b"),
        ("request.user=2026-11-21", "2026-11-21"),
        ("request.prompt=1\nb = 2", "1\nb = 2"),
        ('request.stop=["a", "b"]', ["a", "b"]),
    ],
)
def test_set_takes_toml_literals_and_else_text(tmp_path: Path, given: str, found: object) -> None:
    job = load_job(job_file(tmp_path), sets=[given])
    key = given.partition("=")[0].strip().removeprefix("request.")
    assert {**job.request.parameters(), "prompt": job.request.prompt}[key] == found


def test_set_reaches_a_quoted_name(tmp_path: Path) -> None:
    job = load_job(job_file(tmp_path), sets=['prices."gpt-4.1".input=2', "prices.'gpt-4.1'.output=8"])
    assert job.prices["gpt-4.1"].output == 8


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("request.model", "has no value"),
        ("model=x", "such as request.model=…"),
        ("request..model=x", "not a key"),
        ("request.model x=1", "not a key"),
        ("a\nb.c=1", "not a key"),
        ("=x", "not a key"),
        ("request.model.name=x", "request.model is not a table"),
        ("limits.concurrency=0", "--set limits.concurrency: must be at least 1, not 0"),
        ("tags.run=17", "--set tags.run: must be text, not 17"),
        ("limits.concurency=4", 'did you mean "concurrency"?'),
    ],
)
def test_a_set_that_does_not_fit_is_named(tmp_path: Path, given: str, said: str) -> None:
    assert said in refusal(job_file(tmp_path), sets=[given])


def test_a_wrong_option_is_named_as_it_was_typed(tmp_path: Path) -> None:
    said = refusal(job_file(tmp_path), options=JobOptions(concurrency="many", limit=0))
    assert '--concurrency: must be a whole number or "auto"' in said
    assert "--limit: must be at least 1, not 0" in said


def test_a_job_is_a_value(tmp_path: Path) -> None:
    job: Job = load_job(job_file(tmp_path))
    with pytest.raises(AttributeError):
        job.name = "other"  # type: ignore[misc]
    with pytest.raises(ValueError, match="frozen"):
        job.request.model = "other"  # type: ignore[misc]
