"""The tables of a job file as types: every key, its range and its default.

It must never read a file, look at the environment or know a path's base: values in, values out.
Strict on purpose (`"5"` is not 5, `true` is not 1): a job is checked in full before a cent is spent. Which
keys are identity and which are tuning stands in `fingerprint.py`; a test holds that list against these
models.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    StrictBool,
    StrictStr,
    model_validator,
)

from batcher.job.durations import seconds_of

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_BASE_URL = "https://api.pipellm.ai/v1"
AUTO = "auto"
"""`limits.concurrency`: the window finds its own size."""

VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")
LOOKS_LIKE_KEY = re.compile(r"(sk|pk|gsk|xai|hf|key|AIza)[-_].{8,}|.*[A-Za-z0-9+/_-]{40,}", re.DOTALL)
SECRET_HEADERS = re.compile(
    r"authorization|cookie|.*(api|access|auth)[-_]?(key|token)|.*secret", re.IGNORECASE
)
UNSENDABLE_HEADERS = frozenset(
    "host content-length content-type transfer-encoding connection accept-encoding".split()  # noqa: SIM905
)
INT64 = range(-(2**63), 2**63)


def as_json(value: object) -> object:
    """The value, if JSON can carry it: no dates, no nan or inf, no integers beyond 64 bits."""
    if isinstance(value, dict):
        for inner in value.values():
            as_json(inner)
    elif isinstance(value, list):
        for inner in value:
            as_json(inner)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("nan and inf are not JSON, so no server would take them")
    elif isinstance(value, int) and value not in INT64:
        raise ValueError("does not fit in 64 bits")
    elif isinstance(value, dt.date | dt.time):
        raise ValueError('a date is not JSON; write it in quotes, "2026-11-21"')
    return value


def not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty")
    return text


def one_line(text: str) -> str:
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in text):
        raise ValueError("holds a line break or another control character")
    return not_blank(text)


def number_or_auto(value: object) -> object:
    if value == AUTO:
        return None
    if isinstance(value, str):
        raise ValueError('must be a whole number or "auto"')  # noqa: TRY004 - pydantic tells ValueErrors only
    return value


def text_or_texts(value: object) -> object:
    """`stop`: one text, or a list of up to any number of texts."""
    texts = value if isinstance(value, list) else [value]
    if not texts or not all(isinstance(text, str) and text for text in texts):
        raise ValueError("must be text or a list of texts, none of them empty")
    return value


def one_or_several(value: object) -> object:
    """A name, or a list of different ones."""
    names = value if isinstance(value, list | tuple) else [value]
    if not names or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise ValueError("must be the name of a column, or a list of different names")
    return tuple(names)


def times_again(value: object) -> object:
    """`reask`: once or not at all, as a number or a truth value."""
    if value not in {0, 1} or not isinstance(value, int):
        raise ValueError("must be 0 or 1 (or false, true)")
    return int(value)


def variable_name(name: str) -> str:
    """The name of an environment variable, or "" for no key. What looks like a key is never quoted back."""
    if name == "" or (VARIABLE_NAME.match(name) and not LOOKS_LIKE_KEY.match(name)):
        return name
    if LOOKS_LIKE_KEY.match(name):
        raise ValueError(
            "this looks like a key; put it into an environment variable and write that variable's name here"
        )
    raise ValueError('must be the name of an environment variable (letters, digits, _), or "" for no key')


def sendable_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Headers that a job may add; values are never quoted back, for they may be secrets."""
    for name, value in headers.items():
        if not HEADER_NAME.match(name):
            raise ValueError(f'"{name[:40]}" is not a header name')
        if SECRET_HEADERS.match(name):
            raise ValueError(f"{name} would put a key into the job; name its variable in api_key_env instead")
        if name.lower() in UNSENDABLE_HEADERS:
            raise ValueError(f"{name} is set by batcher itself")
        if not value.isascii() or any(ord(letter) < 32 or ord(letter) == 127 for letter in value):
            raise ValueError(f"the value of {name} must be plain ASCII without line breaks")
    return headers


