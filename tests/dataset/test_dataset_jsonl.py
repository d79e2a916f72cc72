"""Every line of bad-input's section JSONL that is about lines and files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from dataset_inputs import problems, read, scanned, values, write

from batcher.dataset import lines as lines_module
from batcher.errors import DatasetError

if TYPE_CHECKING:
    from pathlib import Path

GOOD = b'{"p": "one"}\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rows.jsonl"


@pytest.mark.parametrize("content", [b"", b"\n\n", b" \t\r\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_a_file_without_rows_is_refused_unless_allowed(path: Path, content: bytes) -> None:
    write(path, content)
    with pytest.raises(DatasetError, match="0 rows"):
        scanned(path)
    found = scanned(path, allow_empty=True)
    assert found.rows == 0
    assert read(found) == []


def test_blank_lines_have_no_row_index(path: Path) -> None:
    found = scanned(write(path, b'\n{"p": 1}\n\n  \t\n{"p": 2}\n\r\n\n{"p": 3}\n\n'))
    assert [(row.row_index, row.values["p"]) for row in read(found)] == [(0, 1), (1, 2), (2, 3)]


@pytest.mark.parametrize(
    "content",
    [
        b'{"p": "a"}\n{"p": "b"}',
        b'{"p": "a"}\r\n{"p": "b"}\r\n',
        b'\xef\xbb\xbf{"p": "a"}\n{"p": "b"}\n',
        b'\xef\xbb\xbf\r\n{"p": "a"}\r\n{"p": "b"}',
    ],
    ids=["no final newline", "CRLF", "BOM", "BOM on a blank line"],
)
def test_harmless_forms_read_alike(path: Path, content: bytes) -> None:
    found = scanned(write(path, content))
    assert (found.problems, values(found, "p"), found.notes) == (0, ["a", "b"], ())


def test_a_cut_last_line_is_a_row_that_says_so(path: Path) -> None:
    found = scanned(write(path, GOOD + b'{"p": "tw'))
    assert found.problems == 1
    assert "the file may be incomplete" in problems(found)[1]
    assert any("the last line is cut" in note for note in found.notes)


def test_a_bad_line_in_the_middle_does_not_say_that_the_file_is_cut(path: Path) -> None:
    assert "incomplete" not in problems(scanned(write(path, b'{"p": "tw\n' + GOOD)))[0]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
def test_utf_16_and_32_are_named(path: Path, encoding: str) -> None:
    write(path, GOOD.decode().encode(encoding))
    with pytest.raises(DatasetError, match=encoding[:6].upper()) as caught:
        scanned(path)
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("iconv")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"p": "\xff"}', "invalid UTF-8 at byte 7 of the line"),
        (b'{"p": "\xed\xa0\x80"}', "invalid UTF-8 at byte 7"),
        (b'{"p": "\\ud800"}', "lone surrogate"),
        (b'{"p": "\\udc00 x"}', "surrogate"),
        (b'{"p": NaN}', "NaN or Infinity"),
        (b'{"p": -Infinity}', "NaN or Infinity"),
        (b'{"p": Infinity}', "NaN or Infinity"),
        (b'{"p": 1e999}', "not JSON: number is infinity"),
        (b'["a"]', "an array, not a JSON object"),
        (b'"a"', "a string, not a JSON object"),
        (b"17", "a number, not a JSON object"),
        (b"true", "true or false, not a JSON object"),
        (b"null", "null, not a JSON object"),
        (b'{"p": 1} {"p": 2}', "more than one JSON value"),
        (b'{"p": 1} // no', "more than one JSON value (or a comment)"),
        (b"// no", "not JSON"),
        (b"{'p': 1}", "single quotes"),
        (b'{"p": 1,}', "not JSON"),
        (b'{"p": "raw \x00 byte"}', "not JSON: unexpected control character"),
        (b'{"p": ' + b"[" * 1_025 + b"]" * 1_025 + b"}", "nested deeper than 1,024"),
    ],
)
def test_a_bad_line_is_a_problem_between_good_rows(path: Path, line: bytes, reason: str) -> None:
    found = scanned(write(path, GOOD + line + b"\n" + GOOD))
    assert (found.rows, found.problems) == (3, 1)
    seen = read(found, "p")
    assert [row.values["p"] for row in seen] == ["one", None, "one"]
    assert seen[0].problem is None
    assert seen[2].problem is None
    assert reason in (seen[1].problem or "")


def test_text_too_deep_to_be_written_again_is_a_problem_of_its_row(path: Path) -> None:
    deep = b'{"p": ' + b"[" * 300 + b"]" * 300 + b"}\n"
    found = scanned(write(path, b'{"p": [1]}\n' + deep + b'{"p": [2]}\n'))
    assert problems(found) == {1: "the column 'p' is nested deeper than 254 levels"}


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\u0085", "\v", "\f", "\x1c"])
def test_only_the_newline_byte_ends_a_line(path: Path, mark: str) -> None:
    escaped = mark if mark > "\x1f" else f"\\u{ord(mark):04x}"
    found = scanned(write(path, f'{{"p": "a{escaped}b"}}\n'))
    assert values(found, "p") == [f"a{mark}b"]


def test_an_escaped_nul_is_data(path: Path) -> None:
    assert values(scanned(write(path, b'{"p": "a\\u0000b"}\n')), "p") == ["a\0b"]


@pytest.mark.parametrize(
    "line", ["123456789012345678901234567890", "-9223372036854775809", "18446744073709551615"]
)
def test_integers_beyond_int64_keep_every_digit_as_text(path: Path, line: str) -> None:
    found = scanned(write(path, f'{{"id": {line}}}\n{{"id":7}}\n'))
    assert values(found, "id") == [line, "7"]


def test_integers_beyond_int64_inside_lists_and_objects_keep_every_digit(path: Path) -> None:
    big = "9" * 300  # 310 digits are beyond a double, and orjson refuses the line
    found = scanned(write(path, f'{{"l": [{big}, 1], "o": {{"n":{big}}}}}\n{{"l": [], "o": {{"n": 1}}}}\n'))
    assert values(found, "l") == [[big, 1], []]
    assert values(found, "o") == [{"n": big}, {"n": "1"}]


def test_int64_limits_stay_numbers(path: Path) -> None:
    found = scanned(write(path, f'{{"id": {2**63 - 1}}}\n{{"id": {-(2**63)}}}\n'))
    assert values(found, "id") == [2**63 - 1, -(2**63)]


def test_a_duplicate_key_counts_last_and_is_told_once(path: Path) -> None:
    found = scanned(write(path, b'{"p": 1, "p": 2}\n{"p": 3, "p": 4}\n'))
    assert values(found, "p") == [2, 4]
    assert [note for note in found.notes if "stands twice" in note] == [
        "rows.jsonl, row 0: the key 'p' stands twice; the last one counts"
    ]


def test_a_duplicate_key_far_into_the_file_is_told(path: Path) -> None:
    row = b'{"p": "say \\"hi\\": now"}\n'
    found = scanned(write(path, row * 3_000 + b'{"p": 1, "p": 2}\n' + row))
    assert any("row 3000" in note for note in found.notes)


@pytest.mark.parametrize(
    "content",
    [
        b'[{"p": 1}, {"p": 2}]',
        b'[\n  {"p": 1},\n  {"p": 2}\n]\n',
        b'\n [{"p": 1},\n{"p": 2}]',
        b"[]",
        b"[1]\n",
    ],
)
def test_one_json_array_is_refused_with_the_conversion(path: Path, content: bytes) -> None:
    write(path, content)
    with pytest.raises(DatasetError, match="one JSON array") as caught:
        scanned(path)
    assert "jq -c '.[]'" in (caught.value.hint or "")


def test_a_file_of_which_no_line_is_an_object_is_refused(path: Path) -> None:
    write(path, "a prompt\nanother prompt\n")
    with pytest.raises(DatasetError, match="none of the 2 lines") as caught:
        scanned(path)
    assert "row 0" in str(caught.value)


def test_an_overlong_line_is_a_problem_and_is_never_held(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines_module, "LINE_LIMIT", 3 << 20)
    long = b'{"p": "' + b"x" * (5 << 20) + b'"}\n'
    found = scanned(write(path, GOOD + long + GOOD + long[:-1]))
    reasons = problems(found)
    assert found.rows == 4
    assert set(reasons) == {1, 3}
    assert f"{len(long) - 1:,} bytes" in reasons[1]
    assert "incomplete" in reasons[3]
    groups = _groups(path)
    assert max(len(line) for group in groups for line in group.lines) < 100
    assert [path.read_bytes()[group.offset :][:8] for group in groups] == [GOOD[:8], long[:8]] * 2


def _groups(path: Path) -> list[lines_module.LineGroup]:
    content = path.read_bytes()
    blocks = (content[at : at + 1_000_000] for at in range(0, len(content), 1_000_000))
    return list(lines_module.split_lines(blocks))


def test_a_line_at_the_limit_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = b'{"p": "' + b"x" * (2 << 20) + b'"}'
    monkeypatch.setattr(lines_module, "LINE_LIMIT", len(line))
    assert len(str(values(scanned(write(path, line + b"\n" + line)), "p")[1])) == 2 << 20


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
def test_lines_come_out_the_same_whatever_the_blocks(size: int) -> None:
    content = b"\n\nab\r\n\ncdefghij\n" * 5 + b"tail"
    groups = list(lines_module.split_lines(content[at : at + size] for at in range(0, len(content), size)))
    assert [line for group in groups for line in group.lines] == content.split(b"\n")
    for group in groups:
        assert content.startswith(b"\n".join(group.lines), group.offset)


def test_too_many_different_keys_are_refused(path: Path) -> None:
    write(path, "".join(f'{{"k{i}": 1}}\n' for i in range(10_001)))
    with pytest.raises(DatasetError, match="more than 10,000 different keys"):
        scanned(path)
