"""`[output] report`: the page that a run or retry writes when its output is published.

The output stands and is paid for by then, so a page that cannot be written is said and never fails the run.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from batcher.errors import BatcherError
from batcher.verbs.places import Place
from batcher.verbs.report import findings_at, write_page

if TYPE_CHECKING:
    from batcher.verbs.round import Round


def write_report_of(round_: Round) -> None:
    """Write the page that the job asks for, if it does; a try has none."""
    named = round_.job.output.report
    if named is None or round_.verb == "try":
        return
    page = page_path(Path(named), simulated=round_.facts.simulated)
    try:
        write_page(findings_at(Place(round_.site.directory, round_.site.output)), page)
    except BatcherError as err:
        round_.options.display.say(f"  the report was not written: {err}")
    else:
        round_.options.display.say(f"  report: {page}")


def page_path(named: Path, *, simulated: bool) -> Path:
    """A simulated run's page stands beside the real one's place, as its output does."""
    return named.with_name(f"{named.stem}.simulated{named.suffix}") if simulated else named
