"""Images through whole runs: 200 rows of bytes and paths, what may not be sent, and what is done again."""

from __future__ import annotations

import json
from base64 import b64decode
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from verb_runs import batcher, carry_out, stopped

from batcher.simulator import SimulatorConfig, launch
from batcher.store.directory import run_directory
from batcher.store.manifest import read
from batcher.verbs.options import RunOptions
from batcher.verbs.retry import RetryWish, retry
from batcher.verbs.spending import of_seals

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batcher.simulator.launch import Simulator

PHOTOS = sorted((Path(__file__).parents[2] / "sample_data" / "photos").iterdir())
ROWS = 200
CUT, LARGE, OUTSIDE, LINKED, MISSING = 20, 41, 101, 102, 103
BAD = {
    CUT: "invalid_image",
    LARGE: "image_too_large",
    OUTSIDE: "image_outside_root",
    LINKED: "image_outside_root",
    MISSING: "image_not_found",
}
SENT = r'"url":"data:image/([a-z]+;base64,[^"]+)"'


def picture(number: int) -> bytes:
    """A picture of its own: what stands behind one is no part of it."""
    return PHOTOS[number % len(PHOTOS)].read_bytes() + b"#%d" % number


@pytest.fixture
def endpoint() -> Iterator[Simulator]:
    """A quick simulator whose ledger tells what came as an image."""
    with launch(SimulatorConfig(latency="fixed:0.001", ledger_key=SENT)) as running:
        yield running


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """200 rows: the first half bytes, the second half paths below ``album``, each in a column of its own."""
    album = tmp_path / "album"
    album.mkdir()
    (tmp_path / "secret.png").write_bytes(picture(OUTSIDE))
    (album / "link.png").symlink_to("../secret.png")
    names = {OUTSIDE: "../secret.png", LINKED: "link.png"}
    photos: list[bytes | None] = []
    files: list[str | None] = []
    for number in range(ROWS):
        name = names.get(number, f"{number}{PHOTOS[number % len(PHOTOS)].suffix}")
        if number >= ROWS // 2 and number not in BAD:
            (album / name).write_bytes(picture(number))
        is_bytes = number < ROWS // 2
        photos.append(picture(number) if is_bytes else None)
        files.append(None if is_bytes else name)
    photos[CUT] = picture(CUT)[:300]
    photos[LARGE] = picture(LARGE) + bytes(50_000)
    columns = {"text": [f"row {number}" for number in range(ROWS)], "photo": photos, "file": files}
    table = pa.table(columns, pa.schema({"text": pa.string(), "photo": pa.binary(), "file": pa.string()}))
    path = tmp_path / "in.parquet"
    pq.write_table(table, path)
    return path


def sets(root: Path) -> list[str]:
    return [
        'request.images.column=["photo", "file"]',
        f"request.images.root={root / 'album'}",
        "request.images.max_bytes=50000",
    ]


def rows_of(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return found


def arrived(at: Simulator) -> Counter[tuple[str, bytes]]:
    """(media type, content) of every image that came."""
    keys = [str(entry["key"]) for entry in at.ledger() if entry["mode"] == "ok"]
    return Counter((kind, b64decode(text)) for kind, _, text in (key.partition(";base64,") for key in keys))


def expected() -> Counter[tuple[str, bytes]]:
    kinds = {".png": "png", ".jpg": "jpeg", ".webp": "webp"}
    return Counter(
        (kinds[PHOTOS[number % len(PHOTOS)].suffix], picture(number))
        for number in range(ROWS)
        if number not in BAD
    )


def test_of_200_images_every_good_one_is_sent_once_and_no_other(
    endpoint: Simulator, rows: Path, tmp_path: Path
) -> None:
    out, given = tmp_path / "out.parquet", sets(tmp_path)
    endpoint.control(fail_after={"unauthorized": 60})
    assert stopped(endpoint, rows, out, sets=given) == 5
    endpoint.control(fail_after={})
    summary = carry_out(endpoint, rows, out, sets=given)
    assert summary.outcomes == {"ok": ROWS - len(BAD), "invalid": len(BAD)}
    found = rows_of(out)
    assert {row["row_index"]: row["error_type"] for row in found if row["outcome"] != "ok"} == BAD
    assert "cut off" in found[CUT]["error_message"]
    assert endpoint.totals()["generated"] == ROWS - len(BAD)
    assert endpoint.totals()["paid_again"] == 0
    assert arrived(endpoint) == expected()
    assert [row["photo"] for row in found] == pq.read_table(rows).column("photo").to_pylist()
    assert max(row["prompt_tokens"] for row in found if row["outcome"] == "ok") < 1_000
    assert batcher("verify", out).exit_code == 0

    (tmp_path / "album" / found[MISSING]["file"]).write_bytes(picture(MISSING))
    retry(out, RetryWish(outcomes=("invalid",)), RunOptions(environ={}))
    assert endpoint.totals()["generated"] == ROWS - len(BAD) + 1
    assert {row["row_index"] for row in rows_of(out) if row["outcome"] != "ok"} == set(BAD) - {MISSING}
    assert batcher("verify", out).exit_code == 0


def test_a_changed_image_file_is_told_like_a_changed_input(
    endpoint: Simulator, rows: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.parquet"
    carry_out(endpoint, rows, out, sets=sets(tmp_path))
    changed = tmp_path / "album" / rows_of(out)[150]["file"]
    changed.write_bytes(picture(0))
    told = batcher("verify", out)
    assert told.exit_code == 4
    assert "1 rows were not sent as the job renders them" in told.output
    assert "row_index 150; image files" in told.output
    changed.unlink()
    assert batcher("verify", out).exit_code == 4
    (tmp_path / "album").rename(tmp_path / "elsewhere")
    assert "root is no folder" in batcher("verify", out).output


def test_a_lost_attempt_counts_the_image_at_its_dearest_and_not_its_bytes(
    endpoint: Simulator, rows: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.parquet"
    endpoint.control(faults_by_substring={"row 7.": "reset", "row 107.": "reset"})
    limits = ["limits.max_paid_attempts=1", "limits.max_cost_usd=100", "request.max_tokens=500"]
    carry_out(endpoint, rows, out, sets=[*sets(tmp_path), *limits, "prices.m={input=1, output=1}"])
    assert [row["row_index"] for row in rows_of(out) if row["outcome"] == "failed"] == [7, 107]
    spent = of_seals(read(run_directory(out, None).manifest).records)
    assert spent.lost["m"].attempts == 2
    assert 100_000 < spent.lost["m"].prompt < 101_000


def test_a_folder_that_is_not_there_is_told_before_anything_is_sent(
    endpoint: Simulator, rows: Path, tmp_path: Path
) -> None:
    given = [*sets(tmp_path), f"request.images.root={tmp_path / 'nowhere'}"]
    assert stopped(endpoint, rows, tmp_path / "out.parquet", sets=given) == 2
    assert endpoint.totals()["requests"] == 0


def test_lines_may_bring_urls_and_lists(endpoint: Simulator, tmp_path: Path) -> None:
    lines = [["https://x.example/a.png", "https://x.example/b.png"], "https://x.example/c.png", None]
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps({"text": "x", "photo": photo}) + "\n" for photo in lines))
    out = tmp_path / "out.parquet"
    carry_out(endpoint, path, out, sets=["request.images.column=photo", "request.images.detail=low"])
    assert [row["outcome"] for row in rows_of(out)] == ["ok", "ok", "invalid"]
    first, second, _ = (row["prompt_tokens"] for row in rows_of(out))
    assert first - second > 85
