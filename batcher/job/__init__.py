"""What the user wrote: the typed job, how it is loaded, and the fingerprint that tells two runs apart.

It reads the job file and a schema file that the job names, and does no other I/O: no clock, no environment,
no key.
"""

from batcher.job.difference import Difference, diff, readable
from batcher.job.fingerprint import Fingerprint, fingerprint
from batcher.job.loading import Job, JobOptions, Shown, job_from_table, load_job
from batcher.job.model import (
    EndpointTable,
    InputTable,
    LimitsTable,
    OutputTable,
    PriceTable,
    RequestTable,
)

__all__ = [
    "Difference",
    "EndpointTable",
    "Fingerprint",
    "InputTable",
    "Job",
    "JobOptions",
    "LimitsTable",
    "OutputTable",
    "PriceTable",
    "RequestTable",
    "Shown",
    "diff",
    "fingerprint",
    "job_from_table",
    "load_job",
    "readable",
]
