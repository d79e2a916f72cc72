from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.store.frames import Damage, Frame, cut_tail, decode_frame, encode_frame, read_frames, torn_tail

if TYPE_CHECKING:
    from pathlib import Path

PAYLOADS = [b'{"n":0}', b'{"n":1,"text":"deadbeef {} 00000000 {\\"k\\":1}"}', b'{"n":2}']


def frames_of(path: Path, *, window: int = 1 << 20) -> list[bytes]:
    return [each.payload for each in read_frames(path, window=window) if isinstance(each, Frame)]


def damage_of(path: Path) -> list[Damage]:
    return [each for each in read_frames(path) if isinstance(each, Damage)]


def test_a_line_is_checksum_space_json_newline() -> None:
    line = encode_frame(b'{"n":0}')
    assert line[8:] == b' {"n":0}\n'
    assert decode_frame(line) == b'{"n":0}'


@pytest.mark.parametrize("window", [1, 2, 7, 10, 1 << 20])
def test_frames_come_back_with_their_places_whatever_the_window(tmp_path: Path, window: int) -> None:
    path = tmp_path / "j"
    content = b"".join(map(encode_frame, PAYLOADS))
    path.write_bytes(content)
    found = list(read_frames(path, window=window))
    assert [each.payload for each in found if isinstance(each, Frame)] == PAYLOADS
    assert [content[each.offset : each.offset + each.length] for each in found] == list(
        map(encode_frame, PAYLOADS)
    )


def test_a_torn_record_does_not_swallow_the_good_one_on_its_line(tmp_path: Path) -> None:
    path = tmp_path / "j"
    torn = encode_frame(PAYLOADS[1])[:-7]
    path.write_bytes(encode_frame(PAYLOADS[0]) + torn + encode_frame(PAYLOADS[2]))
    assert frames_of(path) == [PAYLOADS[0], PAYLOADS[2]]
    assert damage_of(path) == [Damage(len(encode_frame(PAYLOADS[0])), len(torn))]


def test_two_torn_records_before_a_good_one_are_one_damage(tmp_path: Path) -> None:
    path = tmp_path / "j"
    torn = encode_frame(PAYLOADS[1])[:30] + encode_frame(PAYLOADS[0])[:12]
    path.write_bytes(torn + encode_frame(PAYLOADS[2]))
    assert list(read_frames(path)) == [
        Damage(0, len(torn)),
        Frame(len(torn), len(encode_frame(PAYLOADS[2])), PAYLOADS[2]),
    ]


def test_zeros_left_by_a_power_loss_are_damage_and_the_next_record_is_found(tmp_path: Path) -> None:
    path = tmp_path / "j"
    path.write_bytes(bytes(5000) + encode_frame(PAYLOADS[0]))
    assert frames_of(path, window=512) == [PAYLOADS[0]]


@pytest.mark.parametrize("tail", [b"}", b'"}', b'","x":1}', b'","":1}', b'",":1,":2}', b'"]}'])
def test_text_inside_a_damaged_record_never_passes_for_a_record(tmp_path: Path, tail: bytes) -> None:
    # Whoever wrote the text knew the tail and computed a fitting checksum; still it is not JSON.
    forged = encode_frame(b"{" + tail)[:-1]
    line = encode_frame(b'{"content":"' + forged[:10] + tail)
    path = tmp_path / "j"
    path.write_bytes(b"0" + line[1:] if line[:1] != b"0" else b"1" + line[1:])
    assert frames_of(path) == []


@pytest.mark.parametrize(
    "line", [b"\n", b"00000000 \n", b"xyz\n", b"{}\n", b"99914B93 {}\n", b"+9914b93 {}\n"]
)
def test_lines_that_are_nearly_frames_are_damage(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "j"
    path.write_bytes(line)
    assert list(read_frames(path)) == [Damage(0, len(line))]


@given(cut=st.integers(0, 200))
def test_a_tail_is_torn_where_the_last_newline_ends(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    path = tmp_path_factory.mktemp("tail") / "j"
    content = b"".join(map(encode_frame, PAYLOADS))[:cut]
    path.write_bytes(content)
    good = content.rfind(b"\n") + 1
    assert torn_tail(path, window=3) == torn_tail(path) == good
    assert cut_tail(path) == len(content) - good
    assert cut_tail(path) == 0
    assert path.read_bytes() == content[:good]


def test_a_growing_file_is_read_up_to_its_size_at_the_first_step(tmp_path: Path) -> None:
    path = tmp_path / "j"
    path.write_bytes(encode_frame(PAYLOADS[0]))
    reader = read_frames(path)
    first = next(reader)
    with path.open("ab") as file:
        file.write(encode_frame(PAYLOADS[2]))
    assert isinstance(first, Frame)
    assert list(reader) == []
