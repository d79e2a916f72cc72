"""The findings of a report, held against the output they come from, and the page that is written of them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa
import pytest
from report_outputs import CATEGORIES, answered, night_of_faults, write_output
from verb_runs import carry_out, simulator, write_rows

from batcher.errors import Conflict, JobError, StorageError
from batcher.report.brief import comparison_text, report_text
from batcher.report.findings import Cost, Findings, Tokens
from batcher.report.page import report_page
from batcher.verbs.report import default_page, findings_of, write_page
from batcher.verbs.report_at_end import page_path
from batcher.verbs.report_comparison import comparison_of
from batcher.verbs.report_counts import LabelCounter

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ROWS = 20_000
SHELL = Findings(
    output="out.parquet", run_id="r", version="0", model="m", base_url="simulated", simulated=True, complete=True,
    created_at=0.0, generation=0, prices_version=None, rows=205, outcomes={"ok": 205}, waiting=0, reused=0, attempts={},
    warnings={}, tokens=Tokens(), cost=Cost(), models=(), timeline=None, latency=None, ttft=None, classes=(),
    more_classes=0, more_rows=0, labels=(), answers=(),
)  # fmt: skip
"""Findings of which nothing is known."""
HOSTILE = "</style></svg><script>alert(1)</script><img src=x onerror=alert(2)>\" ' & {{ 7 * 7 }}"
CONTROL = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]"
ESCAPES = "\x1b[31mred\x1b[0m\x1b]0;title\x07\x9b2J\r\x08\u202e[bold]not markup[/bold]"


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return night_of_faults(tmp_path_factory.mktemp("report") / "labels.parquet", ROWS)


@pytest.fixture(scope="module")
def found(night: Path) -> Findings:
    return findings_of(night)


class Reader(HTMLParser):
    """Elements and attributes of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: dict[str, set[str]] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, set()).add(value or "")


def test_counts_sums_and_quantiles_are_those_of_the_file(night: Path, found: Findings) -> None:
    rows = pd.read_parquet(night)
    assert found.rows == len(rows) == ROWS
    assert found.outcomes == rows["outcome"].value_counts().to_dict()
    assert found.cost.usd == pytest.approx(rows["cost_usd"].sum())
    assert found.cost.not_ok_usd == pytest.approx(rows.loc[rows["outcome"] != "ok", "cost_usd"].sum())
    assert found.tokens.billed_prompt == rows["billed_prompt_tokens"].sum()
    assert found.attempts == rows["attempts"].value_counts().sort_index().to_dict()
    assert found.latency is not None
    for share, told in ((0.5, found.latency.p50), (0.95, found.latency.p95), (0.99, found.latency.p99)):
        assert told == pytest.approx(rows["latency_ms"].quantile(share), rel=0.015)
    assert sum(each.rows for each in found.latency.bins) == rows["latency_ms"].count()
    by_model = rows[rows["attempts"] > 0].groupby("request_model")
    assert {use.model: use.rows for use in found.models} == by_model.size().to_dict()
    assert {use.model: use.cost_usd for use in found.models} == pytest.approx(
        by_model["cost_usd"].sum().to_dict()
    )


def test_the_timeline_has_every_row_once_and_leaves_the_quiet_hours_out(night: Path, found: Findings) -> None:
    rows = pd.read_parquet(night, columns=["received_at", "cost_usd"]).dropna(subset="received_at")
    assert found.timeline is not None
    assert found.timeline.rows == len(rows)
    spent = sum(counts.cost_usd for each in found.timeline.slices for counts in each.by_model.values())
    assert spent == pytest.approx(rows["cost_usd"].sum())
    assert len(found.timeline.stretches) == 2
    assert (
        found.timeline.at_work_s
        < 3_600
        < 6 * 3_600
        < (rows["received_at"].max() - rows["received_at"].min()).seconds
    )


def test_classes_tell_their_rows_and_show_rows_of_their_own(night: Path, found: Findings) -> None:
    rows = pd.read_parquet(night)
    assert [each.rows for each in found.classes] == sorted(
        (each.rows for each in found.classes), reverse=True
    )
    assert sum(each.rows for each in found.classes) == (rows["outcome"] != "ok").sum()
    for each in found.classes:
        assert 1 <= len(each.examples) <= 3
        for example in each.examples:
            row = rows.iloc[example.row_index]
            assert (row["outcome"], row["custom_id"]) == (each.outcome, example.custom_id)
    assert {each.outcome for each in found.classes} == {"failed", "truncated", "refused", "invalid"}
    truncated = next(each for each in found.classes if each.outcome == "truncated")
    assert truncated.advice.startswith("batcher retry ")


def test_labels_are_counted_most_frequent_first(night: Path, found: Findings) -> None:
    rows = pd.read_parquet(night)
    category, urgent = found.labels
    assert {each.value: each.rows for each in category.counts} == rows["category"].value_counts().to_dict()
    assert {each.value for each in category.counts} == set(CATEGORIES)
    assert category.nulls == rows["category"].isna().sum()
    assert [each.value for each in urgent.counts] == ["no", "yes"]


