"""The clients that are compared, each in an environment of its own with pinned versions, and one measured run of one.

An environment is made once, under the cache folder, by `python -m venv` and pip; a changed list of versions makes a new
one. Figures are the operating system's for the finished process: user + system seconds, wall seconds, peak resident
memory; its start is in them, so that two sizes tell the cost of a row apart.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench_figures import Run

if TYPE_CHECKING:
    from bench_server import Delay, Serving

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "batcher-bench"
SCRIPTS = Path(__file__).parent / "clients"


class Client(NamedTuple):
    """One that is compared.

    Attributes:
        script: in `SCRIPTS`.
        packages: pinned; empty for this interpreter's environment.
        cpu_us: about what a row costs it, for the time that a measurement takes.
        words: added to its arguments.
        share: of the rows that it is given, because it is slow.
        in_memory: all its files are in memory (tmpfs, Linux), where a sync costs nothing.
    """

    name: str
    script: str
    packages: tuple[str, ...]
    cpu_us: float
    words: tuple[str, ...] = ()
    share: float = 1.0
    in_memory: bool = False

    def rows(self, rows: int) -> int:
        return max(64, int(rows * self.share))


CLIENTS = (
    Client("batcher", "batcher_run.py", (), 400),
    Client("bare aiohttp", "bare_aiohttp.py", ("aiohttp==3.14.5", "uvloop==0.23.0"), 300),
    Client("openai sdk", "openai_sdk.py", ("openai==3.54.0", "uvloop==0.23.0"), 2_500, share=0.25),
    Client("saturate", "saturate_pump.py", ("saturate==0.2.0", "uvloop==0.23.0"), 2_500, share=0.25),
    Client(
        "async-batch-llm",
        "async_batch.py",
        ("async-batch-llm==0.28.0", "openai==3.54.0", "uvloop==0.23.0"),
        3_500,
        share=0.25,
    ),
    Client(
        "plain httpx",
        "plain_httpx.py",
        ("httpx==0.28.1", "anyio==4.12.0", "uvloop==0.23.0"),
        13_000,
        share=0.1,
    ),
    Client("batcher strict", "batcher_run.py", (), 500, ("--durability", "strict")),
    Client("batcher tmpfs", "batcher_run.py", (), 400, in_memory=True),
)
BY_NAME = {client.name: client for client in CLIENTS}
DEFAULT = [client.name for client in CLIENTS if not client.name.startswith("batcher ")]


def python_of(client: Client) -> str:
    """The interpreter of its environment, made if it is missing. Raises CalledProcessError."""
    if not client.packages:
        return sys.executable
    mark = hashlib.sha256(" ".join(client.packages).encode()).hexdigest()[:8]
    folder = CACHE / f"{client.name.replace(' ', '-')}-{mark}"
    if not (folder / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", *client.packages]
        subprocess.run(pip, check=True, stdout=subprocess.DEVNULL)
        (folder / "ready").touch()
    return str(folder / "bin" / "python")


def write_rows(path: Path, rows: int) -> None:
    with path.open("w") as file:
        for number in range(rows):
            prompt = f"Say something nice about the number {number}, please, in two or three sentences. " * 3
            file.write(json.dumps({"id": number, "prompt": prompt}) + "\n")


def measure(
    client: Client,
    server: Serving,
    *,
    connections: int,
    delay: Delay,
    rows: int,
    turn: int = 0,
    point: str = "",
) -> Run:
    """One process from its start to its end.

    Raises:
        RuntimeError: it failed, or did not answer every row.
    """
    place = "/dev/shm" if client.in_memory else None
    with tempfile.TemporaryDirectory(prefix="batcher-bench.", dir=place) as name:
        folder = Path(name)
        source, out = folder / "rows.jsonl", folder / "out.parquet"
        write_rows(source, rows)
        words = [
            python_of(client),
            str(SCRIPTS / client.script),
            server.url,
            str(source),
            str(connections),
            str(out),
        ]
        environment = {
            **os.environ,
            "BENCH_CA": str(server.ca_file),
            "SSL_CERT_FILE": str(server.ca_file or ""),
        }
        if server.ca_file is None:
            del environment["SSL_CERT_FILE"]
        with (folder / "said").open("wb") as said, (folder / "told").open("wb") as told:
            began = time.perf_counter()
            process = subprocess.Popen(
                [*words, *client.words], stdout=said, stderr=told, env=environment, cwd=folder
            )
            _, status, used = os.wait4(process.pid, 0)
            wall_s = time.perf_counter() - began
            process.returncode = os.waitstatus_to_exitcode(status)
        told_text = (folder / "told").read_text(errors="replace")
        if process.returncode or not _is_complete(client, (folder / "said").read_text(), rows, out):
            raise RuntimeError(f"{client.name} failed on {rows} rows: {told_text[-800:]}")
        lag = [line.split()[-1] for line in told_text.splitlines() if line.startswith("loop lag p99")]
        return Run(
            client=client.name,
            server=server.kind,
            connections=connections,
            delay=str(delay),
            rows=rows,
            turn=turn,
            cpu_s=used.ru_utime + used.ru_stime,
            wall_s=wall_s,
            peak_mib=used.ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10),
            load=os.getloadavg()[0],
            lag_ms=float(lag[-1]) if lag else None,
            point=point,
        )


def _is_complete(client: Client, said: str, rows: int, out: Path) -> bool:
    """The others say how many rows were answered; batcher's word is its exit code and the published file."""
    if client.script == "batcher_run.py":
        return out.exists()
    return said.split()[-1:] == [str(rows)]
