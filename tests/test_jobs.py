"""The shipped jobs and their data: complete, loadable, and made by the script that stands beside them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batcher.chat.pictures import media_type
from batcher.dataset import InputSpec, find_files, scan
from batcher.job import Job, load_job
from batcher.verbs.answering import answer_columns
from batcher.verbs.wiring import InputShape, output_schema

ROOT = Path(__file__).parents[1]
JOBS = sorted((ROOT / "jobs").glob("*.toml"))
SAMPLE_DATA = ROOT / "sample_data"
PHOTOS = SAMPLE_DATA / "photos"
VARIABLES = {"summarise_nightly.toml": {"ds": "2026-11-21"}}
PLENTY = 200


def loaded(path: Path) -> Job:
    return load_job(path, variables=VARIABLES.get(path.name, {}))


def columns(path: Path) -> list[str]:
    if path.suffix == ".parquet":
        return list(pq.read_schema(path).names)
    return list(json.loads(path.read_text(encoding="utf-8").splitlines()[0]))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("sample_data")
    subprocess.run([sys.executable, SAMPLE_DATA / "make.py", directory], check=True)
    return directory


def test_there_is_one_job_for_each_use() -> None:
    assert [path.name for path in JOBS] == [
        "check_listings.toml",
        "extract_orders.toml",
        "label_tickets.toml",
        "summarise_nightly.toml",
    ]


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_a_shipped_job_loads_and_its_input_is_there(path: Path) -> None:
    job = loaded(path)
    assert Path(job.input.path).is_file()
    assert Path(job.input.path).parent == SAMPLE_DATA
    assert job.output_path.parent == ROOT / "out"


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_a_shipped_job_prices_the_model_it_asks(path: Path) -> None:
    job = loaded(path)
    assert job.request.model in job.prices


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_the_columns_that_a_shipped_job_names_are_in_its_data(path: Path) -> None:
    job = loaded(path)
    there = columns(Path(job.input.path))
    assert job.input.id_column in there
    assert job.request.prompt is not None
    assert [name for name in there if f"{{{{ {name} }}}}" in job.request.prompt]


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_the_output_of_a_shipped_job_can_be_laid_out_beside_its_input(path: Path) -> None:
    job = loaded(path)
    spec = InputSpec(job.input.path)
    found = scan(spec, find_files(spec, base=ROOT))
    names = output_schema(job, InputShape(found.format, found.schema)).arrow.names
    assert set(answer_columns(job)) <= set(names)
    counts = {"label_tickets": 3, "extract_orders": 3, "check_listings": 2}
    assert len(answer_columns(job)) == counts.get(path.stem, 0)


def test_the_output_folder_of_the_shipped_jobs_is_not_committed() -> None:
    assert "/out/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_the_script_makes_exactly_the_committed_lines(made: Path) -> None:
    names = sorted(path.name for path in made.glob("*.jsonl"))
    assert names == sorted(path.name for path in SAMPLE_DATA.glob("*.jsonl"))
    assert [name for name in names if (made / name).read_bytes() != (SAMPLE_DATA / name).read_bytes()] == []


def test_the_script_makes_exactly_the_committed_tables(made: Path) -> None:
    names = sorted(path.name for path in made.glob("*.parquet"))
    assert names == sorted(path.name for path in SAMPLE_DATA.glob("*.parquet"))
    different = [
        name for name in names if not pq.read_table(made / name).equals(pq.read_table(SAMPLE_DATA / name))
    ]
    assert different == []


def test_the_script_draws_exactly_the_committed_photos(made: Path) -> None:
    drawn = {path.name: path.read_bytes() for path in (made / "photos").iterdir()}
    assert drawn == {path.name: path.read_bytes() for path in PHOTOS.iterdir()}
    assert {name.rpartition(".")[2] for name in drawn} == {"png", "jpg", "webp"}


def test_every_listing_has_a_photo_that_can_be_sent() -> None:
    job = loaded(ROOT / "jobs" / "check_listings.toml")
    assert job.request.images is not None
    assert job.request.images.root == str(PHOTOS)
    named = {json.loads(line)["photo"] for line in Path(job.input.path).read_bytes().splitlines()}
    assert named == {path.name for path in PHOTOS.iterdir()}
    assert {media_type(path.read_bytes()) for path in PHOTOS.iterdir()} == {
        "image/png",
        "image/jpeg",
        "image/webp",
    }


@pytest.mark.parametrize("path", sorted(SAMPLE_DATA.glob("*.parquet")), ids=lambda path: path.stem)
def test_lines_and_table_hold_the_same_rows(path: Path) -> None:
    table = pq.read_table(path)
    lines = [json.loads(line) for line in path.with_suffix(".jsonl").read_bytes().splitlines()]
    assert len(lines) >= PLENTY
    times = [field.name for field in table.schema if pa.types.is_timestamp(field.type)]
    rows = [
        row | {name: row[name].strftime("%Y-%m-%dT%H:%M:%SZ") for name in times} for row in table.to_pylist()
    ]
    assert rows == lines


def test_the_sample_data_is_under_a_megabyte() -> None:
    assert sum(path.stat().st_size for path in SAMPLE_DATA.rglob("*") if path.is_file()) < 1_000_000