def test_what_was_taken_over_is_not_what_this_run_did(tmp_path: Path) -> None:
    taken = {"reused_from": "run-0", "attempts": 0, "paid_attempts": 0, "cost_usd": 0.0, "latency_ms": 9e6}
    rows = [answered(n, **(taken if n < 4 else {})) for n in range(10)]
    told = findings_of(write_output(tmp_path / "out.parquet", rows))
    assert (told.rows, told.reused, told.bought) == (10, 4, 6)
    assert told.latency is not None
    assert told.latency.most == 800.0
    assert told.timeline is not None
    assert told.timeline.rows == 6
    assert told.models[0].rows == 6


FAILED = {"outcome": "failed", "error_type": "server_error"}
TAKEN = {"reused_from": "run-0", "cost_usd": 0.0}


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "The input had no rows, so nothing was asked."),
        ([answered(0)], "The one row is ok, in 0.9 s for $0.00002."),
        ([answered(0, cost_usd=None), answered(1)], "All 2 rows are ok, in 0.9 s for $0.00002."),
        (
            [answered(n, cost_usd=None) for n in range(2)],
            "All 2 rows are ok, in 0.9 s, at a cost that is not known.",
        ),
        (
            [answered(0, **FAILED)],
            "The one row is not ok, in 0.9 s for $0.00002; it is failed: server error.",
        ),
        (
            [answered(n, **TAKEN) for n in range(3)],
            "All 3 rows are ok, all of them taken over from earlier answers, so nothing was bought.",
        ),
    ],
)
def test_a_small_or_odd_output_has_its_verdict_page_and_text(
    tmp_path: Path, rows: list[dict[str, object]], words: str
) -> None:
    told = findings_of(write_output(tmp_path / "out.parquet", rows))
    assert words in re.sub(r"\s+", " ", report_text(told))
    assert words in report_page(told, now=0.0)


def test_prompts_and_answers_come_out_harmless(tmp_path: Path) -> None:
    rows = [
        answered(0, completion=HOSTILE + ESCAPES, category=HOSTILE, custom_id=HOSTILE),
        answered(
            1, outcome="failed", error_type=ESCAPES, error_code=HOSTILE, error_message=HOSTILE + ESCAPES
        ),
        answered(2, outcome="refused", refusal=ESCAPES + HOSTILE, category=ESCAPES, request_model=HOSTILE),
    ]
    told = findings_of(
        write_output(
            tmp_path / "out.parquet",
            rows,
            labels={"category": ("a", "b")},
            facts={"model": HOSTILE + ESCAPES},
        )
    )
    page, text = report_page(told, now=0.0), report_text(told)
    read = Reader(page)
    assert not read.tags & {"script", "img", "iframe", "object", "link", "base", "form"}
    assert not any(name.startswith("on") or name in {"src", "srcset"} for name in read.attributes)
    assert all(value.startswith("#") for value in read.attributes["href"])
    assert "{{ 7 * 7 }}" in page
    for drawn in (page, text):
        assert not re.search(CONTROL, drawn)
    assert "[bold]not markup[/bold]" in re.sub(r"\s+", " ", text)


def test_a_page_is_one_file_that_loads_nothing(found: Findings) -> None:
    page = report_page(found, now=1_795_400_000.0)
    read = Reader(page)
    assert "default-src 'none'; style-src 'unsafe-inline'" in read.attributes["content"]
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg|api\.pipellm\.ai)", page)
    assert "url(" not in page
    assert "@import" not in page
    assert len(page) < 200_000
    assert page.count("<svg") == page.count("<desc") == 7


def test_a_page_replaces_an_earlier_report_and_nothing_else(
    night: Path, found: Findings, tmp_path: Path
) -> None:
    page = default_page(night)
    assert page.name == "labels.report.html"
    write_page(found, page)
    first = page.read_text()
    write_page(found, page)
    assert page.read_text().splitlines()[0] == first.splitlines()[0] == "<!doctype html>"
    mine = tmp_path / "mine.html"
    mine.write_text("<!doctype html><p>mine</p>")
    with pytest.raises(Conflict):
        write_page(found, mine)
    assert mine.read_text() == "<!doctype html><p>mine</p>"
    with pytest.raises(JobError):
        write_page(found, tmp_path / "no" / "page.html")


def test_a_finished_run_tells_its_job_sessions_and_flow(tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "in.jsonl", [f"thing {n}" for n in range(30)])
    output = tmp_path / "out.parquet"
    with simulator() as at:
        carry_out(
            at, rows, output, sets=["tags.team='support'", "endpoint.headers={X-Team = 'secret value'}"]
        )
    told = findings_of(output)
    assert {"request", "tags", "endpoint"} <= set(told.settings)
    assert any(each.key == "prompt" for each in told.settings["request"])
    assert [(each.verb, each.rows, each.exit_code) for each in told.sessions] == [("run", 30, 0)]
    assert told.samples
    page = report_page(told, now=0.0)
    assert "Say something about {{ text }}." in page
    assert "secret value" not in page
    assert json.dumps(told.to_json())


