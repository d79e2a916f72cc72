"""The OpenAI SDK in a loop of workers, with as many connections as workers. uvloop."""

import asyncio
import json
import sys
from pathlib import Path

import httpx2 as httpx
import uvloop
from openai import AsyncOpenAI


async def main(url: str, rows: str, connections: int) -> int:
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    answered = 0
    with Path(rows).open() as file:  # noqa: ASYNC230 - lines, from the page cache
        async with AsyncOpenAI(
            base_url=url, api_key="sk-bench", http_client=httpx.AsyncClient(limits=limits, timeout=600)
        ) as client:

            async def worker() -> None:
                nonlocal answered
                for line in file:
                    messages = [{"role": "user", "content": json.loads(line)["prompt"]}]
                    reply = await client.chat.completions.create(model="m", messages=messages)
                    answered += bool(reply.choices[0].message.content)

            await asyncio.gather(*(worker() for _ in range(connections)))
    return answered


if __name__ == "__main__":
    print(uvloop.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
