"""More than $5 and no limit: `run` asks once, a person at a terminal, and nobody else."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from typed_rows import sent_to
from verb_runs import PROMPT, write_rows

from batcher.errors import AccountError, LimitReached
from batcher.job import JobOptions, load_job
from batcher.verbs.options import RunOptions
from batcher.verbs.run import run

if TYPE_CHECKING:
    from pathlib import Path

    from batcher.job import Job
    from batcher.simulator.launch import Simulator

pytest_plugins = ("verbs_fixtures",)

DEAR = ("prices.m.input=10000.0", "prices.m.output=40000.0")  # any few rows come to more than $5


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "in.jsonl", [f"thing {number}" for number in range(20)])


def job_of(at: Simulator, rows: Path, *sets: str, max_cost_usd: float | None = None) -> Job:
    given = JobOptions(
        input=str(rows), output=str(rows.with_name("out.parquet")), model="m", prompt=PROMPT,
        base_url=at.base_url, concurrency=4, max_cost_usd=max_cost_usd,
    )  # fmt: skip
    return load_job(None, sets=sets, options=given)


class Person:
    """Somebody at the terminal."""

    def __init__(self, *, says: bool) -> None:
        self.asked: list[str] = []
        self._says = says

    def __call__(self, question: str) -> bool:
        self.asked.append(question)
        return self._says


def test_a_no_sends_nothing_leaves_no_run_behind_and_is_exit_6(endpoint: Simulator, rows: Path) -> None:
    person = Person(says=False)
    with pytest.raises(LimitReached, match="nothing was sent") as caught:
        run(job_of(endpoint, rows, *DEAR), RunOptions(environ={}, ask=person))
    assert caught.value.exit_code == 6
    assert len(person.asked) == 1
    assert "20 requests" in person.asked[0]
    assert sent_to(endpoint) == 0
    assert not list(rows.parent.rglob("run.json"))


def test_a_yes_is_asked_for_once_and_a_resumed_run_asks_no_more(endpoint: Simulator, rows: Path) -> None:
    person = Person(says=True)
    endpoint.control(fail_after={"unauthorized": 5})
    with pytest.raises(AccountError):
        run(job_of(endpoint, rows, *DEAR), RunOptions(environ={}, ask=person))
    endpoint.control(fail_after={})
    run(job_of(endpoint, rows, *DEAR), RunOptions(environ={}, ask=person))
    assert len(person.asked) == 1
    assert endpoint.totals()["generated"] == 20


@pytest.mark.parametrize(
    ("sets", "options", "cap"),
    [
        (("prices.m.input=1.0", "prices.m.output=4.0"), {}, None),
        ((), {}, None),
        (DEAR, {"yes": True}, None),
        ((*DEAR, "request.max_completion_tokens=9"), {}, 1_000.0),
        (DEAR, {"simulate": True}, None),
    ],
    ids=["cheap", "no price", "yes", "max cost", "simulated"],
)
def test_nobody_is_asked_where_nothing_is_to_decide(
    endpoint: Simulator, rows: Path, sets: tuple[str, ...], options: dict[str, bool], cap: float | None
) -> None:
    person = Person(says=False)
    summary = run(
        job_of(endpoint, rows, *sets, max_cost_usd=cap),
        RunOptions(environ={}, ask=person, **options),  # type: ignore[arg-type]
    )
    assert (person.asked, summary.rows_done) == ([], 20)


def test_answers_that_are_bought_already_are_not_asked_about(endpoint: Simulator, rows: Path) -> None:
    run(job_of(endpoint, rows, *DEAR), RunOptions(environ={}))
    rows.write_text(rows.read_text() + '{"id": "r20", "text": "thing 20"}\n')
    person = Person(says=False)
    run(job_of(endpoint, rows, *DEAR), RunOptions(environ={}, replace=True, ask=person))
    assert person.asked == []


def dear_run(endpoint: Simulator, rows: Path) -> list[str]:
    """The words that run a dear job as a process."""
    words = ["-i", rows, "-o", rows.with_name("out.parquet"), "--model", "m", "--prompt", PROMPT]
    sets = [word for each in DEAR for word in ("--set", each)]
    return [
        sys.executable,
        "-m",
        "batcher.cli",
        "run",
        *map(str, words),
        "--base-url",
        endpoint.base_url,
        *sets,
    ]


@pytest.mark.parametrize(("answer", "code", "sent"), [(b"\n", 6, 0), (b"y\n", 0, 20)])
def test_the_question_stands_on_a_real_terminal(
    endpoint: Simulator, rows: Path, answer: bytes, code: int, sent: int
) -> None:
    mine, theirs = pty.openpty()
    command = dear_run(endpoint, rows)
    with subprocess.Popen(command, stdin=theirs, stderr=theirs, stdout=subprocess.DEVNULL) as process:
        os.close(theirs)
        said = b""
        while b"Send them?" not in said:
            said += os.read(mine, 4096)
        os.write(mine, answer)
        while process.poll() is None:
            try:
                said += os.read(mine, 4096)
            except OSError:  # the other end of the terminal was closed
                break
        assert process.wait() == code, said.decode()
    os.close(mine)
    assert sent_to(endpoint) == sent


def test_without_a_terminal_nobody_is_asked(endpoint: Simulator, rows: Path) -> None:
    command = dear_run(endpoint, rows)
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert sent_to(endpoint) == 20
