"""The simulator's streams: what a client meets on the wire, and what the ledger says of it."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from simulator_wire import Raw, chat, connect, post, read_all

from batcher.simulator import SimulatorConfig, launch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batcher.simulator import Simulator

USAGE = {"stream_options": {"include_usage": True}}
MODES = (
    "cut",
    "cut_reset",
    "cut_clean",
    "cut_late",
    "stall",
    "error",
    "no_done",
    "crlf",
    "pings",
    "bytes",
    "plain",
)


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    marks = {f"<stream_{name}>": f"stream_{name}" for name in (*MODES, "usage_always")}
    with launch(SimulatorConfig(latency="fixed:0", hold_s=0, faults_by_substring=marks)) as running:
        yield running


def asked(simulator: Simulator, text: str, **more: object) -> Raw:
    with connect(simulator.port) as sock:
        sock.sendall(post(chat(text, stream=True, **{**USAGE, **more})))
        return read_all(sock)


def body_of(raw: Raw) -> bytes:
    """Without the chunked framing, as far as it came."""
    return b"".join(re.findall(rb"[0-9a-f]+\r\n(.+?)\r\n(?=[0-9a-f]+\r\n|$)", raw.body, re.DOTALL))


def chunks_of(raw: Raw) -> list[dict[str, Any]]:
    return [orjson.loads(each) for each in re.findall(rb"data: (\{.*\})", body_of(raw))]


def test_a_stream_comes_in_events_of_one_token_with_usage_last_and_done(simulator: Simulator) -> None:
    before = simulator.totals()
    raw = asked(simulator, "hello")
    assert "content-type: text/event-stream" in raw.head
    assert body_of(raw).endswith(b"data: [DONE]\n\n")
    *pieces, last = chunks_of(raw)
    texts = [piece["choices"][0]["delta"].get("content", "") for piece in pieces]
    assert texts[0] == ""
    assert all(0 < len(text) <= 4 for text in texts[1:-1])
    assert pieces[-1]["choices"][0]["finish_reason"] == "stop"
    assert last["choices"] == []
    after = simulator.totals()
    counts = ("prompt_tokens", "completion_tokens")
    assert {name: after[name] - before[name] for name in counts} == {
        name: last["usage"][name] for name in counts
    }
    assert after["delivered"] == before["delivered"] + 1


def test_usage_comes_only_where_it_is_asked_for_or_always(simulator: Simulator) -> None:
    assert not any("usage" in chunk for chunk in chunks_of(asked(simulator, "hello", stream_options={})))
    assert all("usage" in chunk for chunk in chunks_of(asked(simulator, "<stream_usage_always>")))


def test_choices_come_interleaved_and_calls_with_their_name_first(simulator: Simulator) -> None:
    several = [chunk["choices"][0]["index"] for chunk in chunks_of(asked(simulator, "hello", n=2))[:-1]]
    assert several[:4] == [0, 1, 0, 1]
    parameters = {"type": "object", "properties": {"a": {"type": "string"}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    deltas = [
        chunk["choices"][0]["delta"] for chunk in chunks_of(asked(simulator, "hello", tools=[tool]))[:-1]
    ]
    calls = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
    assert (calls[0]["function"]["name"], calls[0]["function"]["arguments"]) == ("f", "")
    assert orjson.loads("".join(call["function"]["arguments"] for call in calls))
    assert all(set(call) == {"index", "function"} for call in calls[1:])


@pytest.mark.parametrize("name", MODES)
def test_a_mode_of_streams_is_what_it_says(simulator: Simulator, name: str) -> None:
    raw = asked(simulator, f"<stream_{name}>")
    body, entry = body_of(raw) or raw.body, simulator.ledger()[-1]
    whole = name not in {"cut", "cut_reset", "cut_late", "stall"}
    assert (entry["mode"], entry["generated"], entry["complete"]) == (f"stream_{name}", True, whole)
    assert raw.end == ("reset" if name == "cut_reset" else "eof")
    assert raw.data.endswith(b"\r\n0\r\n\r\n") is (whole and name != "plain")
    done = {"error", "crlf", "pings", "bytes"}
    assert (b"[DONE]" in body) is (name in done)
    assert (b'"finish_reason":"stop"' in body) is (
        name in {*done, "cut_late", "no_done", "plain"} - {"error"}
    )
    assert (b'"usage":{' in body) is (name in {*done, "no_done", "plain"} - {"error"})
    assert (b'"error":{' in body) is (name == "error")
    assert (b"\r\n\r\n" in body and b"\n\n" not in body) is (name == "crlf")
    assert (b": ping\n\n" in body) is (name == "pings")
    if name == "plain":
        assert raw.json["object"] == "chat.completion"


def test_chunks_come_at_their_pace(simulator: Simulator) -> None:
    simulator.control(chunk_latency="fixed:0.01")
    began = time.monotonic()
    chunks = len(chunks_of(asked(simulator, "hello")))
    assert time.monotonic() - began > chunks * 0.01 * 0.9
    simulator.control(chunk_latency="fixed:0")


def test_options_of_a_stream_without_one_are_refused(simulator: Simulator) -> None:
    with connect(simulator.port) as sock:
        sock.sendall(post(chat("hello", **USAGE)))
        assert read_all(sock).status == 400
