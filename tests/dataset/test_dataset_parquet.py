"""Every line of bad-input's section Parquet that is about files and pages."""

from __future__ import annotations

import base64
import datetime as dt
import random
from decimal import Decimal
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
import pytest
from dataset_inputs import problems, read, scanned, values, write, write_table

from batcher.dataset import InputSpec, Scan, cells, footer, is_own_output, open_source, parquet_slices, scan
from batcher.errors import DatasetError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rows.parquet"


# --- files that are refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        (slice(0, 0), "0 bytes"),
        (slice(0, 3), "does not begin with PAR1"),
        (slice(1, None), "does not begin with PAR1"),
        (slice(0, 8), "footer is missing or cut"),
        (slice(0, -1), "footer is missing or cut"),
        (slice(0, -100), "footer is missing or cut"),
    ],
)
def test_a_file_that_is_not_whole_is_refused(path: Path, keep: slice, message: str) -> None:
    whole = write_table(path, {"p": ["a", "b"] * 500}).read_bytes()
    write(path, whole[keep])
    with pytest.raises(DatasetError, match=message):
        scanned(path)


def test_a_footer_length_beyond_the_file_is_refused(path: Path) -> None:
    whole = write_table(path, {"p": ["a"]}).read_bytes()
    write(path, whole[:-8] + (2**31).to_bytes(4, "little") + b"PAR1")
    with pytest.raises(DatasetError, match="missing or cut"):
        scanned(path)


def test_a_footer_of_zeros_is_refused(path: Path) -> None:
    whole = write_table(path, {"p": ["a"]}).read_bytes()
    length = int.from_bytes(whole[-8:-4], "little")
    write(path, whole[: -8 - length] + bytes(length) + whole[-8:])
    with pytest.raises(DatasetError, match="cannot be read as Parquet"):
        scanned(path)


@pytest.mark.parametrize("damage", [b"\xff" * 40, b"\x19\xfc" + b"\xff" * 8, b"\x1c" * 200, b"\x2c" * 10])
def test_footers_of_garbage_end_in_an_error_and_not_in_a_loop(damage: bytes) -> None:
    with pytest.raises((IndexError, ValueError)):
        footer.first_group(damage)


def test_no_rows_is_refused_unless_allowed(path: Path) -> None:
    write_table(path, {"p": pa.array([], pa.string())})
    with pytest.raises(DatasetError, match="0 rows"):
        scanned(path)
    found = scanned(path, allow_empty=True)
    assert (found.rows, read(found), found.schema.names) == (0, [], ["p"])


@pytest.mark.parametrize(("codec", "name"), [(3, "LZO"), (40, "unknown codec number 40")])
def test_an_unknown_codec_is_named(path: Path, codec: int, name: str) -> None:
    # Written as zstd (6), then the footer's codec field (4, i32, right after the path list) says something else.
    content = write_table(
        path, {"abcdef": ["x"] * 9}, compression="zstd", use_dictionary=False, write_statistics=False
    ).read_bytes()
    place = content.rindex(b"\x18\x06abcdef\x15\x0c") if b"\x18\x06abcdef\x15\x0c" in content else None
    place = content.rindex(b"\x06abcdef\x15\x0c") if place is None else place + 1
    at = place + len(b"\x06abcdef\x15")
    write(path, content[:at] + bytes([codec * 2]) + content[at + 1 :])
    with pytest.raises(DatasetError, match=name):
        scanned(path)


class _Kms(pe.KmsClient):  # type: ignore[misc]
    def __init__(self, config: object) -> None:
        super().__init__()

    def wrap_key(self, key: bytes, name: str) -> bytes:
        return base64.b64encode(key)

    def unwrap_key(self, key: bytes, name: str) -> bytes:
        return base64.b64decode(key)


@pytest.mark.parametrize(
    ("plaintext_footer", "message"), [(False, "is an encrypted"), (True, "has encrypted columns")]
)
def test_encrypted_files_are_named(path: Path, plaintext_footer: bool, message: str) -> None:
    config = pe.EncryptionConfiguration(
        footer_key="f", column_keys={"c": ["b"]}, plaintext_footer=plaintext_footer
    )
    factory = pe.CryptoFactory(_Kms)
    properties = factory.file_encryption_properties(pe.KmsConnectionConfig(), config)
    table = pa.table({"a": ["x"], "b": ["y"]})
    with pq.ParquetWriter(path, table.schema, encryption_properties=properties) as writer:
        writer.write_table(table)
    with pytest.raises(DatasetError, match=message):
        scanned(path)


# --- rows -----------------------------------------------------------------------------------------------------------


