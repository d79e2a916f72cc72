"""Every line of the rules for bad input, the whole way through `batcher run`.

What must be exit 2 (or 4, 5) before any request, what becomes an `invalid` row with a reason and exit 3. The details of
each rule have their tests in tests/dataset, tests/job and tests/endpoint.
"""

from __future__ import annotations

import codecs
import gzip
import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cli_runs import batcher

if TYPE_CHECKING:
    from pathlib import Path

    from cli_runs import Place, Said

pytest_plugins = ("cli_fixtures",)

LINE = b'{"text": "a"}\n'


def refused(place: Place, said: Said, *words: str, code: int = 2) -> None:
    """The command ended so, said so on stderr alone, and nothing was sent or published."""
    assert said.code == code, said.err
    for word in words:
        assert word in said.err, said.err
    assert "Traceback" not in said.err
    assert not said.out
    assert place.sent == 0
    assert not place.output.exists()


def outcomes(place: Place) -> list[tuple[str, str]]:
    return [(row["outcome"], row["error_message"] or "") for row in place.rows()]


# --- JSONL: the file


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["0 rows", "--allow-empty"]),
        (b"\n  \r\n\n", ["0 rows"]),
        (LINE.decode().encode("utf-16"), ["UTF-16"]),
        (LINE.decode().encode("utf-16-be"), ["UTF-16"]),
        (LINE.decode().encode("utf-32"), ["UTF-32"]),
        (b'[{"text": "a"}, {"text": "b"}]', ["array"]),
        (b'[\n{"text": "a"},\n{"text": "b"}\n]\n', ["array"]),
        (b'{"other": 1}\n{"another": 2}\n', ["text", "other"]),
        (b'{"Text": "a"}\n', ["text", "Text"]),
    ],
    ids=["empty", "blank", "utf-16", "utf-16-be", "utf-32", "array", "array over lines", "no column", "case"],
)
def test_a_file_that_cannot_be_used_stops_before_anything_is_sent(
    place: Place, content: bytes, words: list[str]
) -> None:
    refused(place, place.run(place.write(content)), *words)


@pytest.mark.parametrize("rows", [b'{"prompt": null}\n{"prompt": ""}\n', b'{"prompt": null}\n'])
def test_a_prompt_column_without_any_prompt_stops(place: Place, rows: bytes) -> None:
    refused(place, place.run(place.write(rows), prompt=None), "prompt")


def test_without_template_prompt_or_messages_the_columns_are_listed(place: Place) -> None:
    refused(place, place.run(place.write(b'{"id": 1, "question": "a"}\n'), prompt=None), "id", "question")


def test_an_empty_input_may_be_allowed(place: Place) -> None:
    source = place.write(b"")
    said = place.run(source, "--allow-empty")
    assert (said.code, place.sent) == (0, 0), said.err
    assert place.rows() == []


def test_files_that_are_not_there(place: Place) -> None:
    (place.folder / "folder").mkdir()
    refused(place, place.run("absent.jsonl"), "absent.jsonl")
    refused(place, place.run("*.jsonl"), "*.jsonl")
    refused(place, place.run("folder"), "folder")


def test_the_input_is_not_the_output(place: Place) -> None:
    said = place.run(place.write(LINE, "out.parquet"), "--set", "input.format=jsonl")
    assert said.code in {2, 4}
    assert place.output.read_bytes() == LINE
    assert place.sent == 0


def test_directories_and_globs_are_read_in_the_order_of_names(place: Place) -> None:
    (place.folder / "data").mkdir()
    for name in ("b", "a", "c"):
        place.write(json.dumps({"text": name}), f"data/{name}.jsonl")
    assert place.run("data").code == 0
    assert [row["text"] for row in place.rows()] == ["a", "b", "c"]
    place.output.unlink()
    assert place.run("data/[bc].jsonl", "--replace").code == 0
    assert [row["text"] for row in place.rows()] == ["b", "c"]


def test_csv_and_object_stores_are_refused_with_what_helps(place: Place) -> None:
    refused(place, place.run(place.write("text\na\n", "in.csv")), "CSV", "duckdb")
    refused(place, place.run("s3://bucket/in.jsonl"), "s3://", "aws s3 cp")


# --- JSONL: rows

