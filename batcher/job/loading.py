"""From a job file, options and variables to one `Job`: everything checked, paths absolute.

What wins, from weak to strong: the job file, `--set`, the common options. All that is wrong is told at
once, each with file, table and key (or the option that said it). There is no clock and no environment here:
the same words give the same job, whenever and wherever they are read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from pydantic import ValidationError

from batcher.errors import JobError
from batcher.job.model import (
    EndpointTable,
    InputTable,
    JobTables,
    LimitsTable,
    OutputTable,
    PriceTable,
    RequestTable,
    table_keys,
)
from batcher.job.paths import PATH_KEYS, absolute, fill, output_problem, unused
from batcher.job.problems import Problem, from_pydantic, raise_all, unknown_key
from batcher.job.schema import response_format
from batcher.job.spelling import API_PARAMETERS, misspelt
from batcher.job.toml import parse_set, read_job

SDK_HABITS = {
    "messages": "messages come from the rows: a messages column, or system and prompt here",
    "extra_body": "write its keys straight into [request]; they pass through",
    "extra_headers": "headers stand in [endpoint.headers]",
    "timeout": "seconds for one attempt stand in [endpoint] timeout_s",
    "max_retries": "attempts of a row stand in [limits] max_attempts",
    "max_output_tokens": "chat completions call it max_completion_tokens (older servers: max_tokens)",
    "max_new_tokens": "chat completions call it max_tokens",
    "system_prompt": "it is called system here",
    "instructions": "it is called system here",
    "api_key": "a key never stands in a job: name its environment variable in [endpoint] api_key_env",
}
"""Names from SDK calls that would be sent as parameters by mistake."""


@dataclass(frozen=True, slots=True)
class JobOptions:
    """The common options, None where not given. Units as the keys of the job file they stand for."""

    input: str | None = None
    output: str | None = None
    model: str | None = None
    prompt: str | None = None
    system: str | None = None
    base_url: str | None = None
    api_key_env: str | None = None
    limit: int | None = None
    concurrency: int | str | None = None
    max_cost_usd: float | None = None
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    deadline: str | None = None
    keep_raw: bool | None = None
    allow_empty: bool | None = None


OPTION_PLACES: Mapping[str, tuple[tuple[str, str], str]] = {
    "input": (("input", "path"), "-i"),
    "output": (("output", "path"), "-o"),
    "model": (("request", "model"), "--model"),
    "prompt": (("request", "prompt"), "--prompt"),
    "system": (("request", "system"), "--system"),
    "base_url": (("endpoint", "base_url"), "--base-url"),
    "api_key_env": (("endpoint", "api_key_env"), "--api-key-env"),
    "limit": (("input", "limit"), "--limit"),
    "concurrency": (("limits", "concurrency"), "--concurrency"),
    "max_cost_usd": (("limits", "max_cost_usd"), "--max-cost"),
    "requests_per_minute": (("limits", "requests_per_minute"), "--rpm"),
    "tokens_per_minute": (("limits", "tokens_per_minute"), "--tpm"),
    "deadline": (("limits", "deadline"), "--deadline"),
    "keep_raw": (("output", "keep_raw"), "--keep-raw"),
    "allow_empty": (("input", "allow_empty"), "--allow-empty"),
}
"""Each option's place in the job, and how a person writes it."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What the user typed, for display: the job file (None without one), input and output, variables filled
    in.
    """

    job: str | None
    input: str
    output: str


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be done, complete and checked.

    Attributes:
        name: the job file's stem, or the output's without a job file.
        file: the job file, absolute, or None.
        labels: label -> its allowed values, in the order written.
        table: the whole job as JSON (paths absolute, schema file read, no defaults), for the run directory;
            `job_from_table` makes the same job of it.
    """

    name: str
    file: Path | None
    shown: Shown
    labels: Mapping[str, tuple[str, ...]]
    input: InputTable
    request: RequestTable
    endpoint: EndpointTable
    limits: LimitsTable
    output: OutputTable
    tags: Mapping[str, str]
    prices: Mapping[str, PriceTable]
    table: Mapping[str, object] = field(repr=False)

    @classmethod
    def load(
        cls, path: str | Path, *, sets: Sequence[str] = (), variables: Mapping[str, str] | None = None
    ) -> Job:
        """Read and check a job file; see `load_job`. Raises JobError."""
        return load_job(Path(path), sets=sets, variables=variables)

    @property
    def output_path(self) -> Path:
        """Where the Parquet file goes, absolute."""
        return Path(self.output.path)


