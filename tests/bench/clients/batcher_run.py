"""`batcher run` as it is, or with words after OUT added to the command; says how late the event loop was, too.

Written on stderr: ``loop lag p99 MS``, of a sleep of 0.2 s, as the run itself measures it.
"""

import json
import os
import sys

from batcher.cli import main
from batcher.verbs.session import Board

_late_ms: list[float] = []
_look = Board.look


def _watched(board: Board, now: float, *, late_s: float = 0.0) -> None:
    _late_ms.append(late_s * 1000)
    _look(board, now, late_s=late_s)


def command(url: str, rows: str, connections: str, out: str, *more: str) -> list[str]:
    words = ["run", "-i", rows, "-o", out, "--model", "m", "--base-url", url, "--concurrency", connections]
    if url.startswith("https"):
        words += ["--set", f"endpoint.ca_file={json.dumps(os.environ['BENCH_CA'])}"]
    return [*words, "--yes", "-q", *more]


if __name__ == "__main__":
    Board.look = _watched  # type: ignore[method-assign, assignment]
    sys.argv = ["batcher", *command(*sys.argv[1:])]
    try:
        main()
    finally:
        _late_ms.sort()
        print(f"loop lag p99 {_late_ms[int(len(_late_ms) * 0.99)] if _late_ms else 0:.1f}", file=sys.stderr)
