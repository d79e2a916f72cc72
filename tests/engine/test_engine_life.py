"""What a row's life writes down."""

from __future__ import annotations

from dataclasses import fields, replace

from batcher.engine.life import RowLife
from batcher.records import Fault, FaultKind, Progress, Reply, Request


def test_the_journal_gets_the_reply_as_it_came_but_for_headers_that_nobody_asks_for() -> None:
    reply = Reply(
        status=200,
        headers=(("date", "today"), ("x-request-id", "req_1"), ("cf-ray", "ray"), ("x-ratelimit-limit", "9")),
        body=b"{}",
        progress=Progress.CUT,
        fault=Fault(FaultKind.BODY_CUT, "cut"),
        sent_at=1.0,
        received_at=2.0,
        latency_ms=3.0,
        reused_connection=True,
        ttft_ms=4.0,
    )
    assert all(getattr(reply, each.name) for each in fields(reply)), (
        "a field left at its default tells nothing"
    )
    life = RowLife(Request(7, b"{}", "hash", "model", "mine"), queued_at=10.0, attempts=3, paid_attempts=1)
    life.sent_at_tick = 10.5
    record = life.reply_record(reply)
    assert record.reply == replace(reply, headers=(("x-request-id", "req_1"), ("cf-ray", "ray")))
    assert (record.row_index, record.request_hash, record.model, record.custom_id) == (
        7,
        "hash",
        "model",
        "mine",
    )
    assert (record.attempts, record.paid_attempts, record.queue_ms) == (3, 2, 500.0)
