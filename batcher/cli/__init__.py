"""The command line: argv -> call -> exit code, one module per verb, and no rules of its own.

`main` sets signal handlers before anything heavy is imported, and each verb's module is imported when that
verb is used, so that `batcher --help` costs a few milliseconds and Ctrl-C in the first second leaves no
traceback.

    signals   handlers from the first line on
    streams   standard streams that may be closed or a broken pipe
    thrift    what our own process need not load or collect
    group     the lazy group: names, one-line helps, completion
    boundary  exceptions -> what a person reads, and the exit code
    options   the options verbs share, and the job they describe
    (one module per verb)
"""

from __future__ import annotations

import sys

from batcher.cli import signals, streams, thrift


def main() -> None:
    """The `batcher` command; ends the process with the exit code."""
    if sys.platform == "win32":
        sys.stderr.write("batcher: Windows is not supported yet; it runs on Linux and macOS, and in WSL\n")
        sys.exit(2)
    signals.watch()
    streams.reopen()
    thrift.spare()
    # Imported here, not above: handlers stand before the first import that takes time.
    from batcher.cli.group import cli

    cli.main(prog_name="batcher")
