"""A key in the environment appears nowhere else, whatever a server does with it."""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING
from urllib.parse import quote

import pyarrow.parquet as pq
import pytest
from runs import LEDGER_KEY, MODEL, PROMPT, batcher, carry, make_job, marked, table_of, write_texts
from talker import talker

from batcher.simulator import SimulatorConfig, launch

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from batcher.simulator import Simulator

LONG = "sk-test-4fQ9zX27bLmR81wVtYpKc0aN"
AWKWARD = 'sk/te+st=4f&Q9%zX"27\\bL~mR8<1w>Vt'
SHORT = "s3cr8t-k"
KEYS = pytest.mark.parametrize("key", [LONG, AWKWARD], ids=["plain", "awkward"])


@pytest.fixture(scope="module")
def shared() -> Iterator[Simulator]:
    with launch(SimulatorConfig(latency="fixed:0.002", ledger_key=LEDGER_KEY)) as simulator:
        yield simulator


@pytest.fixture
def server(shared: Simulator) -> Simulator:
    shared.control(fail_after={}, faults={}, faults_by_substring={}, redirect_to="/v1/moved/chat/completions")
    shared.reset()
    return shared


def forms_of(key: str) -> list[bytes]:
    """The key as it may stand somewhere: plain, URL-encoded, JSON-escaped, base64 of it and of its header."""
    escaped = key.replace("\\", "\\\\").replace('"', '\\"')
    header = base64.b64encode(f"Bearer {key}".encode()).decode()
    texts = [key, quote(key, safe=""), quote(key), escaped, base64.b64encode(key.encode()).decode()[:-4]]
    texts += [base64.urlsafe_b64encode(key.encode()).decode()[:-4], header[12:-4]]
    return [text.encode() for text in texts]