def test_without_its_run_directory_an_output_still_has_a_report(night: Path, found: Findings) -> None:
    assert not (night.parent / ".batcher").exists()
    assert (found.settings, found.sessions, found.samples) == ({}, (), ())
    assert "the run directory is gone" in report_page(found, now=0.0)


def test_what_is_no_output_is_refused(tmp_path: Path, night: Path) -> None:
    other = tmp_path / "other.parquet"
    pd.DataFrame({"a": [1]}).to_parquet(other)
    with pytest.raises(JobError, match="not an output of batcher"):
        findings_of(other)
    with pytest.raises(JobError, match="does not exist"):
        findings_of(tmp_path / "none.parquet")
    damaged = tmp_path / "damaged.parquet"
    content = bytearray(night.read_bytes())
    content[len(content) // 2] ^= 0xFF
    damaged.write_bytes(content)
    with pytest.raises(StorageError, match="damaged"):
        findings_of(damaged)


def test_two_outputs_are_matched_row_by_row_whatever_their_order(tmp_path: Path) -> None:
    def output(name: str, answers: Sequence[tuple[str, str | None]]) -> Path:
        rows = [
            answered(n, custom_id=custom_id, category=label, cost_usd=0.001)
            for n, (custom_id, label) in enumerate(answers)
        ]
        return write_output(tmp_path / name, rows, labels={"category": ("a", "b")})

    left = [("r0", "a"), ("r1", "a"), ("r2", "b"), ("r3", "b"), ("r4", None)]
    right = [("r0", "a"), ("r1", "b"), ("r2", "b"), ("r3", "b"), ("r4", "a")]
    one = output("one.parquet", left)
    for name, answers in (("same", right), ("turned", right[::-1])):
        told = comparison_of(one, output(f"{name}.parquet", answers))
        (category,) = told.agreements
        assert (told.matched, told.only_left, told.only_right) == (5, 0, 0)
        assert told.matched_by == {"same": "row_index", "turned": "custom_id"}[name]
        assert (category.compared, category.equal) == (4, 3)
        assert category.kappa == pytest.approx(0.5)  # observed 3/4, by chance (2*1 + 2*3) / 16
        assert {(pair.left, pair.right) for pair in category.pairs} == {("a", "b"), (None, "a")}
        assert told.outcomes[0][:] == ("ok", "ok", 5)
    fewer = comparison_of(one, output("fewer.parquet", right[1:3]))
    assert (fewer.matched, fewer.only_left, fewer.only_right) == (2, 3, 0)
    assert "2 rows stand in both" in comparison_text(fewer)


def test_a_run_writes_the_page_its_job_names_and_a_page_that_cannot_be_written_fails_nothing(
    tmp_path: Path,
) -> None:
    rows = write_rows(tmp_path / "in.jsonl", ["one thing", "another"])
    page = tmp_path / "report.html"
    with simulator() as at:
        carry_out(at, rows, tmp_path / "out.parquet", sets=[f"output.report='{page}'"])
        told = page.read_text()
        mine = tmp_path / "mine.html"
        mine.write_text("mine")
        summary = carry_out(at, rows, tmp_path / "other.parquet", sets=[f"output.report='{mine}'"])
    assert "All 2 rows are ok" in told
    assert "Sessions" in told
    assert (summary.exit_code, mine.read_text()) == (0, "mine")
    with pytest.raises(JobError, match=r"a page, so its name ends in \.html"):
        carry_out(at, rows, tmp_path / "third.parquet", sets=["output.report='report.parquet'"])
    assert page_path(page, simulated=True).name == "report.simulated.html"


def test_numbers_get_a_histogram_and_free_texts_only_a_few_lines() -> None:
    numbers, texts, flags = (LabelCounter(name) for name in (f"score {HOSTILE}{ESCAPES}", "why", "flag"))
    numbers.add(pa.chunked_array([list(range(1, 201))]))
    texts.add(pa.chunked_array([[f"because {n}" for n in range(200)] + [None] * 5]))
    flags.add(pa.chunked_array([[True, False, True, None]]))
    score, why, flag = (each.column() for each in (numbers, texts, flags))
    assert score.spread is not None
    assert (score.spread.least, score.spread.most) == (1, 200)
    assert score.spread.p50 == pytest.approx(100, rel=0.02)
    assert (why.distinct, why.nulls, why.is_free, why.spread) == (200, 5, True, None)
    assert [each[:] for each in flag.counts] == [("true", 2), ("false", 1)]
    told = replace(SHELL, labels=(score, why, flag))
    page, text = report_page(told, now=0.0), report_text(told)
    assert page.count("<svg") == 2  # the outcomes and the score
    assert not Reader(page).tags & {"script", "img"}
    assert not re.search(CONTROL, page + text)
    assert "because 0" in page
    assert "200 different values" in text
    assert page.count("because ") < 8