@dataclass(slots=True)
class _Draft:
    """A job while it is put together: its tables, who said what (place -> option), and where paths start."""

    table: dict[str, object]
    origins: dict[tuple[str, ...], str]
    file_start: Path
    here: Path
    shown: str | None

    def start_of(self, place: tuple[str, ...]) -> Path:
        """Paths on the command line start at the working directory, those in the file beside the file."""
        told = any(place[:length] in self.origins for length in range(1, len(place) + 1))
        return self.here if told else self.file_start

    def stop_at(self, problems: Sequence[Problem]) -> None:
        raise_all(problems, file=self.shown, origins=self.origins)


def load_job(
    path: Path | None,
    *,
    sets: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
    options: JobOptions | None = None,
) -> Job:
    """Read and check a job.

    Args:
        path: the job file; None when the options say enough (`-i -o --model`).
        sets: `table.key=value`, as given to `--set`, later ones win.
        variables: values for `{{ NAME }}` in paths.
        options: the common options; they win over `sets`.

    Raises:
        JobError: the file cannot be read, or anything in it is wrong; tells all at once.
    """
    here = Path.cwd()
    shown = str(path) if path is not None else None
    table = read_job(path, shown=str(path)) if path is not None else {}
    # The real directory, so that ".." in a path means what the disk says, also where jobs/ is a symbolic
    # link.
    start = Path(os.path.realpath(path.parent)) if path is not None else here
    draft = _Draft(table, {}, file_start=start, here=here, shown=shown)
    _apply(draft, sets, options or JobOptions())
    _need_enough(draft)
    return _finish(draft, variables or {}, file=start / path.name if path is not None else None)


def job_from_table(
    table: Mapping[str, object],
    *,
    sets: Sequence[str] = (),
    options: JobOptions | None = None,
    shown: str | None = None,
    file: Path | None = None,
) -> Job:
    """A job from what `Job.table` once stored, with changes; paths in `table` are absolute already.

    Raises:
        JobError: as `load_job`.
    """
    here = Path.cwd()
    draft = _Draft(cast("dict[str, object]", _copy(table)), {}, file_start=here, here=here, shown=shown)
    _apply(draft, sets, options or JobOptions())
    return _finish(draft, {}, file=file)


def _apply(draft: _Draft, sets: Sequence[str], options: JobOptions) -> None:
    """Lay `--set` and then the options over the tables."""
    for given in sets:
        place, value = parse_set(given)
        _put(draft, place, value, flag="--set")
    for name, (place, flag) in OPTION_PLACES.items():
        value = getattr(options, name)
        if value is not None:
            _put(draft, place, value, flag=flag)


def _put(draft: _Draft, place: tuple[str, ...], value: object, *, flag: str) -> None:
    table = draft.table
    for depth, name in enumerate(place[:-1], 1):
        inner = table.setdefault(name, {})
        if not isinstance(inner, dict):
            raise JobError(f"{flag} {'.'.join(place)}: {'.'.join(place[:depth])} is not a table")
        table = inner
    table[place[-1]] = value
    draft.origins[place] = flag


def _need_enough(draft: _Draft) -> None:
    """Without a job file, say in one line what is still needed."""
    if draft.shown is not None:
        return
    missing = [
        flag
        for (name, key), flag in (OPTION_PLACES[option] for option in ("input", "output", "model"))
        if key not in cast("dict[str, object]", draft.table.get(name, {}))
    ]
    if missing:
        raise JobError(
            f"without a job file -i, -o and --model are needed; missing: {', '.join(missing)}",
            hint="batcher run -i prompts.jsonl -o out.parquet --model gpt-4o    or    batcher run JOB.toml",
        )