ROWS: list[tuple[bytes, str, str]] = [
    (b'{"text": "plain"}', "ok", ""),
    (b'{"text": "carriage return"}\r', "ok", ""),
    (b'{"text": "bad \xff"}', "invalid", "UTF-8"),
    (b'{"text": "\\ud83d"}', "invalid", "surrogate"),
    ('{"text": "data: \u2028 \u2029 \x85"}'.encode(), "ok", ""),
    (b'{"text": "nul \\u0000"}', "ok", ""),
    (b'{"text": "a", "x": NaN}', "invalid", "NaN"),
    (b'{"text": "a", "x": -Infinity}', "invalid", "Infinity"),
    (b'{"text": "a", "id": 98765432109876543210987}', "ok", ""),
    (b'{"text": "first", "text": "last"}', "ok", ""),
    (b"[1]", "invalid", "array"),
    (b'"text"', "invalid", "string"),
    (b"17", "invalid", "number"),
    (b"null", "invalid", "null"),
    (b'{"text": "a"} {"text": "b"}', "invalid", "JSON"),
    (b'{"text": "a"} // comment', "invalid", "JSON"),
    (b"{'text': 'a'}", "invalid", "JSON"),
    (b'{"text": ' + b"[" * 1_100 + b"]" * 1_100 + b"}", "invalid", "1,024"),
    (b'{"other": "no text"}', "invalid", "text"),
    (b'{"text": null}', "invalid", "text"),
    (b'{"text": "cut he', "invalid", "the file may be incomplete"),
]


def test_bad_rows_become_invalid_rows_with_a_reason_and_the_others_run(place: Place) -> None:
    source = place.write(codecs.BOM_UTF8 + b"\n\n".join(line for line, _, _ in ROWS))
    said = place.run(source, "--set", "input.id_column=id", "--json")
    assert said.code == 3, said.err
    found = outcomes(place)
    assert [outcome for outcome, _ in found] == [outcome for _, outcome, _ in ROWS], found
    for (line, outcome, word), (_, message) in zip(ROWS, found, strict=True):
        assert (word in message) is True, (line[:40], message)
        assert bool(message) is (outcome == "invalid")
    rows = place.rows()
    assert rows[8]["custom_id"] == "98765432109876543210987"
    assert rows[9]["text"] == "last"
    assert rows[4]["text"] == "data: \u2028 \u2029 \x85"
    good = sum(outcome == "ok" for _, outcome, _ in ROWS)
    assert place.sent == good
    assert said.summary["outcomes"] == {"ok": good, "invalid": len(ROWS) - good}
    assert "repeated" in said.err or "duplicate" in said.err or "twice" in said.err, "one warning for the key"
    assert all(row["cost_usd"] in {None, 0.0} for row in rows if row["outcome"] == "invalid")
    assert all(row["attempts"] in {None, 0} for row in rows if row["outcome"] == "invalid")


def test_on_bad_row_stop_refuses_the_same_input_before_anything_is_sent(place: Place) -> None:
    source = place.write(LINE + b"[1]\n" + LINE)
    refused(place, place.run(source, "--on-bad-row", "stop"), "1 of 3", "row 1: ")


@pytest.mark.parametrize(
    "bad", [b'{"prompt": null}\n', b'{"prompt": ""}\n', b'{"x": 1}\n', b'{"prompt": [1]}\n']
)
def test_a_row_that_only_rendering_finds_bad_stops_too_when_asked(place: Place, bad: bytes) -> None:
    source = place.write(b'{"prompt": "good"}\n' + bad)
    said = place.run(source, "--on-bad-row", "stop", prompt=None)
    refused(place, said, "1 of 2", "row 1: ")
    refused(place, place.run(source, "--on-bad-row", "stop", prompt=None, verb="try"), "1 of 2", "row 1: ")
    assert place.run(source, "--on-bad-row", "stop", "--limit", "1", prompt=None).code == 0


def test_a_line_over_64_mib_is_a_row(place: Place) -> None:
    source = place.write(LINE + b'{"text": "' + b"x" * (65 << 20) + b'"}\n' + LINE)
    assert place.run(source).code == 3
    found = outcomes(place)
    assert [outcome for outcome, _ in found] == ["ok", "invalid", "ok"]
    assert "64 MiB" in found[1][1]


