"""Odd replies, held against the list of them; and what servers and models say, shown on a terminal."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import orjson
import pytest
from runs import MODEL, PROMPT, batcher, carry, make_job, marked, table_of, write_texts
from table_expected import TABLE
from talker import talker

from batcher.simulator import MODES, lines

if TYPE_CHECKING:
    from pathlib import Path

# The plain replies of the list of odd replies, in its words; streaming is another matter.
ODD_REPLIES = (
    "headers then silence",
    "one byte a minute",
    "Content-Length wrong, repeated, negative",
    "gzip header over plain body",
    '`null`, `[]`, `{}`, `{"choices": null}`, message null',
    "content a list of parts",
    "content a number",
    "usage strings, floats, 1e30, negative",
    'error as string, list, nested, `{"detail": …}`, HTML, XML',
    "1xx replies",
    "HTTP/1.0 bodies without length",
    "kept-alive connection closed between requests",
    "reply before the request was fully sent",
    "`Retry-After` 0, negative, NaN, a year, garbage",
    "llama.cpp sends `code: 400` as a number",
    "500 for malformed JSON and unsupported images",
    'transformers serve answers `{"detail": …}`',
    "plain-text 500s",
    "the LiteLLM proxy's 429 may have type `internal_server_error` and no Retry-After",
    "its tool calls finish with `stop`",
    'vLLM ends an aborted generation with 200 and `finish_reason: "abort"`',
)
EVIL = "\x1b[2J\x1b]0;owned\x07\x1b[31mred\x9b5m\r\nfake: 100% ok\x00\x08\x7f \u202eevil\u2066 \U0001f600"
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def test_every_odd_reply_has_a_mode_and_every_such_mode_its_expectation() -> None:
    assert lines.ODD_REPLIES == ODD_REPLIES
    modes = {mode.odd_reply: name for name, mode in MODES.items() if mode.odd_reply is not None}
    assert set(modes) == set(ODD_REPLIES)
    assert set(modes.values()) <= set(TABLE)


def completion(text: str, **message: object) -> dict[str, object]:
    return {
        "id": f"id {text}",
        "model": f"m {text}",
        "choices": [{"message": {"role": "assistant", "content": text, **message}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
    }


def arguments(base_url: str, *further: str) -> list[str]:
    command = ["run", "-i", "in.jsonl", "-o", "out.parquet", "--model", MODEL, "--prompt", PROMPT]
    return [*command, "--base-url", base_url, *further]


SPEECHES = [
    pytest.param(200, completion(EVIL), 0, id="answer"),
    pytest.param(200, completion(EVIL, refusal=EVIL), 3, id="refusal"),
    pytest.param(422, {"error": {"message": EVIL, "type": EVIL, "code": EVIL}}, 3, id="failed row"),
    pytest.param(401, {"error": {"message": EVIL, "type": EVIL, "code": EVIL}}, 5, id="stop"),
    pytest.param(501, f"<html>{EVIL}</html>".encode(), 2, id="page"),
    pytest.param(200, {"error": {"message": EVIL, "code": "insufficient_quota"}}, 5, id="error in 200"),
]


@pytest.mark.parametrize(("status", "body", "exit_code"), SPEECHES)
def test_control_characters_of_servers_and_models_do_not_reach_a_log(
    tmp_path: Path, status: int, body: object, exit_code: int
) -> None:
    write_texts(tmp_path / "in.jsonl", [f"{text} {EVIL.replace(chr(0), '')}" for text in marked(3)])
    with talker(status, body) as base_url:
        ended = batcher(*arguments(base_url), folder=tmp_path)
    assert ended.returncode == exit_code
    assert CONTROL.search(ended.stderr.decode()) is None
    assert b"red" in ended.stderr, "what was said is shown, harmless"


@pytest.mark.parametrize(("status", "body", "exit_code"), SPEECHES)
def test_control_characters_of_servers_and_models_do_not_reach_a_terminal(
    tmp_path: Path, status: int, body: object, exit_code: int
) -> None:
    """On a terminal the program's own sequences are expected; what was said must not hold any."""
    write_texts(tmp_path / "in.jsonl", marked(3))
    with talker(status, body) as base_url:
        code, shown = _on_a_terminal(arguments(base_url), tmp_path)
    assert code == exit_code
    for sequence in (
        "\x1b[2J",
        "\x1b]0;",
        "owned\x07",
        "\x1b[31m",
        "\x9b",
        "\x00",
        "\x08",
        "\u202e",
        "\u2066",
    ):
        assert sequence not in shown


def test_what_a_model_said_is_stored_as_it_said_it(tmp_path: Path) -> None:
    """Harmless is for the terminal; the data are the data."""
    write_texts(tmp_path / "in.jsonl", marked(3))
    with talker(200, completion(EVIL)) as base_url:
        ended = carry(make_job(tmp_path, base_url))
    assert ended.exit_code == 0
    assert {row["completion"] for row in table_of(tmp_path / "out.parquet")} == {EVIL}


def test_error_text_of_a_stop_in_json_is_one_object_on_one_line(tmp_path: Path) -> None:
    write_texts(tmp_path / "in.jsonl", marked(3))
    with talker(401, {"error": {"message": EVIL}}) as base_url:
        ended = batcher(*arguments(base_url, "--json"), folder=tmp_path)
    assert ended.stdout.count(b"\n") == 1
    assert orjson.loads(ended.stdout)["exit_code"] == 5


def test_a_server_that_speaks_of_ten_thousand_things_is_quoted_briefly(tmp_path: Path) -> None:
    write_texts(tmp_path / "in.jsonl", marked(3))
    with talker(401, {"error": {"message": "no " * 100_000}}) as base_url:
        ended = batcher(*arguments(base_url), folder=tmp_path)
    assert ended.returncode == 5
    assert len(ended.stderr) < 5_000


def _on_a_terminal(command: list[str], folder: Path) -> tuple[int, str]:
    """Run the command on a pseudo-terminal; its exit code and everything it drew."""
    mine, its = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "batcher.cli", *command],
        cwd=folder,
        stdin=its,
        stdout=its,
        stderr=its,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"},
    )
    os.close(its)
    shown = b""
    try:
        while block := _read(mine):
            shown += block
    finally:
        os.close(mine)
    return process.wait(60), shown.decode("utf-8", "replace")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # Linux says EIO when the last writer is gone
        return b""