def page_name(path: str) -> str:
    """Where the report goes: an HTML page, so that it cannot be the output by a slip."""
    if not path.lower().endswith((".html", ".htm")):
        raise ValueError("is a page, so its name ends in .html")
    return path


def label_values(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(values) < 2:
        raise ValueError("needs at least two values to choose from")
    repeated = next((value for number, value in enumerate(values) if value in values[:number]), None)
    if repeated is not None:
        raise ValueError(f'"{repeated}" stands in it twice')
    return values


def tool(value: object) -> object:
    """A tool as the API takes it; only what would fail every row is checked."""
    as_json(value)
    if not isinstance(value, dict):
        raise ValueError("must be a table with type and function")  # noqa: TRY004
    if not isinstance(value.get("type"), str):
        raise ValueError('needs type = "function"')  # noqa: TRY004
    function = value.get("function")
    if value["type"] == "function" and not (
        isinstance(function, dict) and isinstance(function.get("name"), str)
    ):
        raise ValueError("needs a table function with a name")
    return value


def choice(value: object) -> object:
    """`tool_choice`: a word such as "auto", or a table that names one tool."""
    if not isinstance(value, str | dict) or not value:
        raise ValueError('must be "auto", "none", "required" or a table that names a tool')
    return as_json(value)


Text = Annotated[StrictStr, AfterValidator(not_blank)]
Line = Annotated[StrictStr, AfterValidator(one_line)]
Free = Annotated[Any, AfterValidator(as_json)]
Count = Annotated[int, Field(ge=1)]
Price = Annotated[FiniteFloat, Field(ge=0)]
Rate = Annotated[FiniteFloat, Field(gt=0)]
Label = Annotated[tuple[Line, ...], Field(strict=False), AfterValidator(label_values)]


class Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, protected_namespaces=())


class InputTable(Table):
    """Where rows come from.

    Attributes:
        path: absolute file, directory or glob; "-" is stdin; something with "://" stands as written.
        format: None means by name and content.
        limit: only the first so many rows; free to change between runs.
    """

    path: Line
    format: Literal["jsonl", "parquet", "openai-batch"] | None = None
    id_column: Line | None = None
    prompt_column: Line | None = None
    messages_column: Line | None = None
    limit: Count | None = None
    allow_empty: StrictBool = False

    @model_validator(mode="after")
    def one_source_of_prompts(self) -> InputTable:
        if self.prompt_column is not None and self.messages_column is not None:
            raise ValueError("prompt_column and messages_column both say what to send; keep one")
        return self


IMAGE_BYTES = 20_000_000
"""OpenAI's refusal of larger images says "below 20 MB in size", Azure's limits say 20 MB."""


class ImagesTable(Table):
    """Images that go with each row.

    Attributes:
        column: the input column that holds them: bytes, a path, a URL, or a list of such; or several columns.
        root: absolute folder below which paths may lie; None: no file is read.
        detail: how closely the model looks; None: not sent, servers then take "auto".
        max_bytes: of one image, as a file.
    """

    column: Annotated[tuple[Line, ...], BeforeValidator(one_or_several), Field(strict=False, min_length=1)]
    root: Line | None = None
    detail: Literal["auto", "low", "high"] | None = None
    max_bytes: Count = IMAGE_BYTES


