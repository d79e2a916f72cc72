"""`estimate`: free, changes nothing, and finds exactly what the run will find."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from typed_rows import sent_to
from verb_runs import PROMPT, batcher, write_rows

from batcher.cli.group import cli
from batcher.errors import DatasetError
from batcher.job import JobOptions, load_job
from batcher.verbs import estimate_rows
from batcher.verbs.decide import Step
from batcher.verbs.estimate import Estimate, estimate
from batcher.verbs.options import RunOptions
from batcher.verbs.run import run
from batcher.verbs.trial import try_rows

if TYPE_CHECKING:
    from pathlib import Path

    from batcher.cost.estimate import Interval
    from batcher.job import Job
    from batcher.simulator.launch import Simulator

pytest_plugins = ("verbs_fixtures",)

OPTIONS = RunOptions(environ={})
PRICES = ["prices.m.input=1.0", "prices.m.output=4.0"]
TEXTS = [f"thing {number} " + "of some length " * (number % 7) for number in range(60)]


def job_of(
    at: Simulator, rows: Path, *sets: str, out: str = "out.parquet", prompt: str = PROMPT, model: str = "m"
) -> Job:
    given = JobOptions(
        input=str(rows), output=str(rows.with_name(out)), model=model, prompt=prompt, base_url=at.base_url,
        concurrency=4,
    )  # fmt: skip
    return load_job(None, sets=[*PRICES, *sets], options=given)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "in.jsonl", TEXTS)


def counts(found: Estimate) -> tuple[int, int, int, int]:
    """(invalid, duplicates, answered, to send)."""
    weighed = found.weighed
    return weighed.invalid, weighed.duplicates, weighed.answered, weighed.to_send.requests


def around(interval: Interval | None) -> tuple[float, float, float]:
    assert interval is not None
    assert interval.likely is not None
    assert interval.high is not None
    return interval.low, interval.likely, interval.high


def test_nothing_is_sent_and_nothing_is_written(endpoint: Simulator, rows: Path) -> None:
    before = sorted(rows.parent.rglob("*"))
    found = estimate(job_of(endpoint, rows, "request.max_completion_tokens=100"), OPTIONS)
    assert sent_to(endpoint) == 0
    assert sorted(rows.parent.rglob("*")) == before
    assert found.step is Step.BEGIN
    assert counts(found) == (0, 0, 0, 60)
    assert around(found.reckoned.completion) == (60, 6_000, 6_000)


def test_invalid_rows_duplicates_and_limits_are_counted_as_the_run_would(
    endpoint: Simulator, tmp_path: Path
) -> None:
    rows = write_rows(tmp_path / "in.jsonl", ["a", "b", "a", None, "a", "c", "b"])
    prompt = "{{ text | upper }}"
    plain = estimate(job_of(endpoint, rows, prompt=prompt), OPTIONS)
    assert counts(plain) == (1, 3, 0, 6)
    assert plain.weighed.first_invalid is not None
    assert plain.weighed.first_invalid.row_index == 3
    once = estimate(job_of(endpoint, rows, "request.dedupe=true", prompt=prompt), OPTIONS)
    assert (counts(once), once.weighed.twins) == ((1, 3, 0, 3), 3)
    run(job_of(endpoint, rows, "request.dedupe=true", prompt=prompt), OPTIONS)
    assert sent_to(endpoint) == 3


def test_what_is_to_send_is_what_the_run_sends(endpoint: Simulator, rows: Path) -> None:
    try_rows(job_of(endpoint, rows), OPTIONS, count=12)
    found = estimate(job_of(endpoint, rows), OPTIONS)
    assert counts(found) == (0, 0, 12, 48)
    before = endpoint.totals()
    run(job_of(endpoint, rows), OPTIONS)
    after = endpoint.totals()
    assert sent_to(endpoint) == 60
    for interval, name in (
        (found.reckoned.prompt, "prompt_tokens"),
        (found.reckoned.completion, "completion_tokens"),
    ):
        low, _, high = around(interval)
        assert low <= after[name] - before[name] <= high, name
    done = estimate(job_of(endpoint, rows), OPTIONS)
    assert done.step is Step.FINISHED
    assert done.weighed.to_send.requests == 0
    assert around(done.reckoned.usd) == (0, 0, 0)


def test_answers_of_other_nights_count_where_reuse_names_them(endpoint: Simulator, rows: Path) -> None:
    run(job_of(endpoint, rows), OPTIONS)
    tonight = write_rows(rows.with_name("tonight.jsonl"), [*TEXTS[:50], *(f"new {n}" for n in range(5))])
    job = job_of(endpoint, tonight, out="tonight.parquet")
    assert counts(estimate(job, OPTIONS)) == (0, 0, 0, 55)
    reusing = RunOptions(environ={}, reuse=(str(rows.with_name("out*.parquet")),))
    assert counts(estimate(job, reusing)) == (0, 0, 50, 5)
    fresh = RunOptions(environ={}, fresh=True)
    assert counts(estimate(job_of(endpoint, rows), fresh)) == (0, 0, 0, 60)


def test_an_earlier_output_tells_how_long_answers_are(endpoint: Simulator, rows: Path) -> None:
    run(job_of(endpoint, rows), OPTIONS)
    spent = endpoint.totals()
    others = write_rows(rows.with_name("others.jsonl"), [text.replace("thing", "trifle") for text in TEXTS])
    job = job_of(endpoint, others, out="others.parquet")
    found = estimate(job, OPTIONS, earlier=rows.with_name("out.parquet"))
    assert "60 rows of out.parquet" in found.reckoned.tokens_from
    low, likely, high = around(found.reckoned.total)
    told = spent["prompt_tokens"] + spent["completion_tokens"]
    assert likely == pytest.approx(told, rel=0.1)
    assert low < likely < high
    assert found.reckoned.seconds is not None, "4 at once, and the latency of the earlier answers"


def test_an_earlier_output_that_tells_nothing_is_refused(endpoint: Simulator, rows: Path) -> None:
    job = job_of(endpoint, rows)
    with pytest.raises(DatasetError, match="cannot be read"):
        estimate(job, OPTIONS, earlier=rows)
    run(job, OPTIONS)
    rows.write_text(rows.read_text().replace('"id"', '"number"'))
    with pytest.raises(DatasetError, match="no column number"):
        estimate(
            job_of(endpoint, rows, prompt="{{ number }}", out="b.parquet"),
            OPTIONS,
            earlier=rows.with_name("out.parquet"),
        )


def test_completions_without_a_maximum_and_without_usage_are_not_guessed(
    endpoint: Simulator, rows: Path
) -> None:
    found = estimate(job_of(endpoint, rows), OPTIONS)
    assert found.reckoned.completion == (60.0, None, None)
    assert found.reckoned.usd is not None
    assert found.reckoned.usd.high is None
    unpriced = estimate(job_of(endpoint, rows, model="nobody-knows"), OPTIONS)
    assert unpriced.reckoned.usd is None
    assert unpriced.reckoned.unpriced == ("nobody-knows",)


def test_the_slowest_of_the_set_limits_tells_the_time(endpoint: Simulator, rows: Path) -> None:
    found = estimate(job_of(endpoint, rows, "limits.requests_per_minute=30"), OPTIONS)
    assert around(found.reckoned.seconds) == (120, 120, 120)
    slower = estimate(
        job_of(
            endpoint, rows, "limits.requests_per_minute=30", "limits.tokens_per_minute=10",
            "request.max_completion_tokens=5",
        ),
        OPTIONS,
    )  # fmt: skip
    assert slower.reckoned.seconds_from == "10 tokens/min"
    assert estimate(job_of(endpoint, rows), OPTIONS).reckoned.seconds is None


def test_hashes_beyond_the_memory_are_counted_on_disk(
    endpoint: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimate_rows, "SPILL_BYTES", 160)
    rows = write_rows(tmp_path / "in.jsonl", [f"text {number % 40}" for number in range(100)])
    assert estimate(job_of(endpoint, rows), OPTIONS).weighed.duplicates == 60


def test_the_command_prints_requests_alone_on_stdout(endpoint: Simulator, rows: Path) -> None:
    words = ["-i", rows, "-o", rows.with_name("out.parquet"), "--model", "m", "--prompt", PROMPT]
    said = batcher("estimate", *words, "--base-url", endpoint.base_url, "--show", "1")
    assert said.exit_code == 0, said.stderr
    assert json.loads(said.stdout)["messages"] == [
        {"role": "user", "content": f"Say something about {TEXTS[0]}."}
    ]
    assert "60 rows · 60 to send" in said.stderr
    assert "nothing was sent" in said.stderr
    told = batcher("estimate", *words, "--base-url", endpoint.base_url, "--json")
    found = json.loads(told.stdout)
    assert (found["rows"], found["to_send"], found["run_would"]) == (60, 60, "begin")
    assert found["completion_tokens"]["high"] is None


def test_standard_input_can_be_estimated_and_is_not_kept(endpoint: Simulator, tmp_path: Path) -> None:
    words = ["-i", "-", "-o", str(tmp_path / "o.parquet"), "--model", "m", "--base-url", endpoint.base_url]
    said = CliRunner().invoke(cli, ["estimate", *words], input=b'{"prompt": "a"}\n{"prompt": "b"}\n')
    assert said.exit_code == 0, said.stderr
    assert "2 rows · 2 to send" in said.stderr
    assert list(tmp_path.iterdir()) == []


def test_images_widen_the_interval_and_not_the_text(endpoint: Simulator, tmp_path: Path) -> None:
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "https://pictures.example/1.png"}},
    ]
    row = {"messages": [{"role": "user", "content": parts}]}
    rows = tmp_path / "in.jsonl"
    rows.write_text(f"{json.dumps(row)}\n" * 3)
    given = JobOptions(
        input=str(rows), output=str(tmp_path / "o.parquet"), model="m", base_url=endpoint.base_url
    )
    found = estimate(load_job(None, options=given), OPTIONS)
    assert found.weighed.pictures == 3
    low, likely, high = around(found.reckoned.prompt)
    assert 3 * 85 < low < 3 * 110
    assert 3 * 765 < likely < 3 * 790
    assert high > 3 * 50_000
