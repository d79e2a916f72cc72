"""Rows in: JSONL (plain, .gz, .zst), Parquet and OpenAI Batch lines; found, scanned, sliced, sought.

    find_files / spool_stdin   which files (sources)
    scan                       what they hold, before anything is paid (source, jsonl_scan, parquet_scan)
    open_source(...).slices    their rows as Arrow, from any row on (jsonl_slices, parquet_slices)
    python_rows                the columns that templates read, as Python values (rows)
    ImageFolder                image files that rows name, below one folder (image_files)

Must never change a value, renumber a row, or hold a file in memory. A bad row is a problem beside its row;
only what makes the whole input unusable raises, and then before anything is sent.
"""

from batcher.dataset.columns import check_columns, is_json_text
from batcher.dataset.image_files import ImageFolder
from batcher.dataset.parquet_scan import is_own_output, own_columns
from batcher.dataset.rows import python_rows
from batcher.dataset.scanned import JSON_TEXT_KEY, ColumnFact, FileStamp, Format, Scan, Slice
from batcher.dataset.source import Source, open_source, scan
from batcher.dataset.sources import InputSpec, find_files, refuse_output_among, spool_stdin

__all__ = [
    "JSON_TEXT_KEY",
    "ColumnFact",
    "FileStamp",
    "Format",
    "ImageFolder",
    "InputSpec",
    "Scan",
    "Slice",
    "Source",
    "check_columns",
    "find_files",
    "is_json_text",
    "is_own_output",
    "open_source",
    "own_columns",
    "python_rows",
    "refuse_output_among",
    "scan",
    "spool_stdin",
]
