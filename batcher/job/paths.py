"""Paths of a job: `{{ NAME }}` filled in from `--var`, then made absolute from where they were written.

There is no clock in them, on purpose: a run killed at 23:50 and resumed at 00:05 must find itself.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from batcher.job.spelling import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PATH_KEYS: tuple[tuple[str, ...], ...] = (
    ("input", "path"),
    ("output", "path"),
    ("output", "report"),
    ("endpoint", "ca_file"),
    ("request", "response_format", "file"),
    ("request", "images", "root"),
)
"""Every key of a job that holds a path."""

VARIABLE = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")
NOT_PARQUET = {
    ".csv",
    ".tsv",
    ".json",
    ".jsonl",
    ".ndjson",
    ".xlsx",
    ".gz",
    ".zst",
    ".txt",
    ".arrow",
    ".feather",
}
STDIN = "-"


def names_in(text: str) -> list[str]:
    """The variables a path uses, in order."""
    return VARIABLE.findall(text)


def fill(text: str, variables: Mapping[str, str]) -> str:
    """The path with its variables filled in.

    Raises:
        ValueError: a variable is not given or empty, or braces hold something else than a name; without the
        place.
    """
    for name in names_in(text):
        if name not in variables:
            close = did_you_mean(name, variables)
            raise ValueError(
                f"uses {{{{ {name} }}}}; give it with --var {name}=…{close.replace('; did', ', did', 1)}"
            )
        if not variables[name]:
            raise ValueError(f"uses {{{{ {name} }}}}, but --var {name}= is empty")
    rest = VARIABLE.sub("", text)
    if "{{" in rest or "}}" in rest:
        raise ValueError(
            "only {{ NAME }} can stand in a path: letters, digits and _, filled in by --var NAME=…"
        )
    return VARIABLE.sub(lambda found: variables[found[1]], text)


def unused(variables: Iterable[str], texts: Iterable[str]) -> list[str]:
    """A sentence for every variable that no path uses."""
    used = {name for text in texts for name in names_in(text)}
    return [
        f"--var {name}: no path of this job uses {{{{ {name} }}}}{did_you_mean(name, used)}"
        for name in variables
        if name not in used
    ]


def absolute(text: str, *, start: Path) -> str:
    """The path from the root on, without touching the disk; stdin and URLs stay as they are."""
    if text == STDIN or "://" in text:
        return text
    path = Path(text)
    if text.startswith("~"):
        try:
            path = path.expanduser()
        except RuntimeError:  # no home is known: the name is taken as it stands
            path = Path(text)
    # normpath only folds "..", without asking the disk, so globs and names that do not exist yet stay as
    # written.
    return os.path.normpath(start / path)


def output_problem(text: str) -> str | None:
    """Why an output cannot have this path, or None."""
    if text == STDIN:
        return "one verified Parquet file cannot go to stdout; name a file"
    if text.endswith("/"):
        return "names a directory; name the Parquet file in it"
    if "://" in text:
        scheme = text.split("://", 1)[0]
        return f"{scheme}:// is not built yet; name a local file and copy it when it is complete"
    if Path(text).suffix.lower() in NOT_PARQUET:
        return f'the output is a Parquet file, so "{Path(text).suffix}" is wrong; end the name in .parquet'
    return None