class RequestTable(Table):
    """One request per row; keys beyond these pass through to the server as they stand.

    Attributes:
        system: Jinja2 over the row's columns, as `prompt`.
        prompt: None means that rows bring a prompt or messages column, or are OpenAI Batch lines.
        reask: how often a row is asked again whose answer does not satisfy the schema; 0 or 1.
        stream: answers come piece by piece, and with them the time to the first token.
        response_format: as sent; a file that was named is already read.
        tool_choice: a word or a table.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Free]

    model: Line
    system: Text | None = None
    prompt: Text | None = None
    temperature: Annotated[FiniteFloat, Field(ge=0, le=2)] | None = None
    max_completion_tokens: Count | None = None
    max_tokens: Count | None = None
    top_p: Annotated[FiniteFloat, Field(ge=0, le=1)] | None = None
    seed: Annotated[int, AfterValidator(as_json)] | None = None
    stop: Annotated[Any, BeforeValidator(text_or_texts)] = None
    n: Count | None = None
    stream: StrictBool = False
    reask: Annotated[int, BeforeValidator(times_again)] = 0
    dedupe: StrictBool = False
    response_format: Annotated[dict[str, Free], Field()] | None = None
    tools: Annotated[tuple[Annotated[Any, AfterValidator(tool)], ...], Field(strict=False)] | None = None
    tool_choice: Annotated[Any, BeforeValidator(choice)] = None
    images: ImagesTable | None = None

    OURS: ClassVar[frozenset[str]] = frozenset({"system", "prompt", "reask", "dedupe", "images"})
    """Keys that batcher reads itself and never sends."""

    @model_validator(mode="after")
    def one_maximum(self) -> RequestTable:
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            raise ValueError("max_tokens and max_completion_tokens are one limit under two names; keep one")
        return self

    @model_validator(mode="after")
    def chosen_tool_exists(self) -> RequestTable:
        named = self.tool_choice.get("function") if isinstance(self.tool_choice, dict) else None
        name = named.get("name") if isinstance(named, dict) else None
        names = [each["function"]["name"] for each in self.tools or () if each["type"] == "function"]
        if isinstance(name, str) and names and name not in names:
            raise ValueError(f'tool_choice names "{name}"; the tools are: {", ".join(names)}')
        return self

    @model_validator(mode="after")
    def stream_options_are_for_streams(self) -> RequestTable:
        options = self.passed_through().get("stream_options")
        if options is not None and not self.stream:
            raise ValueError("stream_options stands without stream = true; servers refuse that")
        if options is not None and not isinstance(options, dict):
            raise ValueError("stream_options must be a table")
        return self

    def parameters(self) -> dict[str, object]:
        """Body keys beside `messages`, as they are sent: `model`, sampling, schema, tools and what passes
        through. Usage is asked of a stream, unless the user said otherwise: costs are reckoned from it.
        """
        named = {key: getattr(self, key) for key in type(self).model_fields if key not in self.OURS}
        named["tools"] = list(self.tools) if self.tools is not None else None
        named["stream"] = self.stream or None
        further = self.passed_through()
        if self.stream:
            options: Any = further.get("stream_options") or {}
            further["stream_options"] = {"include_usage": True, **options}
        return {key: value for key, value in {**named, **further}.items() if value is not None}

    def passed_through(self) -> dict[str, object]:
        """Parameters that batcher does not know itself, in the order they were written."""
        return dict(self.__pydantic_extra__ or {})


class EndpointTable(Table):
    """Where requests go. What the URL may be is the endpoint's to judge.

    Attributes:
        api_key_env: name of the variable that holds the key; "" means no key; None means not said.
        timeout_s: seconds for one attempt, None for the built-in rule.
        idle_timeout_s: seconds between two pieces of a stream, None for the built-in 120.
        ca_file: absolute path of a PEM file with the certificate authorities to trust.
    """

    base_url: Line = DEFAULT_BASE_URL
    api_key_env: Annotated[StrictStr, AfterValidator(variable_name)] | None = None
    headers: Annotated[dict[str, StrictStr], AfterValidator(sendable_headers)] = Field(default_factory=dict)
    timeout_s: Annotated[FiniteFloat, Field(gt=0)] | None = None
    idle_timeout_s: Annotated[FiniteFloat, Field(gt=0)] | None = None
    ca_file: Line | None = None


class LimitsTable(Table):
    """How hard to push, and what may be spent.

    Attributes:
        concurrency: requests in flight at once; None ("auto") is found.
        requests_per_minute: None: what the endpoint says or shows.
        tokens_per_minute: prompt and completion tokens; None as above.
        max_attempts: attempts of a row, those that cost nothing included.
        max_paid_attempts: attempts of a row that were, or may have been, paid.
        max_cost_usd: what the run may cost in all its sessions, attempts whose payment is unknown at full price
            included; 0 buys nothing. None: no cap.
        deadline: seconds from a session's start, after which it sends nothing new; written "8h", "1h30m". None: none.
    """

    concurrency: Annotated[Count | None, BeforeValidator(number_or_auto)] = None
    requests_per_minute: Rate | None = None
    tokens_per_minute: Rate | None = None
    max_attempts: Count = 5
    max_paid_attempts: Count = 3
    max_cost_usd: Price | None = None
    deadline: Annotated[float | None, BeforeValidator(seconds_of)] = None


class OutputTable(Table):
    """Where the Parquet file goes (absolute) and what it holds beside the columns that always stand there.

    Attributes:
        expand: a typed column for each property of the answer's schema.
    """

    path: Line
    prefix: Annotated[StrictStr, AfterValidator(one_line)] | None = None
    keep_raw: StrictBool = False
    expand: StrictBool = True
    report: Annotated[Line, AfterValidator(page_name)] | None = None


class PriceTable(Table):
    """USD per million tokens. `cached_input` None: cached tokens cost what `input` says."""

    input: Price
    cached_input: Price | None = None
    output: Price


class JobTables(Table):
    """A whole job file."""

    labels: dict[Line, Label] = Field(default_factory=dict)
    input: InputTable
    request: RequestTable
    endpoint: EndpointTable = EndpointTable()
    limits: LimitsTable = LimitsTable()
    output: OutputTable
    tags: dict[str, Line] = Field(default_factory=dict)
    prices: dict[Line, PriceTable] = Field(default_factory=dict)

    @model_validator(mode="after")
    def prompts_come_from_one_place(self) -> JobTables:
        column = self.input.prompt_column or self.input.messages_column
        if self.request.prompt is not None and column is not None:
            raise ValueError(
                f'[request] prompt and the column "{column}" of [input] both say what to send; keep one'
            )
        return self

    @model_validator(mode="after")
    def labels_build_the_schema(self) -> JobTables:
        if self.labels and self.request.response_format is not None:
            raise ValueError("[labels] builds the response_format itself; keep one of them")
        return self

    @model_validator(mode="after")
    def something_can_be_asked_again(self) -> JobTables:
        asks = self.labels or self.request.response_format is not None or self.request.tools is not None
        if self.request.reask and not asks:
            raise ValueError(
                "[request] reask asks again where an answer breaks its schema, and there is none: [labels],"
                " response_format or tools"
            )
        return self

    @model_validator(mode="after")
    def tags_name_columns(self) -> JobTables:
        bad = next((name for name in self.tags if not VARIABLE_NAME.match(name)), None)
        if bad is not None:
            raise ValueError(
                f'[tags] "{bad[:40]}" becomes a column: only letters, digits and _, not a digit first'
            )
        return self

    @model_validator(mode="after")
    def output_is_not_the_input(self) -> JobTables:
        if self.input.path == self.output.path:
            raise ValueError("[input] path and [output] path are the same file; name another output")
        return self


def table_keys() -> dict[tuple[str, ...], frozenset[str]]:
    """Known keys of every table, for suggestions: `()` holds the tables, `"*"` stands for a name the user
    chose.
    """
    found: dict[tuple[str, ...], frozenset[str]] = {(): frozenset(JobTables.model_fields)}
    for name, field in JobTables.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Table):
            found[(name,)] = frozenset(field.annotation.model_fields)
    found["prices", "*"] = frozenset(PriceTable.model_fields)
    found["request", "images"] = frozenset(ImagesTable.model_fields)
    return found


FORMATS: tuple[str, ...] = get_args(get_args(InputTable.model_fields["format"].annotation)[0])
