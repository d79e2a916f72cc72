"""Shared options: each reaches `RunArguments`, and the job they describe."""

from __future__ import annotations

from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest
from click.testing import CliRunner

from batcher.cli.options import JOB, RUN, SESSION, RunArguments, job_from, takes
from batcher.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Mapping

NOT_DEFAULT: dict[str, tuple[list[str], object]] = {
    "job": (["job.toml"], Path("job.toml")),
    "sets": (["--set", "a.b=1", "--set", "a.c=2"], ("a.b=1", "a.c=2")),
    "variables": (["--var", "ds=1", "--var", "x=a=b"], {"ds": "1", "x": "a=b"}),
    "input": (["-i", "in.jsonl"], "in.jsonl"),
    "output": (["-o", "out.parquet"], "out.parquet"),
    "model": (["--model", "m"], "m"),
    "prompt": (["--prompt", "p"], "p"),
    "system": (["--system", "s"], "s"),
    "base_url": (["--base-url", "http://localhost:1/v1"], "http://localhost:1/v1"),
    "api_key_env": (["--api-key-env", ""], ""),
    "limit": (["--limit", "5"], 5),
    "concurrency": (["--concurrency", "8"], 8),
    "max_cost": (["--max-cost", "5"], 5.0),
    "rpm": (["--rpm", "5"], 5.0),
    "tpm": (["--tpm", "5"], 5.0),
    "deadline": (["--deadline", "8h"], "8h"),
    "keep_raw": (["--keep-raw"], True),
    "allow_empty": (["--allow-empty"], True),
    "replace": (["--replace"], True),
    "fresh": (["--fresh"], True),
    "reuse": (["--reuse", "a/*.parquet", "--reuse", "b"], ("a/*.parquet", "b")),
    "yes": (["--yes"], True),
    "json": (["--json"], True),
    "summary": (["--summary", "s.json"], Path("s.json")),
    "allow_failures": (["--allow-failures", "1%"], 0.01),
    "durability": (["--durability", "strict"], "strict"),
    "state": (["--state", "d"], Path("d")),
    "simulate": (["--simulate"], True),
    "allow_http": (["--allow-http"], True),
    "on_bad_row": (["--on-bad-row", "stop"], "stop"),
    "quiet": (["-q"], True),
}


def arguments(*given: str, env: Mapping[str, str] | None = None) -> RunArguments:
    found: list[RunArguments] = []

    @click.command()
    @takes(JOB, SESSION, RUN)
    def verb(arguments: RunArguments) -> None:
        found.append(arguments)

    CliRunner().invoke(verb, list(given), env=env, standalone_mode=False, catch_exceptions=False)
    return found[0]


def refused(*given: str) -> str:
    with pytest.raises(click.UsageError) as caught:
        arguments(*given)
    return caught.value.format_message()


def test_every_argument_is_tried_below() -> None:
    assert set(NOT_DEFAULT) == {field.name for field in fields(RunArguments)}


@pytest.mark.parametrize("name", NOT_DEFAULT)
def test_an_option_reaches_its_argument_and_no_other(name: str) -> None:
    given, value = NOT_DEFAULT[name]
    found, plain = arguments(*given), RunArguments()
    assert getattr(found, name) == value
    assert value != getattr(plain, name)
    others = [each.name for each in fields(RunArguments) if each.name != name]
    assert [other for other in others if getattr(found, other) != getattr(plain, other)] == []


def test_defaults_on_the_command_line_are_those_of_the_value() -> None:
    assert arguments() == RunArguments()
    assert all(
        each.default is not MISSING or each.default_factory is not MISSING for each in fields(RunArguments)
    )


def test_a_verb_keeps_its_own_options_beside_the_shared_ones() -> None:
    found: list[Any] = []

    @click.command()
    @takes(JOB)
    @click.option("-n", "rows", type=int)
    def verb(arguments: RunArguments, rows: int) -> None:
        found.extend([arguments.model, rows])

    CliRunner().invoke(verb, ["--model", "m", "-n", "5"], catch_exceptions=False)
    assert found == ["m", 5]


def test_the_state_folder_may_come_from_the_environment() -> None:
    assert arguments(env={"BATCHER_STATE": "/s"}).state == Path("/s")
    assert arguments("--state", "/t", env={"BATCHER_STATE": "/s"}).state == Path("/t")
    assert arguments(env={"BATCHER_STATE": ""}).state is None


@pytest.mark.parametrize(("text", "share"), [("1%", 0.01), ("0.5", 0.005), ("0", 0.0), ("100%", 1.0)])
def test_allowed_failures_are_always_per_cent(text: str, share: float) -> None:
    assert arguments("--allow-failures", text).allow_failures == share


@pytest.mark.parametrize("text", ["101%", "-1%", "nan", "few", "%", "1%%"])
def test_what_is_no_percentage_is_refused(text: str) -> None:
    assert "is not a percentage" in refused(f"--allow-failures={text}")


@pytest.mark.parametrize("text", ["ds", "=x", "a b=c", "9=x"])
def test_a_variable_without_name_or_value_is_refused(text: str) -> None:
    assert "is not NAME=value" in refused("--var", text)


def test_a_job_is_loaded_from_what_was_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    job = job_from(arguments("-i", "a.jsonl", "-o", "b.parquet", "--model", "m", "--set", "tags.team=x"))
    assert (job.input.path, job.request.model, job.tags) == (str(tmp_path / "a.jsonl"), "m", {"team": "x"})


def test_the_job_judges_concurrency_whether_typed_or_written() -> None:
    given = arguments(
        "-i", "a.jsonl", "-o", "b.parquet", "--model", "m", "--concurrency", "0", "--limit", "0"
    )
    with pytest.raises(JobError) as caught:
        job_from(given)
    assert "--concurrency: must be at least 1, not 0" in str(caught.value)
    assert "--limit: must be at least 1, not 0" in str(caught.value)


def test_limits_reach_the_job_by_option_and_by_set() -> None:
    words = [
        "--max-cost",
        "0",
        "--rpm",
        "90",
        "--tpm",
        "4000",
        "--deadline",
        "1h30m",
        "--concurrency",
        "auto",
    ]
    named = job_from(arguments("-i", "a.jsonl", "-o", "b.parquet", "--model", "m", *words)).limits
    keys = ["max_cost_usd=0", "requests_per_minute=90", "tokens_per_minute=4000", "deadline=1h30m"]
    sets = [word for key in [*keys, "concurrency=auto"] for word in ("--set", f"limits.{key}")]
    assert job_from(arguments("-i", "a.jsonl", "-o", "b.parquet", "--model", "m", *sets)).limits == named
    assert (named.max_cost_usd, named.deadline, named.concurrency) == (0, 5_400, None)
    assert (named.requests_per_minute, named.tokens_per_minute) == (90, 4_000)


def test_fresh_and_reuse_contradict_each_other() -> None:
    with pytest.raises(click.UsageError, match="keep one"):
        job_from(arguments("--fresh", "--reuse", "x"))


def test_every_shared_option_has_a_help() -> None:
    @click.command()
    @takes(JOB, SESSION, RUN)
    def verb(arguments: RunArguments) -> None: ...

    silent = [each.name for each in verb.params if isinstance(each, click.Option) and not each.help]
    assert silent == []
