"""batcher runs a dataset of prompts through a chat-completions endpoint and loses no answer that was paid for.

Public API: `Job`, `run`, `__version__`. The house, from the door inwards:

    records errors ports   the words everybody shares: domain records, exceptions with exit codes, the Protocols
    cli         one file per verb: argv -> call -> exit code; no logic
    run         composition root: opens the parts, connects them, closes them
    engine      one row from request to outcome (attempt), all rows at once (dispatch), shutdown
    job         what the user wrote: typed job, TOML loading, fingerprint and its diff
    dataset     rows in: JSONL, Parquet, OpenAI Batch lines; scan, stream, seek
    chat        pure: row -> request body and its hash; reply bytes -> reading; templates, labels
    policy      pure: failure taxonomy, waits, backoff, flow control behind one admit()
    endpoint    the network: one exchange, bytes in, bytes out, no retry
    store       rows out: journal, manifest, seal, publish, output columns, reuse index
    cost        prices, cost of a row
    report      what happened: summary and progress as text
    simulator   an OpenAI-compatible endpoint with faults, on loopback, for demos and tests

Data walks left to right, once: dataset -> chat -> engine (policy, endpoint) -> store -> report.
"""

__version__ = "0.1.0"
