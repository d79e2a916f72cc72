"""What a job asks its answers to be, and the columns that answers become. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batcher.chat.contracts import contract_of, strictness_warnings
from batcher.engine.judging import Terms
from batcher.store.columns import OWN_NAMES
from batcher.store.property_columns import Expansion, expansion_of

if TYPE_CHECKING:
    from batcher.job import Job


def terms(job: Job) -> Terms:
    """What answers must be.

    Raises:
        JobError: a schema that is none.
    """
    wanted = job.request
    contract = contract_of(
        labels=job.labels,
        response_format=wanted.response_format,
        tools=wanted.tools,
        tool_choice=wanted.tool_choice,
    )
    return Terms(contract, min(wanted.reask, job.limits.max_paid_attempts - 1))


def expansion(job: Job) -> Expansion:
    """The typed columns of the job's answers. Raises JobError as `terms`."""
    schema = terms(job).contract.schema if job.labels or job.output.expand else None
    return expansion_of(schema, ours=OWN_NAMES | {f"tag_{tag}" for tag in job.tags})


def schema_warnings(job: Job) -> list[str]:
    """What a strict server may refuse about the job's schema, as sentences."""
    return strictness_warnings(job.request.response_format)


def answer_columns(job: Job) -> tuple[str, ...]:
    """Names, without prefix, of the columns that answers become: labels, or properties of the schema."""
    return tuple(each.name for each in expansion(job).columns)


def has_parsed(job: Job) -> bool:
    """Whether the output has a column for validated JSON; labels are columns themselves."""
    return job.request.response_format is not None or job.request.tools is not None