def table_of_many_types() -> pa.Table:
    moment = dt.datetime(2024, 5, 1, 10, 0, 0, 250_000)  # noqa: DTZ001 - a zoneless column
    return pa.table(
        {
            "string": ["a", None],
            "large": pa.array(["b", "c"], pa.large_string()),
            "view": pa.array(["d", "a string longer than twelve bytes"], pa.string_view()),
            "dictionary": pa.array(["e", "f"]).dictionary_encode(),
            "binary": pa.array([b"g", "é".encode()], pa.binary()),
            "messages": pa.array([[{"role": "user", "content": "h"}], []]),
            "map": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
            "decimal": pa.array([Decimal("1.50"), Decimal("-0.07")], pa.decimal128(10, 2)),
            "when": pa.array([moment, None], pa.timestamp("us")),
            "zoned": pa.array([0, 1_714_557_600_000_000_001], pa.int64()).cast(
                pa.timestamp("ns", "Europe/Berlin")
            ),
            "day": pa.array([dt.date(2024, 5, 1), None]),
            "time": pa.array([dt.time(1, 2, 3), None]),
            "nested": pa.array([{"a": {"b": [1, 2]}, "t": moment}, None]),
            "int": pa.array([2**64 - 1, 0], pa.uint64()),
            "bool": [True, None],
        }
    )


def test_columns_of_every_type_pass_through_unchanged_and_decode(path: Path) -> None:
    table = table_of_many_types()
    pq.write_table(table, path)
    found = scanned(path)
    assert found.schema.equals(table.schema.remove_metadata())
    batches = [piece.batch for piece in open_source(found).slices()]
    assert pa.Table.from_batches(batches).equals(table)
    first, second = (row.values for row in read(found))
    assert first == {
        "string": "a",
        "large": "b",
        "view": "d",
        "dictionary": "e",
        "binary": "g",
        "messages": [{"content": "h", "role": "user"}],
        "map": {"k": 1},
        "decimal": "1.50",
        "when": "2024-05-01T10:00:00.25",
        "zoned": "1970-01-01T00:00:00Z",
        "day": "2024-05-01",
        "time": "01:02:03.000000",
        "nested": {"a": {"b": [1, 2]}, "t": "2024-05-01T10:00:00.250000"},
        "int": 2**64 - 1,
        "bool": True,
    }
    assert second["zoned"] == "2024-05-01T10:00:00.000000001Z"
    assert second["binary"] == "é"
    assert second["messages"] == []


def test_json_form_keeps_the_schema_of_every_type(path: Path) -> None:
    pq.write_table(table_of_many_types(), path)
    found = scanned(path)
    assert Scan.from_json(found.to_json()) == found


def test_rows_are_found_from_anywhere(path: Path) -> None:
    write_table(path, {"i": list(range(1_000))}, row_group_size=170)
    found = scanned(path)
    for start in [0, 1, 63, 64, 65, 169, 170, 171, 500, 999, 1_000]:
        assert [row.values["i"] for row in read(found, first_row=start)] == list(range(start, 1_000))
    assert [row.values["i"] for row in read(found, first_row=5, rows_per_slice=7)] == list(range(5, 1_000))


def test_slices_of_wide_rows_are_bounded_in_bytes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_slices, "SLICE_BYTES", 100_000)
    # One dictionary entry, so that the row group itself is far smaller than what it decodes to.
    write_table(path, {"p": ["x" * 9_000] * 300})
    found = scanned(path)
    pieces = list(open_source(found).slices())
    assert sum(piece.batch.num_rows for piece in pieces) == 300
    assert max(piece.batch.nbytes for piece in pieces) <= 100_000
    assert [row.row_index for row in read(found)] == list(range(300))


# --- damage ---------------------------------------------------------------------------------------------------------


def text(at: int) -> str:
    return f"{at:04d} {random.Random(at).randbytes(40).hex()}"


def damaged(path: Path, compression: str) -> Path:
    """Two row groups of 2,000 rows; a page of the text column in the middle of the first is overwritten."""
    table = {"i": list(range(4_000)), "p": [text(at) for at in range(4_000)]}
    write_table(
        path,
        table,
        compression=compression,
        row_group_size=2_000,
        data_page_size=4_096,
        write_batch_size=50,
        use_dictionary=False,
    )
    column = pq.ParquetFile(path).metadata.row_group(0).column(1)
    content = bytearray(path.read_bytes())
    middle = column.data_page_offset + column.total_compressed_size // 2
    for at in range(middle, middle + 200):
        content[at] ^= 0xFF
    return write(path, bytes(content))


