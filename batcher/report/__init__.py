"""What happened, for people and for machines: the summary of a run, the progress line, safe text for a terminal.

summary    values: what a verb did, as one JSON object
wording    pure: the summary and its advice as lines of text
progress   pure: the progress line and the log line
bill       values: what was spent; bill_words: as a table and lines
terminal   the only place that draws: a live line, tables; text from models and servers is made harmless first

What came of a run, for `batcher report`; all of it pure, rows are read by the verb:

findings, comparison       values: what is told of one output, or of two
sketch, timeline           how they are counted: logarithmic bins, slices of time
verdict, side_by_side      the story in one sentence, or in two columns
brief                      text for a terminal
page (pages/)              one HTML page; pictures says which plots, plots draws them on a canvas, over scales
figures, plain             numbers for people, values for JSON
"""

from batcher.report.progress import Standing, log_line, terminal_line
from batcher.report.summary import FailureGroup, Summary
from batcher.report.wording import harmless, summary_lines

__all__ = [
    "FailureGroup",
    "Standing",
    "Summary",
    "harmless",
    "log_line",
    "summary_lines",
    "terminal_line",
]