def _finish(draft: _Draft, variables: Mapping[str, str], *, file: Path | None) -> Job:
    """Paths, schema, then everything else; raises all problems together."""
    problems = _pass_through_problems(draft.table)
    typed, path_problems = _resolve_paths(draft, variables)
    problems += path_problems
    problems += _read_schema(draft)
    tables = _validated(draft, problems)
    draft.stop_at(problems)
    assert tables is not None
    name = file.stem if file is not None else Path(tables.output.path).stem
    return Job(
        name=name,
        file=file,
        shown=Shown(draft.shown, typed["input", "path"], typed["output", "path"]),
        labels=tables.labels,
        input=tables.input,
        request=tables.request,
        endpoint=tables.endpoint,
        limits=tables.limits,
        output=tables.output,
        tags=tables.tags,
        prices=tables.prices,
        table=draft.table,
    )


def _resolve_paths(
    draft: _Draft, variables: Mapping[str, str]
) -> tuple[dict[tuple[str, ...], str], list[Problem]]:
    """Fill in variables and make every path absolute, in place; what the user typed comes back for
    display.
    """
    problems: list[Problem] = []
    typed: dict[tuple[str, ...], str] = {}
    written: list[str] = []
    for place in PATH_KEYS:
        holder = _holder(draft.table, place)
        text = holder.get(place[-1]) if holder is not None else None
        if holder is None or not isinstance(text, str) or not text.strip():
            continue
        written.append(text)
        try:
            filled = fill(text, variables)
        except ValueError as err:
            problems.append(Problem(place, str(err)))
            continue
        wrong = output_problem(filled) if place == ("output", "path") else None
        problems += [Problem(place, wrong)] if wrong else []
        typed[place] = filled
        holder[place[-1]] = absolute(filled, start=draft.start_of(place))
    extra = unused(variables, written)
    if extra and not problems:
        raise JobError("\n".join(extra))
    return typed, problems


def _read_schema(draft: _Draft) -> list[Problem]:
    request = draft.table.get("request")
    if not isinstance(request, dict) or "response_format" not in request:
        return []
    try:
        request["response_format"] = response_format(request["response_format"])
    except ValueError as err:
        # Taken out, so that it is told once.
        del request["response_format"]
        return [Problem(("request", "response_format"), str(err))]
    return []


def _pass_through_problems(table: Mapping[str, object]) -> list[Problem]:
    """Keys of `[request]` that would be sent as parameters but surely are not meant so."""
    request = table.get("request")
    if not isinstance(request, dict):
        return []
    ours = frozenset(RequestTable.model_fields)
    homes = {key for place, keys in table_keys().items() if place and place[0] != "request" for key in keys}
    problems = []
    for key in request:
        place = ("request", key)
        if key in SDK_HABITS:
            problems.append(Problem(place, SDK_HABITS[key]))
        elif key in ours or key in API_PARAMETERS or key == "stream_options":
            continue
        elif key in homes:
            problems.append(Problem(place, unknown_key(place, table_keys())))
        elif (meant := misspelt(key, ours | API_PARAMETERS)) is not None:
            problems.append(Problem(place, f'unknown key; did you mean "{meant}"?'))
    return problems


def _validated(draft: _Draft, problems: list[Problem]) -> JobTables | None:
    """The typed tables, or None with pydantic's findings added to `problems`."""
    try:
        return JobTables.model_validate(draft.table)
    except ValidationError as err:
        keys = table_keys()
        problems += [from_pydantic(each, keys) for each in err.errors(include_url=False)]
        return None


def _holder(table: dict[str, object], place: tuple[str, ...]) -> dict[str, object] | None:
    """The table that would hold the last name of `place`, or None when there is none."""
    inner: object = table
    for name in place[:-1]:
        inner = inner.get(name) if isinstance(inner, dict) else None
    return inner if isinstance(inner, dict) else None


def _copy(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _copy(inner) for key, inner in value.items()}
    return [_copy(inner) for inner in value] if isinstance(value, list | tuple) else value