@pytest.mark.parametrize("compression", ["zstd", "snappy"])
def test_a_corrupt_page_costs_its_rows_and_no_others(path: Path, compression: str) -> None:
    found = scanned(damaged(path, compression))
    rows = read(found)
    bad = [row for row in rows if row.problem is not None]
    assert all("damage in the Parquet file: the column 'p'" in (row.problem or "") for row in bad)
    first = bad[0].row_index
    assert first < 2_000
    assert [row.row_index for row in bad] == list(range(first, 2_000))
    assert all(row.values["p"] is None for row in bad)
    good = [row for row in rows if row.problem is None]
    assert [row.values["p"] for row in good] == [text(row.row_index) for row in good]
    assert [row.values["i"] for row in rows] == list(range(4_000))
    for start in [first - 3, first, first + 11, 1_999, 2_000]:
        again = read(found, first_row=start)
        assert [(r.row_index, r.problem) for r in again] == [(r.row_index, r.problem) for r in rows[start:]]


def test_rows_in_the_pages_before_a_corrupt_one_are_kept(path: Path) -> None:
    bad = problems(scanned(damaged(path, "snappy")))
    assert 500 < min(bad) < 1_500


def with_bad_text(type_: pa.DataType) -> pa.Array:
    offsets = pa.py_buffer(
        b"".join(n.to_bytes(8 if type_ == pa.large_string() else 4, "little") for n in (0, 2, 4, 6))
    )
    return pa.Array.from_buffers(type_, 3, [None, offsets, pa.py_buffer(b"ok\xff\xfeok")])


@pytest.mark.parametrize("type_", [pa.string(), pa.large_string()])
def test_invalid_utf_8_in_a_string_column_is_a_problem_of_its_row(path: Path, type_: pa.DataType) -> None:
    write_table(path, {"p": with_bad_text(type_), "i": [1, 2, 3]})
    found = scanned(path)
    assert [row.values for row in read(found)] == [
        {"p": "ok", "i": 1},
        {"p": None, "i": 2},
        {"p": "ok", "i": 3},
    ]
    assert problems(found) == {1: "the column 'p' has a bad value: invalid UTF-8"}


def test_invalid_utf_8_inside_a_struct_is_a_problem_of_its_row(path: Path) -> None:
    write_table(path, {"s": pa.StructArray.from_arrays([with_bad_text(pa.string())], ["x"])})
    found = scanned(path)
    assert set(problems(found)) == {1}
    assert values(found, "s") == [{"x": "ok"}, None, {"x": "ok"}]


def test_invalid_utf_8_in_a_dictionary_column_costs_the_row_group(path: Path) -> None:
    # pyarrow checks dictionaries while it reads them, and gives none of the column then.
    bad = pa.DictionaryArray.from_arrays(pa.array([0, 1, 2]), with_bad_text(pa.string()))
    good = pa.array(["a", "b", "c"]).dictionary_encode().cast(bad.type)
    schema = pa.schema([("d", bad.type), ("i", pa.int64())])
    with pq.ParquetWriter(path, schema) as writer:
        for column in (good, bad, good):
            writer.write_table(pa.table([column, [1, 2, 3]], schema=schema))
    found = scanned(path)
    assert values(found, "d") == ["a", "b", "c", None, None, None, "a", "b", "c"]
    assert values(found, "i") == [1, 2, 3] * 3
    assert set(problems(found)) == {3, 4, 5}
    assert "UTF8" in problems(found)[3]


def test_a_shared_dictionary_with_invalid_utf_8_spoils_only_the_rows_that_use_it() -> None:
    column = pa.DictionaryArray.from_arrays(pa.array([0, 1, 2, 0]), with_bad_text(pa.string()))
    bad: dict[int, str] = {}
    fitted = cells.fitted(column, "d", column.type, bad)
    fitted.validate(full=True)
    assert fitted.to_pylist() == ["ok", None, "ok", "ok"]
    assert fitted.type == column.type
    assert set(bad) == {1}


