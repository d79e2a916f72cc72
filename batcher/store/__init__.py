"""Rows out: where a paid answer is safe, and the one verified Parquet file that is made of them.

    files frames ballast lock         durable file operations, checksummed lines, room for a full disk, one writer
    codec journal commit history      answers as they arrive: written at once, synced in groups, read back per row
    manifest run_facts run_state      what has happened to the run, what it is, where it stands (pure)
    directory shard_input recovery    the files of a run, its input columns, taking it up after a crash
    run_store memory                  the store the engine works with (`batcher.ports.Store`)
    columns cells pandas_words        the output's columns, declared once
    part seal publish footer          shards to parts, parts to the output
    reuse reuse_entries unfinished taken   answers that were bought before, found by their request's hash
    published ledger events           looking at an output; one line per session; what changed meanwhile

The journal is the truth, the Parquet file is a view.
"""
