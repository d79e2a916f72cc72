"""The first row group of a Parquet footer, read without Arrow: which codecs it names, and whether it is
encrypted.

Must be asked before Arrow looks at column metadata: pyarrow 26 does not raise but ends the process (an
uncaught C++ exception) when ``metadata.row_group(0).column(0)`` meets an encrypted column or a codec number
it does not know.

Format: github.com/apache/parquet-format, parquet.thrift, in Thrift's compact protocol. Field numbers:
FileMetaData 4 row_groups; RowGroup 1 columns; ColumnChunk 3 meta_data, 8 crypto_metadata; ColumnMetaData 3
path_in_schema, 4 codec.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from batcher.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CODECS: Final = {0: "uncompressed", 1: "snappy", 2: "gzip", 4: "brotli", 5: "lz4", 6: "zstd", 7: "lz4_raw"}
_REFUSED_CODECS: Final = {3: "LZO"}
_MAGIC, _ENCRYPTED = b"PAR1", b"PARE"
MAGICS: Final = (_MAGIC, _ENCRYPTED)
_NESTING: Final = 64  # deeper than any real footer
_BINARY, _LIST, _SET, _STRUCT = 8, 9, 10, 12


class FirstGroup(NamedTuple):
    """Codec numbers in use, and whether any column is encrypted."""

    codecs: frozenset[int]
    is_encrypted: bool


def read_footer(path: Path) -> bytes:
    """The raw footer, from its Thrift bytes to the closing magic.

    Raises:
        DatasetError: 0 bytes, not Parquet, cut, encrypted, or compressed with something that is not read
            here.
        OSError: not readable.
    """
    with path.open("rb") as file:
        head = file.read(4)
        size = file.seek(0, 2)
        if not size:
            raise DatasetError(f"{path} has 0 bytes: not a Parquet file")
        file.seek(max(size - 8, 0))
        tail = file.read(8)
        if _ENCRYPTED in (head, tail[4:]):
            raise DatasetError(f"{path} is an encrypted Parquet file; decrypt it first")
        if head != _MAGIC:
            raise DatasetError(f"{path} is not a Parquet file: it does not begin with PAR1")
        length = int.from_bytes(tail[:4], "little")
        if size < 12 or tail[4:] != _MAGIC or length > size - 12:
            raise DatasetError(f"{path}: the Parquet footer is missing or cut; the file may be incomplete")
        file.seek(size - 8 - length)
        footer = file.read(length + 8)
    _refuse(path, footer[:-8])
    return footer


def _refuse(path: Path, thrift: bytes) -> None:
    try:
        group = first_group(thrift)
    except (IndexError, ValueError) as err:
        raise DatasetError(f"{path}: the Parquet footer is damaged ({err})") from err
    if group.is_encrypted:
        raise DatasetError(f"{path} has encrypted columns; decrypt it first")
    for codec in sorted(group.codecs - CODECS.keys()):
        name = _REFUSED_CODECS.get(codec, f"unknown codec number {codec}")
        raise DatasetError(
            f"{path} is compressed with {name}, which is not read here; write it again with zstd"
        )


def first_group(thrift: bytes) -> FirstGroup:
    """Read as far as the end of the first row group. Raises IndexError or ValueError for damage."""
    reader = _Compact(thrift)
    for field, kind in reader.fields():
        if field != 4 or kind != _LIST:
            reader.skip(kind)
            continue
        groups, _ = reader.list_head()
        if groups:
            for inner, inner_kind in reader.fields():
                if inner == 1 and inner_kind == _LIST:
                    return _columns(reader)
                reader.skip(inner_kind)
        break
    return FirstGroup(frozenset(), is_encrypted=False)


def _columns(reader: _Compact) -> FirstGroup:
    codecs: set[int] = set()
    is_encrypted = False
    for _ in range(reader.list_head()[0]):
        for field, kind in reader.fields():
            if field == 3 and kind == _STRUCT:
                for inner, inner_kind in reader.fields():
                    if inner == 4:
                        codecs.add(reader.zigzag())
                    else:
                        reader.skip(inner_kind)
                continue
            is_encrypted = is_encrypted or field == 8
            reader.skip(kind)
    return FirstGroup(frozenset(codecs), is_encrypted)


class _Compact:
    """Thrift compact protocol, as much of it as skipping needs."""

    def __init__(self, thrift: bytes) -> None:
        self._bytes = thrift
        self._at = 0

    def varint(self) -> int:
        value = shift = 0
        while shift < 70:
            byte = self._bytes[self._at]
            self._at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
        raise ValueError("an integer of more than 10 bytes")

    def zigzag(self) -> int:
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def list_head(self) -> tuple[int, int]:
        """Count and element type."""
        head = self._bytes[self._at]
        self._at += 1
        count = head >> 4
        if count == 15:
            count = self.varint()
        if count > len(self._bytes):
            raise ValueError(f"a list of {count:,} elements")
        return count, head & 15

    def fields(self) -> Iterator[tuple[int, int]]:
        """Number and type of each field of a struct; the caller reads or skips its value before going on."""
        number = 0
        while head := self._bytes[self._at]:
            self._at += 1
            number = number + (head >> 4) if head >> 4 else self.zigzag()
            yield number, head & 15
        self._at += 1

    def skip(  # noqa: C901 - one branch per Thrift type
        self, kind: int, *, depth: int = 0, is_element: bool = False
    ) -> None:
        if depth > _NESTING:
            raise ValueError("nested too deep")
        if kind in (1, 2):  # a bool stands in the type itself, but takes a byte as an element
            self._at += is_element
        elif kind == 3:
            self._at += 1
        elif kind in (4, 5, 6):
            self.varint()
        elif kind == 7:
            self._at += 8
        elif kind == _BINARY:
            length = self.varint()
            self._at += length
        elif kind in (_LIST, _SET):
            count, element = self.list_head()
            for _ in range(count):
                self.skip(element, depth=depth + 1, is_element=True)
        elif kind == _STRUCT:
            for _, inner in self.fields():
                self.skip(inner, depth=depth + 1)
        else:  # maps do not occur in parquet.thrift
            raise ValueError(f"Thrift type {kind}")
