"""From a job to the parts that carry it out: requests, columns, prices. Pure but for today's date, on which prices
depend.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from batcher.chat.images import Images
from batcher.chat.labels import response_format
from batcher.chat.request import RequestBuilder, RequestSpec
from batcher.cost.book import PriceBook
from batcher.cost.library import PriceList
from batcher.cost.prices import PriceTable, Rates
from batcher.dataset import ImageFolder
from batcher.engine.settle import Settler
from batcher.job import fingerprint
from batcher.store.columns import Features, OutputSchema
from batcher.verbs.answering import expansion, has_parsed, terms

if TYPE_CHECKING:
    import pyarrow as pa

    from batcher.dataset import Scan
    from batcher.job import Fingerprint, Job
    from batcher.ports import RequestBuilder as AnyBuilder
    from batcher.records import InputRow, PriceUsd, Problem, Request, Usage

SIMULATED_IDENTITY = "simulated"
"""Stands for the embedded simulator's URL, whose port differs in every session."""


@dataclass(frozen=True, slots=True)
class InputShape:
    """What the wiring needs to know of the input; `rows` is None when it does not matter."""

    format: str
    schema: pa.Schema
    rows: int | None = None


class NoRows:
    """The builder (`batcher.ports.RequestBuilder`) of an input without rows, which may have no columns to name."""

    columns: frozenset[str] = frozenset()
    raw_columns: frozenset[str] = frozenset()

    def build(self, row: InputRow) -> Request | Problem:
        raise AssertionError(f"row {row.row_index} of an input that has none")


def request_builder(job: Job, shape: InputShape, *, identity: str, simulated: bool) -> AnyBuilder:
    """The builder of a job's requests over this input.

    Raises:
        JobError: the job does not fit the input's columns, or its folder of images is not there.
    """
    if shape.rows == 0 and not shape.schema.names:
        return NoRows()
    params = _params(job)
    model = params.pop("model", None)
    return RequestBuilder(
        RequestSpec(
            model=cast("str | None", model),
            prompt=job.request.prompt,
            system=job.request.system,
            params=params,
            input_format=cast("Literal['jsonl', 'parquet', 'openai-batch']", shape.format),
            prompt_column=job.input.prompt_column,
            messages_column=job.input.messages_column,
            id_column=job.input.id_column,
            endpoint_identity=identity,
            simulated=simulated,
            columns=tuple(shape.schema.names),
            images=_images(job),
        )
    )


def _images(job: Job) -> Images | None:
    """What images go with each row; None where the job has none. Raises JobError: their folder is not there."""
    table = job.request.images
    if table is None:
        return None
    files = None if table.root is None else ImageFolder(Path(table.root))
    return Images(columns=table.column, detail=table.detail, max_bytes=table.max_bytes, files=files)


def _params(job: Job) -> dict[str, object]:
    """Body keys beside `messages`, as they are sent."""
    params = dict(job.request.parameters())
    if job.labels:
        params["response_format"] = response_format(job.labels)
    return params


def job_mark(job: Job, scan: Scan, *, identity: str, simulated: bool) -> Fingerprint:
    """What of job, input and endpoint changes answers."""
    return fingerprint(
        job,
        input_hash=scan.content_hash,
        endpoint_identity=identity,
        simulated=simulated,
        input_rows=scan.rows,
    )


def output_schema(job: Job, shape: InputShape) -> OutputSchema:
    """The output's columns for this job and input.

    Raises:
        JobError: a clash of names, with the prefix line to add.
    """
    is_batch = shape.format == "openai-batch"
    id_column = job.input.id_column or (
        "custom_id" if is_batch and "custom_id" in shape.schema.names else None
    )
    features = Features(
        custom_id=id_column is not None,
        id_column=id_column,
        tags=dict(job.tags),
        streaming=job.request.stream,
        tool_calls=is_batch or job.request.tools is not None,
        choices=is_batch or (job.request.n or 1) > 1,
        logprobs=is_batch or job.request.passed_through().get("logprobs") is True,
        parsed=has_parsed(job),
        properties=expansion(job).columns,
    )
    return OutputSchema.build(shape.schema, features=features, prefix=job.output.prefix or "")


def price_table(job: Job) -> PriceTable:
    """The prices of the job's own table."""
    return PriceTable(
        {model: Rates(price.input, price.cached_input, price.output) for model, price in job.prices.items()}
    )


def price_book(job: Job) -> PriceBook:
    """The job's own prices, the gateway's word, and the built-in list as of today.

    The job's model is looked up at once: importing the list would hold up the first reply.
    """
    book = PriceBook(price_table(job), PriceList(datetime.now(UTC).date()))
    book.rates_for(job.request.model)
    return book


def price_function(job: Job) -> PriceUsd:
    """(request model, response model, usage) -> dollars, or None when nobody knows."""
    book = price_book(job)

    def price(request_model: str | None, response_model: str | None, usage: Usage) -> float | None:
        cost = book(request_model, response_model, usage)
        return None if cost is None else cost.usd

    return price


def settler(job: Job, *, run_id: str) -> Settler:
    """Settles rows of this job's run."""
    return Settler(
        run_id=run_id,
        price=price_book(job),
        terms=terms(job),
        expand=expansion(job),
        tags=job.tags,
        keep_raw=job.output.keep_raw,
        tool_calls=job.request.tools is not None,
    )


def published_path(output: Path, *, simulated: bool) -> Path:
    """A simulated run publishes beside the real one's place, never in its way."""
    if not simulated:
        return output
    return output.with_name(f"{output.stem}.simulated{output.suffix or '.parquet'}")


def prices_version(job: Job) -> str | None:
    """What the footer says of the prices: a hash of the job's own, name and version of the built-in list."""
    return price_book(job).version