def test_a_prompt_column_names_itself_in_the_reason(place: Place) -> None:
    rows: list[Any] = [{"prompt": "good"}, {"other": 1}, {"prompt": None}, {"prompt": ""}, {"prompt": "  "}]
    source = place.write("\n".join(json.dumps(row) for row in rows))
    assert place.run(source, prompt=None).code == 3
    found = outcomes(place)
    assert [outcome for outcome, _ in found[:4]] == ["ok", "invalid", "invalid", "invalid"]
    assert all('"prompt"' in message for outcome, message in found if outcome == "invalid")


def test_a_prompt_that_is_no_text_is_a_row(place: Place) -> None:
    source = place.write('{"prompt": "good"}\n{"prompt": ["a"]}\n{"prompt": {"a": 1}}\n')
    assert place.run(source, prompt=None).code == 3
    found = outcomes(place)
    assert [outcome for outcome, _ in found] == ["ok", "invalid", "invalid"]
    assert place.sent == 1


def test_messages_that_are_none_are_rows(place: Place) -> None:
    good = [{"role": "user", "content": "hi"}]
    cells: list[tuple[Any, str]] = [
        (good, "ok"),
        (json.dumps(good), "ok"),
        ([{"role": "wizard", "content": "hi"}], "ok"),
        ([], "invalid"),
        ("hello", "invalid"),
        ({"role": "user"}, "invalid"),
        ([{"role": "user", "content": None}], "invalid"),
        ([{"role": "user"}], "invalid"),
        ([7], "invalid"),
        (None, "invalid"),
    ]
    source = place.write("\n".join(json.dumps({"messages": cell}) for cell, _ in cells))
    assert place.run(source, prompt=None).code == 3
    found = outcomes(place)
    assert [outcome for outcome, _ in found] == [outcome for _, outcome in cells], found
    assert all("messages" in message for outcome, message in found if outcome == "invalid")


def batch_line(custom_id: object = "a", url: str = "/v1/chat/completions", **body: object) -> dict[str, Any]:
    messages = [{"role": "user", "content": f"hi {custom_id}"}]
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": {"messages": messages, **body}}


def test_batch_lines_are_sent_as_they_are_and_never_elsewhere(place: Place) -> None:
    lines: list[dict[str, Any]] = [
        batch_line("../../etc/passwd"),
        batch_line("two\nlines", model="own"),
        batch_line(7),
        batch_line("same"),
        batch_line("same"),
        batch_line("elsewhere", url="https://evil.example/v1/chat/completions"),
        batch_line("embeddings", url="/v1/embeddings"),
        batch_line("headers")
        | {"headers": {"authorization": "Bearer x"}, "base_url": "https://evil.example"},
        {key: value for key, value in batch_line().items() if key != "custom_id"},
    ]
    source = place.write("\n".join(map(json.dumps, lines)))
    said = place.run(source, prompt=None)
    assert said.code == 3, said.err
    rows = place.rows()
    assert [row["outcome"] for row in rows] == ["ok"] * 6 + ["invalid"] + ["ok"] * 2
    assert "embeddings" in rows[6]["error_message"]
    ids = ["../../etc/passwd", "two\nlines", "7", "same", "same", "elsewhere", "embeddings", "headers", None]
    assert [row["custom_id"] for row in rows] == ids
    assert [row["request_model"] for row in rows[:3]] == ["m", "own", "m"]
    assert place.sent == 8, "all at the one endpoint"
    assert sorted(path.name for path in place.folder.iterdir()) == [".batcher", "in.jsonl", "out.parquet"]


# --- JSONL: compressed, growing, changing


def test_compressed_members_are_read_to_the_end(place: Place) -> None:
    source = place.write(gzip.compress(LINE) + gzip.compress(LINE * 2), "in.jsonl.gz")
    assert place.run(source).code == 0
    assert len(place.rows()) == 3


