"""`batcher report`: where its text, its JSON and its page go, and what it refuses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from cli_runs import batcher

if TYPE_CHECKING:
    from pathlib import Path

    from cli_runs import Place

pytest_plugins = ["cli_fixtures"]


@pytest.fixture
def output(place: Place) -> Path:
    rows = place.write("".join(json.dumps({"text": f"thing {n}"}) + "\n" for n in range(12)))
    place.endpoint.control(faults_by_substring={"thing 7": "context_length"})
    assert place.run(rows, "-q").code == 3
    return place.output


def test_the_text_goes_to_stdout(output: Path) -> None:
    said = batcher("report", output)
    assert said.code == 0
    assert said.err == ""
    assert "11 of 12 rows (91.7%) are ok" in said.out
    assert "failed: context too long" in said.out
    assert "\x1b" not in said.out


def test_json_is_one_object_with_the_figures(output: Path) -> None:
    told = batcher("report", output, "--json").summary
    assert told["outcomes"] == {"ok": 11, "failed": 1}
    assert told["classes"][0]["examples"][0]["row_index"] == 7
    assert told["rows_per_s"] > 0
    assert told["settings"]["request"][0]["key"] == "model"


def test_the_page_goes_beside_the_output_or_where_it_is_named(output: Path) -> None:
    said = batcher("report", output, "--html")
    assert (said.code, said.out) == (0, "")
    page = output.with_name("out.report.html")
    assert str(page) in said.err
    assert page.read_text().startswith("<!doctype html>")
    named = output.with_name("night.html")
    assert batcher("report", output, "--html", named, "--json").summary["rows"] == 12
    assert "11 of 12 rows" in named.read_text()


def test_two_outputs_are_compared(output: Path) -> None:
    said = batcher("report", output, output)
    assert "12 rows stand in both, matched by row_index" in said.out
    assert batcher("report", output, output, "--json").summary["agreements"][0]["share"] == 1.0
    assert batcher("report", output, output, "--html").code == 0
    assert "Two outputs side by side" in output.with_name("out.with.out.report.html").read_text()


def test_no_page_takes_the_place_of_an_output_or_of_anything_else(output: Path) -> None:
    before = output.read_bytes()
    assert batcher("report", output, "--html", output).code == 2
    assert batcher("report", "--html", output).code == 2
    link = output.with_name("mine.html")
    link.write_text("<p>mine</p>")
    assert batcher("report", output, "--html", link).code == 4
    assert (output.read_bytes(), link.read_text()) == (before, "<p>mine</p>")


def test_an_output_that_is_not_there_yet_says_what_to_type(place: Place) -> None:
    assert batcher("report", place.output).code == 2
    rows = place.write('{"text": "a"}\n{"text": "b"}\n')
    place.endpoint.control(fail_after={"unauthorized": 1})
    assert place.run(rows, "--concurrency", "1", "-q").code == 5
    said = batcher("report", place.output)
    assert said.code == 2
    assert "is not finished" in said.err
    assert "batcher export out.parquet -o PART.parquet" in said.err
    assert batcher("export", place.output, "-o", "part.parquet").code == 0
    part = batcher("report", "part.parquet")
    assert "So far, of a run that is not finished, the one row is ok" in part.out
