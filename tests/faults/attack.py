"""What the attacks on the whole program share: its command as a subprocess, the simulator's books, and the verdict.

The verdict is always the same (`Scene.assert_right`): every input row once, in order, with the completion that an
undisturbed run has, every file readable, and no row paid twice that no list names.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batcher.simulator import Simulator

KEY = r"row (\d+) please"
"""For `SimulatorConfig.ledger_key`: the row's number, out of the prompt that `write_rows` writes."""
PATIENCE_S = 240.0
_HERE = Path(__file__).parent


def write_rows(path: Path, rows: int, *, first: int = 0) -> None:
    """A JSONL input whose prompts `KEY` finds again."""
    with path.open("w") as file:
        for row in range(first, first + rows):
            file.write(json.dumps({"id": row, "prompt": f"row {row} please"}) + "\n")


@dataclass(frozen=True)
class Ended:
    """How a process ended. `summary` is what ``--json`` said, {} when it said nothing."""

    code: int
    summary: Mapping[str, Any]
    stderr: str

    @classmethod
    def of(cls, code: int, stdout: bytes, stderr: bytes) -> Ended:
        lines = stdout.decode().splitlines()
        return cls(code, orjson.loads(lines[-1]) if lines else {}, stderr.decode())


@dataclass(frozen=True)
class Scene:
    """One run's place and its provider."""

    folder: Path
    simulator: Simulator
    concurrency: int = 8
    quiet: bool = True

    @property
    def input(self) -> Path:
        return self.folder / "in.jsonl"

    @property
    def output(self) -> Path:
        return self.folder / "out.parquet"

    @property
    def state(self) -> Path:
        return self.folder / ".batcher" / "out.parquet.run"

    @property
    def manifest(self) -> Path:
        return self.state / "manifest.jsonl"

    def arguments(self, *more: str, verb: str = "run") -> list[str]:
        """The command line after ``batcher``."""
        fixed = ["-i", str(self.input), "-o", str(self.output), "--model", "m", "--json"]
        fixed += ["-q"] if self.quiet else []
        fixed += ["--base-url", self.simulator.base_url, "--concurrency", str(self.concurrency)]
        return [verb, *fixed, *more]

    def start(self, *more: str, before: Callable[[], None] | None = None) -> subprocess.Popen[bytes]:
        """Start the command; `before` runs in the child before the program."""

        def prepare() -> None:
            for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(each, signal.SIG_DFL)  # a shell's background job, such as CI, ignores SIGINT
            if before is not None:
                before()

        return subprocess.Popen(
            [sys.executable, "-P", "-m", "batcher.cli", *self.arguments(*more)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=prepare,  # noqa: PLW1509 - resource limits; the test process has one thread
        )

    def run(self, *more: str, before: Callable[[], None] | None = None) -> Ended:
        """Run the command to its end."""
        return wait(self.start(*more, before=before))

    def paid(self) -> Counter[int]:
        """Row -> answers that the simulator generated for it."""
        return Counter(int(each["key"]) for each in self.simulator.ledger() if each["generated"])

    def requests(self) -> int:
        found: int = self.simulator.totals()["requests"]
        return found

    def possibly_paid(self) -> set[int]:
        """Rows that the ledger names as possibly paid in vain; it outlives the runs."""
        ledger = self.folder / ".batcher" / "ledger.jsonl"
        entries = [orjson.loads(line) for line in ledger.read_bytes().splitlines()]
        return {row for each in entries for row in each["extra"].get("possibly_paid_rows", [])}

    def assert_right(self, ended: Ended, *, rows: int, completions: Mapping[int, str] | None = None) -> None:
        """The run is done, and its output is what an undisturbed run's would be."""
        assert ended.code == 0, (ended.code, ended.stderr, ended.summary)
        assert "Traceback" not in ended.stderr
        table = pq.read_table(self.output)
        assert table["row_index"].to_pylist() == list(range(rows))
        assert table["prompt"].to_pylist() == [f"row {row} please" for row in range(rows)]
        assert set(table["outcome"].to_pylist()) == {"ok"}
        if completions is not None:
            assert dict(enumerate(table["completion"].to_pylist())) == completions
        assert_clean(self)

    def assert_paid(self, ended: Ended, *, rows: int, most_twice: int) -> None:
        """Each row was paid, and of those paid again there are not more, and each is named."""
        paid = self.paid()
        assert sorted(paid) == list(range(rows))
        again = {row for row, times in paid.items() if times > 1}
        assert paid.total() - rows <= most_twice
        named = {row for _, row in ended.summary["possibly_paid"]} | self.possibly_paid()
        assert again <= named, f"paid twice and nowhere named: {sorted(again - named)}"


def assert_clean(scene: Scene) -> None:
    """Nothing half-finished is left, in the output's folder or in the run's."""
    assert [path.name for path in scene.folder.iterdir() if path.name.endswith(".tmp")] == []
    for name in ("input", "journal", "parts"):
        assert list((scene.state / name).iterdir()) == [], name
    assert not (scene.state / "ballast").exists()


def assert_ledger(scene: Scene) -> None:
    """Every session of the run has its one line."""
    lines = (scene.folder / ".batcher" / "ledger.jsonl").read_bytes().splitlines()
    entered = [orjson.loads(line)["session"] for line in lines]
    records = [orjson.loads(line[9:]) for line in scene.manifest.read_bytes().splitlines()]
    assert sorted(entered) == sorted(each["session"] for each in records if each["k"] == "session")


def completions_of(output: Path) -> dict[int, str]:
    table = pq.read_table(output, columns=["row_index", "completion"])
    return dict(zip(table["row_index"].to_pylist(), table["completion"].to_pylist(), strict=True))


def wait(process: subprocess.Popen[bytes]) -> Ended:
    stdout, stderr = process.communicate(timeout=PATIENCE_S)
    return Ended.of(process.returncode, stdout, stderr)


def reached(process: subprocess.Popen[bytes], moment: Callable[[], bool]) -> bool:
    """Wait for a moment of the run, not for a time; False when the process ended before it."""
    give_up = time.monotonic() + PATIENCE_S
    while process.poll() is None:
        if moment():
            return True
        assert time.monotonic() < give_up, "the moment never came"
        os.sched_yield()
        time.sleep(0.001)  # the simulator and the program need the two cores
    return False


class Stage:
    """Runs the program again and again in forks of one process that has it imported already.

    A fork costs a tenth of a start, and the children are still whole processes: each may be ended, filled up or
    limited at its n-th step on the file system (see `stage.py`).
    """

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_HERE / "stage.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def run(self, scene: Scene, *more: str, at: int = 0, how: str = "crash") -> tuple[Ended, int]:
        """Run the command; returns its end and how many steps it made.

        Args:
            scene: where.
            more: further arguments.
            at: the step, from 1, before which it happens; 0 is never.
            how: "crash" ends the process as SIGKILL does; "full" makes this and every later step that needs room
                fail with ENOSPC.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        out, err = scene.folder / "stdout", scene.folder / "stderr"
        order = {"argv": scene.arguments(*more), "at": at, "how": how, "out": str(out), "err": str(err)}
        self._process.stdin.write(orjson.dumps(order) + b"\n")
        self._process.stdin.flush()
        told = orjson.loads(self._process.stdout.readline())
        return Ended.of(told["code"], out.read_bytes(), err.read_bytes()), told["steps"]

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()
