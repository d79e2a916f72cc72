"""`batcher init KIND [DIR]`: a job that works and the data it reads, to start from.

It must never overwrite: what stands in the way is named, and nothing is written. The files come out of the
wheel, or of the repository when the package is installed in place.
"""

from __future__ import annotations

import importlib.resources
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

import batcher
from batcher.cli import streams
from batcher.errors import Conflict, StorageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from importlib.resources.abc import Traversable


class Starter(NamedTuple):
    """A job to start from: its files, and a folder of more, relative to the folder that holds them; and what its
    command line needs.
    """

    job: str
    sample: str
    options: str = ""
    folder: str | None = None

    def files(self, source: Traversable) -> list[str]:
        """All that is copied, those in the folder included."""
        inside = [] if self.folder is None else source.joinpath(self.folder).iterdir()
        return [self.job, self.sample, *sorted(f"{self.folder}/{each.name}" for each in inside)]


STARTERS: Mapping[str, Starter] = {
    "label": Starter("jobs/label_tickets.toml", "sample_data/tickets.jsonl"),
    "summarise": Starter(
        "jobs/summarise_nightly.toml", "sample_data/articles-2026-11-21.parquet", " --var ds=2026-11-21"
    ),
    "extract": Starter("jobs/extract_orders.toml", "sample_data/orders.parquet"),
    "images": Starter("jobs/check_listings.toml", "sample_data/listings.jsonl", folder="sample_data/photos"),
}


@click.command()
@click.argument("kind", type=click.Choice(list(STARTERS)), default="label")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), default=".", metavar="[DIR]")
def init(kind: str, directory: Path) -> None:
    r"""Write a job and sample data into DIR (default: here), to start from.

    \b
    label      bulk labelling: [labels] and a prompt (the default)
    summarise  a nightly run: the date comes in with --var ds=
    extract    function calling: orders out of e-mails
    images     images: whether a photo shows what its listing says
    """
    starter = STARTERS[kind]
    copy(starter, directory)
    job = directory / starter.job
    streams.write(
        f"  {job}   the job: read it, it is short\n"
        f"  {directory / starter.sample}   what it reads\n"
        f"  Try it, free and without a key:  batcher run {job}{starter.options} --simulate\n"
        f"  Then a few real rows:            export PIPELLM_API_KEY=…; batcher try {job}{starter.options}\n",
        to_stderr=True,
    )


def copy(starter: Starter, directory: Path) -> None:
    """Write the files of a starter below `directory`.

    Raises:
        Conflict: one of them stands there already; then none is written.
        StorageError: they cannot be written.
    """
    source = origin()
    names = starter.files(source)
    standing = [str(directory / name) for name in names if (directory / name).exists()]
    if standing:
        more = f" and {len(standing) - 2} more" if len(standing) > 2 else ""
        raise Conflict(
            f"{' and '.join(standing[:2])}{more} already there; nothing was written",
            hint="name another folder: batcher init KIND DIR",
        )
    contents = {name: source.joinpath(name).read_bytes() for name in names}
    for name, content in contents.items():
        target = directory / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as file:
                file.write(content)
        except FileExistsError as err:
            raise Conflict(f"{err.filename or target} is in the way; it was not overwritten") from err
        except OSError as err:
            raise StorageError(f"cannot write {target}: {err.strerror or err}") from err


def origin() -> Traversable:
    """The folder that holds `jobs/` and `sample_data/`: in the wheel, else the repository's."""
    packed = importlib.resources.files("batcher").joinpath("starter")
    if packed.is_dir():
        return packed
    return Path(batcher.__file__).parent.parent
