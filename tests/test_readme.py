"""Holds the README against the program: its commands run, its tables and examples are the program's."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest

import batcher
from batcher import errors
from batcher.cli.group import VERBS
from batcher.job.loading import OPTION_PLACES
from batcher.simulator import MODES
from batcher.store.columns import COLUMNS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
COPIED = ("batcher", "jobs", "sample_data", "pyproject.toml", "README.md", "LICENSE")


def marked(name: str) -> str:
    """The one-line command behind `<!-- command: NAME -->`."""
    found = re.search(rf"<!-- command: {name} -->\n```sh\n(.*?)\n```", README)
    assert found is not None, f"README.md has no command {name}"
    assert "\n" not in found[1]
    return found[1]


def shell_lines() -> list[str]:
    """Every further command in the README, comments taken off."""
    texts = [block for kind, block in BLOCKS if kind == "sh"]
    lines = [line.split("  #")[0].strip() for text in texts for line in text.splitlines()]
    alone = {marked(name) for name in ("first", "test", "report")}
    return [line for line in lines if line and line not in alone]


def repository(folder: Path) -> Path:
    """A copy of what a clone holds and a command needs."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    return folder


def plain_environment() -> dict[str, str]:
    """The environment without a virtual environment of ours and without a key."""
    hidden = {"VIRTUAL_ENV", "PYTHONPATH", "PIPELLM_API_KEY", "BATCHER_STATE"}
    return {name: value for name, value in os.environ.items() if name not in hidden}


def typed(command: str, clone: Path) -> str:
    """What a command of the README that succeeds says on stderr."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=clone,
        env=plain_environment(),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_the_first_commands_work_alone_in_a_fresh_clone(tmp_path: Path) -> None:
    clone = repository(tmp_path)
    said = typed(marked("first"), clone)
    assert "300 rows, verified" in said
    assert "SIMULATED" in said
    assert "T-48000" in said  # the first rows
    assert (clone / "out" / "label_tickets.simulated.parquet").exists()
    # The page is made of files beside the code, which the installed package must hold as well.
    typed(f".venv/bin/{marked('report')}", clone)
    assert "All 300 rows are ok" in (clone / "out" / "label_tickets.simulated.report.html").read_text()


def test_ci_runs_the_test_command_of_the_readme() -> None:
    assert marked("test").startswith("python3 -m venv .venv && ")
    script = (ROOT / ".ci" / "run").read_text()
    assert "<!-- command: test -->" in script
    for tool in ("ruff check", "ruff format -q --check", "mypy", "pytest"):
        assert tool in marked("test")


@pytest.mark.parametrize("line", shell_lines())
def test_every_other_command_runs_on_the_simulator(line: str, tmp_path: Path) -> None:
    if line.startswith("export "):
        assert re.fullmatch(r"export [A-Z_]+=…", line)
        return
    words = shlex.split(line)
    assert words[0] == "batcher"
    clone = repository(tmp_path)
    (clone / "prompts.jsonl").write_text('{"prompt": "Why is the sky blue?"}\n')
    command = [sys.executable, "-m", "batcher.cli", *words[1:], "--simulate"]
    done = subprocess.run(
        command, cwd=clone, env=plain_environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_verbs_are_those_of_the_program() -> None:
    named = set(re.findall(r"^\| `batcher (\w+)", README, re.MULTILINE))
    assert named == set(VERBS)


def test_the_number_of_simulator_faults_is_true() -> None:
    assert f"{len(MODES)} named faults" in README


def test_the_exit_codes_are_those_of_the_errors() -> None:
    table = README.split("## Exit codes")[1].split("##")[0]
    told = {
        int(number)
        for number in re.findall(r"\b(\d+)\b", " ".join(re.findall(r"^\| ([^|]+)\|", table, re.MULTILINE)))
    }
    subclasses = {each.exit_code for each in errors.BatcherError.__subclasses__()}
    assert told == subclasses | {0, 1, 3, 129, 130, 137, 143}


def test_the_limits_are_those_of_the_options_and_the_job() -> None:
    table = README.split("## Limits")[1].split("## Verbs")[0]
    options, keys = zip(*re.findall(r"^\| (`--[^|]+)\| ([^|]+)\|", table, re.MULTILINE), strict=True)
    told = dict(zip(*(re.findall(r"`([^`]+)`", " ".join(column)) for column in (options, keys)), strict=True))
    place_of = {flag: ".".join(place) for place, flag in OPTION_PLACES.values()}
    limits = {flag: place for flag, place in place_of.items() if place.startswith("limits.")}
    assert {flag: f"limits.{key}" for flag, key in told.items()} == limits


def test_the_columns_are_those_of_the_store() -> None:
    table = README.split("## What the output holds")[1].split("```")[0]
    told = set(
        re.findall(r"\b[a-z]+(?:_[a-zA-Z]+)*\b", " ".join(re.findall(r"^\| (`[^|]+)\|", table, re.MULTILINE)))
    )
    declared = {column.name for column in COLUMNS if column.feature not in {"properties", "tags"}}
    assert told == declared | {"tag_NAME"}


def test_the_job_file_loads(tmp_path: Path) -> None:
    text = next(block for kind, block in BLOCKS if kind == "toml")
    assert tomllib.loads(text)
    path = tmp_path / "job.toml"
    path.write_text(text)
    job = batcher.Job.load(path, variables={"ds": "2026-11-21"})
    assert job.output_path == tmp_path / "labels-2026-11-21.parquet"


def test_the_python_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository(tmp_path))
    examples = [block for kind, block in BLOCKS if kind == "python"]
    run = next(block for block in examples if "batcher.run" in block)
    exec(textwrap.dedent(run), {})
    look = next(block for block in examples if "read_parquet" in block)
    monkeypatch.chdir(tmp_path / "out")
    Path("label_tickets.simulated.parquet").rename("label_tickets.parquet")
    exec(textwrap.dedent(look), {})


def test_every_picture_is_there() -> None:
    for path in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README):
        assert (ROOT / path).exists()
