"""batcher against servers that others wrote. Not run by default; one command installs them and runs all of it:

BATCHER_SERVERS=~/servers python -m pytest -m long tests/servers
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow.parquet as pq
import pytest
from foreign_servers import KEY, SERVERS, can_install, install, running

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HOME = os.environ.get("BATCHER_SERVERS")
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(HOME is None, reason="BATCHER_SERVERS names no folder to install the servers into"),
]

LABELS = '[labels]\ncategory = ["billing", "refund"]'
TOOL = """
[[request.tools]]
type = "function"
function = {name="get_weather", parameters={type="object", properties={city={type="string"}}, required=["city"]}}
"""
BOTH = ("", "stream = true\n")


class Case(NamedTuple):
    """One run.

    Attributes:
        request: lines of `[request]` below the model, and further tables.
        exit_code, columns: what must come of it; of columns the values that rows may have.
    """

    server: str
    name: str
    model: str
    request: str = ""
    says: str = "Hello"
    rows: int = 20
    key: str = KEY
    exit_code: int = 0
    columns: Mapping[str, set[object]] = MappingProxyType({})


def _plain(server: str, model: str, **columns: set[object]) -> list[Case]:
    return [
        Case(
            server,
            f"plain{' streamed' if way else ''}",
            model,
            way + "max_tokens = 16",
            rows=100,
            columns=columns,
        )
        for way in BOTH
    ]


CASES = [
    *_plain("litellm", "gpt-4o-mini", outcome={"ok"}, cost_source={"gateway"}, completion={"billing"}),
    Case("litellm", "key", "gpt-4o-mini", key="sk-wrong-0123456789", exit_code=5),
    Case("litellm", "unknown model", "nosuch", exit_code=2),
    Case("litellm", "no price", "no-price", columns={"outcome": {"ok"}, "cost_usd": {None}}),
    Case("litellm", "too long", "too-long", exit_code=3, columns={"error_type": {"context_length"}}),
    Case("litellm", "n = 2", "gpt-4o-mini", "n = 2", columns={"outcome": {"ok"}}),
    *(
        Case(
            "llama.cpp",
            f"labels {way}",
            "tiny",
            way + "max_tokens = 400\n" + LABELS,
            rows=100,
            columns={"outcome": {"ok"}, "category": {"billing", "refund"}},
        )
        for way in BOTH
    ),
    *(
        Case(
            "llama.cpp",
            f"cut {way}",
            "tiny",
            way + "max_tokens = 1\nseed = 7\nlogprobs = true",
            exit_code=3,
            columns={"outcome": {"truncated"}, "completion_tokens": {1}},
        )
        for way in BOTH
    ),
    Case("llama.cpp", "key", "tiny", key="sk-wrong-0123456789", exit_code=5),
    Case(
        "llama.cpp",
        "too long",
        "tiny",
        "max_tokens = 4",
        says="x" * 5000,
        exit_code=3,
        columns={"error_type": {"context_length"}},
    ),
    Case(
        "llama.cpp",
        "no tools",
        "tiny",
        'max_tokens = 400\ntool_choice = "required"' + TOOL,
        exit_code=3,
        columns={"error_type": {"schema_mismatch", "truncated"}},
    ),
    *(
        case
        for server in ("openai-mock-api", "aimock")
        for case in (
            *_plain(server, "gpt-4o-mini", outcome={"ok"}, completion={"Hello to you."}),
            Case(server, "key", "gpt-4o-mini", key="sk-wrong-0123456789", exit_code=5),
            Case(server, "labels", "gpt-4o-mini", LABELS, says="Label", columns={"category": {"billing"}}),
            *(
                Case(
                    server,
                    f"tools {way}",
                    "gpt-4o-mini",
                    way + 'tool_choice = "required"' + TOOL,
                    says="call a tool",
                    columns={"outcome": {"ok"}, "city": {"Oslo"}},
                )
                for way in BOTH
            ),
        )
    ),
    Case(
        "openai-mock-api",
        "too large",
        "gpt-4o-mini",
        says="Hello" * 40_000,
        rows=3,
        exit_code=3,
        columns={"error_type": {"request_too_large"}},
    ),
    Case("aimock", "cut", "gpt-4o-mini", says="cut", exit_code=3, columns={"outcome": {"truncated"}}),
    *_plain("mock-ai-api", "gpt-4.1", outcome={"ok"}, completion_tokens={12}),
    Case("mock-ai-api", "401", "gpt-4.1:mock-401", exit_code=5),
    Case("mock-ai-api", "400", "gpt-4.1:mock-400", rows=60, exit_code=10),
    Case(
        "mock-ai-api",
        "bad call",
        "gpt-4.1:mock-bad-tool-json",
        TOOL.replace("get_weather", "Write"),
        exit_code=3,
        columns={"error_type": {"schema_mismatch"}},
    ),
]


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Where the servers answer that have been asked for; each is started once."""
    with ExitStack() as stack:
        found: dict[str, str] = {}
        for server in SERVERS:
            if can_install(server):
                home = Path(HOME or "").expanduser().resolve() / server.name
                install(server, home)
                work = tmp_path_factory.mktemp(server.name)
                found[server.name] = stack.enter_context(running(server, home, work))
        yield found


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.server}: {case.name}".replace("\n", ""))
def test_a_server_that_others_wrote_is_understood(
    case: Case, addresses: dict[str, str], tmp_path: Path
) -> None:
    if case.server not in addresses:
        pytest.skip(f"{case.server} needs npm")
    done = _run(case, addresses[case.server], tmp_path)
    assert done.returncode == case.exit_code, done.stderr
    if case.exit_code in {0, 3}:
        rows: list[dict[str, Any]] = pq.read_table(tmp_path / "out.parquet").to_pylist()
        assert len(rows) == case.rows
        for column, values in case.columns.items():
            assert {row[column] for row in rows} <= values
    else:
        assert not (tmp_path / "out.parquet").exists()


def _run(case: Case, address: str, at: Path) -> subprocess.CompletedProcess[str]:
    lines = (json.dumps({"prompt": f"{case.says} {n}"}) + "\n" for n in range(case.rows))
    (at / "in.jsonl").write_text("".join(lines))
    (at / "job.toml").write_text(
        f'[input]\npath = "in.jsonl"\n[output]\npath = "out.parquet"\n[endpoint]\nbase_url = "{address}"\n'
        f'api_key_env = "FOREIGN_KEY"\n[request]\nmodel = "{case.model}"\n{case.request}\n'
    )
    return subprocess.run(
        [sys.executable, "-m", "batcher.cli", "run", "job.toml", "--yes"],
        cwd=at,
        env={**os.environ, "FOREIGN_KEY": case.key},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