def everything_below(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file's raw bytes, and every cell of every Parquet file (compressed, so raw bytes tell nothing)."""
    for path in folder.rglob("*"):
        if path.is_file():
            raw = path.read_bytes()
            yield str(path), raw
            if raw.startswith(b"PAR1"):
                metadata = pq.read_metadata(path).metadata or {}
                yield f"{path} metadata", b"".join([*metadata.keys(), *metadata.values()])
                for row in table_of(path):
                    for name, value in row.items():
                        yield f"{path} {name}", str(value).encode()


def nowhere(key: str, folder: Path, ended: subprocess.CompletedProcess[bytes]) -> None:
    places = [*everything_below(folder), ("stdout", ended.stdout), ("stderr", ended.stderr)]
    assert len(places) > 5, "there is something to look through"
    for place, content in places:
        for form in forms_of(key):
            assert form not in content, f"{form.decode()} stands in {place}"


def run_with(key: str, base_url: str, folder: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    command = ["run", "-i", "in.jsonl", "-o", "out.parquet", "--model", MODEL, "--prompt", PROMPT]
    command += ["--base-url", base_url, "--api-key-env", "HOUSE_KEY", "--keep-raw"]
    command += ["--json", "--summary", "summary.json", *words]
    return batcher(*command, folder=folder, environ={"HOUSE_KEY": key})


@KEYS
def test_a_run_whose_server_repeats_the_key_in_an_answer_keeps_it_out(
    server: Simulator, tmp_path: Path, key: str
) -> None:
    server.control(faults={"answer_echoes_key": 0.5})
    write_texts(tmp_path / "in.jsonl", marked(40))
    ended = run_with(key, server.base_url, tmp_path)
    assert ended.returncode == 0
    assert server.totals()["modes"]["answer_echoes_key"] > 5
    assert any("***" in (row["completion"] or "") for row in table_of(tmp_path / "out.parquet"))
    nowhere(key, tmp_path, ended)


@pytest.mark.parametrize(
    ("key", "sets"), [(LONG, ()), (AWKWARD, ("--set", "request.n=3"))], ids=["one", "several"]
)
def test_a_key_that_comes_in_the_pieces_of_a_stream_is_kept_out(
    server: Simulator, tmp_path: Path, key: str, sets: tuple[str, ...]
) -> None:
    server.control(faults={"answer_echoes_key": 0.5})
    write_texts(tmp_path / "in.jsonl", marked(20))
    ended = run_with(key, server.base_url, tmp_path, "--set", "request.stream=true", *sets)
    assert ended.returncode == 0
    told = [row["completion"] for row in table_of(tmp_path / "out.parquet")]
    assert any("You sent the key *** along." in text for text in told)
    nowhere(key, tmp_path, ended)


@KEYS
def test_an_unfinished_run_has_the_key_nowhere_in_its_journal(
    server: Simulator, tmp_path: Path, key: str
) -> None:
    server.control(faults={"answer_echoes_key": 0.5}, fail_after={"unauthorized_echo": 25})
    write_texts(tmp_path / "in.jsonl", marked(60))
    ended = run_with(key, server.base_url, tmp_path)
    assert ended.returncode == 5
    assert any(tmp_path.rglob("journal/*.jsonl"))
    nowhere(key, tmp_path, ended)


@KEYS
def test_a_401_that_repeats_the_key_is_told_without_it(server: Simulator, tmp_path: Path, key: str) -> None:
    server.control(faults={"unauthorized_echo": 1.0})
    write_texts(tmp_path / "in.jsonl", marked(3))
    ended = run_with(key, server.base_url, tmp_path)
    assert ended.returncode == 5
    said = ended.stderr.decode()
    assert "Incorrect API key provided" in said
    assert "Stopped after 1 request; nothing paid. Rows stored 0, still to do 3." in said
    assert f"Key: $HOUSE_KEY, {len(key)} characters" in said
    assert "the same command goes on" in said
    nowhere(key, tmp_path, ended)


@KEYS
@pytest.mark.parametrize("status", [200, 401, 422])
def test_a_key_is_found_in_every_dress_that_a_server_may_give_it(
    tmp_path: Path, key: str, status: int
) -> None:
    """In the body (plain, URL-encoded, base64 of it and of the whole header, at every offset) and in kept headers."""
    dressed = [key, quote(key, safe=""), quote(key)]
    dressed += [base64.b64encode(b"x" * pad + f"Bearer {key}".encode()).decode() for pad in range(3)]
    dressed += [base64.urlsafe_b64encode(key.encode()).decode(), f"{key[:4]} and then {key}{key}"]
    text = " | ".join(dressed)
    said: dict[str, object] = {"error": {"message": text, "code": "odd", "type": quote(key)}}
    if status == 200:
        message = {"role": "assistant", "content": text}
        said = {"id": key, "model": key, "choices": [{"message": message, "finish_reason": "stop"}]}
    write_texts(tmp_path / "in.jsonl", marked(3))
    with talker(status, said, **{"x-request-id": f"req-{key}", "cf-ray": quote(key)}) as base_url:
        ended = run_with(key, base_url, tmp_path)
    assert ended.returncode == {200: 0, 401: 5, 422: 3}[status]
    nowhere(key, tmp_path, ended)


@pytest.mark.parametrize("status", [401, 200])
def test_a_short_key_is_kept_out_of_errors(tmp_path: Path, status: int) -> None:
    """Also out of an error that comes with status 200."""
    said = {"error": {"message": f"Incorrect API key provided: {SHORT}.", "code": "invalid_api_key"}}
    write_texts(tmp_path / "in.jsonl", marked(3))
    with talker(status, said, **{"x-request-id": f"req-{SHORT}"}) as base_url:
        ended = run_with(SHORT, base_url, tmp_path)
    assert ended.returncode == 5
    assert b"key provided: ***" in ended.stderr
    nowhere(SHORT, tmp_path, ended)


def test_a_short_key_is_kept_out_of_a_401_that_repeats_its_header(server: Simulator, tmp_path: Path) -> None:
    server.control(faults={"unauthorized_echo": 1.0})
    write_texts(tmp_path / "in.jsonl", marked(3))
    ended = run_with(SHORT, server.base_url, tmp_path)
    assert ended.returncode == 5
    nowhere(SHORT, tmp_path, ended)


def test_a_short_key_damages_no_answer(server: Simulator, tmp_path: Path) -> None:
    """vLLM's EMPTY is a word that answers may hold."""
    server.control(faults={"answer_echoes_key": 1.0})
    write_texts(tmp_path / "in.jsonl", marked(5))
    ended = run_with("EMPTY", server.base_url, tmp_path)
    assert ended.returncode == 0
    completions = {row["completion"] for row in table_of(tmp_path / "out.parquet")}
    assert completions == {"You sent the key EMPTY along."}


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("sk-test-two\nlines-0123456789", b"line break"),
        ("sk-test-\u201ccurly\u201d-0123456789", b"curly quote"),
        ("sk-test-\u00fcml\u00e4ut-0123456789", b"non-ASCII"),
        ("sk-test-with space-0123456789", b"space"),
        ("sk-test-\x07bell-0123456789", b"control character"),
    ],
)
def test_a_key_that_no_header_can_carry_is_refused_without_being_shown(
    server: Simulator, tmp_path: Path, key: str, said: bytes
) -> None:
    write_texts(tmp_path / "in.jsonl", marked(3))
    ended = run_with(key, server.base_url, tmp_path)
    assert ended.returncode == 5
    assert said in ended.stderr
    assert b"HOUSE_KEY" in ended.stderr
    shown = ended.stderr + ended.stdout
    assert b"0123456789" not in shown
    assert b"sk-test" not in shown
    assert server.ledger() == []


