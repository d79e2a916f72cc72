"""What verbs that send requests share: options to a session, its end to stdout, stderr and a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from batcher.cli.options import RunArguments
from batcher.cli.session import first_rows, run_options, stops_told, tell_done
from batcher.errors import AccountError, JobError, StorageError
from batcher.report import Summary
from batcher.report.terminal import LogDisplay
from batcher.verbs.session import Silence

DONE = Summary(verb="run", output="/nowhere/o.parquet", rows_total=1, outcomes={"ok": 1})


def test_options_are_carried_one_to_one() -> None:
    given = RunArguments(
        replace=True, fresh=True, reuse=("a*",), yes=True, simulate=True, durability="strict", on_bad_row="stop",
        allow_failures=0.25, allow_http=True, state=Path("s"), quiet=True,
    )  # fmt: skip
    found = run_options(given)
    assert found.replace
    assert found.fresh
    assert found.yes
    assert found.simulate
    assert found.strict
    assert found.stop_on_bad_row
    assert found.allow_http
    assert (found.reuse, found.allow_failures, found.state) == (("a*",), 0.25, Path("s"))
    assert isinstance(found.display, Silence)


def test_the_defaults_change_nothing_and_show_progress() -> None:
    found = run_options(RunArguments())
    assert not any(
        [found.replace, found.fresh, found.yes, found.simulate, found.strict, found.stop_on_bad_row]
    )
    assert isinstance(found.display, LogDisplay)


def test_a_finished_verb_is_told_to_people_and_on_request_as_json(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    tell_done(RunArguments(), DONE)
    out, err = capsys.readouterr()
    assert not out
    assert "1 rows, verified" in err
    tell_done(RunArguments(json=True, summary=tmp_path / "s.json"), DONE)
    out, _ = capsys.readouterr()
    assert json.loads(out) == json.loads((tmp_path / "s.json").read_text())
    assert json.loads(out)["outcomes"] == {"ok": 1}


def test_a_stop_is_json_with_the_summary_it_carries(capsys: pytest.CaptureFixture[str]) -> None:
    error = AccountError("no key")
    error.summary = Summary(verb="retry", exit_code=5, rows_done=7)
    with pytest.raises(AccountError), stops_told(RunArguments(json=True), verb="retry"):
        raise error
    out, err = capsys.readouterr()
    assert json.loads(out)["rows_done"] == 7
    assert not err, "the boundary says it to people"


def test_a_stop_without_a_session_names_verb_code_and_what_helps(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(JobError), stops_told(RunArguments(json=True), verb="try"):
        raise JobError("bad job", hint="mend it")
    found = json.loads(capsys.readouterr().out)
    assert [found[key] for key in ("verb", "exit_code", "exit_reason", "next", "message", "hint")] == [
        "try", 2, "job_not_usable", "change_job", "bad job", "mend it",
    ]  # fmt: skip


def test_a_summary_file_that_cannot_be_written_does_not_hide_the_stop(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = RunArguments(summary=tmp_path / "absent" / "s.json")
    with pytest.raises(AccountError), stops_told(arguments, verb="run"):
        raise AccountError("no key")
    assert "s.json" in capsys.readouterr().err
    with pytest.raises(StorageError):
        tell_done(arguments, DONE)


def test_a_bug_is_not_dressed_up_as_a_stop(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), stops_told(RunArguments(json=True), verb="run"):
        raise ZeroDivisionError
    assert not capsys.readouterr().out


def test_without_an_output_no_rows_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    first_rows(Summary(verb="run"), (), input_columns=2)
    assert capsys.readouterr() == ("", "")
