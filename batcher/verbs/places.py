"""Where runs are: the run directories below a folder, of a state folder, or of one output.

Looking only: nothing is made, locked or changed. Hidden folders other than `.batcher` are not searched (a virtual
environment or a repository's store holds 100,000 files and no run), links are not followed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from batcher.errors import Conflict, JobError
from batcher.store.directory import RunDirectory, run_directory
from batcher.store.run_facts import RunFacts
from batcher.verbs.wiring import published_path

if TYPE_CHECKING:
    from collections.abc import Iterator

STATE_NAME = ".batcher"
RUN_SUFFIX = ".run"


def find_runs(path: Path | None, state: Path | None) -> list[RunDirectory]:
    """Every run below a folder, or the one run of an output path, sorted by path.

    Args:
        path: a folder, a run directory, or an output, which need not exist yet; None means the working directory.
        state: a shared state folder; of it the runs whose output lies at or below `path`, or all where that is None.

    Raises:
        JobError: nothing stands at `path`, and no run is on its way there.
    """
    is_anywhere, path = path is None, (path or Path()).absolute()
    if _is_run(path):
        return [RunDirectory(path)]
    if path.is_dir():
        shared = listed(state.absolute()) if state is not None else ()
        found = set(_below(path)) | {each for each in shared if is_anywhere or _leads_below(each, path)}
        return [RunDirectory(each) for each in sorted(found)]
    of_output = [each for each in _of_output(path, state) if each.path.is_dir()]
    if not of_output and not path.exists():
        raise JobError(f"{path} does not exist", hint="name a folder, or the output of a run")
    return of_output


class Place(NamedTuple):
    """One run's place; either may be missing on the disk, not both."""

    directory: RunDirectory
    output: Path


def place_of(out: Path | None, state: Path | None) -> Place:
    """The one run that is meant.

    Args:
        out: an output, which need not exist yet, or a run directory; a folder with one run below it, None for the
            working directory.
        state: the shared state folder, if there is one.

    Raises:
        JobError: there is none, or there are several.
        Conflict: a run directory of another version, or edited by hand.
    """
    if out is None or out.is_dir():
        runs = find_runs(out, state)
        if len(runs) != 1:
            where = (out or Path()).absolute()
            names = ", ".join(output_of(each, None).name for each in runs[:5])
            told = f"{len(runs)} runs are below {where}: {names}" if runs else f"no run is below {where}"
            raise JobError(told, hint="name the output")
        return Place(runs[0], output_of(runs[0], RunFacts.read(runs[0].run_json)))
    out = out.absolute()
    choices = [run_directory(out, state), run_directory(out)]
    directory = next((each for each in choices if each.path.is_dir()), choices[0])
    if not out.exists() and not directory.run_json.exists():
        raise JobError(f"{out} does not exist, and no run is making it", hint=did_you_mean(out))
    return Place(directory, out)


def output_of(directory: RunDirectory, facts: RunFacts | None) -> Path:
    """The output that a run directory belongs to: beside it, so that a moved folder is told right, or as written."""
    name = directory.path.name.removesuffix(RUN_SUFFIX)
    if facts is not None and Path(facts.output).name != name:
        return Path(facts.output)
    return directory.path.parent.parent / name


def did_you_mean(output: Path) -> str | None:
    """The simulated output that stands where a real one was asked for, as a hint; None when there is none."""
    simulated = published_path(output, simulated=True)
    if simulated.exists() or run_directory(simulated).path.is_dir():
        return f"did you mean {simulated.name}?"
    return None


def _of_output(output: Path, state: Path | None) -> Iterator[RunDirectory]:
    for each in (output, published_path(output, simulated=True)):
        yield run_directory(each, state)
        if state is not None:
            yield run_directory(each)


def _below(path: Path) -> Iterator[Path]:
    yield from listed(path)
    for folder, names, _ in os.walk(path):
        if STATE_NAME in names:
            yield from listed(Path(folder) / STATE_NAME)
        names[:] = sorted(
            name for name in names if not name.startswith(".") and not name.endswith(RUN_SUFFIX)
        )


def listed(state: Path) -> Iterator[Path]:
    """The run directories that stand directly in a folder."""
    try:
        yield from (each for each in state.iterdir() if _is_run(each))
    except OSError:  # not there, or not ours to look into
        return


def _is_run(path: Path) -> bool:
    return path.name.endswith(RUN_SUFFIX) and ((path / "lock").is_file() or (path / "run.json").is_file())


def _leads_below(run: Path, folder: Path) -> bool:
    """Whether a run of a shared state folder writes below a folder; one that cannot be read is shown too."""
    directory = RunDirectory(run)
    try:
        facts = RunFacts.read(directory.run_json)
    except (Conflict, OSError):
        return True
    return facts is None or Path(facts.output).is_relative_to(folder)
