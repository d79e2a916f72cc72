"""`batcher init` writes a job that works beside its data, and never writes over anything."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from batcher.cli.group import cli
from batcher.cli.init import STARTERS, origin
from batcher.job import load_job

KINDS = sorted(STARTERS)


def init(*args: object) -> tuple[int, str]:
    said = CliRunner().invoke(cli, ["init", *map(str, args)])
    assert said.stdout == ""
    return said.exit_code, said.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_init_writes_a_job_that_finds_its_data(tmp_path: Path, kind: str) -> None:
    starter = STARTERS[kind]
    assert init(kind, tmp_path)[0] == 0
    words = starter.options.split()
    variables = dict([words[1].split("=")]) if words else {}
    job = load_job(tmp_path / starter.job, variables=variables)
    assert Path(job.input.path) == tmp_path / starter.sample
    assert Path(job.input.path).stat().st_size > 1000


def test_init_writes_the_photos_of_its_listings_too(tmp_path: Path) -> None:
    assert init("images", tmp_path)[0] == 0
    images = load_job(tmp_path / STARTERS["images"].job).request.images
    assert images is not None
    assert images.root == str(tmp_path / "sample_data" / "photos")
    assert len(list(Path(images.root).iterdir())) == 20
    code, said = init("images", tmp_path)
    assert code == 4
    assert "and 20 more already there; nothing was written" in said


@pytest.mark.parametrize("kind", KINDS)
def test_init_says_what_to_type_next(tmp_path: Path, kind: str) -> None:
    starter = STARTERS[kind]
    said = init(kind, tmp_path)[1]
    assert f"batcher run {tmp_path / starter.job}{starter.options} --simulate\n" in said


def test_init_without_words_writes_the_labelling_job_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, said = init()
    assert code == 0
    assert "batcher run jobs/label_tickets.toml --simulate" in said
    assert (tmp_path / "jobs" / "label_tickets.toml").is_file()


@pytest.mark.parametrize("name", ["jobs/label_tickets.toml", "sample_data/tickets.jsonl"])
def test_init_overwrites_nothing_and_writes_nothing_beside_it(tmp_path: Path, name: str) -> None:
    standing = tmp_path / name
    standing.parent.mkdir()
    standing.write_text("mine")
    code, said = init("label", tmp_path)
    assert code == 4
    assert f"{standing} already there; nothing was written" in said
    assert standing.read_text() == "mine"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [standing]


def test_init_twice_with_different_kinds_is_fine(tmp_path: Path) -> None:
    assert [init(kind, tmp_path)[0] for kind in KINDS] == [0] * len(KINDS)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "jobs").write_text("a file")
    code, said = init("label", tmp_path)
    assert code in {4, 8}
    assert str(tmp_path / "jobs") in said


def test_an_unknown_kind_is_wrong_usage(tmp_path: Path) -> None:
    assert init("sing", tmp_path)[0] == 2


@pytest.mark.parametrize("kind", KINDS)
def test_what_init_copies_is_there_to_be_copied(kind: str) -> None:
    assert origin().joinpath(STARTERS[kind].job).is_file()
    assert origin().joinpath(STARTERS[kind].sample).is_file()
