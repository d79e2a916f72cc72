"""async-batch-llm's stream over its own model for such endpoints, answers kept in its JSONL artifact. uvloop."""

import asyncio
import json
import sys
from pathlib import Path

import uvloop
from async_batch_llm import ArtifactIdentity, JsonlArtifactStore, ProcessorConfig, llm, process_stream


async def main(url: str, rows: str, connections: int, out: str) -> int:
    model = llm("openai-compatible:m", base_url=url, api_key="sk-bench", max_connections=connections)
    identity = ArtifactIdentity(provider="bench", model="m")
    config = ProcessorConfig(concurrency=connections, max_queue_size=4 * connections)
    answered = 0
    with Path(rows).open() as file:  # noqa: ASYNC230 - lines, from the page cache
        prompts = ((str(row["id"]), row["prompt"]) for row in map(json.loads, file))
        store = JsonlArtifactStore(out, identity=identity)
        async for result in process_stream(model, prompts, config=config, artifact_store=store):
            answered += result.success
    return answered


if __name__ == "__main__":
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    print(asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])))