def test_a_key_never_follows_a_redirect(server: Simulator, tmp_path: Path) -> None:
    with launch(SimulatorConfig()) as elsewhere:
        server.control(faults={"redirect_307": 1.0}, redirect_to=f"{elsewhere.base_url}/chat/completions")
        write_texts(tmp_path / "in.jsonl", marked(3))
        ended = run_with(LONG, server.base_url, tmp_path)
        assert ended.returncode == 2
        assert elsewhere.totals()["requests"] == 0
    assert len(server.ledger()) == 1
    nowhere(LONG, tmp_path, ended)


def test_a_redirect_that_repeats_the_key_in_its_target_is_told_without_it(
    server: Simulator, tmp_path: Path
) -> None:
    server.control(faults={"redirect_302": 1.0}, redirect_to=f"/login?key={quote(LONG)}&k64={LONG[::-1]}")
    write_texts(tmp_path / "in.jsonl", marked(3))
    ended = run_with(LONG, server.base_url, tmp_path)
    assert ended.returncode == 2
    assert b"/login?key=***" in ended.stderr
    nowhere(LONG, tmp_path, ended)


def test_a_key_in_the_environment_is_not_sent_where_none_was_named(server: Simulator, tmp_path: Path) -> None:
    write_texts(tmp_path / "in.jsonl", marked(3))
    environ = {"PIPELLM_API_KEY": LONG, "OPENAI_API_KEY": LONG}
    ended = carry(make_job(tmp_path, server.base_url), environ=environ)
    assert ended.exit_code == 0
    assert not any(entry["authorized"] for entry in server.ledger())


def test_the_run_directory_is_closed_to_others(server: Simulator, tmp_path: Path) -> None:
    server.control(fail_after={"unauthorized": 5})
    write_texts(tmp_path / "in.jsonl", marked(30))
    mask = os.umask(0o022)
    try:
        run_with(LONG, server.base_url, tmp_path)
    finally:
        os.umask(mask)
    directory = tmp_path / ".batcher" / "out.parquet.run"
    assert directory.stat().st_mode & 0o777 == 0o700
    for path in directory.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