@pytest.mark.parametrize("kind", ["gz", "zst"])
def test_a_truncated_stream_runs_the_rows_before_the_damage(place: Place, kind: str) -> None:
    lines = b"".join(json.dumps({"text": f"{n} " + "x" * 50}).encode() + b"\n" for n in range(40))
    whole = (
        gzip.compress(lines, 0)
        if kind == "gz"
        else pa.Codec("zstd", compression_level=-100).compress(lines, asbytes=True)
    )
    cut = whole[: len(whole) * 2 // 3] if kind == "gz" else whole[:-5]
    said = place.run(place.write(cut, f"in.jsonl.{kind}"))
    found = outcomes(place) if said.code == 3 else []
    if kind == "zst" and said.code == 2:  # one block: nothing stands before the damage
        refused(place, said)
        return
    assert said.code == 3, said.err
    assert [outcome for outcome, _ in found] == ["ok"] * (len(found) - 1) + ["invalid"]
    assert "the file may be incomplete" in found[-1][1]
    assert len(found) > 5 or kind == "zst"


def test_a_bomb_stops(place: Place) -> None:
    bomb = gzip.compress(b'{"text": "' + b" " * (80 << 20) + b'"}\n', 9)
    said = place.run(place.write(bomb, "in.jsonl.gz"))
    refused(place, said)


def test_an_input_that_changed_is_refused_until_it_is_accepted(place: Place) -> None:
    source = place.write(LINE * 2)
    place.endpoint.control(fail_after={"unauthorized": 0})
    assert place.run(source).code == 5
    place.endpoint.control(fail_after={})
    place.endpoint.reset()
    place.write(LINE * 3)
    refused(place, place.run(source), "input", code=4)
    assert place.run(source, "--replace").code == 0
    assert len(place.rows()) == 3


# --- Parquet


@pytest.mark.parametrize("content", [b"", b"no parquet at all", b"PAR1" + b"\0" * 40, b"PAR1xxxxPAR1"])
def test_a_file_that_is_no_parquet_stops(place: Place, content: bytes) -> None:
    refused(place, place.run(place.write(content, "in.parquet")), "in.parquet")


def write_table(place: Place, table: pa.Table, **options: Any) -> Path:
    path = place.folder / "in.parquet"
    pq.write_table(table, path, **options)
    return path


def test_a_parquet_file_without_rows_is_as_empty(place: Place) -> None:
    source = write_table(place, pa.table({"text": pa.array([], pa.string())}))
    refused(place, place.run(source), "0 rows")
    assert place.run(source, "--allow-empty").code == 0
    assert place.rows() == []


def test_a_column_that_is_absent_or_of_another_case_lists_the_columns(place: Place) -> None:
    refused(place, place.run(write_table(place, pa.table({"Text": ["a"], "n": [1]}))), "text", "Text", "n")


def test_a_truncated_footer_stops(place: Place) -> None:
    whole = write_table(place, pa.table({"text": ["a"] * 100})).read_bytes()
    refused(place, place.run(place.write(whole[:-20], "in.parquet")), "in.parquet")


def test_duplicate_column_names_stop_when_the_prompt_column_is_one(place: Place) -> None:
    twice = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"]), pa.array(["c"])], ["text", "text", "n"])
    refused(place, place.run(write_table(place, twice)), "text")
    assert place.run("in.parquet", prompt="Say {{ n }}").code == 0


def test_a_corrupt_page_is_rows_and_the_run_goes_on(place: Place) -> None:
    texts = [f"text number {number} " + "abc" * 20 for number in range(400)]
    source = write_table(
        place, pa.table({"text": texts}), row_group_size=100, compression="none", use_dictionary=False,
        write_page_checksum=True, write_statistics=False,
    )  # fmt: skip
    content = bytearray(source.read_bytes())
    at = content.index(b"text number 150 ")
    content[at] ^= 0xFF
    source.write_bytes(content)
    said = place.run(source)
    assert said.code == 3, said.err
    found = [outcome for outcome, _ in outcomes(place)]
    assert found[:100] == ["ok"] * 100
    assert found[150] == "invalid"
    assert found[200:] == ["ok"] * 200
    assert place.sent == found.count("ok")


def test_every_kind_of_text_column_is_decoded_and_bad_text_is_a_row(place: Place) -> None:
    bad = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.array([0, 4, 6], pa.int32()).buffers()[1], pa.py_buffer(b"goodb\xff")]
    )
    kinds = {
        "large": pa.array(["a", "b"], pa.large_string()),
        "view": pa.array(["a", "b"], pa.string_view()),
        "dict": pa.array(["a", "b"]).dictionary_encode(),
        "bytes": pa.array([b"a", b"\xc3\xa9"], pa.binary()),
        "text": bad,
    }
    source = write_table(place, pa.table(kinds))
    everything = "".join(f"{{{{ {name} }}}} " for name in kinds)
    assert place.run(source, prompt=everything).code == 3
    found = outcomes(place)
    assert [outcome for outcome, _ in found] == ["ok", "invalid"]
    assert "text" in found[1][1]
    assert "UTF-8" in found[1][1]


