"""batcher runs a dataset of prompts through a chat-completions endpoint and loses no answer that was paid for.

Public API: `Job`, `run`, `__version__`. The house, from the door inwards:

    records errors ports   the words everybody shares: domain records, exceptions with exit codes, the Protocols
    quick       frozen values that are built quickly
    cli         one file per verb: argv -> call -> exit code; no logic
    verbs       composition root: what each verb does; opens the parts, connects them, closes them
    engine      one row from request to outcome (attempt), all rows at once (dispatch), shutdown
    job         what the user wrote: typed job, TOML loading, fingerprint and its diff
    dataset     rows in: JSONL, Parquet, OpenAI Batch lines; scan, stream, seek
    chat        pure: row -> request body and its hash; reply bytes -> reading; templates, labels
    policy      pure: failure taxonomy, waits, backoff, flow control behind one admit()
    endpoint    the network: one exchange, bytes in, bytes out, no retry
    store       rows out: journal, manifest, seal, publish, output columns, reuse index
    cost        prices, cost of a row, spending added up
    report      what happened: summary and progress as text; the report, with its plots
    simulator   an OpenAI-compatible endpoint with faults, on loopback, for demos and tests

Data walks left to right, once: dataset -> chat -> engine (policy, endpoint) -> store -> report.

`batcher.run` is a function, so the composition root is the room `verbs` and not a module `run`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batcher.job import Job
    from batcher.verbs.api import run

__all__ = ["Job", "__version__", "run"]

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """`Job` and `run`, imported when they are first used: `import batcher` costs nothing."""
    if name == "Job":
        from batcher.job import Job

        return Job
    if name == "run":
        from batcher.verbs.api import run

        return run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