def test_invalid_utf_8_in_a_binary_column_matters_only_where_it_is_used(path: Path) -> None:
    write_table(path, {"b": pa.array([b"ok", b"\xff"], pa.binary()), "i": [1, 2]})
    found = scanned(path)
    assert [row.problem for row in read(found, "i")] == [None, None]
    assert [row.problem for row in read(found, "b")] == [None, "the column 'b': invalid UTF-8 at byte 0"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_nan_and_infinity_matter_only_where_they_are_used(path: Path, value: float) -> None:
    write_table(path, {"f": [1.5, value], "n": [{"x": [value]}, {"x": [2.5]}], "i": [1, 2]})
    found = scanned(path)
    assert [row.problem is None for row in read(found, "i")] == [True, True]
    assert [row.problem is None for row in read(found, "f")] == [True, False]
    assert [row.problem is None for row in read(found, "n")] == [False, True]


def test_an_oversized_cell_is_a_problem_of_its_row(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "CELL_LIMIT", 1_000)
    write_table(path, {"p": ["a" * 400, "b" * 2_000, "c" * 400, "d"]})
    found = scanned(path)
    assert "cell of 2,0" in problems(found)[1]
    assert set(problems(found)) == {1}
    assert values(found, "p")[1:] == [None, "c" * 400, "d"]


# --- several files and odd schemas ----------------------------------------------------------------------------------


def test_files_that_agree_are_one_dataset_and_absent_columns_are_null(tmp_path: Path) -> None:
    paths = [
        write_table(tmp_path / "1.parquet", {"p": ["a"], "n": pa.nulls(1), "k": pa.array([1], pa.int32())}),
        write_table(tmp_path / "2.parquet", {"k": pa.array([2], pa.int64()), "p": ["b"], "n": ["x"]}),
        write_table(tmp_path / "3.parquet", {"p": pa.array(["c"], pa.large_string()), "more": [True]}),
    ]
    found = scan(InputSpec("x"), paths)
    assert found.schema.names == ["p", "n", "k", "more"]
    assert found.schema.field("k").type == pa.int64()
    assert [row.values for row in read(found)] == [
        {"p": "a", "n": None, "k": 1, "more": None},
        {"p": "b", "n": "x", "k": 2, "more": None},
        {"p": "c", "n": None, "k": None, "more": True},
    ]


def test_files_that_disagree_are_refused_by_file_and_column(tmp_path: Path) -> None:
    paths = [
        write_table(tmp_path / "1.parquet", {"p": ["a"]}),
        write_table(tmp_path / "2.parquet", {"p": [1]}),
    ]
    with pytest.raises(DatasetError, match=r"2\.parquet: the column 'p' is int64, but string"):
        scan(InputSpec("x"), paths)


def test_a_number_that_does_not_fit_the_wider_type_is_a_problem_of_its_row(tmp_path: Path) -> None:
    paths = [
        write_table(tmp_path / "1.parquet", {"k": [1, 2**60 + 1]}),
        write_table(tmp_path / "2.parquet", {"k": [0.5]}),
    ]
    found = scan(InputSpec("x"), paths)
    assert values(found, "k") == [1.0, None, 0.5]
    assert set(problems(found)) == {1}


def test_columns_of_the_same_name_are_kept_but_cannot_be_asked_for(path: Path) -> None:
    pq.write_table(pa.table([["a"], ["b"], [1]], names=["p", "p", "i"]), path)
    found = scanned(path)
    assert found.schema.names == ["p", "p", "i"]
    assert [column.to_pylist() for column in next(iter(open_source(found).slices())).batch.columns] == [
        ["a"],
        ["b"],
        [1],
    ]
    assert values(found, "i") == [1]
    with pytest.raises(DatasetError, match="2 columns named 'p'"):
        read(found, "p")


def test_columns_that_must_not_be_null_may_be_null_here(path: Path) -> None:
    pq.write_table(
        pa.table({"p": ["a"]}, schema=pa.schema([pa.field("p", pa.string(), nullable=False)])), path
    )
    assert scanned(path).schema.field("p").nullable


def test_an_output_of_ours_comes_without_its_bookkeeping(path: Path) -> None:
    ours = [{b"batcher.role": b"bookkeeping"}, {b"batcher.role": b"output", b"x": b"y"}]
    schema = pa.schema(
        [
            pa.field("p", pa.string()),
            pa.field("j", pa.string(), metadata={b"batcher.json": b"1"}),
            pa.field("row_index", pa.int64(), metadata=ours[0]),
            pa.field("completion", pa.large_string(), metadata=ours[1]),
        ]
    )
    table = pa.table([["a"], ["[1]"], [0], ["yes"]], schema=schema)
    pq.write_table(table.replace_schema_metadata({b"batcher.run_id": b"r1"}), path)
    found = scanned(path)
    assert is_own_output(pq.read_metadata(path).metadata)
    assert found.schema.names == ["p", "j", "completion"]
    assert found.dropped == ("row_index",)
    assert [row.values for row in read(found)] == [{"p": "a", "j": [1], "completion": "yes"}]
    assert any("its bookkeeping columns are left out" in note for note in found.notes)
    pq.write_table(table, path)
    assert scanned(path).schema.names == schema.names
    with pq.ParquetWriter(path, schema) as writer:  # as our writer does: the entry is added at the end
        writer.write_table(table)
        writer.add_key_value_metadata({"batcher.run_id": "r1"})
    assert scanned(path).dropped == ("row_index",)


def test_pandas_index_metadata_is_not_carried_on(path: Path) -> None:
    write_table(path, {"p": ["a"]})
    pq.write_table(pq.read_table(path).replace_schema_metadata({b"pandas": b"{}"}), path)
    assert scanned(path).schema.metadata is None
