"""The options that verbs share, once each, and the one value they are gathered in.

A verb takes the groups it needs (`@takes(JOB, SESSION)`) and receives `arguments: RunArguments`; options of
groups it did not take keep their defaults. Nothing is decided here but what text means: the job itself
judges its values, so that a bad `--concurrency` and a bad `[limits] concurrency` read alike and are told
together.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import click

from batcher.job import Job, JobOptions, load_job

VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


@dataclass(frozen=True, slots=True)
class RunArguments:
    """What stood on the command line; None where an option was not given.

    Attributes:
        sets: `table.key=value`, as written.
        variables: of `--var`.
        reuse: globs of outputs whose answers may be taken over.
        allow_failures: share of rows that may be not ok with exit 0 all the same, 0 to 1.
        state: the folder that takes the place of `.batcher` beside the output.
    """

    job: Path | None = None
    sets: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    input: str | None = None
    output: str | None = None
    model: str | None = None
    prompt: str | None = None
    system: str | None = None
    base_url: str | None = None
    api_key_env: str | None = None
    limit: int | None = None
    concurrency: int | str | None = None
    max_cost: float | None = None
    rpm: float | None = None
    tpm: float | None = None
    deadline: str | None = None
    keep_raw: bool | None = None
    allow_empty: bool | None = None
    replace: bool = False
    fresh: bool = False
    reuse: tuple[str, ...] = ()
    yes: bool = False
    json: bool = False
    summary: Path | None = None
    allow_failures: float = 0.0
    durability: Literal["group", "strict"] = "group"
    state: Path | None = None
    simulate: bool = False
    allow_http: bool = False
    on_bad_row: Literal["row", "stop"] = "row"
    quiet: bool = False


class Percent(click.ParamType[float]):
    """`1%`, `0.5%` or `1`: always per cent; the value is the share, 0 to 1."""

    name = "percent"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            share = float(str(value).removesuffix("%")) / 100
        except ValueError:
            share = math.nan
        if not 0 <= share <= 1:
            self.fail(f"{value!r} is not a percentage from 0% to 100%, such as 1%", param, ctx)
        return share


class Concurrency(click.ParamType[int | str]):
    """A whole number where it is one; anything else is for the job to judge."""

    name = "n"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:  # noqa: ARG002
        try:
            return int(value)
        except ValueError:
            return str(value)


def variables_from(_ctx: click.Context, _param: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    """`NAME=value`, each once or more; the last one wins. A value may hold `=` and be empty."""
    found = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or not VARIABLE_NAME.match(name):
            raise click.BadParameter(f"{each!r} is not NAME=value (letters, digits and _ in the name)")
        found[name] = value
    return found


LIMITS: tuple[Decorator, ...] = (
    click.option(
        "--concurrency",
        type=Concurrency(),
        metavar="N",
        help="Requests in flight: a number, or auto (the default): as many as the endpoint takes.",
    ),
    click.option(
        "--max-cost",
        type=float,
        metavar="USD",
        help="Stop before the run costs more, over all its sessions (exit 6). Needs a price and a token maximum.",
    ),
    click.option("--rpm", type=float, metavar="N", help="At most so many requests per minute."),
    click.option("--tpm", type=float, metavar="N", help="At most so many tokens per minute."),
    click.option(
        "--deadline",
        metavar="TIME",
        help="Send nothing new after this time, such as 8h or 90m; the same command goes on (exit 6).",
    ),
)
"""How hard to push, and what may be spent."""

JOB: tuple[Decorator, ...] = (
    click.argument("job", required=False, type=click.Path(path_type=Path), metavar="[JOB.toml]"),
    click.option("-i", "--input", metavar="PATH", help="Input: a file, a folder, a glob, or - for stdin."),
    click.option("-o", "--output", metavar="PATH", help="Output: the Parquet file."),
    click.option("--model", help="Model to ask."),
    click.option("--prompt", metavar="TEMPLATE", help="Prompt, Jinja2 over the row's columns."),
    click.option("--system", metavar="TEMPLATE", help="System message, Jinja2 as well."),
    click.option("--base-url", metavar="URL", help="Endpoint; PipeLLM by default."),
    click.option("--api-key-env", metavar="NAME", help="Environment variable that holds the key."),
    click.option("--limit", type=int, metavar="N", help="Only the first N rows."),
    *LIMITS,
    click.option("--keep-raw", is_flag=True, default=None, help="Keep every whole reply in response_json."),
    click.option(
        "--allow-empty", is_flag=True, default=None, help="No input rows: an empty output, no error."
    ),
    click.option(
        "--set", "sets", multiple=True, metavar="TABLE.KEY=VALUE", help="Override any key of the job."
    ),
    click.option(
        "--var",
        "variables",
        multiple=True,
        callback=variables_from,
        metavar="NAME=VALUE",
        help="Value for {{ NAME }} in the job's paths.",
    ),
)
"""Which job: the file and what overrides it."""

SESSION: tuple[Decorator, ...] = (
    click.option("--simulate", is_flag=True, help="Answer from the embedded endpoint: free, no key."),
    click.option("--allow-http", is_flag=True, help="Allow a key over plain http beyond loopback."),
    click.option(
        "--on-bad-row",
        type=click.Choice(["row", "stop"]),
        default="row",
        show_default=True,
        help="An unusable input row becomes an invalid row, or stops the run.",
    ),
    click.option(
        "--durability",
        type=click.Choice(["group", "strict"]),
        default="group",
        show_default=True,
        help="strict: a power loss costs no answer; slower.",
    ),
    click.option(
        "--state",
        type=click.Path(file_okay=False, path_type=Path),
        envvar="BATCHER_STATE",
        show_envvar=True,
        metavar="DIR",
        help="Folder for runs in the making, instead of .batcher beside the output.",
    ),
    click.option("--yes", is_flag=True, help="Do not ask."),
    click.option("-q", "--quiet", is_flag=True, help="No progress."),
    click.option("--json", is_flag=True, help="A JSON summary on stdout."),
    click.option(
        "--summary",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="PATH",
        help="The JSON summary to a file.",
    ),
)
"""How a session that sends requests works and reports."""

CHANGES: tuple[Decorator, ...] = (
    click.option(
        "--set", "sets", multiple=True, metavar="TABLE.KEY=VALUE", help="Change a key of the run's job."
    ),
    *LIMITS,
)
"""What `retry` may change."""

RUN: tuple[Decorator, ...] = (
    click.option("--replace", is_flag=True, help="Accept a changed job; keep answers to unchanged requests."),
    click.option("--fresh", is_flag=True, help="Take no answer over; pay for every row."),
    click.option("--reuse", multiple=True, metavar="GLOB", help="Take answers over from these outputs too."),
    click.option(
        "--allow-failures",
        type=Percent(),
        default=0.0,
        metavar="PCT",
        help="Exit 0 when at most so many rows are not ok, such as 1%.",
    ),
)
"""What `run` alone decides."""


def takes(*groups: tuple[Decorator, ...]) -> Decorator:
    """Give a verb these groups of options, gathered into its keyword `arguments`; its own options pass
    beside it.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def gathered(**given: Any) -> Any:
            mine = {each.name: given.pop(each.name) for each in fields(RunArguments) if each.name in given}
            return function(arguments=RunArguments(**mine), **given)

        decorated: Callable[..., Any] = gathered
        for option in reversed([option for group in groups for option in group]):
            decorated = option(decorated)
        return decorated

    return decorate


def job_options(arguments: RunArguments) -> JobOptions:
    """The common options, as the job takes them."""
    return JobOptions(
        input=arguments.input,
        output=arguments.output,
        model=arguments.model,
        prompt=arguments.prompt,
        system=arguments.system,
        base_url=arguments.base_url,
        api_key_env=arguments.api_key_env,
        limit=arguments.limit,
        concurrency=arguments.concurrency,
        max_cost_usd=arguments.max_cost,
        requests_per_minute=arguments.rpm,
        tokens_per_minute=arguments.tpm,
        deadline=arguments.deadline,
        keep_raw=arguments.keep_raw,
        allow_empty=arguments.allow_empty,
    )


def job_from(arguments: RunArguments) -> Job:
    """The job these arguments describe, read and checked.

    Raises:
        JobError: the job is not usable, or options contradict each other.
    """
    if arguments.fresh and arguments.reuse:
        raise click.UsageError(
            "--fresh takes no answer over, --reuse names where to take them from; keep one"
        )
    return load_job(
        arguments.job, sets=arguments.sets, variables=arguments.variables, options=job_options(arguments)
    )
