"""The command line in this process, against one simulator: what it says, where it says it, what was sent."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
from click.testing import CliRunner

from batcher.cli.group import cli

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from batcher.simulator.launch import Simulator

PROMPT = "Say something about {{ text }}."


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def summary(self) -> dict[str, Any]:
        """What `--json` printed: one object on one line, and nothing else."""
        assert self.out.count("\n") == 1
        found: dict[str, Any] = json.loads(self.out)
        return found


def batcher(*words: object, stdin: bytes | None = None, env: Mapping[str, str | None] | None = None) -> Said:
    """Run the command; exceptions that are not its own way to end are raised."""
    result = CliRunner().invoke(
        cli, [str(word) for word in words], input=stdin, env=dict(env or {}), catch_exceptions=False
    )
    return Said(result.exit_code, result.stdout, result.stderr)


@dataclass(frozen=True, slots=True)
class Place:
    """A folder and an endpoint to run in."""

    folder: Path
    endpoint: Simulator

    @property
    def output(self) -> Path:
        return self.folder / "out.parquet"

    def write(self, content: bytes | str, name: str = "in.jsonl") -> Path:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def run(
        self, source: object, *words: object, prompt: str | None = PROMPT, verb: str = "run", **given: Any
    ) -> Said:
        """`batcher run` over that input; `prompt` None for inputs that are requests already."""
        named = ["--prompt", prompt] if prompt is not None else []
        return batcher(
            verb, "-i", source, "-o", self.output, "--model", "m", "--base-url", self.endpoint.base_url,
            "--concurrency", "4", *named, *words, **given,
        )  # fmt: skip

    @property
    def sent(self) -> int:
        """Requests the endpoint has received."""
        received: int = self.endpoint.totals()["received"]
        return received

    def rows(self, path: Path | None = None) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = pq.read_table(path or self.output).to_pylist()
        return found