def test_files_whose_used_columns_agree_run_together(place: Place) -> None:
    (place.folder / "data").mkdir()
    pq.write_table(pa.table({"text": ["a"], "n": [1]}), place.folder / "data/a.parquet")
    pq.write_table(pa.table({"text": ["b"], "x": [True]}), place.folder / "data/b.parquet")
    assert place.run("data").code == 0
    assert [(row["text"], row["n"], row["x"]) for row in place.rows()] == [("a", 1, None), ("b", None, True)]


def test_nan_in_a_template_column_is_a_row(place: Place) -> None:
    source = write_table(place, pa.table({"text": ["a", "b"], "score": [1.5, float("nan")]}))
    assert place.run(source, prompt="{{ text }} {{ score }}").code == 3
    assert [outcome for outcome, _ in outcomes(place)] == ["ok", "invalid"]


def test_messages_in_parquet_are_messages(place: Place) -> None:
    messages = [[{"role": "user", "content": "hi"}], []]
    source = write_table(place, pa.table({"messages": messages}))
    assert place.run(source, prompt=None).code == 3
    assert [outcome for outcome, _ in outcomes(place)] == ["ok", "invalid"]


# --- job, command line, environment


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--set", "request.modle=x"], ["request.modle", "model"]),
        (["--set", "reqest.model=x"], ["reqest", "request"]),
        (["--set", "limits.max_attempts=many"], ["limits.max_attempts"]),
        (["--concurrency", "0"], ["concurrency"]),
        (["--concurrency", "lots"], ["concurrency"]),
        (["--rpm", "-1"], ["rpm"]),
        (["--set", "endpoint.timeout_s='5 minutes'"], ["timeout_s"]),
        (["--set", "limits.deadline='5 minutes'"], ["deadline"]),
        (["--deadline", "0"], ["--deadline", "8h"]),
        (["--max-cost", "5"], ["max_cost_usd", "price", "[prices."]),
        (["--max-cost", "-1"], ["--max-cost", "at least 0"]),
        (["--max-cost", "nan"], ["--max-cost", "finite"]),
        (["--max-cost", "5", "--set", "prices.m={input=1, output=1}"], ["max_completion_tokens"]),
        (["--tpm", "0"], ["--tpm", "more than 0"]),
        (["--set", "request.stream=1"], ["stream"]),
        (["--base-url", "api.example.com/v1"], ["https://"]),
        (["--base-url", "https://user:pass@example.com/v1"], ["base_url"]),
        (["--base-url", "https://example.com/v1?api_key=abc"], ["base_url"]),
        (["--base-url", "http://example.com/v1", "--api-key-env", "KEY"], ["http", "--allow-http"]),
        (["--prompt", "{{ text "], ["prompt"]),
        (["--prompt", "{{ txet }}"], ["txet", "text"]),
        (["--prompt", "no column at all"], ["column"]),
        (["--prompt", "Say {text}"], ["{{ text }}"]),
        (["--limit", "-1"], ["limit"]),
        (["--fresh", "--reuse", "*.parquet"], ["--reuse"]),
        (["--nonsense"], ["--nonsense"]),
        (["absent.toml"], ["absent.toml"]),
        (["--var", "x=1"], ["x"]),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else None,
)  # fmt: skip
def test_a_mistake_in_job_or_command_is_exit_2_before_anything_is_sent(
    place: Place, words: list[str], said: list[str]
) -> None:
    refused(place, place.run(place.write(LINE), *words, env={"KEY": "sk-" + "x" * 30}), *said)


def test_all_mistakes_of_a_job_are_told_at_once(place: Place) -> None:
    place.write(
        '[input]\npath = "in.jsonl"\nlimt = 3\n[request]\nmodel = 7\n[output]\npath = "out.parquet"\n',
        "job.toml",
    )
    refused(place, batcher("run", "job.toml"), "limt", "limit", "[request] model", "job.toml")


