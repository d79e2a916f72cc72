"""Pure: what came of a run, in one sentence, and whether that is good."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from batcher.report.figures import percent
from batcher.report.wording import duration, money, reason_words

if TYPE_CHECKING:
    from batcher.report.findings import ErrorClass, Findings

Tone = Literal["good", "mixed", "bad", "none"]


def tone(found: Findings) -> Tone:
    """good: every row is ok; bad: half of them or more are not; none: there are no rows."""
    done = found.ok + found.not_ok
    if not done:
        return "none"
    if found.not_ok == 0:
        return "good"
    return "bad" if found.not_ok * 2 >= done else "mixed"


def verdict(found: Findings) -> str:
    """What came of it."""
    if not found.rows:
        return "The input had no rows, so nothing was asked."
    done = found.ok + found.not_ok
    so_far = "" if found.complete else "So far, of a run that is not finished, "
    if not done:
        return f"None of the {found.rows:,} rows is done yet."
    words = so_far + _ok_words(found, done, is_start=not so_far)
    words += _effort(found)
    if found.not_ok:
        words += f"; {_rest_words(found)}"
    return f"{words}."


def _ok_words(found: Findings, done: int, *, is_start: bool) -> str:
    if found.not_ok == 0:
        if done == 1:
            return "The one row is ok" if is_start else "the one row is ok"
        return f"{'All' if is_start else 'all'} {done:,} rows are ok"
    if done == 1:
        return "The one row is not ok" if is_start else "the one row is not ok"
    if found.ok == 0:
        return f"{'None' if is_start else 'none'} of {done:,} rows is ok"
    are = "is" if found.ok == 1 else "are"
    return f"{found.ok:,} of {done:,} rows ({percent(found.ok, done)}) {are} ok"


def _effort(found: Findings) -> str:
    if found.reused and not found.bought:
        return ", all of them taken over from earlier answers, so nothing was bought"
    words = f", in {duration(found.working_s)}" if found.working_s is not None else ""
    if found.cost.usd is None:
        return f"{words}, at a cost that is not known"
    return f"{words} for {money(found.cost.usd)}"


def _rest_words(found: Findings) -> str:
    """What the rows are that are not ok."""
    largest = found.classes[0]
    if found.not_ok + found.ok == 1:
        return f"it is {largest.outcome}: {class_words(largest)}"
    if found.not_ok == 1:
        return f"one is {largest.outcome}: {class_words(largest)}"
    if len(found.classes) == 1:
        return f"{found.not_ok:,} are {largest.outcome}: {class_words(largest)}"
    share = "most" if largest.rows * 2 > found.not_ok else f"{largest.rows:,}"
    return f"{found.not_ok:,} are not, {share} of them {largest.outcome}: {class_words(largest)}"


def class_words(each: ErrorClass) -> str:
    """Why these rows are not ok."""
    if each.outcome == "truncated":
        return "cut at the token limit"
    if each.outcome == "refused" and each.error_type in {None, "refused"}:
        return "the model declined"
    if each.error_type is None:
        return "no reason was given"
    return reason_words(each.error_type)
