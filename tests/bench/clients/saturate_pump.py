"""saturate's `pump` with a fixed window; it writes Parquet parts, here of 512 rows instead of its 10."""

import asyncio
import json
import sys
from pathlib import Path

import uvloop
from saturate import Fixed, pump


def main(url: str, rows: str, connections: int, out: str) -> int:
    with Path(rows).open() as file:
        stats = pump(
            map(json.loads, file),
            to_request=lambda row: {
                "model": "m",
                "messages": [{"role": "user", "content": row["prompt"]}],
            },
            parse=lambda row, reply: {
                "prompt": row["prompt"],
                "completion": reply["choices"][0]["message"]["content"],
                "prompt_tokens": reply["usage"]["prompt_tokens"],
                "completion_tokens": reply["usage"]["completion_tokens"],
            },
            endpoint=url,
            output=out,
            window=Fixed(connections),
            flush_every=512,
            id_key="id",
            signal_source="none",
        )
    return int(stats.rows_processed)


if __name__ == "__main__":
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    print(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]))