@pytest.mark.parametrize("suffix", ["/", "/chat/completions", "/chat/completions/"])
def test_a_base_url_is_normalised(place: Place, suffix: str) -> None:
    said = place.run(place.write(LINE), "--base-url", place.endpoint.base_url + suffix)
    assert said.code == 0, said.err
    assert place.run("in.jsonl").code == 0, "and it is the same endpoint as without"
    assert place.sent == 1


def test_a_missing_key_is_exit_5_and_says_which(place: Place) -> None:
    place.write(LINE)
    refused(place, place.run("in.jsonl", "--api-key-env", "MY_KEY"), "MY_KEY", "not set", code=5)
    refused(
        place, place.run("in.jsonl", "--base-url", "https://api.pipellm.ai/v1"), "PIPELLM_API_KEY", code=5
    )


@pytest.mark.parametrize("ending", ["\n", "\r\n", "  ", "\t"])
def test_white_space_after_a_key_is_stripped(place: Place, ending: str) -> None:
    place.endpoint.control(api_key="sk-" + "k" * 30)
    said = place.run(place.write(LINE), "--api-key-env", "KEY", env={"KEY": "sk-" + "k" * 30 + ending})
    assert said.code == 0, said.err


@pytest.mark.parametrize(
    "key", ["sk-aaaaaaaaaaaa\nbbbbbbbbbb", "sk-ключключключключ", "\u201csk-aaaaaaaaaaaaaaaa\u201d"]
)
def test_a_key_that_can_be_none_is_exit_5_without_being_echoed(place: Place, key: str) -> None:
    said = place.run(place.write(LINE), "--api-key-env", "KEY", env={"KEY": key})
    refused(place, said, "KEY", code=5)
    assert "aaaaaaaa" not in said.err
    assert "ключ" not in said.err


def test_an_output_folder_that_is_missing_is_made(place: Place) -> None:
    place.write(LINE)
    said = place.run("in.jsonl", "-o", place.folder / "new" / "deep" / "out.parquet")
    assert said.code == 0, said.err
    assert (place.folder / "new/deep/out.parquet").exists()


def test_an_output_that_cannot_be_made_is_found_at_the_start(place: Place) -> None:
    place.write(LINE)
    (place.folder / "folder.parquet").mkdir()
    refused(place, place.run("in.jsonl", "-o", "folder.parquet"), "folder")
    refused(place, place.run("in.jsonl", "-o", "in.jsonl/out.parquet"), "in.jsonl")


def run_json(place: Place) -> Path:
    return place.folder / ".batcher" / "out.parquet.run" / "run.json"


def test_a_run_directory_of_a_newer_version_or_edited_by_hand_is_never_guessed(place: Place) -> None:
    source = place.write(LINE)
    place.endpoint.control(fail_after={"unauthorized": 0})
    assert place.run(source).code == 5
    place.endpoint.control(fail_after={})
    place.endpoint.reset()
    written = run_json(place).read_text()
    run_json(place).write_text(written.replace('"job_name"', '"job_mane"'))
    refused(place, place.run(source), "run.json", code=4)
    run_json(place).write_text(written.replace('"format": 1', '"format": 2'))
    refused(place, place.run(source), "newer version", code=4)
    run_json(place).write_text(written[: len(written) // 2])
    refused(place, place.run(source), "run.json", code=4)
    run_json(place).write_text(written)
    assert place.run(source).code == 0


def test_a_manifest_torn_at_its_end_is_fine_and_in_its_middle_is_exit_8(place: Place) -> None:
    source = place.write(LINE * 3)
    place.endpoint.control(fail_after={"unauthorized": 0})
    assert place.run(source).code == 5
    place.endpoint.control(fail_after={})
    place.endpoint.reset()
    manifest = run_json(place).with_name("manifest.jsonl")
    whole = manifest.read_bytes()
    manifest.write_bytes(whole[:20] + b"X" + whole[21:])
    refused(place, place.run(source), "manifest", code=8)
    manifest.write_bytes(whole[:-7])
    assert place.run(source).code == 0
    assert len(place.rows()) == 3
