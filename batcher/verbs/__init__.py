"""The composition root: what each verb does. It opens the parts, connects them, and closes them.

    run        a job to its output: begin, go on, or find it finished
    trial      `try`: buy a few rows spread over the input; `run` takes their answers over
    retry      rows of an output again, the rest untouched
    status     every run below a folder, alive or dead
    export     what is done so far
    verify     an output held against its input, its job and itself
    report     what came of a run (report_rows, report_examples, report_run), or of two (report_comparison)
    decide     pure: what stands there, and what to do about it
    wiring     from a job to the parts that carry it out
    opening    a run directory taken up: lock, facts, state, what was lost
    session    one process at work: engine, store, signals and progress together
    closing    publish, ledger, summary

Only this room names the concrete store and endpoint. (It is not called `run`, because `batcher.run` is the public
function, and a module of that name would hide it.)
"""
